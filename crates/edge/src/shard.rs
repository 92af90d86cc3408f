//! A shard: a thread that serves many sockets, without a task or a buffer for any of them.
//!
//! ```text
//! wait ─▶ events ─▶ commands ─▶ accept ─▶ read some ─▶ answers ─▶ round ─▶ catch up ─┐
//!   ▲                                                                                  ▼
//!   └── at once, if anything was left; else until an event ──── deadlines ◀──── write some
//! ```
//!
//! Everything is done in bounded turns ([`turn`]), so that no connection starves. A round
//! ([`fan_out`]) takes what is new on one topic after the other, for so many subscribers, and
//! begins when the one before has been written: what comes on a topic meanwhile is written
//! together, so that a server that is behind does less for each message.

mod accept;
mod attaching;
mod command;
mod connection;
mod core;
mod drain;
mod fan_out;
mod holders;
mod inspect;
mod pending;
mod restart;
mod review;
mod stream;
mod topics;
mod turn;
mod wheel;
mod wire;
mod write_queue;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use instep_model::limits;
use instep_node::Notifier;
use instep_protocol::session::SharedEvent;
use mio::{Interest, Poll, Token, Waker};
use slab::Slab;

use self::accept::Accept;
use self::command::ShardHandle;
use self::connection::Connection;
use self::core::Core;
use self::drain::Drain;
use self::inspect::Inspections;
use crate::counts::{Counts, DoorKind};
use crate::sessions::Home;
use crate::state::EdgeState;

pub(crate) use self::accept::begin;
pub(crate) use self::command::{Arrival, Command};
pub(crate) use self::connection::Side;
pub(crate) use self::inspect::read_id;
pub(crate) use self::pending::Answered;
pub(crate) use self::stream::{Stream, Tls};
pub(crate) use self::wire::Wire;

const WAKER: Token = Token(0);
/// Listeners come first, then connections.
const LISTENERS: usize = 16;

/// All shards of a door. Their threads end when this is dropped.
pub(crate) struct Shards(Vec<ShardHandle>);

impl Shards {
    /// Starts a thread for each shard.
    pub(crate) fn start(edge: &Arc<EdgeState>) -> io::Result<Self> {
        let count = match edge.options().shards {
            0 => std::thread::available_parallelism()?.get(),
            count => count,
        };
        let mut handles = vec![];
        let mut shards = vec![];
        for number in 0..count {
            let poll = Poll::new()?;
            let waker = Waker::new(poll.registry(), WAKER)?;
            let notifier = Arc::new(Notifier::new(move || {
                if let Err(error) = waker.wake() {
                    tracing::error!(%error, "a shard cannot be woken");
                }
            }));
            let (sender, commands) = channel();
            let handle = ShardHandle::new(sender, notifier);
            handles.push(handle.clone());
            shards.push(Shard {
                poll,
                commands,
                core: Core::new(number, Arc::clone(edge), handle),
                connections: Slab::new(),
                accepts: vec![],
                others: vec![],
                buffer: vec![0; limits::READ_BYTES],
                next_number: 0,
                round: 0,
                drain: Drain::default(),
                review: None,
                inspections: Inspections::default(),
                woken: Instant::now(),
                last_woken: Instant::now(),
                stopped: false,
            });
        }
        for mut shard in shards {
            shard.others = handles.clone();
            let name = format!("shard-{}", shard.core.shard);
            std::thread::Builder::new().name(name).spawn(move || shard.run())?;
        }
        Ok(Self(handles))
    }

    /// Lets every shard take connections from a subscriber.
    pub(crate) fn listen(
        &self,
        kind: DoorKind,
        subscriber: &std::net::TcpListener,
    ) -> io::Result<()> {
        for handle in &self.0 {
            handle.send(Command::Listen(kind, subscriber.try_clone()?));
        }
        Ok(())
    }

    /// Gives a socket to the shard with the fewest.
    pub(crate) fn admit(&self, arrival: Arrival) {
        admit(&self.0, arrival);
    }

    pub(crate) fn send_all(&self, command: impl Fn() -> Command) {
        self.0.iter().for_each(|handle| handle.send(command()));
    }

    pub(crate) fn counts(&self) -> Vec<Counts> {
        self.0.iter().map(|handle| handle.counters().read()).collect()
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.send_all(|| Command::Stop);
    }
}

fn admit(handles: &[ShardHandle], arrival: Arrival) {
    let fewest = handles.iter().min_by_key(|handle| handle.counters().connections());
    if let Some(handle) = fewest {
        handle.counters().open(arrival.wire.kind());
        handle.send(Command::Arrival(Box::new(arrival)));
    }
}

struct Shard {
    poll: Poll,
    commands: Receiver<Command>,
    core: Core,
    connections: Slab<Connection>,
    accepts: Vec<Accept>,
    /// All shards, this one included.
    others: Vec<ShardHandle>,
    buffer: Vec<u8>,
    next_number: u64,
    /// Connections of this round that are still to be written.
    round: usize,
    /// Connections that are still to be sent away.
    drain: Drain,
    /// The slot of the connection whose rights are looked at next, if they may have changed.
    review: Option<usize>,
    inspections: Inspections,
    /// Start of this turn, and of the one before.
    woken: Instant,
    last_woken: Instant,
    stopped: bool,
}

