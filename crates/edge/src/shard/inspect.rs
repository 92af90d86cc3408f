//! Inspection of connections and their lag, for operators.
//!
//! A shard looks at some of its connections in each turn, so that no client waits
//! for an inspection.

use std::collections::VecDeque;

use instep_model::limits;
use slab::Slab;
use tokio::sync::oneshot;

use super::connection::{Connection, Side};
use super::{Command, Shards};
use crate::states::{ConnectionState, Lag, sort};

/// Question to a shard.
pub(crate) enum Question {
    /// Lag of all subscribers.
    Lag(oneshot::Sender<Lag>),
    /// Connections that are the furthest behind.
    Furthest { most: usize, reply: oneshot::Sender<Vec<ConnectionState>> },
    /// Connection of this number, if there is one.
    Numbered { number: u64, reply: oneshot::Sender<Vec<ConnectionState>> },
}

impl Shards {
    /// Sums up the lag of all subscribers.
    pub(crate) async fn lag(&self) -> Lag {
        let mut all = Lag::default();
        for handle in &self.0 {
            let (reply, answer) = oneshot::channel();
            handle.send(Command::Question(Question::Lag(reply)));
            all.add(&answer.await.unwrap_or_default());
        }
        all
    }

    /// The connections that are the furthest behind, at most so many of each shard.
    pub(crate) async fn furthest(&self, most: usize) -> Vec<ConnectionState> {
        let mut states = vec![];
        for handle in &self.0 {
            let (reply, answer) = oneshot::channel();
            handle.send(Command::Question(Question::Furthest { most, reply }));
            states.extend(answer.await.unwrap_or_default());
        }
        states
    }

    /// One connection of a shard.
    pub(crate) async fn numbered(&self, shard: usize, number: u64) -> Option<ConnectionState> {
        let (reply, answer) = oneshot::channel();
        self.0.get(shard)?.send(Command::Question(Question::Numbered { number, reply }));
        answer.await.unwrap_or_default().pop()
    }
}

/// Questions that a shard has not answered yet.
#[derive(Default)]
pub(super) struct Inspections(VecDeque<Inspection>);

struct Inspection {
    question: Question,
    /// The slot to look at next.
    next: usize,
    lag: Lag,
    found: Vec<ConnectionState>,
}

impl Inspections {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a question; who asks while too many wait gets no answer.
    pub(super) fn ask(&mut self, question: Question) {
        if self.0.len() < limits::SURVEYS {
            let (lag, found) = (Lag::default(), vec![]);
            self.0.push_back(Inspection { question, next: 0, lag, found });
        }
    }

    /// Looks at some connections for the request that came first.
    pub(super) fn look(&mut self, shard: usize, connections: &Slab<Connection>, now: u64) {
        if let Some(inspection) = self.0.front_mut()
            && inspection.look(shard, connections, now)
            && let Some(done) = self.0.pop_front()
        {
            done.answer();
        }
    }
}

impl Inspection {
    /// True when it has seen all connections, or the request was given up.
    fn look(&mut self, shard: usize, connections: &Slab<Connection>, now: u64) -> bool {
        let mut seen = 0;
        while self.next < connections.capacity() && seen < limits::SURVEY_PER_TURN {
            seen += 1;
            if let Some(connection) = connections.get(self.next) {
                seen += joined(connection).len();
                self.note(shard, connection, now);
            }
            self.next += 1;
        }
        self.next >= connections.capacity() || self.is_forgotten()
    }

    fn is_forgotten(&self) -> bool {
        match &self.question {
            Question::Lag(reply) => reply.is_closed(),
            Question::Furthest { reply, .. } | Question::Numbered { reply, .. } => {
                reply.is_closed()
            }
        }
    }

    fn note(&mut self, shard: usize, connection: &Connection, now: u64) {
        match &self.question {
            Question::Lag(_) => {
                joined(connection).iter().for_each(|one| self.lag.note(one.subscription.lag()));
                self.lag.waiting_bytes += connection.out.bytes() as u64;
                self.lag.blocked += u64::from(connection.flags.blocked);
            }
            Question::Furthest { most, .. } => {
                self.found.push(state_of(shard, connection, now));
                if self.found.len() >= 2 * most.saturating_add(limits::SURVEY_PER_TURN) {
                    sort(&mut self.found);
                    self.found.truncate(*most);
                }
            }
            Question::Numbered { number, .. } if connection.number == *number => {
                self.found.push(state_of(shard, connection, now));
            }
            Question::Numbered { .. } => {}
        }
    }

    /// Sends the answer; it is dropped if no request waits for it any more.
    fn answer(mut self) {
        match self.question {
            Question::Lag(reply) => drop(reply.send(self.lag)),
            Question::Furthest { most, reply } => {
                sort(&mut self.found);
                self.found.truncate(most);
                drop(reply.send(self.found));
            }
            Question::Numbered { reply, .. } => drop(reply.send(self.found)),
        }
    }
}

fn joined(connection: &Connection) -> &[crate::driver::Joined] {
    match &connection.side {
        Side::Channels(driver) => driver.joined(),
        Side::Raw(_) => &[],
    }
}

fn state_of(shard: usize, connection: &Connection, now: u64) -> ConnectionState {
    let principal = match &connection.side {
        Side::Channels(driver) => driver.principal().to_owned(),
        Side::Raw(_) => instep_access::principal::ANONYMOUS.to_owned(),
    };
    ConnectionState {
        id: id(shard, connection.number),
        door: connection.kind().word(),
        peer: Some(connection.peer),
        principal,
        agent: connection.agent.clone(),
        age_ms: now.saturating_sub(connection.since),
        waiting_bytes: connection.out.bytes(),
        blocked_ms: connection.blocked_ms(now),
        topics: joined(connection).iter().map(crate::driver::Joined::state).collect(),
    }
}

/// Public id of a connection of a shard.
pub(crate) fn id(shard: usize, number: u64) -> String {
    format!("{shard}-{number}")
}

/// The shard and the number of what [`id`] has made.
pub(crate) fn read_id(id: &str) -> Option<(usize, u64)> {
    let (shard, number) = id.split_once('-')?;
    Some((shard.parse().ok()?, number.parse().ok()?))
}
