//! Engine contract: a log, stores for snapshots and for bodies of messages, and preparation ahead.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use instep_model::log::Log;
use instep_model::log::memory::MemoryLog;
use instep_model::mail::Seq;
use instep_model::position::{Incarnation, Revision};
use instep_model::store::{Chunks, DefinitionStore, Snapshots, TakeChunk};

use crate::sync::lock;

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

    /// Writes and removes bodies, all or nothing. What is there is replaced, what is not there
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

/// Definitions in memory.
#[derive(Default)]
pub struct MemoryDefinitions(Mutex<Option<Vec<u8>>>);

/// Bodies in memory.
#[derive(Default)]
pub struct MemoryBodies(Mutex<BTreeMap<Seq, Bytes>>);

/// Snapshots in memory.
#[derive(Default)]
pub struct MemorySnapshots(Mutex<BTreeMap<Revision, Bytes>>);

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

impl Snapshots for MemorySnapshots {
    fn list(&self) -> io::Result<Vec<Revision>> {
        Ok(lock(&self.0).keys().copied().collect())
    }

    fn open(&self, revision: Revision) -> io::Result<Chunks> {
        let found = lock(&self.0).get(&revision).cloned();
        let bytes = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(Box::new(std::iter::once(Ok(bytes))))
    }

    fn write(
        &self,
        revision: Revision,
        fill: &mut dyn FnMut(&mut TakeChunk<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        fill(&mut |chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        })?;
        let mut kept = lock(&self.0);
        kept.insert(revision, bytes.into());
        while kept.len() > 2 {
            kept.pop_first();
        }
        Ok(())
    }

    fn covered(&self) -> Option<Revision> {
        let kept = lock(&self.0);
        (kept.len() == 2).then(|| kept.keys().next().map(|oldest| oldest.next())).flatten()
    }
}

impl DefinitionStore for MemoryDefinitions {
    fn read(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(lock(&self.0).clone())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        *lock(&self.0) = Some(bytes.to_vec());
        Ok(())
    }

    fn remove(&self) -> io::Result<()> {
        *lock(&self.0) = None;
        Ok(())
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
