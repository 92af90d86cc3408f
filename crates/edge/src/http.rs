//! HTTP on the edge: sockets in their handshake, long-poll sessions, readers of events.

pub(crate) mod admission;
pub mod event_stream;
pub mod events;
pub(crate) mod line;
pub mod longpoll;
pub(crate) mod refusal;
pub(crate) mod request_id;
pub(crate) mod request_meter;
pub(crate) mod socket;
pub mod websocket;
pub(crate) mod workers;

use std::net::IpAddr;
use std::sync::Arc;

use self::longpoll::Sessions;
use crate::permits::{NoPermit, Permit};
use crate::shard::{Arrival, Shards};
use crate::state::EdgeState;

/// HTTP on the edge. Cloning gives another handle; the shards end with the last handle of this or
/// of the door.
#[derive(Clone)]
pub struct Http(Arc<Shared>);

struct Shared {
    edge: Arc<EdgeState>,
    shards: Arc<Shards>,
    longpoll: Sessions,
}

impl Http {
    pub(crate) fn new(edge: Arc<EdgeState>, shards: Arc<Shards>) -> Self {
        Self(Arc::new(Shared { edge, shards, longpoll: Sessions::default() }))
    }

    pub(crate) fn edge(&self) -> &Arc<EdgeState> {
        &self.0.edge
    }

    pub(crate) fn shards(&self) -> &Arc<Shards> {
        &self.0.shards
    }

    pub(crate) fn longpoll(&self) -> &Sessions {
        &self.0.longpoll
    }

    /// Gives a socket to a shard.
    pub(crate) fn admit(&self, arrival: Arrival) {
        self.0.shards.admit(arrival);
    }

    /// A place for one more connection, if there is one.
    pub(crate) fn enter(&self, from: Option<IpAddr>) -> Result<Permit, NoPermit> {
        self.0.edge.enter(from)
    }
}
