//! State of the mail: the fold of the log's records of it. Cloning is cheap and shares.

use std::sync::Arc;

use bytes::Bytes;
use imbl::{OrdMap, OrdSet, Vector};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::derived::number_in;
use super::record::MailRecord;
use super::{EndpointNo, Seq, ServerNo};
use crate::name::Name;
use crate::registration::Generation;
use clocks::Clocks;
use message_table::MessageTable;
pub use parts::MailPart;
use places::{Numbered, SlotKey};
use run_set::RunSet;

mod changing;
mod clocks;
mod holding;
mod message_table;
mod parts;
mod places;
mod run_set;

/// Status of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It is to be done: it waits for a route, for its time, or for its server.
    Pending,
    /// A dead letter.
    Dead,
    /// Done.
    Confirmed,
    /// Not done in its time.
    Expired,
}

/// A message without its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its permanent id.
    pub id: Uuid,
    /// Digest by which another message under the same id is told apart.
    pub digest: u64,
    /// Time at which it was stored, in milliseconds since 1970.
    pub stored_ms: u64,
    /// End of its rest; 0: it does not rest.
    pub not_before: u64,
    /// Time of its expiry, or of its end if it has ended; 0: never.
    pub expires: u64,
    /// Its endpoint.
    pub endpoint: EndpointNo,
    /// Its server; [`ServerNo::NOWHERE`] when it has no route.
    pub server: ServerNo,
    /// The generation of the route.
    pub generation: u32,
    /// Bytes of its body.
    pub body_bytes: u32,
    /// Failures so far.
    pub attempts: u16,
    /// Its queue.
    pub queue: u16,
    /// Higher ones are given first.
    pub priority: u8,
    /// Status of the message.
    pub status: Status,
}

/// A server and its mail.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerState {
    /// Its id.
    pub server: Arc<str>,
    /// Generation of its newest registration.
    pub generation: Generation,
    /// Messages that are routed to it and pending.
    pub pending: u64,
    /// Messages that were routed to it last and are remembered.
    #[serde(skip)]
    pub held: u64,
}

/// A queue and its counters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueState {
    /// Its name.
    pub name: Name,
    /// Messages stored so far.
    pub stored: u64,
    /// Messages confirmed so far.
    pub confirmed: u64,
    /// Messages expired so far.
    pub expired: u64,
    /// Dead letters given up so far, because there were too many.
    pub given_up: u64,
    /// Messages pending now, with and without a route.
    pub pending: u64,
    /// Messages without a route now.
    pub unrouted: u64,
    /// Dead letters now.
    pub dead: u64,
    /// Finished messages that are remembered now.
    pub kept: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct EndpointState {
    name: Arc<str>,
    /// The endpoint whose row routes it; [`EndpointNo::NOWHERE`] when none does.
    via: EndpointNo,
}

/// A message's place in the order of its server: by endpoint, priority and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// The server.
    pub server: ServerNo,
    /// The endpoint.
    pub endpoint: EndpointNo,
    /// Smaller for higher priorities.
    pub rank: u8,
    /// The message.
    pub seq: Seq,
}

/// The mail of a dataset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mail {
    queues: Vector<QueueState>,
    servers: Vector<ServerState>,
    server_numbers: OrdMap<Arc<str>, ServerNo>,
    /// Numbers that have no name, and are the next to have one.
    vacant_servers: OrdSet<ServerNo>,
    /// The largest generation of a server that is forgotten.
    generations: Generation,
    endpoints: Vector<EndpointState>,
    endpoint_numbers: OrdMap<Arc<str>, EndpointNo>,
    vacant_endpoints: OrdSet<EndpointNo>,
    /// Number of remembered messages, by endpoint.
    held: OrdMap<EndpointNo, u32>,
    /// Pairs of an endpoint and one that its row routes.
    followers: OrdSet<(EndpointNo, EndpointNo)>,
    last: Seq,
    messages: MessageTable,
    /// Ids that do not tell the number of their message, with it.
    ids: RunSet<(Uuid, Seq)>,
    /// Scopes of messages whose ids are their senders' own; older messages have none.
    scopes: RunSet<(Seq, u64)>,
    /// Messages that can be delivered: pending, routed and not delayed.
    ready: RunSet<SlotKey>,
    /// Pending, by server (or none) in order.
    by_server: RunSet<Numbered>,
    /// Number of pending messages, by endpoint and server (or none).
    counts: OrdMap<(EndpointNo, ServerNo), u64>,
    resting: RunSet<(u64, Seq)>,
    /// Delayed messages, at the slots that they have without the delay.
    delayed: RunSet<SlotKey>,
    expiring: RunSet<(u64, Seq)>,
    finished: RunSet<(u64, Seq)>,
    dead: OrdMap<Seq, Arc<str>>,
    clocks: Clocks,
}

