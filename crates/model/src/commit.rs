//! Proposals, as clients make them; records, as the log holds them; entries, as they are flushed.
//!
//! The owner turns the first into the second, once. A proposal is never evaluated again. Rights,
//! weight and faults of an operation stand in the file of [`Operation`].

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::mail::MailRecord;
use crate::name::{Key, Name};
use crate::row::Row;

mod condition;
mod operation;
mod proposal;

pub use condition::Condition;
#[cfg(test)]
pub(crate) use operation::Plain;
pub(crate) use operation::weigh_value;
pub use operation::{Need, Operation, OperationError};
pub use proposal::{PROPOSAL_FORMAT, Proposal};

/// Options of a table, set when it is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TableOptions {
    /// Public: its `table:` topic may be joined without any right.
    #[serde(default)]
    pub public: bool,
}

/// Record of a change, in final values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// A row has this value now.
    Put {
        /// The table.
        table: Name,
        /// The row's key.
        key: Key,
        /// The new row.
        row: Row,
    },
    /// A row is gone.
    Delete {
        /// The table.
        table: Name,
        /// The row's key.
        key: Key,
    },
    /// A journal has one record more.
    Append {
        /// The journal.
        journal: Name,
        /// The record's number in its journal, from 1.
        ordinal: u64,
        /// The record.
        #[serde(with = "record_bytes")]
        bytes: Bytes,
    },
    /// A table exists with these options.
    CreateTable {
        /// The table.
        table: Name,
        /// Its options.
        options: TableOptions,
    },
    /// A table is gone.
    DropTable {
        /// The table.
        table: Name,
    },
    /// A journal exists.
    CreateJournal {
        /// The journal.
        journal: Name,
    },
    /// Something changed about messages.
    Mail(MailRecord),
}

/// Commit id: the commit's principal and id, by which its reply is replayed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitId {
    /// The principal. Ids are remembered per principal.
    pub principal: String,
    /// The id that the principal gave, a UUIDv7.
    pub id: Uuid,
    /// A digest of the operations, however they were written: the same id with another one is a
    /// conflict.
    pub digest: u64,
    /// The digest by which versions before told operations apart: of the bytes that arrived, or of
    /// values with the fields that are null.
    #[serde(skip)]
    pub earlier: Option<u64>,
}

impl CommitId {
    /// Returns true if the digest that was remembered under its id is that of these operations.
    #[must_use]
    pub fn is_of(&self, remembered: u64) -> bool {
        self.digest == remembered || self.earlier == Some(remembered)
    }
}

/// Records that became visible together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Id under which it takes effect once, when one was given.
    pub commit_id: Option<CommitId>,
    /// For each operation the number that it computed, if it did.
    pub results: Vec<Option<i64>>,
    /// Records of what changed, in order.
    pub records: Vec<Record>,
}

/// Entry of the log: the commits that are flushed together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Owner that wrote it; with `sequence` it resolves an append whose outcome is unknown.
    pub writer: Uuid,
    /// The owner's own count of entries.
    pub sequence: u64,
    /// Time at which the owner wrote it, in milliseconds since 1970, by its clock: entries are in
    /// the order of their revisions, and their times need not be.
    pub time_ms: u64,
    /// The running hash of everything before it: two nodes with the same hash folded the same.
    pub history: u64,
    /// The commits, in order.
    pub commits: Vec<Commit>,
}

impl Commit {
    /// The commit as it stands in an entry, behind the commits in `memory`.
    pub(crate) fn encode_behind(&self, memory: Vec<u8>) -> Vec<u8> {
        postcard::to_extend(self, memory).expect("a commit always encodes into memory")
    }
}

/// Head of an entry: everything but its commits, which are encoded one after the other.
pub(crate) struct EntryHead {
    pub(crate) writer: Uuid,
    pub(crate) sequence: u64,
    pub(crate) time_ms: u64,
    pub(crate) history: u64,
}

impl EntryHead {
    /// Bytes of a head at most: the format, the writer behind its length, four numbers.
    pub(crate) const BYTES_MOST: usize = 1 + 17 + 4 * 10;

    /// [`Entry::encode`] of an entry with so many commits, which are `body`. Uses memory that is
    /// there already.
    pub(crate) fn encode_into(&self, commits: usize, body: &[u8], mut memory: Vec<u8>) -> Vec<u8> {
        memory.clear();
        memory.push(ENTRY_FORMAT);
        let Self { writer, sequence, time_ms, history } = self;
        let head = (writer, sequence, time_ms, history, commits);
        let mut entry = postcard::to_extend(&head, memory).expect("numbers encode into memory");
        entry.extend_from_slice(body);
        entry
    }
}

/// The bytes are not an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The entry was written by a newer Instep.
    #[error("the entry has format {found}, this program reads up to {known}")]
    NewerFormat {
        /// Format of the entry.
        found: u8,
        /// Newest format known here.
        known: u8,
    },
    /// The bytes do not decode.
    #[error(
        "the entry does not decode: {0}. Where its checksum holds, it has a record that this \
         program does not know: use a newer one"
    )]
    Malformed(String),
}

/// First byte of every encoded entry: the newest format that this program reads, and the one that
/// it writes.
pub const ENTRY_FORMAT: u8 = 1;

