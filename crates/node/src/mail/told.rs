//! Events for a registration of a server.

use std::sync::Arc;

use bytes::Bytes;
use instep_model::mail::Seq;
use instep_protocol::payload::mail::{Message, Messages, Replaced};

use crate::outbox::Outbox;

/// A message on its way to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its number in the dataset.
    pub seq: Seq,
    /// Its permanent id.
    pub id: String,
    /// The queue that it is in.
    pub queue: String,
    /// The endpoint that it is for.
    pub to: String,
    /// The generation of the route that brought it here.
    pub route: u32,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// End of the lease, in milliseconds since 1970.
    pub lease_until: u64,
    /// Duration of the lease, in milliseconds from when the message was written.
    pub lease_ms: u64,
    /// The body, as JSON.
    pub body: Bytes,
}

/// Event for a registration, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Push {
    /// Message to work on.
    Message(Box<Delivery>),
    /// Query: which of these have arrived?
    Ask(Vec<Seq>),
    /// Messages that it does not hold any more: they were moved, or have ended.
    Gone(Vec<Seq>),
    /// Another registration of the same server has taken over; nothing follows.
    Replaced,
}

impl Push {
    /// The message, if it is one.
    pub(crate) fn seq(&self) -> Option<Seq> {
        match self {
            Self::Message(delivery) => Some(delivery.seq),
            Self::Ask(_) | Self::Gone(_) | Self::Replaced => None,
        }
    }

    /// The event, and its payload as JSON.
    #[must_use]
    pub fn event(&self) -> (&'static str, Bytes) {
        match self {
            Self::Message(delivery) => ("message", delivery.to_json()),
            Self::Ask(asked) => ("ask", Messages { seqs: asked }.encode()),
            Self::Gone(gone) => ("gone", Messages { seqs: gone }.encode()),
            Self::Replaced => ("replaced", Replaced::default().encode()),
        }
    }
}

impl Delivery {
    /// The message as JSON.
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        let Self { seq, id, queue, to, attempt, lease_until, lease_ms, body, .. } = self;
        let (seq, attempt, lease_ms, lease_until) = (*seq, *attempt, *lease_ms, *lease_until);
        Message { seq, id, queue, to, attempt, lease_ms, lease_until }.encode(body)
    }
}

/// Outbox of a registration.
pub(crate) type SharedOutbox = Arc<Outbox<Push>>;
