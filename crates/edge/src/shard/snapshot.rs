//! What is connected, for people who look.

use std::net::SocketAddr;

use super::DoorKind;
use super::connection::{Connection, Side};

/// A connection as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionState {
    /// The shard that serves it.
    pub shard: usize,
    /// Its number there, never used twice.
    pub number: u64,
    /// How it came.
    pub kind: DoorKind,
    /// The other end.
    pub peer: SocketAddr,
    /// How long it is there, in milliseconds.
    pub age_ms: u64,
    /// Bytes that wait for its socket.
    pub waiting_bytes: usize,
    /// What it has joined.
    pub topics: Vec<TopicState>,
}

/// A topic that a connection has joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicState {
    /// The topic.
    pub topic: String,
    /// Frames that it has not been given yet.
    pub lag: u64,
}

pub(super) fn state_of(shard: usize, connection: &Connection, now: u64) -> ConnectionState {
    let topics = match &connection.side {
        Side::Channels(talk) => talk.joined(),
        Side::Raw(_) => &[],
    };
    let topics = topics.iter().map(|joined| TopicState {
        topic: joined.subscription.topic().name().to_string(),
        lag: joined.subscription.lag(),
    });
    ConnectionState {
        shard,
        number: connection.number,
        kind: connection.kind(),
        peer: connection.peer,
        age_ms: now.saturating_sub(connection.since),
        waiting_bytes: connection.out.bytes(),
        topics: topics.collect(),
    }
}
