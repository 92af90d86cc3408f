//! State of a shard besides its connections: lists of work, topics, deadlines.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use instep_protocol::janus::Token;
use instep_protocol::session::Channel;

use super::command::{Command, ShardHandle};
use super::fan_out::{Broadcast, Due};
use super::pending::{Answered, PendingReplies};
use super::topics::Topics;
use super::wheel::{Entry, Wheel};
use crate::counts::Counters;
use crate::driver::{Actions, Completion, Joined, Wait};
use crate::rates::Meter;
use crate::state::EdgeState;

pub(super) struct Core {
    /// The number of the shard.
    pub(super) shard: usize,
    pub(super) edge: Arc<EdgeState>,
    pub(super) handle: ShardHandle,
    pub(super) counters: Arc<Counters>,
    pub(super) topics: Topics,
    /// Fan-out under way: new frames of one topic, not given to all subscribers yet.
    pub(super) broadcast: Option<Broadcast>,
    /// Frames of it that each of some subscribers has yet to get, for the moment.
    pub(super) dues: Vec<Due>,
    pub(super) wheel: Wheel,
    /// Time of this turn, in milliseconds of the clock of the edge.
    pub(super) now: u64,
    /// Duration of the turn before.
    pub(super) turn: Duration,
    pub(super) actions: Actions,
    /// Counts the messages of each connection, if that matters.
    pub(super) meter: Option<Meter>,
    /// Subscriptions that ended, still noted with their topics.
    pub(super) left: Vec<(u32, Joined)>,
    /// Connections to be read that have been here for a while.
    steady: VecDeque<u32>,
    /// Connections to be read that come or go.
    crowd: VecDeque<u32>,
    pub(super) due: VecDeque<u32>,
    pub(super) catching: VecDeque<u32>,
    /// Answers that others are at work on.
    pub(super) pending: PendingReplies,
    /// Connections that want another session.
    pub(super) attaching: Vec<(u32, Token)>,
    /// Deadlines that have passed and have not been looked at.
    pub(super) over: VecDeque<Entry>,
    /// Sessions here that wait for another connection.
    pub(super) detached: usize,
    /// Bytes of frames that are not complete, of all connections.
    pub(super) unfinished: usize,
    /// True while those bytes are more than may be, or those of an address are.
    pub(super) is_overfull: bool,
    /// Time by which every client has to be told to go, once the server stops: a connection that
    /// comes then is sent away.
    pub(super) drained_by: Option<u64>,
}

/// A list of connections to be read; each has its part of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Connections that have been here for a while.
    Steady,
    /// Connections that have just come, or whose client has closed its side.
    Crowd,
}

/// Flags of a connection in its shard, most of them for its lists.
#[derive(Debug, Default)]
pub(super) struct Flags {
    /// The system may have bytes for it.
    pub(super) readable: bool,
    /// Newcomer: it has come a moment ago.
    pub(super) is_new: bool,
    /// The last of these bytes may be the end.
    pub(super) read_closed: bool,
    /// Flag of the list of connections to be read.
    pub(super) reading: bool,
    /// Flag of the list of connections to be written.
    pub(super) due: bool,
    /// The socket takes no more for now.
    pub(super) blocked: bool,
    /// Lag: some topic has news that it has not been given.
    pub(super) behind: bool,
    /// Flag of the list of connections that catch up.
    pub(super) catching: bool,
}

impl Core {
    pub(super) fn new(shard: usize, edge: Arc<EdgeState>, handle: ShardHandle) -> Self {
        let now = edge.now();
        let topics = Topics::new(Arc::clone(handle.notifier()));
        let pending = PendingReplies::new(Arc::clone(handle.notifier()));
        Self {
            shard,
            meter: edge.rates().messages(),
            edge,
            counters: Arc::clone(handle.counters()),
            handle,
            topics,
            broadcast: None,
            dues: vec![],
            wheel: Wheel::new(now),
            now,
            turn: Duration::ZERO,
            actions: Actions::default(),
            left: vec![],
            steady: VecDeque::new(),
            crowd: VecDeque::new(),
            due: VecDeque::new(),
            catching: VecDeque::new(),
            pending,
            attaching: vec![],
            over: VecDeque::new(),
            detached: 0,
            unfinished: 0,
            is_overfull: false,
            drained_by: None,
        }
    }

    /// True when there is work that needs no event.
    pub(super) fn has_work(&self) -> bool {
        !(self.steady.is_empty()
            && self.crowd.is_empty()
            && self.over.is_empty()
            && self.due.is_empty()
            && self.catching.is_empty()
            && !self.has_news()
            && !self.pending.may_have_news())
    }

    /// True when something is new on a topic here.
    pub(super) fn has_news(&self) -> bool {
        self.broadcast.is_some() || !self.topics.is_quiet()
    }

    /// Puts a connection on the list of those to be read.
    pub(super) fn read(&mut self, slot: u32, flags: &mut Flags) {
        if !std::mem::replace(&mut flags.reading, true) {
            let lane = if flags.is_new || flags.read_closed { Lane::Crowd } else { Lane::Steady };
            self.lane(lane).push_back(slot);
        }
    }

    pub(super) fn lane(&mut self, lane: Lane) -> &mut VecDeque<u32> {
        match lane {
            Lane::Steady => &mut self.steady,
            Lane::Crowd => &mut self.crowd,
        }
    }

    /// Puts a connection on the list of those to be written.
    pub(super) fn write(&mut self, slot: u32, flags: &mut Flags) {
        if !flags.blocked && !std::mem::replace(&mut flags.due, true) {
            self.due.push_back(slot);
        }
    }

    /// Puts a connection on the list of those that read their topics on their own.
    pub(super) fn catch_up(&mut self, slot: u32, flags: &mut Flags) {
        if !std::mem::replace(&mut flags.catching, true) {
            self.catching.push_back(slot);
        }
    }

    /// Lets an application answer; the answer comes as a command, also if it fails.
    pub(super) fn start(&self, slot: u32, number: u64, channel: Channel, answer: Wait) {
        let crashed = Some(Completion::Crashed(channel));
        let promise = Promise { handle: self.handle.clone(), slot, number, completion: crashed };
        self.edge.runtime().spawn(async move {
            promise.keep(answer.await);
        });
    }
}

/// Sends an answer when it is dropped, so that a panic is an answer too.
struct Promise {
    handle: ShardHandle,
    slot: u32,
    number: u64,
    completion: Option<Completion>,
}

impl Promise {
    fn keep(mut self, completion: Completion) {
        self.completion = Some(completion);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if let Some(completion) = self.completion.take() {
            let (slot, number) = (self.slot, self.number);
            self.handle.send(Command::Answer(Answered { slot, number, completion }));
        }
    }
}
