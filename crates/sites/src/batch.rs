//! Batches: whole commits that a store applies as one.

use std::collections::BTreeMap;

use instep_client::{SiteAppend, SiteCommit, SiteRecord};
use instep_model::position::Position;

use crate::limits::RECORD_BYTES;

/// Whole commits, and the position that they complete.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The commits, in the order of the log.
    pub commits: Vec<SiteCommit>,
    /// Position behind them; a bookmark may lie behind the last commit.
    pub through: Position,
    /// Records that are left out, by their index, with the reason: of a batch of one commit.
    pub left_out: BTreeMap<usize, String>,
    /// Records are written one by one, so that a refusal names its record.
    pub one_by_one: bool,
}

/// Record that a store refuses, as far as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Culprit {
    /// Change of a row.
    Row {
        /// The table.
        table: String,
        /// The key.
        key: String,
    },
    /// Record of a journal.
    Append {
        /// The journal.
        journal: String,
        /// Number of the record.
        ordinal: u64,
    },
}

impl Batch {
    /// A batch of which nothing is left out.
    #[must_use]
    pub fn new(commits: Vec<SiteCommit>, through: Position) -> Self {
        Self { commits, through, left_out: BTreeMap::new(), one_by_one: false }
    }

    /// The records, in the order of the log.
    pub fn records(&self) -> impl Iterator<Item = &SiteRecord> {
        self.all_records().filter(|(_, left_out)| left_out.is_none()).map(|(record, _)| record)
    }

    /// All records, and of those that are left out the reason.
    pub fn all_records(&self) -> impl Iterator<Item = (&SiteRecord, Option<&str>)> {
        let records = self.commits.iter().flat_map(|commit| &commit.records);
        records.enumerate().map(|(at, record)| (record, self.left_out.get(&at).map(String::as_str)))
    }

    /// True when there are records, and all of them are left out.
    #[must_use]
    pub fn leaves_all_out(&self) -> bool {
        !self.left_out.is_empty() && self.records().next().is_none()
    }

    /// Index of the record that is the culprit: the last one that wrote its row.
    #[must_use]
    pub fn index_of(&self, culprit: &Culprit) -> Option<u32> {
        let records: Vec<_> = self.all_records().collect();
        let is_it = |(record, left_out): &(&SiteRecord, Option<&str>)| {
            left_out.is_none() && culprit.is(record)
        };
        records.iter().rposition(is_it).and_then(|at| u32::try_from(at).ok())
    }
}

impl Culprit {
    fn is(&self, record: &SiteRecord) -> bool {
        match (self, record) {
            (
                Self::Row { table, key },
                SiteRecord::Put { table: of, key: at, .. }
                | SiteRecord::Delete { table: of, key: at },
            ) => table == of && key == at,
            (Self::Append { journal, ordinal }, SiteRecord::Append(append)) => {
                *journal == append.journal && *ordinal == append.ordinal
            }
            _ => false,
        }
    }
}

/// Bytes that a commit weighs in queues and batches.
#[must_use]
pub fn weight(commit: &SiteCommit) -> usize {
    let of_record = |record: &SiteRecord| {
        let content = match record {
            SiteRecord::Put { key, row, .. } => key.len() + row.get().len(),
            SiteRecord::Delete { key, .. } => key.len(),
            SiteRecord::Append(SiteAppend { bytes, .. }) => bytes.len(),
            SiteRecord::CreateTable { .. }
            | SiteRecord::DropTable { .. }
            | SiteRecord::CreateJournal { .. } => 0,
        };
        content + RECORD_BYTES
    };
    RECORD_BYTES + commit.records.iter().map(of_record).sum::<usize>()
}