impl Entry {
    /// The entry as the log stores it: a format byte, then postcard.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Self { writer, sequence, time_ms, history, commits } = self;
        let (writer, sequence, time_ms, history) = (*writer, *sequence, *time_ms, *history);
        let body = commits.iter().fold(vec![], |body, commit| commit.encode_behind(body));
        let head = EntryHead { writer, sequence, time_ms, history };
        head.encode_into(commits.len(), &body, vec![])
    }

    /// Reads an entry back.
    ///
    /// # Errors
    /// [`EntryError`] when the format is newer or the bytes do not decode.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        match bytes.split_first() {
            Some((&ENTRY_FORMAT, body)) => {
                postcard::from_bytes(body).map_err(|e| EntryError::Malformed(e.to_string()))
            }
            Some((&found, _)) if found > ENTRY_FORMAT => {
                Err(EntryError::NewerFormat { found, known: ENTRY_FORMAT })
            }
            _ => Err(EntryError::Malformed("no format byte".into())),
        }
    }
}

/// The hash of a history that ends with these entry bytes.
#[must_use]
pub fn history_after(history: u64, entry: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(entry, history)
}

/// The digest by which two lists of operations under one commit id are told apart: of their values,
/// whatever spaces and order of fields they were written with. A field of an operation that is null
/// counts as one that is not there, but for the body of a message, which may be null.
#[must_use]
pub fn digest_of_values(operations: Vec<Value>) -> u64 {
    digest_with_nulls(&operations.into_iter().map(without_nulls).collect::<Vec<_>>())
}

/// The digest of operations as versions before reckoned it: with the fields that are null.
#[must_use]
pub fn digest_with_nulls(operations: &[Value]) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    let mut text = Vec::new();
    for operation in operations {
        text.clear();
        serde_json::to_writer(&mut text, operation).expect("JSON is written into memory");
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(&text);
    }
    hasher.digest()
}

fn without_nulls(operation: Value) -> Value {
    match operation {
        Value::Object(fields) => {
            let counts = |(name, value): &(String, Value)| name == "body" || !value.is_null();
            fields.into_iter().filter(counts).collect()
        }
        other => other,
    }
}

/// The digest of bytes.
#[must_use]
pub fn digest(body: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(body)
}

pub(crate) mod record_bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Bytes;

    pub(crate) fn serialize<S: Serializer>(bytes: &Bytes, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Bytes, D::Error> {
        <&[u8]>::deserialize(d).map(Bytes::copy_from_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_back_from_its_bytes() {
        let entry = Entry {
            writer: Uuid::from_u128(1),
            sequence: 2,
            time_ms: 3,
            history: 4,
            commits: vec![Commit {
                commit_id: Some(CommitId {
                    principal: "admin".into(),
                    id: Uuid::from_u128(5),
                    digest: 6,
                    earlier: None,
                }),
                results: vec![None, Some(-7)],
                records: vec![
                    Record::Put {
                        table: Name::new("items").unwrap(),
                        key: Key::new("1").unwrap(),
                        row: Row::from_canonical(br#"{"n":1}"#),
                    },
                    Record::Append {
                        journal: Name::new("orders").unwrap(),
                        ordinal: 1,
                        bytes: Bytes::from_static(b"\0\xff"),
                    },
                ],
            }],
        };

        let bytes = entry.encode();

        assert_eq!(Entry::decode(&bytes), Ok(entry));
        assert!(matches!(Entry::decode(&bytes[..bytes.len() - 1]), Err(EntryError::Malformed(_))));
    }

    #[test]
    fn an_entry_of_a_newer_format_is_named_as_such() {
        let error = Entry::decode(&[9, 0, 0]).unwrap_err();

        assert_eq!(error, EntryError::NewerFormat { found: 9, known: 1 });
    }

    #[test]
    fn the_same_operations_have_one_digest_whatever_their_spaces_and_order_of_fields() {
        let of = |text: &str| digest_of_values(serde_json::from_str(text).unwrap());
        let one = of(r#"[{"op":"put","table":"t","key":"k","row":{"a":1,"b":[1.0]}}]"#);

        let same = r#"[ {"key":"k", "row": {"b":[1.0], "a":1},"table":"t","op":"put"} ]"#;
        assert_eq!(of(same), one);
        for other in [
            r#"[{"op":"put","table":"t","key":"k","row":{"a":1,"b":[1]}}]"#,
            r#"[{"op":"put","table":"t","key":"k","row":{"a":1,"b":[1.0]}},{}]"#,
            "[]",
        ] {
            assert_ne!(of(other), one, "{other}");
        }
    }

    #[test]
    fn a_field_that_is_null_is_one_that_is_not_there_under_the_same_id_too() {
        let of = |text: &str| digest_of_values(serde_json::from_str(text).unwrap());

        let add = r#"[{"op":"add","table":"t","key":"k","field":"n","by":1}]"#;
        let null = r#"[{"op":"add","table":"t","key":"k","field":"n","by":1,"min":null}]"#;
        assert_eq!(of(null), of(add));
        let patch = r#"[{"op":"patch","table":"t","key":"k","fields":{"a":null}}]"#;
        let other = r#"[{"op":"patch","table":"t","key":"k","fields":{}}]"#;
        assert_ne!(of(patch), of(other), "a null in a row is a value");
    }

    #[test]
    fn an_entry_of_before_opens_although_a_signature_knows_more_by_now() {
        #[derive(Serialize)]
        struct Before {
            principal: String,
            id: Uuid,
            digest: u64,
        }
        let before = Before { principal: "p".into(), id: Uuid::from_u128(5), digest: 6 };
        let bytes = postcard::to_allocvec(&before).unwrap();

        let read: CommitId = postcard::from_bytes(&bytes).unwrap();

        let Before { principal, id, digest } = before;
        assert_eq!(read, CommitId { principal, id, digest, earlier: None });
    }
}
