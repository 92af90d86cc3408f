//! A log in memory: for datasets that promise nothing, and for tests.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;

use super::{AppendError, Bounds, Log, LogReader, Piece, Promise, ReadError, StoredEntry};
use crate::limits;
use crate::position::{Incarnation, Revision};

/// A log that ends with the process.
pub struct MemoryLog {
    kept: Arc<SharedHistory>,
    largest_entry: usize,
}

struct SharedHistory {
    incarnation: Incarnation,
    history: RwLock<History>,
}

/// The entries above the trimmed ones.
#[derive(Default)]
struct History {
    trimmed: u64,
    entries: VecDeque<Bytes>,
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new(incarnation: Incarnation) -> Self {
        let kept = Arc::new(SharedHistory { incarnation, history: RwLock::default() });
        Self { kept, largest_entry: limits::LOG_FRAME_BYTES }
    }

    /// The same with another limit on the bytes of an entry.
    #[must_use]
    pub fn with_largest_entry(self, largest_entry: usize) -> Self {
        Self { largest_entry, ..self }
    }
}

impl SharedHistory {
    // A panic under the lock leaves the history whole: each change is one push or one drain.
    fn history(&self) -> RwLockReadGuard<'_, History> {
        self.history.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn bounds_of(&self, history: &History) -> Bounds {
        Bounds {
            incarnation: self.incarnation,
            floor: Revision(history.trimmed + 1),
            head: history.head(),
        }
    }
}

impl History {
    fn head(&self) -> Revision {
        Revision(self.trimmed + self.entries.len() as u64)
    }
}

impl Log for MemoryLog {
    fn bounds(&self) -> Bounds {
        LogReader::bounds(&*self.kept)
    }

    fn promise(&self) -> Promise {
        Promise::Nothing
    }

    fn largest_entry(&self) -> usize {
        self.largest_entry
    }

    fn append(&mut self, expected: Revision, entry: &[u8]) -> Result<Revision, AppendError> {
        let limit = self.largest_entry;
        if entry.len() > limit {
            return Err(AppendError::TooLarge { bytes: entry.len(), limit });
        }
        let mut history = self.kept.history.write().unwrap_or_else(PoisonError::into_inner);
        let head = history.head();
        if head != expected {
            return Err(AppendError::Conflict { head });
        }
        history.entries.push_back(Bytes::copy_from_slice(entry));
        Ok(history.head())
    }

    fn trim(&mut self, floor: Revision) -> Result<Bounds, AppendError> {
        let mut history = self.kept.history.write().unwrap_or_else(PoisonError::into_inner);
        let below = floor.0.saturating_sub(history.trimmed + 1);
        let gone = history.entries.len().min(usize::try_from(below).unwrap_or(usize::MAX));
        history.entries.drain(..gone);
        history.trimmed += gone as u64;
        Ok(self.kept.bounds_of(&history))
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::<SharedHistory>::clone(&self.kept)
    }
}

impl LogReader for SharedHistory {
    fn bounds(&self) -> Bounds {
        self.bounds_of(&self.history())
    }

    fn read(&self, from: Revision, max_bytes: usize) -> Result<Vec<StoredEntry>, ReadError> {
        let history = self.history();
        let Bounds { floor, head, .. } = self.bounds_of(&history);
        if from < floor {
            return Err(ReadError::Trimmed { floor });
        }
        if from > head.next() {
            return Err(ReadError::Ahead { head });
        }
        let skip = usize::try_from(from.0 - floor.0).unwrap_or(usize::MAX);
        let mut read: Vec<StoredEntry> = Vec::new();
        let mut left = max_bytes;
        for (revision, bytes) in (from.0..).zip(history.entries.iter().skip(skip)) {
            if !read.is_empty() && bytes.len() > left {
                break;
            }
            left = left.saturating_sub(bytes.len());
            read.push(StoredEntry { revision: Revision(revision), bytes: bytes.clone() });
        }
        Ok(read)
    }

    fn pieces(&self) -> Vec<Piece> {
        let history = self.history();
        let sizes = history.entries.iter().map(|entry| entry.len() as u64);
        let numbered = (self.bounds_of(&history).floor.0..).map(Revision).zip(sizes);
        numbered.map(|(first, bytes)| Piece { first, bytes }).collect()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::log::conformance;

    #[test]
    fn it_passes_the_conformance_suite() {
        let log = || MemoryLog::new(Incarnation(Uuid::from_u128(1)));

        conformance::run(|| Box::new(log()));
        conformance::run(|| Box::new(log().with_largest_entry(1_000)));
    }
}
