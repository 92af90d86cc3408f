//! Commands to a shard from other threads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use instep_node::Notifier;
use instep_protocol::janus::Token;

use super::connection::{Connection, Side};
use super::inspect::Question;
use super::pending::Answered;
use super::stream::Stream;
use super::wire::Wire;
use crate::counts::{Counters, DoorKind};
use crate::permits::Permit;

/// Command to a shard.
pub(crate) enum Command {
    /// A socket to serve.
    Arrival(Box<Arrival>),
    /// An answer that an application owed to a connection.
    Answer(Answered),
    /// A subscriber to take connections from.
    Listen(DoorKind, std::net::TcpListener),
    /// A connection that wants the session of this token, which lives here.
    Attach(Box<Connection>, Token),
    /// Drain: send every client away, begun within that time; one that waits for answers has them
    /// until then, in milliseconds of the clock of the edge.
    Drain { spread_ms: u64, until: u64 },
    /// Rights may have changed: review those of all clients.
    Review,
    /// Question about the connections.
    Question(Question),
    /// End.
    Stop,
}

/// A socket whose handshake is done.
pub(crate) struct Arrival {
    pub(crate) stream: Stream,
    pub(crate) wire: Wire,
    pub(crate) side: Side,
    pub(crate) peer: SocketAddr,
    /// User agent of the client.
    pub(crate) agent: Option<Arc<str>>,
    /// Duration of its handshake, if there was one.
    pub(crate) handshake: Option<Duration>,
    /// Time since which a shard could serve it.
    pub(crate) ready: Instant,
    pub(crate) permit: Permit,
    /// Place of its connection, where there is one besides that of the socket.
    pub(crate) line: Option<Permit>,
    /// Bytes that the client sent behind its handshake.
    pub(crate) early: Vec<u8>,
}

/// Handle of a shard: the way to it, and what it counts.
#[derive(Clone)]
pub(super) struct ShardHandle {
    sender: Sender<Command>,
    notifier: Arc<Notifier>,
    counters: Arc<Counters>,
}

impl ShardHandle {
    pub(super) fn new(sender: Sender<Command>, notifier: Arc<Notifier>) -> Self {
        Self { sender, notifier, counters: Arc::default() }
    }

    /// A shard that has ended reads nothing, and nothing has to be told to it.
    pub(super) fn send(&self, command: Command) {
        if self.sender.send(command).is_ok() {
            self.notifier.ring();
        }
    }

    pub(super) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    pub(super) fn notifier(&self) -> &Arc<Notifier> {
        &self.notifier
    }
}
