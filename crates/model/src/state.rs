//! State: what a log adds up to. It changes by the fold of an entry only (law 10), which a
//! [`Mirror`](crate::mirror::Mirror) does.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::commit::{Commit, Entry, EntryError, Record, TableOptions, history_after};
use crate::ids::{DedupWindow, Remembered};
use crate::limits;
use crate::mail::{Mail, MailChange};
use crate::name::{Key, Name};
use crate::position::{Place, Revision};
use crate::row::Row;

/// A row with the place of the commit that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRow {
    /// The commit that wrote the row.
    pub place: Place,
    /// The row.
    pub row: Row,
}

/// A table at one place of its history. Cloning is cheap and shares the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Options of the table.
    pub options: TableOptions,
    /// Its rows by key.
    pub rows: OrdMap<Key, StoredRow>,
    /// Bytes of its keys and rows.
    pub bytes: u64,
}

/// A journal: its bytes are in the log, here is only where it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// Ordinal of its newest record; zero when it has none.
    pub last: u64,
}

/// The tables of a dataset at one place. Cloning is cheap: this is a consistent snapshot.
pub type Tables = OrdMap<Name, Table>;

/// Everything that a dataset's log adds up to at `applied`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The newest commit folded.
    pub applied: Place,
    /// Running hash of the entries up to `applied`.
    pub history: u64,
    /// Time of the newest entry, in milliseconds since 1970: what the clock said, which may have
    /// been set back since an entry before.
    pub time_ms: u64,
    /// The tables.
    pub tables: Tables,
    /// The journals.
    pub journals: OrdMap<Name, Journal>,
    /// The commit ids.
    pub ids: DedupWindow,
    /// The mail.
    pub mail: Arc<Mail>,
}

/// Change of one row by a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The table.
    pub table: Name,
    /// The row's key.
    pub key: Key,
    /// The row before.
    pub old: Option<Row>,
    /// The row after.
    pub new: Option<Row>,
    /// Public readability of the table, before and after. Where only this differs, the row stayed
    /// as it was.
    pub public: (bool, bool),
}

impl Change {
    /// Returns true if a reader without rights sees it: before, after, or both.
    #[must_use]
    pub fn is_public(&self) -> bool {
        (self.old.is_some() && self.public.0) || (self.new.is_some() && self.public.1)
    }
}

/// Changes of one commit, for views and changefeeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitChanges {
    /// The commit.
    pub place: Place,
    /// Its changes, in order.
    pub changes: Vec<Change>,
}

/// Change that a fold sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A row.
    Row(Change),
    /// A message.
    Mail(MailChange),
}

/// Error in folding an entry. Each is a reason to stop, never to skip.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// The entry is not the next one (I36).
    #[error("entry {found} does not follow {applied}")]
    Gap {
        /// The entry.
        found: Revision,
        /// The newest folded one.
        applied: Revision,
    },
    /// The entry continues another history.
    #[error("entry {at} continues another history than the one that was folded")]
    Diverged {
        /// The entry.
        at: Revision,
    },
    /// The entry does not decode.
    #[error("entry {at}: {error}")]
    Entry {
        /// The entry.
        at: Revision,
        /// Error in decoding it.
        error: EntryError,
    },
    /// A record names a message or a queue that does not exist; only a bug can write that.
    #[error("entry {at}: a record names a message or a queue that does not exist")]
    UnknownMail {
        /// The entry.
        at: Revision,
    },
    /// A record names what does not exist; only a bug can write that.
    #[error("entry {at}: a record names {name:?}, which does not exist")]
    Unknown {
        /// The entry.
        at: Revision,
        /// The table or journal.
        name: Name,
    },
}

impl FoldError {
    /// The entry that cannot be folded.
    #[must_use]
    pub fn entry(&self) -> Revision {
        match self {
            Self::Gap { found, .. } => *found,
            Self::Diverged { at }
            | Self::Entry { at, .. }
            | Self::UnknownMail { at }
            | Self::Unknown { at, .. } => *at,
        }
    }
}

impl State {
    /// Folds the next entry. `see` is told every change of a row or a message, with its commit's
    /// place.
    ///
    /// # Errors
    /// [`FoldError`]; the state is then unusable, and its dataset stops.
    pub(crate) fn fold(
        &mut self,
        revision: Revision,
        bytes: &[u8],
        see: &mut dyn FnMut(Place, Seen),
    ) -> Result<(), FoldError> {
        if revision != self.applied.revision.next() {
            return Err(FoldError::Gap { found: revision, applied: self.applied.revision });
        }
        let entry =
            Entry::decode(bytes).map_err(|error| FoldError::Entry { at: revision, error })?;
        if entry.history != self.history {
            return Err(FoldError::Diverged { at: revision });
        }
        let Entry { time_ms, commits, .. } = entry;
        if !self.mail.is_empty() {
            self.keep_time(time_ms);
        }
        for (index, commit) in commits.into_iter().enumerate() {
            let place = Place { revision, index: index as u16 };
            self.fold_commit(place, time_ms, commit, see)?;
            self.applied = place;
        }
        self.applied.revision = revision;
        self.time_ms = time_ms;
        self.history = history_after(self.history, bytes);
        Ok(())
    }

