//! The contract of a log: one totally ordered history of opaque entries, one per group commit.
//!
//! [`memory::MemoryLog`] keeps it in memory; [`conformance`] is the suite that every log passes.

use std::sync::Arc;

use bytes::Bytes;

use crate::position::{Incarnation, Revision};

pub mod conformance;
pub mod following;
pub mod memory;

/// Promise of durability: the failures that a successful append survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// Nothing: the log lives in memory.
    Nothing,
    /// The process and the machine's power: synced to one disk.
    PowerLoss,
}

/// The part of a history that can be read: `floor..=head`. An empty log has `floor = head + 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The identity of the history.
    pub incarnation: Incarnation,
    /// The oldest entry that can still be read.
    pub floor: Revision,
    /// The newest entry.
    pub head: Revision,
}

/// Error of an append.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Certainly not stored: another writer appended.
    #[error("the log's head is {head}, another one was expected")]
    Conflict {
        /// The actual head.
        head: Revision,
    },
    /// May or may not be stored; resolve by reading at the expected revision.
    #[error("the outcome of the append is unknown: {0}")]
    Unknown(String),
    /// Certainly not stored: it is over [`Log::largest_entry`].
    #[error("the entry of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Bytes of the entry.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Certainly not stored for want of space; a later append may succeed.
    #[error("no space left for the log: {0}")]
    StorageFull(String),
    /// Certainly not stored for want of descriptors or memory; a later append may succeed.
    #[error("the system gives the log no descriptor or no memory: {0}")]
    Exhausted(String),
    /// The log can promise nothing any more; the dataset stops (law 8).
    #[error("the log failed: {0}")]
    Fatal(String),
}

/// Error of a read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The entries asked for were trimmed: take a snapshot.
    #[error("trimmed: the log begins at {floor}")]
    Trimmed {
        /// The oldest entry that can be read.
        floor: Revision,
    },
    /// The position lies beyond the head.
    #[error("ahead: the log's head is {head}")]
    Ahead {
        /// The newest entry.
        head: Revision,
    },
    /// The stored bytes are damaged.
    #[error("damaged at {at}: {detail}")]
    Damaged {
        /// The entry that cannot be read.
        at: Revision,
        /// Description of the damage.
        detail: String,
    },
    /// The system has no descriptor or no memory left; a later read may succeed.
    #[error("cannot read the log now: {0}")]
    Exhausted(String),
    /// The storage refused.
    #[error("cannot read the log: {0}")]
    Storage(String),
}

/// One entry as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its number.
    pub revision: Revision,
    /// Its bytes, as they were appended.
    pub bytes: Bytes,
}

/// A totally ordered, durable history. There is one appender; readers are handed out by
/// [`Log::reader`] and live on other threads.
pub trait Log: Send {
    /// Returns the bounds of the readable entries.
    fn bounds(&self) -> Bounds;

    /// Returns the promise of an `Ok` of [`Log::append`].
    fn promise(&self) -> Promise;

    /// Returns the bytes of the largest entry that it takes. The owner ends its batches there.
    fn largest_entry(&self) -> usize;

    /// Stores `entry` iff the head is `expected`, and returns its revision, `expected + 1`.
    /// When it returns `Ok` the entry survives what [`Log::promise`] says, and readers see it.
    /// Never unconditional, never partly.
    ///
    /// # Errors
    /// See [`AppendError`]. After `Fatal` every later call answers `Fatal` too.
    fn append(&mut self, expected: Revision, entry: &[u8]) -> Result<Revision, AppendError>;

    /// Gives up entries below `floor`. A hint: idempotent, may keep more, never touches the head.
    ///
    /// # Errors
    /// [`AppendError::Fatal`] when the storage failed in a way that makes later appends unsafe;
    /// what else it says leaves the log as it was, and a later trim may succeed.
    fn trim(&mut self, floor: Revision) -> Result<Bounds, AppendError>;

    /// A handle for readers.
    fn reader(&self) -> Arc<dyn LogReader>;
}

/// Reads a log from any thread, while it is appended to.
pub trait LogReader: Send + Sync {
    /// Returns the bounds of the readable entries.
    fn bounds(&self) -> Bounds;

    /// Entries from `from` on, in order and without gaps: at least one (whatever its size), then
    /// as many as fit `max_bytes`; empty only when `from` is `head + 1`.
    ///
    /// # Errors
    /// See [`ReadError`]; everything or an error, never a part (I28).
    fn read(&self, from: Revision, max_bytes: usize) -> Result<Vec<StoredEntry>, ReadError>;

    /// Pieces of the readable entries, in order: what the log gives up together, in bytes about.
    /// The first one may begin below the floor.
    fn pieces(&self) -> Vec<Piece>;
}

/// Piece of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Its first entry.
    pub first: Revision,
    /// Bytes of its entries.
    pub bytes: u64,
}
