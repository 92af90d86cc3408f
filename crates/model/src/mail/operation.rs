//! What is proposed about messages.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::name::Name;

/// A message as it is sent.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Letter {
    /// The queue.
    pub queue: Name,
    /// The endpoint.
    pub to: String,
    /// The body.
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
    /// It is given to nobody before.
    #[serde(default)]
    pub not_before: Option<u64>,
    /// Who sends it ([`sender`]): ids are everybody's own.
    #[serde(skip)]
    pub sender: u64,
}

/// What tells a principal that sends messages from all others.
#[must_use]
pub fn sender(principal: &str) -> u64 {
    crate::commit::digest(principal.as_bytes())
}

/// What servers, and the house itself, do with messages. The number that each computes is one of
/// [`crate::mail::outcome`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailOperation {
    /// Somebody takes the mail of a server. Computes the generation.
    Register {
        /// The server.
        server: String,
    },
    /// A message is done.
    Ack(Hold),
    /// A message is not done now.
    Nack {
        /// Whose message.
        hold: Hold,
        /// It rests for so long.
        delay_ms: u64,
        /// It was tried, and failed.
        failed: bool,
    },
    /// A message is never done.
    Reject {
        /// Whose message.
        hold: Hold,
        /// Why.
        reason: String,
    },
    /// Whoever had begun with a message has died.
    Broke(Hold),
    /// Looks for the route of a message that has none.
    Route {
        /// The message.
        seq: u64,
    },
    /// Does what is due by now: expiry, the end of rests, forgetting.
    Tend,
    /// Forgets servers that hold no mail, if these are still their newest registrations.
    ForgetServers(Vec<(Arc<str>, u64)>),
}

/// A message, and by what right somebody speaks of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The server.
    pub server: Arc<str>,
    /// The generation of its registration.
    pub generation: u64,
    /// The message.
    pub seq: u64,
}
