//! Messages without their bodies, by number: 15 to a page, 64 bytes each.

use std::sync::Arc;

use imbl::OrdMap;
use uuid::Uuid;

use super::{Message, Status};
use crate::mail::{EndpointNo, Seq, ServerNo};

/// Numbers of one page. It is copied when it changes, so it stays below the kilobyte up to which an
/// allocator has pieces at hand.
const PAGE: u64 = 15;
/// A time that does not fit is as late as one can be: eight thousand years.
const LATEST: u64 = (1 << 48) - 1;

/// The messages that are remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct MessageTable {
    pages: OrdMap<u64, Arc<[PackedMessage]>>,
}

/// A message as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PackedMessage {
    id: Uuid,
    digest: u64,
    endpoint: EndpointNo,
    server: ServerNo,
    generation: u32,
    body_bytes: u32,
    stored: Time,
    not_before: Time,
    expires: Time,
    attempts: u16,
    queue: u16,
    /// Its place on the page.
    place: u8,
    /// Its priority, and two bits of where it stands.
    standing: u8,
}

const _: () = assert!(size_of::<PackedMessage>() == 64);

/// Milliseconds in six bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Time([u16; 3]);

impl MessageTable {
    pub(super) fn get(&self, seq: Seq) -> Option<Message> {
        let page = self.pages.get(&page_of(seq))?;
        page.get(find(page, seq).ok()?).map(PackedMessage::message)
    }

    /// Puts a message in its place, instead of the one that is there; gives it as it comes back.
    pub(super) fn insert(&mut self, seq: Seq, message: &Message) -> Message {
        let line = PackedMessage::new(seq, message);
        let Some(page) = self.pages.get_mut(&page_of(seq)) else {
            self.pages.insert(page_of(seq), [line].into());
            return line.message();
        };
        match find(page, seq) {
            Ok(at) => Arc::make_mut(page)[at] = line,
            Err(at) => {
                let (before, behind) = page.split_at(at);
                let with = before.iter().copied().chain([line]).chain(behind.iter().copied());
                *page = with.collect();
            }
        }
        line.message()
    }

    pub(super) fn remove(&mut self, seq: Seq) -> Option<Message> {
        let page = self.pages.get(&page_of(seq))?;
        let at = find(page, seq).ok()?;
        let message = page[at].message();
        let less: Arc<[PackedMessage]> =
            page[..at].iter().chain(&page[at + 1..]).copied().collect();
        if less.is_empty() {
            self.pages.remove(&page_of(seq))
        } else {
            self.pages.insert(page_of(seq), less)
        };
        Some(message)
    }

    /// All from a number on.
    pub(super) fn range(&self, from: Seq) -> impl Iterator<Item = (Seq, Message)> + '_ {
        let pages = self.pages.range(page_of(from)..);
        let all = pages.flat_map(|(page, lines)| {
            lines.iter().map(move |line| (Seq(page * PAGE + u64::from(line.place)), line))
        });
        all.skip_while(move |(seq, _)| *seq < from).map(|(seq, line)| (seq, line.message()))
    }
}

fn find(page: &[PackedMessage], seq: Seq) -> Result<usize, usize> {
    let place = place(seq);
    // Nothing is missing from most pages.
    match page.get(usize::from(place)) {
        Some(line) if line.place == place => Ok(usize::from(place)),
        _ => page.binary_search_by_key(&place, |line| line.place),
    }
}

fn page_of(seq: Seq) -> u64 {
    seq.0 / PAGE
}

fn place(seq: Seq) -> u8 {
    (seq.0 % PAGE) as u8
}

impl PackedMessage {
    fn new(seq: Seq, message: &Message) -> Self {
        let Message { id, digest, endpoint, server, generation, body_bytes, .. } = *message;
        let standing = match message.status {
            Status::Pending => 0,
            Status::Dead => 1,
            Status::Confirmed => 2,
            Status::Expired => 3,
        };
        Self {
            id,
            digest,
            endpoint,
            server,
            generation,
            body_bytes,
            stored: Time::new(message.stored_ms),
            not_before: Time::new(message.not_before),
            expires: Time::new(message.expires),
            attempts: message.attempts,
            queue: message.queue,
            place: place(seq),
            standing: message.priority.min(63) << 2 | standing,
        }
    }

    fn message(&self) -> Message {
        let Self { id, digest, endpoint, server, generation, body_bytes, .. } = *self;
        Message {
            id,
            digest,
            stored_ms: self.stored.ms(),
            not_before: self.not_before.ms(),
            expires: self.expires.ms(),
            endpoint,
            server,
            generation,
            body_bytes,
            attempts: self.attempts,
            queue: self.queue,
            priority: self.standing >> 2,
            status: match self.standing & 3 {
                0 => Status::Pending,
                1 => Status::Dead,
                2 => Status::Confirmed,
                _ => Status::Expired,
            },
        }
    }
}

impl Time {
    fn new(ms: u64) -> Self {
        let ms = ms.min(LATEST);
        Self([(ms >> 32) as u16, (ms >> 16) as u16, ms as u16])
    }

    fn ms(self) -> u64 {
        self.0.iter().fold(0, |ms, part| ms << 16 | u64::from(*part))
    }
}
