//! Operations: rights, weight, faults and encoding of each. Their effects are in the owner.
//!
//! A new one takes a variant, which is its form in JSON and in bytes, and an arm in
//! [`Operation::written`], [`Operation::need`] and [`Operation::weight`].

use std::borrow::{Borrow, Cow};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use self::reading::{Parts, Tagged};
use super::Condition;
use crate::codec::json_text;
use crate::mail::{MailOperation, NewMessage, Seq};
use crate::name::{Key, Name};
use crate::position::Position;
use crate::row::Fields;
use crate::site::SiteOperation;

mod reading;

pub use self::reading::OperationError;

/// One change that a client proposes. The JSON form has `op` and these fields, and no others; in
/// bytes a variant has its number ([`Plain`]), so new ones stand at the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
pub enum Operation {
    /// Writes a whole row.
    Put {
        /// The table.
        table: Name,
        /// The row's key.
        key: Key,
        /// The row.
        #[serde(with = "json_text")]
        row: Fields,
    },
    /// Merges fields into a row that exists (RFC 7386: null removes a field).
    Patch {
        /// The table.
        table: Name,
        /// The row's key.
        key: Key,
        /// The fields to merge.
        #[serde(with = "json_text")]
        fields: Fields,
    },
    /// Removes a row; no error when there is none.
    Delete {
        /// The table.
        table: Name,
        /// The row's key.
        key: Key,
    },
    /// Adds to an integer field of a row that exists, within bounds.
    Add {
        /// The table.
        table: Name,
        /// The row's key.
        key: Key,
        /// The field.
        field: String,
        /// Number that is added.
        by: i64,
        /// The result may not be smaller.
        #[serde(default)]
        min: Option<i64>,
        /// The result may not be larger.
        #[serde(default)]
        max: Option<i64>,
    },
    /// A condition on a row; if it fails, nothing of the commit happens.
    Require {
        /// The table.
        table: Name,
        /// The row's key.
        key: Key,
        /// The row must (not) exist. The other conditions imply that it does.
        #[serde(default)]
        exists: Option<bool>,
        /// These fields must have exactly these values.
        #[serde(default, with = "json_text")]
        equals: Option<Fields>,
        /// A CEL expression over `row` and `key` that must be true.
        #[serde(default)]
        r#where: Option<Condition>,
        /// The row must not have changed after this position.
        #[serde(default)]
        unchanged_since: Option<Position>,
    },
    /// Appends a record to a journal.
    Append {
        /// The journal.
        journal: Name,
        /// The record as text.
        #[serde(default)]
        text: Option<String>,
        /// The record as bytes, in base64.
        #[serde(default)]
        base64: Option<String>,
    },
    /// Creates a table, or sets the options of one that exists.
    CreateTable {
        /// The table.
        table: Name,
        /// Public: its `table:` topic may be joined without any right.
        #[serde(default)]
        public: bool,
    },
    /// Removes a table with all its rows.
    DropTable {
        /// The table.
        table: Name,
    },
    /// Creates a journal; no error when it exists.
    CreateJournal {
        /// The journal.
        journal: Name,
    },
    /// Creates a queue of messages; no error when it exists.
    CreateQueue {
        /// The queue.
        queue: Name,
    },
    /// Stores a message with its route.
    #[serde(with = "with_sender")]
    Send(NewMessage),
    /// Stores a message without looking at its route.
    #[serde(with = "with_sender")]
    Import(NewMessage),
    /// Routes an endpoint, and its unfinished messages, to a server.
    Move {
        /// The endpoint.
        endpoint: String,
        /// The server.
        to: String,
        /// The route must have this generation by now.
        #[serde(default)]
        generation: Option<u64>,
    },
    /// Gives the unfinished messages of an endpoint the route that it has now: for a mapping that
    /// has changed.
    Readdress {
        /// The endpoint.
        endpoint: String,
    },
    /// Queues a dead letter again.
    Retry {
        /// The message.
        seq: Seq,
    },
    /// Operation on messages, by servers or by the dataset itself: JSON has none.
    Mail(MailOperation),
    /// Operation on a site, by the API of sites or by the dataset itself: JSON has none.
    Site(SiteOperation),
}

