//! Contract of a store: a database that applies whole commits, and knows up to which position.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use instep_client::SiteAppend;
use instep_model::position::Position;
use serde_json::value::RawValue;

use crate::batch::{Batch, Culprit};
use crate::limits;

/// Identity of a site: its data are of one dataset, and its row of one site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The dataset.
    pub dataset: String,
    /// The id of the site.
    pub site: String,
}

/// Position of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorePosition {
    /// The store keeps none: the server's cursor counts.
    Unkept,
    /// Nothing was ever applied here.
    None,
    /// A restore began here and did not come to its end: the content is of no use.
    Restoring,
    /// Everything up to here is applied.
    At(Position),
}

impl StorePosition {
    /// The position, if the store keeps one and has it.
    #[must_use]
    pub fn kept(self) -> Option<Position> {
        match self {
            Self::At(position) => Some(position),
            Self::Unkept | Self::None | Self::Restoring => None,
        }
    }

    /// The position, for a dump or a verification.
    ///
    /// # Errors
    /// [`StoreError::Passing`] when there is no content yet.
    pub(crate) fn to_give(self) -> Result<Position, StoreError> {
        let nothing = || StoreError::Passing("the site has nothing to give yet".into());
        self.kept().ok_or_else(nothing)
    }
}

/// Outcome of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Rows that were not as the log says: deletes of rows that were not there.
    pub drift: u64,
}

/// Failure of a store, by kind.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It passes: a lost connection, a lock, a full disk. Tried again after [`Store::open`], whose
    /// position decides what is left to do.
    #[error("{0}")]
    Passing(String),
    /// The store refuses a record. The site stands at it.
    #[error(transparent)]
    Record(Refusal),
    /// The site cannot go on.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

/// Refusal of a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// The store's text.
    pub text: String,
    /// The record; none: the store does not know, or refuses the commit as a whole.
    pub culprit: Option<Culprit>,
}

/// Failure that no repetition heals.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The database has the row of another site or dataset.
    #[error("the database belongs to site {site} of dataset {dataset}")]
    OtherSite {
        /// Dataset of its row.
        dataset: String,
        /// Site of its row.
        site: String,
    },
    /// A newer registration has the database.
    #[error("another agent has taken the site over (generation {generation})")]
    Fenced {
        /// Generation of the row.
        generation: u64,
    },
    /// The store has another history of the dataset than the server. Nothing of it is replaced but
    /// by a dump, whose source an operator has named.
    #[error("the database has another history of the dataset than the server")]
    OtherHistory,
    /// The position that is stored is none.
    #[error("the row of the site holds {0:?}, which is no position")]
    Unreadable(String),
    /// The store can never be applied to as it is.
    #[error("{0}")]
    Unusable(String),
    /// The store gave up, and asks for a dump.
    #[error("{0}")]
    NeedsDump(String),
}

/// Head of a dump of tables.
#[derive(Debug, Clone)]
pub struct DumpHead {
    /// Position that the rows are the state at.
    pub position: Position,
    /// Its tables.
    pub tables: Vec<String>,
    /// Last ordinals of the journals at its position.
    pub journals: BTreeMap<String, u64>,
}

/// Row of a dump of tables.
#[derive(Debug, Clone)]
pub struct DumpRow {
    /// The table.
    pub table: String,
    /// The key.
    pub key: String,
    /// The row: a JSON object.
    pub row: Box<RawValue>,
}

/// Chunks of a dump, one after the other; none behind the last one, when all of them are known to
/// be what the source gave. Blocks.
pub type Chunks<'a> = dyn FnMut() -> Result<Option<Vec<u8>>, StoreError> + 'a;

/// Ends what a store is doing with an error that passes.
pub type Interrupter = Box<dyn Fn() + Send + Sync>;

/// Dumper: gives consistent copies of a store while commits are applied to it.
pub trait Dumper: Send + Sync {
    /// Form of the dumps.
    fn kind(&self) -> &'static str;

    /// Begins a dump: its position is that of the content. Neither applying nor receiving pauses.
    /// Blocks.
    ///
    /// # Errors
    /// [`StoreError`] by kind.
    fn begin(&self) -> Result<Outgoing, StoreError>;

    /// Reads tables in one snapshot, until `take` returns false: the position of the snapshot
    /// first, then the rows of one table after the other, in the order of their keys as bytes.
    /// Blocks, and changes nothing.
    ///
    /// # Errors
    /// [`StoreError`] by kind.
    fn read(&self, tables: &[String], take: &mut dyn FnMut(Kept) -> bool)
    -> Result<(), StoreError>;
}

/// Content of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// Everything up to here is applied.
    Position(Position),
    /// A row.
    Row {
        /// Index of its table in the list that was asked for.
        table: usize,
        /// The key.
        key: String,
        /// The row, as JSON.
        row: String,
    },
    /// A table whose rows are not kept as JSON.
    Columns {
        /// Its index.
        table: usize,
    },
}

/// A dump that is given.
pub struct Outgoing {
    /// Position that the bytes are the state at.
    pub position: Position,
    /// The bytes. Reading fails if they are not complete in the end.
    pub bytes: Box<dyn Read + Send>,
}

/// A database, or a program, that commits are applied to.
///
/// Every method blocks. A store with transactions keeps its position in the transaction of the
/// data (I31); after any error but a refused record it is opened again. What is about dumps is for
/// stores that have them.
pub trait Store: Send {
    /// Connects, again if need be, and reads the position.
    ///
    /// # Errors
    /// [`StoreError::Passing`], or [`StoreError::Fatal`] for the store of another site.
    fn open(&mut self) -> Result<StorePosition, StoreError>;

