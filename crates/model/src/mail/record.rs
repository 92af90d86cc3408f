//! Records of mail in the log.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Seq;
use crate::name::Name;
use crate::registration::Generation;

/// Record of a change of messages, in final values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailRecord {
    /// A queue exists.
    Queue {
        /// The queue.
        queue: Name,
    },
    /// A message is stored.
    Stored {
        /// Its number in the dataset, from 1.
        seq: Seq,
        /// Its queue.
        queue: Name,
        /// Its permanent id.
        id: Uuid,
        /// The endpoint.
        to: String,
        /// Its server; none when it has no route.
        server: Option<String>,
        /// The endpoint whose row said so.
        via: Option<String>,
        /// The generation of that row.
        generation: u32,
        /// Higher ones are given first.
        priority: u8,
        /// It is not delivered before this time; 0: at once.
        not_before: u64,
        /// Time of expiry; 0: never.
        expires: u64,
        /// Digest by which another message under the same id is told apart.
        digest: u64,
        /// The body.
        #[serde(with = "crate::commit::record_bytes")]
        body: Bytes,
    },
    /// A message without a route has one.
    Routed {
        /// The message.
        seq: Seq,
        /// Its server.
        server: String,
        /// The endpoint whose row said so.
        via: Option<String>,
        /// The generation of that row.
        generation: u32,
    },
    /// All unfinished messages that were routed by this endpoint's row are another server's.
    Moved {
        /// The endpoint.
        via: String,
        /// The server.
        server: String,
        /// The generation of the row.
        generation: u32,
    },
    /// Registration for the mail of a server.
    Registered {
        /// The server.
        server: String,
        /// Generation, which tells the registration from all before.
        generation: Generation,
    },
    /// A message is done.
    Confirmed {
        /// The message.
        seq: Seq,
    },
    /// A message was not done in its time.
    Expired {
        /// The message.
        seq: Seq,
    },
    /// A message rests.
    Delayed {
        /// The message.
        seq: Seq,
        /// Failures so far.
        attempts: u16,
        /// End of the rest.
        not_before: u64,
    },
    /// A message has rested.
    Released {
        /// The message.
        seq: Seq,
    },
    /// A message is a dead letter.
    DeadLettered {
        /// The message.
        seq: Seq,
        /// Failures so far.
        attempts: u16,
        /// Reason of the dead letter.
        reason: String,
    },
    /// A dead letter is given again.
    Retried {
        /// The message.
        seq: Seq,
    },
    /// Finished messages are forgotten.
    Forgotten {
        /// The messages.
        seqs: Vec<Seq>,
    },
    /// All unfinished messages of this endpoint that have a route are another server's.
    Readdressed {
        /// The endpoint.
        endpoint: String,
        /// The server.
        server: String,
        /// The endpoint whose row says so.
        via: Option<String>,
        /// The generation of that row.
        generation: u32,
    },
    /// Scope of the id of the message that was just stored: its queue and its sender. The same id
    /// in another scope is another.
    SentBy {
        /// The message.
        seq: Seq,
        /// Digest of the queue and the principal.
        scope: u64,
    },
    /// Servers without mail and without a registration are forgotten.
    ServersForgotten {
        /// The servers.
        servers: Vec<String>,
    },
}
