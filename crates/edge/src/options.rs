//! Options of the edge, as an operator sets them.

use instep_access::origin::Origins;
use instep_model::limits;
use instep_protocol::janus::session as janus;

use crate::proxies::Proxies;
use crate::rates::RateOptions;

/// Options of the door, set by an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorOptions {
    /// Threads that serve sockets; 0 for one on each core that the process may use.
    pub shards: usize,
    /// A reader that takes nothing for this long, in milliseconds, is closed; it can resume.
    pub slow_reader_ms: u64,
    /// Sockets at a time.
    pub sockets: usize,
    /// Timeout of the TLS handshake, in milliseconds, and then of the first request.
    pub handshake_ms: u64,
    /// Time for clients to have their answers and to go when the server stops, in milliseconds.
    pub drain_ms: u64,
    /// Duration of a drain with many connections, when the server stops, in milliseconds.
    pub drain_spread_ms: u64,
    /// Sockets at a time of one address; 0: any number.
    pub sockets_per_address: usize,
    /// Bytes that may wait for all clients, or are not complete, before no client is given more.
    pub waiting_bytes: usize,
    /// The same of one address; 0: any number.
    pub waiting_bytes_per_address: usize,
    /// Trusted proxies: their word on where a request comes from is believed.
    pub proxies: Proxies,
    /// Rate limits.
    pub rates: RateOptions,
    /// Largest message of a client.
    pub frame_bytes: usize,
    /// Channels on one socket.
    pub socket_channels: usize,
    /// Silence that ends a socket, in milliseconds.
    pub socket_idle_ms: u64,
    /// Allowed origins of pages, besides the server's own.
    pub origins: Origins,
    /// Options of sessions on the Janus wire.
    pub janus: janus::Options,
}

impl Default for DoorOptions {
    fn default() -> Self {
        Self {
            shards: 0,
            slow_reader_ms: limits::SLOW_READER_MS,
            sockets: limits::NODE_SOCKETS,
            handshake_ms: limits::HANDSHAKE_MS,
            sockets_per_address: limits::ADDRESS_SOCKETS,
            waiting_bytes: limits::WAITING_BYTES,
            waiting_bytes_per_address: limits::ADDRESS_WAITING_BYTES,
            proxies: Proxies::default(),
            rates: RateOptions::default(),
            frame_bytes: limits::FRAME_BYTES,
            socket_channels: limits::SOCKET_CHANNELS,
            socket_idle_ms: limits::SOCKET_IDLE_MS,
            drain_ms: limits::DRAIN_MS,
            drain_spread_ms: limits::DRAIN_SPREAD_MS,
            origins: Origins::default(),
            janus: janus::Options::default(),
        }
    }
}
