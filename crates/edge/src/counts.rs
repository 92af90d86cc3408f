//! Counters of a shard.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::counter::Counter;
use crate::times::{Clock, Times};

/// The way by which a connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DoorKind {
    /// A WebSocket.
    WebSocket,
    /// Plain TCP with 4 bytes of length.
    Tcp,
    /// The Janus wire.
    Janus,
}

impl DoorKind {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Tcp => "tcp",
            Self::Janus => "janus",
        }
    }
}

/// Counters of one shard since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// WebSocket connections now.
    pub websocket: u64,
    /// TCP connections now.
    pub tcp: u64,
    /// Connections of the Janus wire now.
    pub janus: u64,
    /// Connections taken in.
    pub accepted: u64,
    /// Connections that could not be taken in: no place, no descriptor.
    pub refused: u64,
    /// Messages of clients, heartbeats and the like included.
    pub frames_in: u64,
    /// Messages of topics given to subscribers.
    pub deliveries: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Subscribers that fell off a ring.
    pub lagged: u64,
    /// Frames that these missed; on live topics messages.
    pub missed: u64,
    /// Connections closed because they took nothing for too long.
    pub evicted: u64,
    /// Connections closed because too much was unfinished.
    pub overfull: u64,
    /// Bytes of frames that have not come to their end.
    pub unfinished_bytes: u64,
    /// Panics, after each of which the shard has begun again.
    pub panics: u64,
    /// WebSocket handshakes: from the request until its answer is written.
    pub handshakes: Times,
    /// Hand-overs: from the handshake, or from the system's hands, until a shard serves the
    /// connection.
    pub accepts: Times,
    /// Waits at listeners of this shard: since when a client may have waited until the next was let
    /// in.
    pub waits: Times,
    /// Turns of the shard: from an event until it waits for the next.
    pub turns: Times,
}

/// The counters of one shard: written by its thread, read by all threads.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    websocket: AtomicU64,
    tcp: AtomicU64,
    janus: AtomicU64,
    pub(crate) accepted: Counter,
    pub(crate) refused: Counter,
    pub(crate) frames_in: Counter,
    pub(crate) deliveries: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) lagged: Counter,
    pub(crate) missed: Counter,
    pub(crate) evicted: Counter,
    pub(crate) overfull: Counter,
    pub(crate) unfinished: Counter,
    pub(crate) panics: Counter,
    pub(crate) handshakes: Clock,
    pub(crate) accepts: Clock,
    pub(crate) waits: Clock,
    pub(crate) turns: Clock,
}

impl Counters {
    /// Connections of this shard, those on their way to it included.
    pub(crate) fn open(&self, kind: DoorKind) {
        self.of(kind).fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn close(&self, kind: DoorKind) {
        self.of(kind).fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn connections(&self) -> u64 {
        [&self.websocket, &self.tcp, &self.janus]
            .into_iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }

    pub(crate) fn read(&self) -> Counts {
        Counts {
            websocket: self.websocket.load(Ordering::Relaxed),
            tcp: self.tcp.load(Ordering::Relaxed),
            janus: self.janus.load(Ordering::Relaxed),
            accepted: self.accepted.get(),
            refused: self.refused.get(),
            frames_in: self.frames_in.get(),
            deliveries: self.deliveries.get(),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            lagged: self.lagged.get(),
            missed: self.missed.get(),
            evicted: self.evicted.get(),
            overfull: self.overfull.get(),
            unfinished_bytes: self.unfinished.get(),
            panics: self.panics.get(),
            handshakes: self.handshakes.read(),
            accepts: self.accepts.read(),
            waits: self.waits.read(),
            turns: self.turns.read(),
        }
    }

    fn of(&self, kind: DoorKind) -> &AtomicU64 {
        match kind {
            DoorKind::WebSocket => &self.websocket,
            DoorKind::Tcp => &self.tcp,
            DoorKind::Janus => &self.janus,
        }
    }
}
