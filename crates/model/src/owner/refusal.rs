//! Refusals of proposals.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::commit::OperationError;
use crate::json::INEXACT;
use crate::limits;
use crate::mail::{EndpointError, Seq};
use crate::name::{Key, Name};
use crate::row::RowError;
use crate::site::SiteError;

/// Refusal of a proposal. Nothing of it happened, but for [`Refusal::OutcomeUnknown`].
///
/// `operation` counts from 0. In bytes a variant has its number, so new ones stand at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum Refusal {
    /// The commit has no operation.
    #[error("the commit has no operation")]
    Empty,
    /// The commit has too many operations.
    #[error("the commit has {found} operations, the limit is {limit}")]
    TooManyOperations { found: usize, limit: usize },
    /// The commit would become too large.
    #[error("the commit would {excess} {bytes} bytes, the limit is {limit}")]
    CommitTooLarge { excess: Excess, bytes: usize, limit: usize },
    /// The moves of the commit would go over the same messages again and again.
    #[error("ops[{operation}]: the moves of the commit go over more than {limit} messages")]
    TooManyMoves { operation: usize, limit: u64 },
    /// The conditions of the commit would take too long.
    #[error("ops[{operation}]: the conditions of the commit take more than {limit} steps")]
    ExpressionTooCostly { operation: usize, limit: u64 },
    /// The table does not exist.
    #[error("ops[{operation}]: there is no table {table:?}")]
    UnknownTable { operation: usize, table: Name },
    /// The journal does not exist.
    #[error("ops[{operation}]: there is no journal {journal:?}")]
    UnknownJournal { operation: usize, journal: Name },
    /// The row does not exist.
    #[error("ops[{operation}]: there is no row {key:?} in table {table:?}")]
    RowNotFound { operation: usize, table: Name, key: Key },
    /// A `require` does not hold.
    #[error("ops[{operation}]: the condition on row {key:?} of table {table:?} failed: {detail}")]
    ConditionFailed { operation: usize, table: Name, key: Key, detail: String },
    /// An `add` would leave its bounds.
    #[error(
        "ops[{operation}]: field {field:?} of row {key:?} would become {value}, \
         allowed is {min} to {max}"
    )]
    OutOfBounds {
        operation: usize,
        table: Name,
        key: Key,
        field: String,
        value: i128,
        min: i64,
        max: i64,
    },
    /// An `add` met a field that holds no integer.
    #[error("ops[{operation}]: field {field:?} of row {key:?} holds {found}, not an integer")]
    WrongType { operation: usize, table: Name, key: Key, field: String, found: JsonType },
    /// The row that would result is over a limit.
    #[error("ops[{operation}]: {error}")]
    Row { operation: usize, error: RowError },
    /// The operation itself makes no sense.
    #[error("ops[{operation}]: {detail}")]
    BadOperation { operation: usize, detail: String },
    /// The dataset has as many tables and journals as it may.
    #[error("ops[{operation}]: the dataset has {limit} tables and journals, the limit")]
    TooManyTables { operation: usize, limit: usize },
    /// The queue does not exist.
    #[error("ops[{operation}]: there is no queue {queue:?}")]
    UnknownQueue { operation: usize, queue: Name },
    /// A text is no endpoint.
    #[error("ops[{operation}]: {error}")]
    BadEndpoint { operation: usize, error: EndpointError },
    /// Nothing says which server an endpoint has.
    #[error("ops[{operation}]: no route for {endpoint}, nothing stored: {}", way(.row.as_deref()))]
    NoRoute {
        operation: usize,
        endpoint: String,
        /// The endpoint whose row would have it.
        row: Option<String>,
    },
    /// The server of an endpoint is not in a row.
    #[error("ops[{operation}]: the server of {endpoint} is not in a row that a move could change")]
    NotMovable { operation: usize, endpoint: String },
    /// The body is over its limit.
    #[error("ops[{operation}]: the body is {bytes} bytes of JSON, the limit is {limit}")]
    MessageTooLarge { operation: usize, bytes: usize, limit: usize },
    /// The body is nested too deeply.
    #[error("ops[{operation}]: the body is nested deeper than {limit} levels")]
    MessageTooDeep { operation: usize, limit: usize },
    /// The message's id is that of another message.
    #[error("ops[{operation}]: another message was sent to this queue under id {id}")]
    MessageConflict { operation: usize, id: Uuid },
    /// The message is not there.
    #[error("ops[{operation}]: there is no message {seq}")]
    UnknownMessage { operation: usize, seq: Seq },
    /// The id was used with other operations.
    #[error("the commit id was used before with other operations")]
    IdConflict,
    /// The id is too old to know whether it took effect.
    #[error("the commit id is older than the remembered ones; whether it took effect is unknown")]
    IdExpired,
    /// The id is no UUIDv7 of about now.
    #[error("the commit id is no UUIDv7, or lies more than ten minutes in the future")]
    IdInvalid,
    /// Too many principals use commit ids.
    #[error("too many principals use commit ids in this dataset")]
    TooManyPrincipals,
    /// More proposals wait than may.
    #[error("too many commits are waiting; try again")]
    Overloaded,
    /// There is no space for the log; nothing was stored, a later try may succeed.
    #[error("there is no space for the log, nothing was stored: {0}")]
    StorageFull(String),
    /// There is no descriptor or no memory for the log; nothing was stored, a later try may
    /// succeed.
    #[error("the system gives the log no descriptor or no memory, nothing was stored: {0}")]
    ResourcesExhausted(String),
    /// The dataset has stopped.
    #[error("the dataset has stopped: see the server's log")]
    Stopped(String),
    /// The write failed in a way that leaves open whether it is stored.
    #[error("the log failed while the commit was written; whether it is stored shows at restart")]
    OutcomeUnknown,
    /// An operation on a site is refused.
    #[error("site {site:?}: {error}")]
    Site { site: Name, error: SiteError },
    /// Only the server itself writes under the name.
    #[error("ops[{operation}]: the name {name:?} is reserved: only the server writes there")]
    ReservedName { operation: usize, name: Name },
}

