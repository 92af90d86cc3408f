//! Batches: whole commits that a store applies as one.

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
}

impl Batch {
    /// The records, in the order of the log.
    pub fn records(&self) -> impl Iterator<Item = &SiteRecord> {
        self.commits.iter().flat_map(|commit| &commit.records)
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