impl<'de> Deserialize<'de> for Operation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Fields::deserialize(deserializer)?.into_iter();
        let fields = fields.map(|(name, value)| (Cow::Owned(name), value)).collect();
        Tagged::read(fields).map_err(D::Error::custom)
    }
}

/// An operation as it stands in bytes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plain<T = Operation>(pub(crate) T);

impl<T: Borrow<Operation>> Serialize for Plain<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Operation::serialize(self.0.borrow(), serializer)
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Operation::deserialize(deserializer).map(Self)
    }
}

/// A message in bytes has its sender beside it. In JSON it has none: the server knows the
/// principal.
mod with_sender {
    use super::{Deserialize, Deserializer, NewMessage, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        letter: &NewMessage,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        (letter, letter.sender).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<NewMessage, D::Error> {
        if deserializer.is_human_readable() {
            return NewMessage::deserialize(deserializer);
        }
        let (letter, sender) = <(NewMessage, u64)>::deserialize(deserializer)?;
        Ok(NewMessage { sender, ..letter })
    }
}

/// Right that an operation needs in its dataset. Tables, journals and queues share their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need<'a> {
    /// To administer the dataset.
    Administer,
    /// To write to a table, a journal or a queue.
    Write(&'a str),
    /// To write to a table or to read it: a condition tells what is in a row, as reading it does.
    Test(&'a str),
}

impl Operation {
    /// Reads an operation from its JSON, whose values are exact.
    ///
    /// # Errors
    /// [`OperationError`] with the field at fault.
    pub fn read(text: &str) -> Result<Self, OperationError> {
        if !text.starts_with('{') {
            return Err(OperationError::Malformed("not a JSON object".into()));
        }
        let Parts(fields) = serde_json::from_str(text)
            .map_err(|error| OperationError::Malformed(error.to_string()))?;
        Tagged::read(fields)
    }

    /// The table, journal or queue that it makes, removes or writes to, if a client names it.
    #[must_use]
    pub fn written(&self) -> Option<&Name> {
        match self {
            Self::Put { table, .. }
            | Self::Patch { table, .. }
            | Self::Delete { table, .. }
            | Self::Add { table, .. }
            | Self::CreateTable { table, .. }
            | Self::DropTable { table } => Some(table),
            Self::Append { journal, .. } | Self::CreateJournal { journal } => Some(journal),
            Self::CreateQueue { queue } => Some(queue),
            Self::Send(letter) | Self::Import(letter) => Some(&letter.queue),
            Self::Require { .. }
            | Self::Move { .. }
            | Self::Readdress { .. }
            | Self::Retry { .. }
            | Self::Mail(_)
            | Self::Site(_) => None,
        }
    }

    /// The right that it needs.
    #[must_use]
    pub fn need(&self) -> Need<'_> {
        match self {
            Self::Put { table, .. }
            | Self::Patch { table, .. }
            | Self::Delete { table, .. }
            | Self::Add { table, .. } => Need::Write(table.as_str()),
            Self::Append { journal, .. } => Need::Write(journal.as_str()),
            Self::Send(letter) => Need::Write(letter.queue.as_str()),
            Self::Require { table, .. } => Need::Test(table.as_str()),
            Self::CreateTable { .. }
            | Self::DropTable { .. }
            | Self::CreateJournal { .. }
            | Self::CreateQueue { .. }
            | Self::Import(_)
            | Self::Move { .. }
            | Self::Readdress { .. }
            | Self::Retry { .. }
            | Self::Mail(_)
            | Self::Site(_) => Need::Administer,
        }
    }

    /// About how many bytes it takes beyond its own size.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Put { row: fields, .. } | Self::Patch { fields, .. } => weigh(fields),
            Self::Require { equals, r#where, .. } => {
                let source = r#where.as_ref().map_or(0, |condition| condition.source().len());
                source + equals.as_ref().map_or(0, weigh)
            }
            Self::Append { text, base64, .. } => {
                text.as_ref().or(base64.as_ref()).map_or(0, String::len)
            }
            Self::Send(letter) | Self::Import(letter) => {
                letter.to.len() + weigh_value(&letter.body)
            }
            Self::Mail(MailOperation::Reject { reason, .. })
            | Self::Site(SiteOperation::Fail { reason, .. })
            | Self::Site(SiteOperation::Skip { reason, .. }) => reason.len(),
            Self::CreateQueue { .. }
            | Self::Move { .. }
            | Self::Readdress { .. }
            | Self::Retry { .. }
            | Self::Mail(_)
            | Self::Site(_)
            | Self::Delete { .. }
            | Self::Add { .. }
            | Self::CreateTable { .. }
            | Self::DropTable { .. }
            | Self::CreateJournal { .. } => 0,
        }
    }
}