/// Value of a field where an integer is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "they are the types of JSON")]
pub enum JsonType {
    Nothing,
    Null,
    Boolean,
    Number,
    Text,
    List,
    Object,
}

impl JsonType {
    pub(super) fn of(value: Option<&Value>) -> Self {
        match value {
            None => Self::Nothing,
            Some(Value::Null) => Self::Null,
            Some(Value::Bool(_)) => Self::Boolean,
            Some(Value::Number(_)) => Self::Number,
            Some(Value::String(_)) => Self::Text,
            Some(Value::Array(_)) => Self::List,
            Some(Value::Object(_)) => Self::Object,
        }
    }
}

impl fmt::Display for JsonType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Number => "a number that is no 64-bit integer",
            Self::Text => "a text",
            Self::List => "a list",
            Self::Object => "an object",
        })
    }
}

/// Measure by which a commit is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Excess {
    /// Bytes of its records.
    Records,
    /// Bytes of rows that it reads and writes on the way there.
    Work,
    /// Bytes of a log entry with nothing else in it.
    Entry,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Records => "become",
            Self::Work => "read and write rows of",
            Self::Entry => "take an entry of the log of",
        })
    }
}

/// Describes how an endpoint gets a route.
fn way(row: Option<&str>) -> String {
    match row {
        Some(row) => format!("`instep mail move {row} --to SERVER` gives it one"),
        None => "no row has it, and its mapping knows no server".into(),
    }
}

impl Refusal {
    /// Refusal of an operation that does not read.
    #[must_use]
    pub fn unread(operation: usize, error: OperationError) -> Self {
        match error {
            OperationError::TooDeep => {
                Self::Row { operation, error: RowError::TooDeep { limit: limits::VALUE_DEPTH } }
            }
            OperationError::Malformed(detail) => Self::BadOperation { operation, detail },
        }
    }

