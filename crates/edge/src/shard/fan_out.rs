//! A round: what is new on a topic goes to all its subscribers.
//!
//! The ring is locked once and read once. For each form of stream the new frames are laid out once,
//! in one piece, and every subscriber gets a reference to it. A crowd is given it some at a time,
//! and each part is written before the next one is given: what a connection takes in memory is
//! still at hand then.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use instep_model::limits;
use instep_model::position::Position;
use instep_model::ring::{Cursor, Frame, Read};
use instep_node::Topic;
use instep_node::mail::SERVER_PREFIX;
use slab::Slab;

use super::connection::{Connection, Side};
use super::core::Core;
use super::topics::Member;
use super::wire::{Form, write_ring_frame};

/// New frames of one topic, on their way to all its subscribers.
pub(super) struct Broadcast {
    mark: u32,
    topic: Arc<Topic>,
    frames: Vec<Arc<Frame>>,
    from: Cursor,
    to: Cursor,
    /// Position up to which a subscriber with all frames is complete, and the index of the frame
    /// that carries it.
    position: Option<(usize, Position)>,
    /// Frames laid out for each form of stream, once it is needed.
    laid_out: [Option<LaidOut>; Form::COUNT],
    /// Members before this one have not been given it. Who joins meanwhile stands behind. When one
    /// of them leaves, the last one takes its place and is looked at twice, which gives it
    /// nothing.
    left: usize,
}

/// Frames that one subscriber has yet to get.
pub(super) enum Due {
    /// All behind so many frames.
    From(usize),
    /// Nothing: the subscriber has everything, or has left.
    Nothing,
    /// Catch-up: it cannot be given more now, or has to be given older frames before.
    CatchesUp,
}

/// The frames as they lie in a stream, and where each of them begins.
struct LaidOut {
    bytes: Bytes,
    starts: Vec<usize>,
}

/// Gives out what is new on the topics that are marked, to so many that they are soon written to.
pub(super) fn fan_out(core: &mut Core, connections: &mut Slab<Connection>) {
    core.handle.notifier().take(&mut core.topics.marked);
    let mut room = limits::GIVEN_AT_ONCE;
    while room > 0 {
        let Some(mut broadcast) = core.broadcast.take() else {
            let Some(mark) = core.topics.marked.pop_front() else { return };
            core.broadcast = begin(mark, core, connections);
            continue;
        };
        room -= broadcast.go_on(room, core, connections);
        if broadcast.left > 0 {
            core.broadcast = Some(broadcast);
        }
    }
}

/// Reads what is new on a topic. Frames for some subscribers only are read by these themselves.
fn begin(mark: u32, core: &mut Core, connections: &mut Slab<Connection>) -> Option<Broadcast> {
    let notifier = Arc::clone(core.topics.notifier());
    let members = core.topics.get(mark)?;
    let (topic, from) = (members.topic.clone()?, members.cursor?);
    let (mut to, left) = (from, members.members.len());
    let (read, more) =
        topic.read_shared(&notifier, &mut to, limits::BATCH_FRAMES, limits::BATCH_BYTES);
    members.cursor = Some(to);
    if more {
        core.topics.marked.push_back(mark);
    }
    match read {
        Read::Frames(frames) if !frames.is_empty() => {
            let mut from_the_last = frames.iter().enumerate().rev();
            let position = from_the_last.find_map(|(at, frame)| Some((at, frame.position?)));
            let laid_out = Default::default();
            Some(Broadcast { mark, topic, frames, from, to, position, laid_out, left })
        }
        Read::Frames(_) if topic.name().starts_with(SERVER_PREFIX) => {
            // A server is told by its registration. An answer to it may wait to be written: they
            // go together.
            each((mark, 0..left), core, connections, |connection, member, core| {
                if let Side::Channels(driver) = &mut connection.side
                    && driver.find(member.channel).is_some_and(|joined| joined.is_server())
                {
                    connection.flags.behind = true;
                    core.catch_up(member.slot, &mut connection.flags);
                }
            });
            None
        }
        Read::Frames(_) => None,
        Read::Lagged { .. } => {
            each((mark, 0..left), core, connections, |connection, member, core| {
                fall_behind(connection, member.slot, core);
            });
            None
        }
    }
}