/// Change of the mail by a record, for the delivery and the store of bodies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailChange {
    /// A message has a body.
    Stored {
        /// The message.
        seq: Seq,
        /// The body.
        body: Bytes,
    },
    /// A message can be given.
    Ready(Slot),
    /// A message is not this server's to work on, for now or for ever.
    Withdrawn {
        /// The server.
        server: ServerNo,
        /// The message.
        seq: Seq,
        /// It was its own decision, or the message comes again: it need not be told.
        quiet: bool,
    },
    /// The body is not needed any more.
    BodyEnded {
        /// The message.
        seq: Seq,
    },
    /// A server without mail is forgotten, and its number may be another's.
    Forgotten {
        /// The server.
        server: ServerNo,
        /// The generation of its newest registration.
        generation: Generation,
    },
}

impl Mail {
    /// True when there was never any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// The queues.
    pub fn queues(&self) -> impl Iterator<Item = &QueueState> {
        self.queues.iter()
    }

    /// The number of a queue.
    #[must_use]
    pub fn queue(&self, name: &Name) -> Option<u16> {
        let at = self.queues.iter().position(|queue| queue.name == *name)?;
        u16::try_from(at).ok()
    }

    /// The name of a queue.
    #[must_use]
    pub fn queue_name(&self, number: u16) -> &str {
        self.queues.get(usize::from(number)).map_or("", |queue| queue.name.as_str())
    }

    /// The servers that mail was routed to, or that have registered.
    pub fn servers(&self) -> impl Iterator<Item = (ServerNo, &ServerState)> {
        (0..).map(ServerNo).zip(self.servers.iter()).filter(|(_, server)| !server.server.is_empty())
    }

    /// The number of a server.
    #[must_use]
    pub fn server_number(&self, server: &str) -> Option<ServerNo> {
        self.server_numbers.get(server).copied()
    }

    /// A server by its number.
    #[must_use]
    pub fn server(&self, number: ServerNo) -> Option<&ServerState> {
        self.servers.get(number.index())
    }

    /// The generation of a server's newest registration.
    #[must_use]
    pub fn generation(&self, server: &str) -> Generation {
        let state = self.server_number(server).and_then(|number| self.server(number));
        state.map_or(Generation::NONE, |state| state.generation)
    }

    /// The number of an endpoint.
    #[must_use]
    pub fn endpoint_number(&self, endpoint: &str) -> Option<EndpointNo> {
        self.endpoint_numbers.get(endpoint).copied()
    }

    /// An endpoint by its number.
    #[must_use]
    pub fn endpoint(&self, number: EndpointNo) -> &str {
        self.endpoints.get(number.index()).map_or("", |endpoint| &endpoint.name)
    }

    /// A message by its number.
    #[must_use]
    pub fn message(&self, seq: Seq) -> Option<Message> {
        self.messages.get(seq)
    }

    /// The number of the first message of a queue with this id.
    #[must_use]
    pub fn by_id(&self, id: &Uuid, queue: u16) -> Option<Seq> {
        self.with_id(id).find(|(_, message)| message.queue == queue).map(|(seq, _)| seq)
    }