    /// Number of the operation that is refused, from 0; none when it is the whole commit.
    #[must_use]
    pub fn operation(&self) -> Option<usize> {
        match self {
            Self::TooManyMoves { operation, .. }
            | Self::ExpressionTooCostly { operation, .. }
            | Self::UnknownTable { operation, .. }
            | Self::UnknownJournal { operation, .. }
            | Self::RowNotFound { operation, .. }
            | Self::ConditionFailed { operation, .. }
            | Self::OutOfBounds { operation, .. }
            | Self::WrongType { operation, .. }
            | Self::Row { operation, .. }
            | Self::BadOperation { operation, .. }
            | Self::TooManyTables { operation, .. }
            | Self::UnknownQueue { operation, .. }
            | Self::BadEndpoint { operation, .. }
            | Self::NoRoute { operation, .. }
            | Self::NotMovable { operation, .. }
            | Self::MessageTooLarge { operation, .. }
            | Self::MessageTooDeep { operation, .. }
            | Self::MessageConflict { operation, .. }
            | Self::UnknownMessage { operation, .. }
            | Self::ReservedName { operation, .. } => Some(*operation),
            Self::Empty
            | Self::TooManyOperations { .. }
            | Self::CommitTooLarge { .. }
            | Self::IdConflict
            | Self::IdExpired
            | Self::IdInvalid
            | Self::TooManyPrincipals
            | Self::Overloaded
            | Self::StorageFull(_)
            | Self::ResourcesExhausted(_)
            | Self::Stopped(_)
            | Self::OutcomeUnknown
            | Self::Site { .. } => None,
        }
    }

    /// The message without the place in a list `ops`: for a request that is a single operation, or
    /// whose list has another name.
    #[must_use]
    pub fn detail(&self) -> String {
        let message = self.to_string();
        let place = self.operation().map(|operation| format!("ops[{operation}]: "));
        match place.and_then(|place| message.strip_prefix(&place).map(str::to_owned)) {
            Some(detail) => detail,
            None => message,
        }
    }

    /// The stable code that clients see.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty_commit",
            Self::TooManyOperations { .. } => "too_many_operations",
            Self::CommitTooLarge { .. } | Self::TooManyMoves { .. } => "commit_too_large",
            Self::ExpressionTooCostly { .. } => "expression_too_costly",
            Self::UnknownTable { .. } => "unknown_table",
            Self::UnknownJournal { .. } => "unknown_journal",
            Self::RowNotFound { .. } => "row_not_found",
            Self::ConditionFailed { .. } => "condition_failed",
            Self::OutOfBounds { .. } => "out_of_bounds",
            Self::WrongType { .. } => "wrong_type",
            Self::Row { error: RowError::TooLarge { .. }, .. } => "row_too_large",
            Self::Row { error: RowError::TooDeep { .. }, .. } => "row_too_deep",
            Self::BadOperation { .. } => "bad_operation",
            Self::TooManyTables { .. } => "too_many_tables",
            Self::UnknownQueue { .. } => "unknown_queue",
            Self::BadEndpoint { .. } => "bad_endpoint",
            Self::NoRoute { .. } => "no_route",
            Self::NotMovable { .. } => "not_movable",
            Self::MessageTooLarge { .. } => "message_too_large",
            Self::MessageTooDeep { .. } => INEXACT,
            Self::MessageConflict { .. } => "message_conflict",
            Self::UnknownMessage { .. } => "unknown_message",
            Self::IdConflict => "id_conflict",
            Self::IdExpired => "id_expired",
            Self::IdInvalid => "id_invalid",
            Self::TooManyPrincipals => "too_many_principals",
            Self::Overloaded => "overloaded",
            Self::StorageFull(_) => "storage_full",
            Self::ResourcesExhausted(_) => "resources_exhausted",
            Self::Stopped(_) => "stopped",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Site { error, .. } => error.code(),
            Self::ReservedName { .. } => "reserved_name",
        }
    }
}
