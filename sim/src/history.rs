//! History of a run, as plain facts that a checker can judge: no machine, no clock, no pointer.
//!
//! The simulator records these, and so can a test that kills real processes: every event has a
//! JSON form, and none needs more than a client, a subscriber or a reader of the log sees.

use std::collections::BTreeMap;

use instep_model::commit::{Commit, Entry, Record, digest};
use instep_model::position::{Incarnation, Place, Position, Revision};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// Rows by key.
pub type Rows = BTreeMap<String, Value>;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A history begins: empty, or as a copy of another one up to a revision.
    Began {
        /// Its identity.
        incarnation: Incarnation,
        /// The history that it copies, and up to where.
        copied: Option<(Incarnation, Revision)>,
    },
    /// The process came up. `Stored` events for what it found precede this.
    Recovered {
        /// Complete up to here.
        position: Position,
        /// The oldest entry that can be read.
        floor: Revision,
    },
    /// From here on topics are told by this set of views.
    Declared {
        /// Index of the declared set among the known ones.
        views: usize,
    },
    /// Another dataset was asked for.
    DatasetMade {
        /// Its name.
        dataset: String,
        /// Entries that it has when it is whole.
        entries: u64,
        /// It was acknowledged.
        done: bool,
    },
    /// Another dataset was removed.
    DatasetRemoved {
        /// Its name.
        dataset: String,
        /// It was acknowledged.
        done: bool,
    },
    /// The other datasets that a start has found.
    DatasetsFound {
        /// By name; with the number of entries, none for one that is not whole.
        datasets: BTreeMap<String, Option<u64>>,
    },
    /// The process could not come up although its disk was in order.
    NotRecovered {
        /// Error of the start, in words.
        reason: String,
    },
    /// The process died.
    DeadLettered {
        /// The power went too.
        power: bool,
    },
    /// A client proposed a commit.
    Proposed {
        /// Names the answer.
        ticket: u64,
        /// Principal that proposed it.
        principal: String,
        /// The idempotency id.
        id: Option<Uuid>,
        /// The operations, as JSON.
        operations: Vec<Value>,
    },
    /// A proposal was answered.
    Answered {
        /// The proposal.
        ticket: u64,
        /// The answer.
        answer: Answer,
    },
    /// An entry is in the log and can be read: by an append or found at recovery.
    Stored {
        /// The history.
        incarnation: Incarnation,
        /// The entry's number.
        revision: Revision,
        /// Digest of its bytes.
        digest: u64,
        /// Its commits.
        commits: Vec<StoredCommit>,
    },
    /// The log failed for good, so the dataset has stopped.
    Failed {
        /// Reason of the failure.
        reason: String,
    },
    /// Content of the node's memory.
    Memory {
        /// Complete up to here.
        position: Position,
        /// Source of the memory.
        source: Source,
        /// The tables.
        tables: BTreeMap<String, Rows>,
        /// Ordinal of the newest record of each journal.
        journals: BTreeMap<String, u64>,
    },
    /// An entry was folded a second time.
    Refolded {
        /// The entry.
        revision: Revision,
        /// It was refused or changed nothing.
        harmless: bool,
    },
    /// The log was read.
    Read {
        /// From this entry on.
        from: Revision,
        /// The oldest entry then.
        floor: Revision,
        /// The newest entry then.
        head: Revision,
        /// Result of the read.
        outcome: ReadOutcome,
    },
    /// A subscriber was answered to its join.
    Joined {
        /// The subscriber.
        reader: u32,
        /// The topic.
        topic: String,
        /// The position that it gave.
        since: Option<String>,
        /// The answer.
        answer: JoinAnswer,
    },
    /// A subscriber was told that it fell off the ring.
    Lagged {
        /// The subscriber.
        reader: u32,
        /// `resume` or `reset`.
        mode: String,
    },
    /// A subscriber forgot its rows, to begin anew.
    Cleared {
        /// The subscriber.
        reader: u32,
    },
    /// A subscriber was told of a row.
    Told {
        /// The subscriber.
        reader: u32,
        /// The row's key.
        key: String,
        /// Row as the topic shows it; none: it is gone.
        row: Option<Value>,
    },
    /// A subscriber was told that it is complete.
    At {
        /// The subscriber.
        reader: u32,
        /// Up to here.
        position: Position,
        /// Means by which it was told.
        by: By,
    },
    /// A subscriber has taken everything that there was for it.
    Settled {
        /// The subscriber.
        reader: u32,
        /// Position of the node's feed then.
        position: Position,
    },
    /// A subscriber lost its connection.
    Lost {
        /// The subscriber.
        reader: u32,
    },
    /// The clock says something else, of its own or because it was set.
    Clock {
        /// Milliseconds since 1970.
        now_ms: u64,
    },
    /// Something is held in a bounded place.
    Held {
        /// Name of the bounded place.
        what: String,
        /// Number of things held.
        count: usize,
        /// Maximum number of them.
        limit: usize,
    },
}