/// Tells some subscribers of a topic, the last one first.
fn each(
    (mark, some): (u32, Range<usize>),
    core: &mut Core,
    connections: &mut Slab<Connection>,
    mut tell: impl FnMut(&mut Connection, Member, &mut Core),
) {
    let Some(members) = core.topics.get(mark) else { return };
    // Taken out for a moment: who falls behind is noted in the lists beside it.
    let all = std::mem::take(&mut members.members);
    for member in all[some].iter().rev() {
        if let Some(connection) = connections.get_mut(member.slot as usize) {
            tell(connection, *member, core);
        }
    }
    if let Some(members) = core.topics.get(mark) {
        members.members = all;
    }
}

impl Broadcast {
    /// Gives it to at most so many more; how many that were.
    fn go_on(&mut self, most: usize, core: &mut Core, connections: &mut Slab<Connection>) -> usize {
        let members = core.topics.get(self.mark).filter(|members| {
            members.topic.as_ref().is_some_and(|topic| Arc::ptr_eq(topic, &self.topic))
        });
        let Some(members) = members else {
            // All subscribers have left.
            self.left = 0;
            return 0;
        };
        let end = self.left.min(members.members.len());
        self.left = end.saturating_sub(most);
        let some = self.left..end;
        // All are looked at before any of them is given something: what has to come from memory
        // for one is waited for together with what has to come for the others.
        let mut all_owed = std::mem::take(&mut core.dues);
        each((self.mark, some.clone()), core, connections, |connection, member, _| {
            all_owed.push(self.owed(connection, member));
        });
        let (mut owed, mut delivered) = (all_owed.iter(), 0);
        each((self.mark, some), core, connections, |connection, member, core| match owed.next() {
            Some(Due::From(skip)) => {
                self.give(connection, member, *skip, core);
                delivered += self.frames.len() - skip;
            }
            Some(Due::CatchesUp) => fall_behind(connection, member.slot, core),
            Some(Due::Nothing) | None => {}
        });
        all_owed.clear();
        core.dues = all_owed;
        core.counters.deliveries.add(delivered as u64);
        end - self.left
    }

    /// Returns the frames that one subscriber has yet to get.
    fn owed(&self, connection: &mut Connection, member: Member) -> Due {
        if connection.flags.blocked
            || connection.flags.behind
            || connection.out.bytes() > limits::OUTBOX_BYTES
        {
            return Due::CatchesUp;
        }
        let Side::Channels(driver) = &mut connection.side else { return Due::Nothing };
        let Some(joined) = driver.find(member.channel) else { return Due::Nothing };
        let Some(skip) = joined.subscription.cursor().since(self.from) else {
            return Due::CatchesUp;
        };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        if skip < self.frames.len() { Due::From(skip) } else { Due::Nothing }
    }

    /// Gives one subscriber the frames behind the first `skip`.
    fn give(&mut self, connection: &mut Connection, member: Member, skip: usize, core: &mut Core) {
        let position = self.position.filter(|(at, _)| skip <= *at);
        if let Side::Channels(driver) = &mut connection.side
            && let Some(joined) = driver.find(member.channel)
        {
            joined.go_to(self.to, position.map(|(_, position)| position));
        }
        let bytes = self.bytes(connection.form(), skip);
        if !bytes.is_empty() {
            connection.out.share(bytes);
            core.write(member.slot, &mut connection.flags);
        }
    }

    /// The frames behind the first `skip`, as one piece.
    fn bytes(&mut self, form: Form, skip: usize) -> Bytes {
        let (topic, frames) = (self.topic.name(), &self.frames);
        let LaidOut { bytes, starts } =
            self.laid_out[form as usize].get_or_insert_with(|| LaidOut::new(form, topic, frames));
        match starts.get(skip) {
            Some(0) => bytes.clone(),
            Some(start) => bytes.slice(*start..),
            None => Bytes::new(),
        }
    }
}

/// The connection reads on by itself when its socket has taken what waits.
fn fall_behind(connection: &mut Connection, slot: u32, core: &mut Core) {
    connection.flags.behind = true;
    if !connection.flags.blocked && connection.out.is_empty() {
        core.catch_up(slot, &mut connection.flags);
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
