//! The shapes of bodies as the OpenAPI document describes them, where the code reads and writes
//! the bytes by other means. Tests hold each of them against what is really read and written.

#![allow(dead_code, reason = "described, never made")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::mail::{LetterRequest, LettersRequest};

/// A row, or fields of one: a JSON object of at most 256 KiB, at most 32 levels deep.
#[derive(Deserialize, ToSchema)]
pub(super) struct Fields(BTreeMap<String, Value>);

/// One operation of a commit; `op` says which.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum CommitOperation {
    /// Writes a whole row, new or not.
    #[schema(title = "PutOperation")]
    Put {
        /// Name of the table.
        table: String,
        /// Key of the row: 1 to 256 bytes.
        key: String,
        /// The row.
        row: Fields,
    },
    /// Merges fields into a row that exists, as RFC 7386 does: null removes a field. Else
    /// `row_not_found`.
    #[schema(title = "PatchOperation")]
    Patch {
        /// Name of the table.
        table: String,
        /// Key of the row.
        key: String,
        /// The fields to merge.
        fields: Fields,
    },
    /// Removes a row; no error when there is none.
    #[schema(title = "DeleteOperation")]
    Delete {
        /// Name of the table.
        table: String,
        /// Key of the row.
        key: String,
    },
    /// Adds to an integer field of a row that exists, within bounds. Its result is the new value.
    #[schema(title = "AddOperation")]
    Add {
        /// Name of the table.
        table: String,
        /// Key of the row.
        key: String,
        /// The field; it must hold an integer, else `wrong_type`.
        field: String,
        /// Amount to add.
        by: i64,
        /// The new value may not be smaller, else `out_of_bounds`.
        #[serde(default)]
        min: Option<i64>,
        /// The new value may not be larger, else `out_of_bounds`.
        #[serde(default)]
        max: Option<i64>,
    },
    /// A condition on a row. All that is given must hold, else `condition_failed`, and nothing of
    /// the commit happens.
    #[schema(title = "RequireOperation")]
    Require {
        /// Name of the table.
        table: String,
        /// Key of the row.
        key: String,
        /// The row must (not) exist. The other conditions imply that it does.
        #[serde(default)]
        exists: Option<bool>,
        /// These fields must have these values; the row may have others.
        #[serde(default)]
        equals: Option<Fields>,
        /// A CEL expression over `row` and `key` that must be true.
        #[serde(default)]
        r#where: Option<String>,
        /// The row must not have changed after this position.
        #[serde(default)]
        unchanged_since: Option<String>,
    },
    /// Appends a record to a journal: either `text` or `base64`. Its result is the record's number.
    #[schema(title = "AppendOperation")]
    Append {
        /// Name of the journal.
        journal: String,
        /// The record as text.
        #[serde(default)]
        text: Option<String>,
        /// The record as bytes, in base64.
        #[serde(default)]
        base64: Option<String>,
    },
    /// Creates a table, or sets the options of one that exists. Wants the right to administer.
    #[schema(title = "CreateTableOperation")]
    CreateTable {
        /// Name of the table.
        table: String,
        /// Any client may read it and join its `table:` topic.
        #[serde(default)]
        public: bool,
    },
    /// Removes a table with all its rows. Wants the right to administer.
    #[schema(title = "DropTableOperation")]
    DropTable {
        /// Name of the table.
        table: String,
    },
    /// Creates a journal; no error when it exists. Wants the right to administer.
    #[schema(title = "CreateJournalOperation")]
    CreateJournal {
        /// Name of the journal.
        journal: String,
    },
    /// Creates a queue; no error when it exists. Wants the right to administer.
    #[schema(title = "CreateQueueOperation")]
    CreateQueue {
        /// Name of the queue.
        queue: String,
    },
    /// Stores a message with its route. Its result is the message's number.
    #[schema(title = "SendOperation")]
    Send {
        /// Name of the queue.
        queue: String,
        /// The endpoint, `kind/id`.
        to: String,
        /// The body: any JSON, at most 256 KiB.
        body: Value,
        /// A permanent id: the same one is stored once.
        #[schema(value_type = Option<String>, format = "uuid")]
        #[serde(default)]
        id: Option<String>,
        /// 0 to 9: higher ones of an endpoint are given first.
        #[serde(default)]
        priority: Option<u8>,
        /// It expires after this many milliseconds.
        #[serde(default)]
        ttl_ms: Option<u64>,
        /// It is not delivered before, in milliseconds since 1970.
        #[serde(default)]
        not_before: Option<u64>,
    },
    /// Stores a message without a route, as `send` otherwise. Wants the right to administer.
    #[schema(title = "ImportOperation")]
    Import {
        /// Name of the queue.
        queue: String,
        /// The endpoint, `kind/id`.
        to: String,
        /// The body: any JSON, at most 256 KiB.
        body: Value,
        /// A permanent id: the same one is stored once.
        #[schema(value_type = Option<String>, format = "uuid")]
        #[serde(default)]
        id: Option<String>,
        /// 0 to 9: higher ones of an endpoint are given first.
        #[serde(default)]
        priority: Option<u8>,
        /// It expires after this many milliseconds.
        #[serde(default)]
        ttl_ms: Option<u64>,
        /// It is not delivered before, in milliseconds since 1970.
        #[serde(default)]
        not_before: Option<u64>,
    },
    /// Routes an endpoint with its unfinished messages to a server. Its result is the generation
    /// of the route. Wants the right to administer.
    #[schema(title = "MoveOperation")]
    Move {
        /// The endpoint.
        endpoint: String,
        /// The server: its id, or `server/` and its id.
        to: String,
        /// The route must have this generation by now.
        #[serde(default)]
        generation: Option<u64>,
    },
    /// Gives the unfinished messages of an endpoint the route that it has now. Wants the right to
    /// administer.
    #[schema(title = "ReaddressOperation")]
    Readdress {
        /// The endpoint.
        endpoint: String,
    },
    /// Queues a dead letter again. Wants the right to administer.
    #[schema(title = "RetryOperation")]
    Retry {
        /// Number of the message.
        seq: u64,
    },
}

/// One message, or several.
#[derive(ToSchema)]
#[schema(title = "SendRequest")]
#[serde(untagged)]
#[derive(Serialize)]
pub(super) enum SendRequest {
    /// One message.
    One(LetterRequest),
    /// Several: all of them are stored, or none.
    Several(LettersRequest),
}

/// A row with its key, and the position it was read at.
#[derive(ToSchema)]
pub(super) struct RowReply {
    /// The row is as it is here.
    position: String,
    /// The key.
    key: String,
    /// The row.
    row: Fields,
}

/// Result of a pull.
#[derive(ToSchema)]
pub(super) struct PullReply {
    /// Say it in the next pull and in answers.
    registration: u64,
    /// Messages to work on, in order. Each waits for an answer.
    messages: Vec<PulledMessage>,
    /// Numbers of messages that were given before and have no answer: say again what became of
    /// them, or `nack` what is not there any more.
    ask: Vec<u64>,
}

/// A message that is given to its server.
#[derive(ToSchema)]
pub(super) struct PulledMessage {
    /// Its number in the dataset.
    seq: u64,
    /// Its permanent id, the same however often it comes.
    id: String,
    /// Name of its queue.
    queue: String,
    /// The endpoint.
    to: String,
    /// From 1; more when it was tried and failed.
    attempt: u64,
    /// Milliseconds in which an answer is wanted.
    lease_ms: u64,
    /// The end of that time, in milliseconds since 1970.
    lease_until: u64,
    /// The body, as it was sent.
    body: Value,
}

#[cfg(test)]
mod tests;