fn weigh(fields: &Fields) -> usize {
    fields.iter().map(|(name, value)| name.len() + weigh_value(value)).sum()
}

pub(crate) fn weigh_value(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(weigh_value).sum(),
            Value::Object(fields) => weigh(fields),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_operation_with_an_unknown_field_is_refused() {
        let parse = |text: &str| serde_json::from_str::<Operation>(text);

        assert!(parse(r#"{"op":"delete","table":"t","key":"k"}"#).is_ok());
        assert!(parse(r#"{"op":"delete","table":"t","key":"k","kez":1}"#).is_err());
        assert!(parse(r#"{"op":"add","table":"t","key":"k","field":"n","by":1.5}"#).is_err());
    }

    #[test]
    fn an_operation_that_does_not_read_names_the_field_at_fault() {
        let fault = |text: Value| Operation::read(&text.to_string()).unwrap_err().to_string();

        assert_eq!(fault(json!(["delete", "t", "k"])), "not a JSON object");
        assert!(fault(json!({"op": "delete", "table": 5, "key": "k"})).starts_with("table: "));
        assert!(fault(json!({"op": "retry", "seq": -1})).starts_with("seq: "));
        assert!(fault(json!({"op": "delete", "table": "t"})).contains("missing field `key`"));
        let mail = fault(json!({"op": "mail", "tend": null}));
        let (refused, known) = mail.split_once("expected one of").unwrap();
        assert!(refused.contains("unknown variant `mail`") && !known.contains("`mail`"), "{mail}");
        let deep =
            format!(r#"{{"op":"put","row":{{"f":{}1{}}}}}"#, "[".repeat(200), "]".repeat(200));
        assert_eq!(Operation::read(&deep), Err(OperationError::TooDeep));
    }

    #[test]
    fn an_operation_with_a_field_twice_is_refused_and_the_field_named() {
        let fault = |text: &str| Operation::read(text).unwrap_err().to_string();

        let twice = fault(r#"{"op":"delete","table":"t","key":"a","key":"b"}"#);
        assert!(twice.contains("duplicate field `key`"), "{twice}");
        let twice = fault(r#"{"op":"delete","table":"t","key":"a","op":"put"}"#);
        assert!(twice.contains("`op`"), "{twice}");
        let twice = fault(r#"{"op":"send","queue":"q","to":"a","body":1,"body":2}"#);
        assert!(twice.contains("duplicate field `body`"), "{twice}");
    }

    #[test]
    fn an_operation_needs_a_right_to_the_table_or_queue_that_it_names() {
        let need =
            |text: Value| format!("{:?}", Operation::read(&text.to_string()).unwrap().need());

        assert_eq!(need(json!({"op": "delete", "table": "t", "key": "k"})), r#"Write("t")"#);
        assert_eq!(need(json!({"op": "append", "journal": "j", "text": ""})), r#"Write("j")"#);
        assert_eq!(need(json!({"op": "require", "table": "t", "key": "k"})), r#"Test("t")"#);
        let letter = |op: &str| json!({"op": op, "queue": "q", "to": "org/1", "body": 1});
        assert_eq!(need(letter("send")), r#"Write("q")"#);
        assert_eq!(need(letter("import")), "Administer");
        assert_eq!(need(json!({"op": "drop_table", "table": "t"})), "Administer");
    }
}
