//! A round: what is new on a topic goes to everybody who has joined it.
//!
//! The ring is locked once and read once. For each form of stream the new frames are laid out once,
//! in one piece, and every subscriber gets a reference to it.

use std::sync::Arc;

use bytes::Bytes;
use instep_model::limits;
use instep_model::position::Position;
use instep_node::mail::SERVER_PREFIX;
use instep_node::ring::{Cursor, Frame, Read};
use slab::Slab;

use super::connection::{Connection, Side};
use super::core::Core;
use super::wire::{Form, write_ring_frame};

/// New frames of one topic.
struct Batch<'a> {
    topic: &'a str,
    frames: &'a [Arc<Frame>],
    from: Cursor,
    to: Cursor,
    /// By form, once it is needed.
    laid_out: [Option<LaidOut>; Form::COUNT],
}

/// The frames as they lie in a stream, and where each of them begins.
struct LaidOut {
    bytes: Bytes,
    starts: Vec<usize>,
}

/// Gives out what is new on the topics that are marked.
pub(super) fn fan_out(core: &mut Core, connections: &mut Slab<Connection>) {
    let mut marked = std::mem::take(&mut core.topics.marked);
    core.post.bell().take(&mut marked);
    for mark in marked {
        fan_out_topic(mark, core, connections);
    }
}

fn fan_out_topic(mark: u32, core: &mut Core, connections: &mut Slab<Connection>) {
    let bell = Arc::clone(core.topics.bell());
    let Some(members) = core.topics.get(mark) else {
        return;
    };
    let (Some(topic), Some(from)) = (members.topic.clone(), members.cursor) else {
        return;
    };
    let mut to = from;
    let read = topic.read_shared(&bell, &mut to, limits::BATCH_FRAMES, limits::BATCH_BYTES);
    members.cursor = Some(to);
    // Taken out for a moment: who falls behind is noted in the lists beside it.
    let everybody = std::mem::take(&mut members.members);
    match &read {
        Read::Frames(frames) if frames.is_empty() && !topic.name().starts_with(SERVER_PREFIX) => {}
        Read::Frames(frames) if frames.is_empty() => {
            // A server is told by its registration, and reads that as one who is behind does.
            for member in &everybody {
                if let Some(connection) = connections.get_mut(member.slot as usize)
                    && let Side::Channels(talk) = &mut connection.side
                    && talk.find(member.channel).is_some_and(|joined| joined.is_server())
                {
                    fall_behind(connection, member.slot, core);
                }
            }
        }
        Read::Frames(frames) => {
            let name = topic.name();
            let mut batch = Batch { topic: name, frames, from, to, laid_out: Default::default() };
            let position = last_position(frames);
            let mut delivered = 0;
            for member in &everybody {
                let Some(connection) = connections.get_mut(member.slot as usize) else {
                    continue;
                };
                delivered += give(connection, *member, &mut batch, position, core);
            }
            core.counters.deliveries.add(delivered as u64);
            // There may be more; it is looked at in the next round.
            core.topics.marked.push(mark);
        }
        Read::Lagged { .. } => {
            for member in &everybody {
                if let Some(connection) = connections.get_mut(member.slot as usize) {
                    fall_behind(connection, member.slot, core);
                }
            }
        }
    }
    if let Some(members) = core.topics.get(mark) {
        members.members = everybody;
    }
}

/// Gives one subscriber its part of a batch; how many frames that was.
fn give(
    connection: &mut Connection,
    member: super::topics::Member,
    batch: &mut Batch<'_>,
    (position, position_at): (Option<Position>, usize),
    core: &mut Core,
) -> usize {
    let form = connection.form();
    if connection.marks.blocked
        || connection.marks.behind
        || connection.out.bytes() > limits::OUTBOX_BYTES
    {
        fall_behind(connection, member.slot, core);
        return 0;
    }
    let Side::Channels(talk) = &mut connection.side else {
        return 0;
    };
    let Some(joined) = talk.find(member.channel) else {
        return 0;
    };
    let Some(skip) = joined.subscription.cursor().since(batch.from) else {
        fall_behind(connection, member.slot, core);
        return 0;
    };
    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
    if skip >= batch.frames.len() {
        return 0;
    }
    joined.go_to(batch.to, position.filter(|_| skip <= position_at));
    let bytes = batch.bytes(form, skip);
    if !bytes.is_empty() {
        connection.out.share(bytes);
        core.write(member.slot, &mut connection.marks);
    }
    batch.frames.len() - skip
}

/// The connection reads on by itself when its socket has taken what waits.
fn fall_behind(connection: &mut Connection, slot: u32, core: &mut Core) {
    connection.marks.behind = true;
    if !connection.marks.blocked && connection.out.is_empty() {
        core.catch_up(slot, &mut connection.marks);
    }
}

/// The position that whoever has all of these frames is complete up to, and whose it is.
fn last_position(frames: &[Arc<Frame>]) -> (Option<Position>, usize) {
    let last = frames.iter().enumerate().rev().find_map(|(at, frame)| Some((at, frame.position?)));
    last.map_or((None, 0), |(at, position)| (Some(position), at))
}

impl Batch<'_> {
    /// The frames behind the first `skip`, as one piece.
    fn bytes(&mut self, form: Form, skip: usize) -> Bytes {
        let (topic, frames) = (self.topic, self.frames);
        let LaidOut { bytes, starts } =
            self.laid_out[form as usize].get_or_insert_with(|| LaidOut::new(form, topic, frames));
        match starts.get(skip) {
            Some(0) => bytes.clone(),
            Some(start) => bytes.slice(*start..),
            None => Bytes::new(),
        }
    }
}

impl LaidOut {
    fn new(form: Form, topic: &str, frames: &[Arc<Frame>]) -> Self {
        let bytes: usize = frames.iter().map(|frame| frame.encoded.len() + 16).sum();
        let mut out = Vec::with_capacity(bytes);
        let starts = frames.iter().map(|frame| {
            let start = out.len();
            write_ring_frame(&mut out, form, topic, frame);
            start
        });
        let starts = starts.collect();
        Self { bytes: out.into(), starts }
    }
}