    /// The messages with this id, of whatever queue and sender: one may say its number.
    fn with_id(&self, id: &Uuid) -> impl Iterator<Item = (Seq, Message)> + '_ {
        let id = *id;
        let known = self.ids.range((id, Seq::ZERO), (id, Seq::MAX)).map(|(_, seq)| seq);
        let all = [number_in(&id)].into_iter().chain(known);
        let found = all.filter_map(|seq| Some((seq, self.messages.get(seq)?)));
        found.filter(move |(_, message)| message.id == id)
    }

    /// The message that was sent to a queue under this id in this scope; one from before there were
    /// scopes is of any sender, which the flag says.
    #[must_use]
    pub fn sent_before(&self, id: &Uuid, scope: u64, queue: u16) -> Option<(Seq, Message, bool)> {
        let mut unscoped = None;
        for (seq, message) in self.with_id(id) {
            match self.scope(seq) {
                Some(known) if known == scope => return Some((seq, message, false)),
                None if message.queue == queue => unscoped = Some((seq, message, true)),
                Some(_) | None => {}
            }
        }
        unscoped
    }

    fn scope(&self, seq: Seq) -> Option<u64> {
        self.scopes.next((seq, 0)).filter(|(of, _)| *of == seq).map(|(_, scope)| scope)
    }

    /// Returns true if senders have ids of their own.
    #[must_use]
    pub fn has_scopes(&self) -> bool {
        self.scopes.len() > 0
    }

    /// The number of the newest message.
    #[must_use]
    pub fn last(&self) -> Seq {
        self.last
    }

    /// All messages that are remembered, behind a number.
    pub fn messages_after(&self, after: Seq) -> impl Iterator<Item = (Seq, Message)> + '_ {
        self.messages.range(after.next())
    }

    /// The pending messages of a server behind a number, in order; of none: those without a route.
    pub fn pending_of(&self, server: ServerNo, after: Seq) -> impl Iterator<Item = Seq> + '_ {
        let from = Numbered::new(server.0, after.next());
        self.by_server.range(from, Numbered::new(server.0, Seq::MAX)).map(Numbered::seq)
    }

    /// Dead letters behind a number.
    pub fn dead_after(&self, after: Seq) -> impl Iterator<Item = Seq> + '_ {
        self.dead.range(after.next()..).map(|(seq, _)| *seq)
    }

    /// Returns the number of dead letters.
    #[must_use]
    pub fn dead(&self) -> u64 {
        self.dead.len() as u64
    }

    /// Returns the reason of a dead letter.
    #[must_use]
    pub fn reason(&self, seq: Seq) -> Option<&str> {
        self.dead.get(&seq).map(|reason| &**reason)
    }

    /// The first message of a server that can be given, from a place on.
    #[must_use]
    pub fn next_ready(&self, from: Slot) -> Option<Slot> {
        let next = self.ready.next(SlotKey::new(from)).map(SlotKey::slot);
        next.filter(|slot| slot.server == from.server)
    }

    /// Lists the numbers of pending messages, by endpoint and server (or none).
    pub fn pending_routes(&self) -> impl Iterator<Item = (EndpointNo, ServerNo, u64)> + '_ {
        self.counts.iter().map(|((endpoint, server), count)| (*endpoint, *server, *count))
    }

    /// Returns the time at which the oldest pending message was stored; of one server, or of all.
    #[must_use]
    pub fn oldest_ms(&self, server: Option<ServerNo>) -> Option<u64> {
        match server {
            Some(server) => {
                let seq = self.pending_of(server, Seq::ZERO).next()?;
                self.message(seq).map(|message| message.stored_ms)
            }
            None => {
                let servers =
                    (0..).take(self.servers.len()).map(ServerNo).chain([ServerNo::NOWHERE]);
                servers.filter_map(|server| self.oldest_ms(Some(server))).min()
            }
        }
    }

    /// Lists the messages due at `now_ms`: those that expire, whose delay is over, and ended ones
    /// that are forgotten; at most so many of each.
    #[must_use]
    pub fn due(&self, now_ms: u64, keep: Keep, most: usize) -> Due {
        let until = |set: &RunSet<(u64, Seq)>, until: u64| {
            set.range((0, Seq::ZERO), (until, Seq::MAX))
                .take(most)
                .map(|(_, seq)| seq)
                .collect::<Vec<_>>()
        };
        let over = |found: usize, keep: u64| {
            let surplus = (found as u64).saturating_sub(keep);
            usize::try_from(surplus).unwrap_or(usize::MAX).min(most)
        };
        let surplus = over(self.finished.len(), keep.finished);
        let old = until(&self.finished, now_ms.saturating_sub(keep.finished_ms));
        let mut forgotten = if old.len() >= surplus {
            old
        } else {
            self.finished.iter().take(surplus).map(|(_, seq)| seq).collect()
        };
        let surplus = over(self.dead.len(), keep.dead);
        forgotten.extend(self.dead.keys().take(surplus));
        let mut expired = until(&self.expiring, now_ms);
        expired.extend(self.overtaken(now_ms).take(most - expired.len()));
        Due { expired, released: until(&self.resting, now_ms), forgotten }
    }

    /// Returns the time at which something is due next, apart from forgetting.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        let first = |set: &RunSet<(u64, Seq)>| set.first().map(|(at, _)| at);
        let times = first(&self.expiring).into_iter().chain(first(&self.resting));
        times.chain(self.clocks.next_overtaken()).min()
    }

    /// Returns the number of finished messages that are remembered, and when the oldest ended.
    #[must_use]
    pub fn kept(&self) -> (u64, Option<u64>) {
        (self.finished.len() as u64, self.finished.first().map(|(at, _)| at))
    }
}

/// Retention of messages that have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Finished messages.
    pub finished: u64,
    /// Retention of each finished message.
    pub finished_ms: u64,
    /// Dead letters.
    pub dead: u64,
}

/// Messages that are due.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Due {
    /// Messages that expire.
    pub expired: Vec<Seq>,
    /// Messages that have rested.
    pub released: Vec<Seq>,
    /// Ended messages that are forgotten.
    pub forgotten: Vec<Seq>,
}

impl Message {
    /// Its place in the order of its server.
    #[must_use]
    pub fn slot(&self, seq: Seq) -> Slot {
        Slot { server: self.server, endpoint: self.endpoint, rank: u8::MAX - self.priority, seq }
    }
}