impl Shard {
    fn execute(&mut self, command: Command) {
        match command {
            Command::Arrival(arrival) => self.take_in(*arrival),
            Command::Answer(answered) => self.answered(answered),
            Command::Listen(kind, subscriber) => self.listen(kind, subscriber),
            Command::Attach(connection, token) => self.attach(*connection, token),
            Command::Drain { spread_ms, until } => {
                self.accepts.clear();
                self.core.drained_by = Some(until);
                let slots = self.connections.iter().map(|(slot, _)| slot_number(slot));
                self.drain = Drain::new(slots.collect(), self.core.edge.now(), spread_ms);
            }
            Command::Review => self.review = Some(0),
            Command::Question(question) => self.inspections.ask(question),
            Command::Stop => self.stopped = true,
        }
    }

    /// Gives an answer to the connection that asked for it, if it is still there.
    fn answered(&mut self, Answered { slot, number, completion }: Answered) {
        let connection = self.connections.get_mut(slot as usize);
        if let Some(connection) = connection.filter(|other| other.number == number) {
            connection.answered(slot, completion, &mut self.core);
        }
        self.forget_left();
    }

    fn listen(&mut self, kind: DoorKind, subscriber: std::net::TcpListener) {
        let mut accept = Accept::new(kind, mio::net::TcpListener::from_std(subscriber));
        let token = Token(self.accepts.len() + 1);
        let registry = self.poll.registry();
        match registry.register(accept.subscriber(), token, Interest::READABLE) {
            Ok(()) => self.accepts.push(accept),
            Err(error) => tracing::error!(%error, "a shard cannot listen"),
        }
    }

    fn accept_some(&mut self) {
        let mut arrivals = vec![];
        for accept in &mut self.accepts {
            if accept.is_ready(self.core.now) {
                accept.take_some(&self.core, &mut arrivals);
            }
        }
        for arrival in arrivals {
            let own = self.core.counters.connections();
            let has_fewer = |other: &ShardHandle| other.counters().connections() + 1 < own;
            if self.others.iter().any(has_fewer) {
                admit(&self.others, arrival);
            } else {
                self.core.counters.open(arrival.wire.kind());
                self.take_in(arrival);
            }
        }
    }

    fn take_in(&mut self, arrival: Arrival) {
        if let Some(took) = arrival.handshake {
            self.core.counters.handshakes.note(took);
        }
        self.core.counters.accepts.note(arrival.ready.elapsed());
        let connection = Connection::new(arrival, self.core.now);
        if let Some(slot) = self.settle(connection)
            && let Some(connection) = self.connections.get_mut(slot as usize)
        {
            self.core.counters.accepted.add(1);
            let _entered = connection.span(self.core.shard).entered();
            tracing::debug!(
                shard = self.core.shard,
                connection = connection.number,
                door = connection.kind().word(),
                peer = %connection.peer,
                "a connection begins"
            );
            connection.begin(slot, &mut self.core);
            if self.core.drained_by.is_some() {
                connection.drain(slot, &mut self.core);
            }
        }
    }

    /// Gives a connection a slot; none when it cannot be watched.
    fn settle(&mut self, mut connection: Connection) -> Option<u32> {
        self.next_number += 1;
        connection.number = self.next_number;
        let entry = self.connections.vacant_entry();
        let slot = entry.key();
        let token = Token(slot + LISTENERS);
        if let Err(error) = connection.stream.register(self.poll.registry(), token) {
            tracing::warn!(%error, "a connection cannot be watched");
            self.core.counters.close(connection.kind());
            return None;
        }
        let slot = slot_number(slot);
        if let Some(token) = connection.token() {
            let home = Home { shard: self.core.shard, slot, number: connection.number };
            self.core.edge.janus_sessions().enter(token, home);
        }
        entry.insert(connection);
        Some(slot)
    }

    fn send_some_away(&mut self) {
        for slot in self.drain.take(self.core.now, limits::WRITES_PER_TURN) {
            if let Some(connection) = self.connections.get_mut(slot as usize) {
                connection.drain(slot, &mut self.core);
                self.forget_left();
            }
        }
    }

    fn remove(&mut self, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return;
        };
        let had_socket = connection.has_socket();
        let stays = connection.detach(slot, &mut self.core);
        if had_socket {
            self.core.counters.close(connection.kind());
        }
        if stays {
            return;
        }
        let mut connection = self.connections.remove(slot as usize);
        connection.unweigh(&mut self.core);
        if !had_socket {
            self.core.detached -= 1;
        }
        if let Some(token) = connection.token() {
            self.core.edge.janus_sessions().leave(token);
        }
        let _entered = connection.span(self.core.shard).entered();
        connection.tell(slot, SharedEvent::Lost, &mut self.core);
        let (shard, number) = (self.core.shard, connection.number);
        tracing::debug!(shard, connection = number, "a connection has gone");
    }

    /// Takes subscriptions that ended out of the lists of their topics.
    fn forget_left(&mut self) {
        while let Some((slot, joined)) = self.core.left.pop() {
            self.core.topics.leave(slot, joined, &mut self.connections);
        }
    }
}

/// Slots are few enough: there are fewer connections than descriptors.
fn slot_number(slot: usize) -> u32 {
    u32::try_from(slot).unwrap_or(u32::MAX)
}
