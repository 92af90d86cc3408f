//! States of connections and their lag, for operators.

use std::net::SocketAddr;
use std::sync::Arc;

/// A connection as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionState {
    /// Id while it lasts; another connection never gets it.
    pub id: String,
    /// The door by which it came.
    pub door: &'static str,
    /// The other end, where it is known.
    pub peer: Option<SocketAddr>,
    /// Principal, as far as it was authenticated.
    pub principal: String,
    /// User agent, as the client gives it.
    pub agent: Option<Arc<str>>,
    /// Age of the connection, in milliseconds.
    pub age_ms: u64,
    /// Bytes that wait for its socket.
    pub waiting_bytes: usize,
    /// Milliseconds since the socket last took something, while something waits for it.
    pub blocked_ms: Option<u64>,
    /// Topics joined.
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

/// Thresholds of lag, in frames.
pub const BEHIND: [u64; 4] = [1, 10, 100, 1_000];

/// Lag of subscribers, all together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    /// Topics joined by connections.
    pub subscriptions: u64,
    /// Subscriptions that are at least as many frames behind as each of [`BEHIND`].
    pub behind: [u64; BEHIND.len()],
    /// Frames that the furthest is behind.
    pub most: u64,
    /// Bytes that wait for sockets.
    pub waiting_bytes: u64,
    /// Sockets that take nothing for now.
    pub blocked: u64,
}

impl ConnectionState {
    /// Frames that it is behind on the topic where it is the furthest.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.topics.iter().map(|topic| topic.lag).max().unwrap_or(0)
    }
}

/// Sorts by lag, the furthest behind first; among equals, the one first for which most bytes wait.
pub(crate) fn sort(states: &mut [ConnectionState]) {
    states.sort_by_cached_key(|state| {
        (std::cmp::Reverse((state.lag(), state.waiting_bytes)), state.id.clone())
    });
}

impl Lag {
    /// Adds that of others.
    pub fn add(&mut self, other: &Self) {
        self.subscriptions += other.subscriptions;
        self.behind.iter_mut().zip(other.behind).for_each(|(behind, more)| *behind += more);
        self.most = self.most.max(other.most);
        self.waiting_bytes += other.waiting_bytes;
        self.blocked += other.blocked;
    }

    pub(crate) fn note(&mut self, frames: u64) {
        self.subscriptions += 1;
        self.most = self.most.max(frames);
        for (behind, least) in self.behind.iter_mut().zip(BEHIND) {
            *behind += u64::from(frames >= least);
        }
    }
}