    /// Deadlines of messages were reckoned by a clock that has been set back since.
    fn keep_time(&mut self, time_ms: u64) {
        if time_ms.saturating_add(limits::CLOCK_BACK_MS) < self.time_ms {
            Arc::make_mut(&mut self.mail).set_back(time_ms);
        } else if self.mail.is_overtaken(time_ms) {
            Arc::make_mut(&mut self.mail).caught_up(time_ms);
        }
    }

    fn fold_commit(
        &mut self,
        place: Place,
        time_ms: u64,
        commit: Commit,
        see: &mut dyn FnMut(Place, Seen),
    ) -> Result<(), FoldError> {
        for record in commit.records {
            match record {
                Record::Mail(record) => {
                    let mut tell = |change| see(place, Seen::Mail(change));
                    if !Arc::make_mut(&mut self.mail).apply(record, time_ms, &mut tell) {
                        return Err(FoldError::UnknownMail { at: place.revision });
                    }
                }
                record => self.fold_record(place, record, &mut |place, change| {
                    see(place, Seen::Row(change));
                })?,
            }
        }
        if let Some(commit_id) = commit.commit_id {
            let computed = commit.results.iter().any(Option::is_some);
            let results = if computed { commit.results.into() } else { Box::default() };
            let remembered = Remembered { digest: commit_id.digest, place, results };
            self.ids.remember(&commit_id, remembered, time_ms);
        }
        Ok(())
    }

    fn fold_record(
        &mut self,
        place: Place,
        record: Record,
        see: &mut dyn FnMut(Place, Change),
    ) -> Result<(), FoldError> {
        let at = place.revision;
        match record {
            Record::Put { table: name, key, row } => {
                let Some(table) = self.tables.get_mut(&name) else {
                    return Err(FoldError::Unknown { at, name });
                };
                let public = (table.options.public, table.options.public);
                let old = table.put(&key, StoredRow { place, row: row.clone() });
                see(place, Change { table: name, key, old, new: Some(row), public });
            }
            Record::Delete { table: name, key } => {
                let Some(table) = self.tables.get_mut(&name) else {
                    return Err(FoldError::Unknown { at, name });
                };
                let public = (table.options.public, table.options.public);
                let old = table.remove(&key);
                see(place, Change { table: name, key, old, new: None, public });
            }
            Record::Append { journal: name, ordinal, .. } => {
                let Some(journal) = self.journals.get_mut(&name) else {
                    return Err(FoldError::Unknown { at, name });
                };
                journal.last = ordinal;
            }
            Record::CreateTable { table, options } => {
                let known = self.tables.entry(table.clone()).or_default();
                let public = (known.options.public, options.public);
                known.options = options;
                if public.0 == public.1 {
                    return Ok(());
                }
                // For readers of the table from outside, all its rows enter or leave.
                for (key, stored) in &known.rows {
                    let (old, new) = (Some(stored.row.clone()), Some(stored.row.clone()));
                    let (table, key) = (table.clone(), key.clone());
                    see(place, Change { table, key, old, new, public });
                }
            }
            Record::DropTable { table: name } => {
                let dropped = self.tables.remove(&name).unwrap_or_default();
                let public = (dropped.options.public, false);
                for (key, stored) in dropped.rows {
                    let old = Some(stored.row);
                    see(place, Change { table: name.clone(), key, old, new: None, public });
                }
            }
            Record::CreateJournal { journal } => {
                self.journals.entry(journal).or_default();
            }
            // Applied by the caller.
            Record::Mail(_) => {}
        }
        Ok(())
    }
}

impl Table {
    /// Writes a row and returns the one before it.
    pub fn put(&mut self, key: &Key, stored: StoredRow) -> Option<Row> {
        self.bytes += size_of_row(key, &stored.row);
        let old = self.rows.insert(key.clone(), stored).map(|old| old.row);
        self.bytes -= old.as_ref().map_or(0, |row| size_of_row(key, row));
        old
    }

    fn remove(&mut self, key: &Key) -> Option<Row> {
        let old = self.rows.remove(key.as_str()).map(|old| old.row);
        self.bytes -= old.as_ref().map_or(0, |row| size_of_row(key, row));
        old
    }
}

fn size_of_row(key: &Key, row: &Row) -> u64 {
    (key.as_str().len() + row.as_bytes().len()) as u64
}
