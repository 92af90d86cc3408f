//! Engine contract: a log, stores for snapshots and for bodies of messages, and preparation ahead.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use instep_model::log::Log;
use instep_model::log::memory::MemoryLog;
use instep_model::mail::Seq;
use instep_model::position::Incarnation;
use instep_model::store::memory::{MemoryDefinitions, MemorySnapshots};
use instep_model::store::{DefinitionStore, Snapshots};

use crate::sync::lock;

pub mod conformance;

/// An opened engine for one dataset.
pub struct Engine {
    /// The log.
    pub log: Box<dyn Log>,
    /// The snapshots.
    pub snapshots: Arc<dyn Snapshots>,
    /// Store of bodies of messages, which outlive the log's entries there.
    pub bodies: Arc<dyn BodyStore>,
    /// Store of the definitions of the views that readers have been shown.
    pub definitions: Arc<dyn DefinitionStore>,
    /// Preparation ahead; none: appends make what they need.
    pub prepare: Option<Prepare>,
}

/// Preparation of what the next appends of a log will need, beside the appends.
pub struct Prepare {
    /// Says, behind an append, whether there is something to prepare. Must not block.
    pub wants: Box<dyn Fn() -> bool + Send>,
    /// Prepares it, and blocks meanwhile. Dropped when the dataset is closed.
    pub prepare: Box<dyn FnMut() + Send>,
}

/// Bodies of messages by their number. The log is the truth: what is written here again is the
/// same, and what is lost before [`BodyStore::sync`] is written again.
///
/// Held by [`conformance::run`].
pub trait BodyStore: Send + Sync {
    /// Looks, at a start and when it refuses, whether the store can be used. One that is gone or
    /// cannot be read begins anew, without bodies; then the answer is what may still be read of the
    /// one before, which is not written to.
    ///
    /// # Errors
    /// When the storage refuses.
    fn begin(&self) -> io::Result<Option<Arc<dyn BodyStore>>> {
        Ok(None)
    }

    /// Writes, then removes bodies, all or nothing. What is there is replaced, what is not there
    /// need not be removed.
    ///
    /// # Errors
    /// When the storage refuses.
    fn write(&self, put: &[(Seq, Bytes)], removed: &[Seq]) -> io::Result<()>;

    /// Returns once everything written so far survives whatever the log survives.
    ///
    /// # Errors
    /// When the storage refuses.
    fn sync(&self) -> io::Result<()>;

    /// Reads bodies, in the order of `seqs`.
    ///
    /// # Errors
    /// When the storage refuses.
    fn read(&self, seqs: &[Seq]) -> io::Result<Vec<StoredBody>>;

    /// Bytes that the storage takes.
    fn size(&self) -> u64;
}

/// A body as a store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredBody {
    /// The body as it was written.
    Whole(Bytes),
    /// No body.
    Missing,
    /// Other bytes than were written.
    Damaged,
}

/// Bodies in memory.
#[derive(Default)]
pub struct MemoryBodies(Mutex<BTreeMap<Seq, Bytes>>);

impl Engine {
    /// An engine in memory: for tests, and for data that may be lost.
    #[must_use]
    pub fn memory(incarnation: Incarnation) -> Self {
        Self {
            log: Box::new(MemoryLog::new(incarnation)),
            snapshots: Arc::new(MemorySnapshots::default()),
            bodies: Arc::new(MemoryBodies::default()),
            definitions: Arc::new(MemoryDefinitions::default()),
            prepare: None,
        }
    }
}

impl BodyStore for MemoryBodies {
    fn write(&self, put: &[(Seq, Bytes)], removed: &[Seq]) -> io::Result<()> {
        let mut bodies = lock(&self.0);
        bodies.extend(put.iter().cloned());
        removed.iter().for_each(|seq| drop(bodies.remove(seq)));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn read(&self, seqs: &[Seq]) -> io::Result<Vec<StoredBody>> {
        let bodies = lock(&self.0);
        let find = |seq| bodies.get(seq).cloned().map_or(StoredBody::Missing, StoredBody::Whole);
        Ok(seqs.iter().map(find).collect())
    }

    fn size(&self) -> u64 {
        lock(&self.0).values().map(|body| body.len() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store that gives bodies in the order of their numbers, and not in the order asked for.
    #[derive(Default)]
    struct Sorting(MemoryBodies);

    impl BodyStore for Sorting {
        fn write(&self, put: &[(Seq, Bytes)], removed: &[Seq]) -> io::Result<()> {
            self.0.write(put, removed)
        }

        fn sync(&self) -> io::Result<()> {
            self.0.sync()
        }

        fn read(&self, seqs: &[Seq]) -> io::Result<Vec<StoredBody>> {
            let mut seqs = seqs.to_vec();
            seqs.sort_unstable();
            self.0.read(&seqs)
        }

        fn size(&self) -> u64 {
            self.0.size()
        }
    }

    #[test]
    fn bodies_in_memory_pass_the_conformance_suite() {
        conformance::run(|| Box::new(MemoryBodies::default()));
    }

    #[test]
    #[should_panic(expected = "bodies come in the order asked for")]
    fn the_suite_catches_a_store_that_gives_bodies_in_another_order() {
        conformance::run(|| Box::new(Sorting::default()));
    }
}