    /// Takes the store over for a registration, and reads its position: what an older one still
    /// applies is refused from here on. Begins at `position` where there is none.
    ///
    /// # Errors
    /// [`Fatal::Fenced`] when the store knows a newer registration; [`Fatal::OtherHistory`] when
    /// `position` is of another history.
    fn fence(
        &mut self,
        generation: u64,
        position: Option<Position>,
    ) -> Result<StorePosition, StoreError>;

    /// Applies a batch as one: all of it but what is left out, its position, and an account of
    /// what is left out; or nothing.
    ///
    /// # Errors
    /// [`StoreError`] by kind. A refused record of a batch of several commits is tried again by
    /// the caller, one commit at a time.
    fn apply(&mut self, batch: &Batch) -> Result<Applied, StoreError>;

    /// Takes the store over for a registration, and sets it to a position that an operator has
    /// named; the content stays as it is.
    ///
    /// # Errors
    /// [`StoreError`] by kind; as [`Store::fence`].
    fn seek(&mut self, _generation: u64, _to: Position) -> Result<(), StoreError> {
        Err(Fatal::Unusable("the store keeps no position".into()).into())
    }

    /// True when a batch that is applied record by record tells the one that is refused, and one
    /// that is not may not.
    fn tells_one_by_one(&self) -> bool {
        false
    }

    /// Number of records that the content leaves out; none: the store keeps no account of them.
    ///
    /// # Errors
    /// [`StoreError`] by kind.
    fn skipped(&mut self) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    /// Interrupts what the store does, from another thread; none: it is waited for.
    fn interrupter(&self) -> Option<Interrupter> {
        None
    }

    /// Commits that one batch has at most.
    fn batch_commits(&self) -> usize {
        limits::BATCH_COMMITS
    }

    /// Begins to replace the content of these tables by a dump (I12): from here to
    /// [`Store::end_tables`] the store is [`StorePosition::Restoring`].
    ///
    /// # Errors
    /// [`StoreError`] by kind; as [`Store::fence`].
    fn begin_tables(&mut self, _generation: u64, _head: &DumpHead) -> Result<(), StoreError> {
        Err(no_dumps())
    }

    /// Rows of such a dump.
    ///
    /// # Errors
    /// [`StoreError`] by kind.
    fn put_rows(&mut self, _rows: &[DumpRow]) -> Result<(), StoreError> {
        Err(no_dumps())
    }

    /// Completes the dump: the content is the state at `position`.
    ///
    /// # Errors
    /// [`StoreError`] by kind.
    fn end_tables(&mut self, _position: Position) -> Result<(), StoreError> {
        Err(no_dumps())
    }

    /// Form of the dumps that this kind of store gives and takes; none: it has none.
    fn dump_kind(&self) -> Option<&'static str> {
        None
    }

    /// Replaces the whole content by a dump of another store of this kind, and its position with
    /// it.
    ///
    /// # Errors
    /// [`StoreError`] by kind; as [`Store::fence`].
    fn restore(
        &mut self,
        _generation: u64,
        _chunks: &mut Chunks<'_>,
    ) -> Result<Position, StoreError> {
        Err(no_dumps())
    }

    /// A way to give dumps while commits are applied; none: the store has no dumps.
    fn dumper(&self) -> Option<Arc<dyn Dumper>> {
        None
    }
}

impl StoreError {
    /// A refused record, with the store's text about it.
    pub(crate) fn record(subject: &str, text: impl std::fmt::Display) -> Self {
        Self::refused(bounded(&format!("{subject}: {text}")))
    }

    /// A refusal of a record that is not known.
    pub(crate) fn refused(text: String) -> Self {
        Self::Record(Refusal { text, culprit: None })
    }

    /// The same, and the record is the change of this row.
    pub(crate) fn about_row(self, table: &str, key: &str) -> Self {
        self.about(|| Culprit::Row { table: table.to_owned(), key: key.to_owned() })
    }

    /// The same, and the record is this one of a journal.
    pub(crate) fn about_append(self, append: &SiteAppend) -> Self {
        let SiteAppend { journal, ordinal, .. } = append;
        self.about(|| Culprit::Append { journal: journal.clone(), ordinal: *ordinal })
    }

    fn about(self, culprit: impl FnOnce() -> Culprit) -> Self {
        match self {
            Self::Record(Refusal { text, culprit: None }) => {
                Self::Record(Refusal { text, culprit: Some(culprit()) })
            }
            other => other,
        }
    }
}

fn no_dumps() -> StoreError {
    Fatal::Unusable("the store takes no dumps: begin at the head or the beginning".into()).into()
}

/// Cuts the text of an error to what is told.
pub(crate) fn bounded(text: &str) -> String {
    match text.char_indices().nth(limits::ERROR_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Subject of an error: a row.
pub(crate) fn row_subject(table: &str, key: &str) -> String {
    format!("table {table}, key {key:?}")
}

/// Subject of an error: a record of a journal.
pub(crate) fn append_subject(append: &SiteAppend) -> String {
    format!("journal {}, record {}", append.journal, append.ordinal)
}

/// Returns true if a field with the name of the key's column says the same as the key.
pub(crate) fn is_key(key: &str, field: &RawValue) -> bool {
    let text = field.get();
    text == key || serde_json::from_str::<String>(text).is_ok_and(|text| text == key)
}
