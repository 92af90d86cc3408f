//! Contracts of an engine's stores beside the log: snapshots, and the views by which readers were
//! told by.
//!
//! [`memory`] keeps them in memory; [`conformance`] has the suites that every store passes.

use std::io;

use bytes::Bytes;

use crate::position::Revision;

pub mod conformance;
pub mod memory;

/// The chunks of a snapshot as it is read.
pub type Chunks = Box<dyn Iterator<Item = io::Result<Bytes>>>;
/// Takes one chunk of a snapshot as it is written.
pub type TakeChunk<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// Whole-or-absent blobs, one per revision. Two newest are kept.
///
/// Held by [`conformance::snapshots`].
pub trait Snapshots: Send + Sync {
    /// The revisions of the snapshots, oldest first.
    ///
    /// # Errors
    /// When the storage refuses.
    fn list(&self) -> io::Result<Vec<Revision>>;

    /// Reads one, chunk by chunk, as it is now: to the end, whatever is written meanwhile. A chunk
    /// is an error where the bytes are not those written.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is none of that revision, and others when the storage
    /// refuses.
    fn open(&self, revision: Revision) -> io::Result<Chunks>;

    /// Writes one; it exists when this returns, and not before, instead of the one that was there.
    ///
    /// # Errors
    /// Error of `fill`, or of the storage; the store is as it was.
    fn write(
        &self,
        revision: Revision,
        fill: &mut dyn FnMut(&mut TakeChunk<'_>) -> io::Result<()>,
    ) -> io::Result<()>;

    /// The first entry that the older of the two newest good snapshots does not cover.
    fn covered(&self) -> Option<Revision>;
}

/// Store of one small text beside the log: the definitions of the views that the readers of the
/// dataset have been shown.
///
/// Held by [`conformance::definitions`].
pub trait DefinitionStore: Send + Sync {
    /// Reads it; none when nothing was ever written.
    ///
    /// # Errors
    /// When the storage refuses.
    fn read(&self) -> io::Result<Option<Vec<u8>>>;

    /// Replaces it, all or nothing; it survives whatever the log survives when this returns.
    ///
    /// # Errors
    /// When the storage refuses; the old file is still there, or the new one.
    fn write(&self, bytes: &[u8]) -> io::Result<()>;

    /// Removes it, so that nothing was ever written; that survives whatever the log survives.
    ///
    /// # Errors
    /// When the storage refuses.
    fn remove(&self) -> io::Result<()>;
}