/// The answer to a proposal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// It took effect.
    Committed {
        /// Position of the commit.
        position: Position,
        /// Results of its operations.
        results: Vec<Option<i64>>,
        /// The reply of an earlier proposal with the same id.
        replayed: bool,
    },
    /// It did not.
    Refused {
        /// The stable code.
        code: String,
    },
}

/// The answer to a join.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum JoinAnswer {
    /// Joined.
    Accepted {
        /// `snapshot`, `resume` or `reset`.
        mode: String,
        /// Complete up to here; with rows that follow, its own position or none.
        position: Option<Position>,
        /// Rows follow as pushes.
        pending: bool,
    },
    /// Not joined.
    Refused {
        /// Reason of the refusal.
        reason: String,
    },
}

/// Means by which a subscriber learnt its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The reply to its join held all rows.
    Reply,
    /// The last frame of a commit.
    Frame,
    /// A bookmark.
    Bookmark,
}

/// Source of a memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The node's own, which readers see.
    Served,
    /// A snapshot and the entries after it, folded for comparison.
    SnapshotAndTail,
}

/// Result of a read of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ReadOutcome {
    /// Entries in order: number and digest of each.
    Entries {
        /// Them, in order.
        entries: Vec<(Revision, u64)>,
    },
    /// The entry asked for is gone.
    Trimmed,
    /// The entry asked for does not exist yet.
    Ahead,
    /// Anything else.
    Failed {
        /// Error in words.
        reason: String,
    },
}

/// A commit as the log holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredCommit {
    /// Principal and idempotency id.
    pub commit_id: Option<(String, Uuid)>,
    /// Results of its operations.
    pub results: Vec<Option<i64>>,
    /// Changes that it made.
    pub changes: Vec<Change>,
}

/// A record as the log holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
#[allow(missing_docs, reason = "they are the fields of `instep_model::commit::Record`")]
pub enum Change {
    /// A row has this value.
    Put { table: String, key: String, row: Value },
    /// A row is gone.
    Delete { table: String, key: String },
    /// A journal has one record more.
    Append { journal: String, ordinal: u64, digest: u64 },
    /// A table exists.
    CreateTable { table: String, public: bool },
    /// A table is gone.
    DropTable { table: String },
    /// A journal exists.
    CreateJournal { journal: String },
    /// Something changed about messages.
    Mail { record: String },
}

impl Event {
    /// The event of an entry that can be read.
    ///
    /// # Panics
    /// When the bytes are no entry: the log's checksums have let something else through.
    #[must_use]
    pub fn stored(incarnation: Incarnation, revision: Revision, bytes: &[u8]) -> Self {
        let entry = Entry::decode(bytes).expect("what the log hands out was encoded by an owner");
        Self::Stored {
            incarnation,
            revision,
            digest: digest(bytes),
            commits: entry.commits.iter().map(StoredCommit::from).collect(),
        }
    }
}

impl From<&Commit> for StoredCommit {
    fn from(commit: &Commit) -> Self {
        let commit_id = commit.commit_id.as_ref();
        Self {
            commit_id: commit_id.map(|commit_id| (commit_id.principal.clone(), commit_id.id)),
            results: commit.results.clone(),
            changes: commit.records.iter().map(Change::from).collect(),
        }
    }
}

impl From<&Record> for Change {
    fn from(record: &Record) -> Self {
        match record {
            Record::Put { table, key, row } => Self::Put {
                table: table.to_string(),
                key: key.to_string(),
                row: Value::Object(row.fields()),
            },
            Record::Delete { table, key } => {
                Self::Delete { table: table.to_string(), key: key.to_string() }
            }
            Record::Append { journal, ordinal, bytes } => Self::Append {
                journal: journal.to_string(),
                ordinal: *ordinal,
                digest: digest(bytes),
            },
            Record::CreateTable { table, options } => {
                Self::CreateTable { table: table.to_string(), public: options.public }
            }
            Record::DropTable { table } => Self::DropTable { table: table.to_string() },
            Record::CreateJournal { journal } => {
                Self::CreateJournal { journal: journal.to_string() }
            }
            Record::Mail(record) => Self::Mail { record: format!("{record:?}") },
        }
    }
}

/// The digest of a whole history: equal for equal runs.
#[must_use]
pub fn digest_of(history: &[Event]) -> u64 {
    history.iter().fold(0, |before: u64, event| {
        let text = serde_json::to_vec(event).expect("events always encode into memory");
        digest(&text).wrapping_add(before.rotate_left(7))
    })
}

/// The place of the commit `index` of an entry.
pub(crate) fn place(revision: Revision, index: usize) -> Place {
    Place { revision, index: u16::try_from(index).unwrap_or(u16::MAX) }
}
