//! Operations on messages, as they are proposed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::Seq;
use crate::codec::json_text;
use crate::name::Name;
use crate::registration::Generation;

/// A message as it is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewMessage {
    /// The queue.
    pub queue: Name,
    /// The endpoint.
    pub to: String,
    /// The body.
    #[serde(with = "json_text")]
    pub body: Value,
    /// Its permanent id.
    #[serde(default)]
    pub id: Option<Uuid>,
    /// Higher ones are given first.
    #[serde(default)]
    pub priority: Option<u8>,
    /// It expires after this time.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
    /// It is not delivered before this time.
    #[serde(default)]
    pub not_before: Option<u64>,
    /// Digest of the sender ([`sender`]): each sender has ids of its own.
    #[serde(skip)]
    pub sender: u64,
}

/// Computes the digest that tells a principal that sends messages from all others.
#[must_use]
pub fn sender(principal: &str) -> u64 {
    crate::commit::digest(principal.as_bytes())
}

/// Operation on messages, by servers or by the dataset itself. The number that each computes is one
/// of [`crate::mail::outcome`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MailOperation {
    /// Registration for the mail of a server. Computes the generation.
    Register {
        /// The server.
        server: String,
    },
    /// A message is done.
    Ack(Lease),
    /// A message is not done now.
    Nack {
        /// Message, and the registration that has it.
        lease: Lease,
        /// Rest before it is given again, in milliseconds.
        delay_ms: u64,
        /// True for a failed attempt, which counts.
        failed: bool,
    },
    /// A message is never done.
    Reject {
        /// Message, and the registration that has it.
        lease: Lease,
        /// Reason of the rejection.
        reason: String,
    },
    /// The registration that had started a message is gone.
    WorkerDied(Lease),
    /// Looks for the route of a message that has none.
    Route {
        /// The message.
        seq: Seq,
    },
    /// Sweep of everything that is due: expiry, the end of delays, forgetting.
    Sweep,
    /// Forgets servers that hold no mail, if these are still their newest registrations.
    ForgetServers(Vec<(Arc<str>, Generation)>),
}

impl MailOperation {
    /// The message that it is about, and the registration that speaks of it.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        match self {
            Self::Ack(lease)
            | Self::Nack { lease, .. }
            | Self::Reject { lease, .. }
            | Self::WorkerDied(lease) => Some(lease),
            Self::Register { .. } | Self::Route { .. } | Self::Sweep | Self::ForgetServers(_) => {
                None
            }
        }
    }
}

/// A message, and the right by which a server answers for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The server.
    pub server: Arc<str>,
    /// The generation of its registration.
    pub generation: Generation,
    /// The message.
    pub seq: Seq,
}
