//! Snapshot files beside the log: whole or absent, checked chunk by chunk.
//!
//! ```text
//! | header, 96 bytes | chunk | chunk | ... | end |
//! chunk: | length u32 | number u32 | checksum u64 | bytes |   the checksum covers length, number,
//! end:   | 0      u32 | chunks u32 | checksum u64 |           bytes and the checksum before it
//! ```
//!
//! A snapshot is written under a temporary name, synced, read back, and only then renamed. The
//! log may be trimmed below the older of the two newest verified snapshots, see
//! [`SnapshotStore::safe_floor`]; these two are never deleted.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use instep_model::disk::{Access, Disk, Shortage};
use instep_model::position::{Incarnation, Revision};
use instep_model::store::{Chunks, Snapshots, TakeChunk};

use crate::error::OpenError;
use crate::format::Header;
use crate::segment;
pub use reader::SnapshotReader;
pub use writer::SnapshotWriter;

mod reader;
mod writer;

/// Largest chunk of a snapshot; it bounds the memory of a reader.
pub const CHUNK_BYTES: usize = 16 * 1024 * 1024;
const CHUNK_HEADER_BYTES: usize = 16;
const ENDING: &str = ".snapshot";
/// Verified snapshots that are never deleted.
const KEPT: usize = 2;

/// Error of an operation on snapshots.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// There is no snapshot of that revision.
    #[error("there is no snapshot of revision {revision}")]
    Missing {
        /// The revision that was asked for.
        revision: Revision,
    },
    /// The file is damaged.
    #[error("the snapshot {} is damaged: {detail}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Description of the damage.
        detail: &'static str,
    },
    /// A newer Instep wrote it.
    #[error("the snapshot {} has format version {found}: use a newer program", file.display())]
    NewerFormat {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u32,
    },
    /// It was made from another history.
    #[error("the snapshot {} belongs to history {found}", file.display())]
    OtherIncarnation {
        /// The file.
        file: PathBuf,
        /// The history that it belongs to.
        found: Incarnation,
    },
    /// A chunk is empty or over [`CHUNK_BYTES`].
    #[error("a chunk of {bytes} bytes, allowed are 1 to {CHUNK_BYTES}")]
    Chunk {
        /// Bytes of the chunk.
        bytes: usize,
    },
    /// One of the two newest verified snapshots cannot be deleted.
    #[error("the snapshot of revision {revision} is one of the two newest good ones")]
    Kept {
        /// Its revision.
        revision: Revision,
    },
    /// No space is left; nothing was changed.
    #[error("no space left for a snapshot: {0}")]
    StorageFull(io::Error),
    /// The storage refused; earlier files are unchanged.
    #[error("cannot use {}: {source}", path.display())]
    Storage {
        /// The file or directory.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The writer of the chunks gave up.
    #[error("the snapshot was given up: {0}")]
    GivenUp(String),
}

impl SnapshotError {
    /// The kind that the operating system's errors of this sort have.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            // `io::ErrorKind` has none for a lack of descriptors.
            Self::Storage { source, .. } if Shortage::is_of_descriptors(source) => {
                io::ErrorKind::WouldBlock
            }
            Self::StorageFull(source) | Self::Storage { source, .. } => source.kind(),
            Self::Missing { .. } => io::ErrorKind::NotFound,
            Self::Damaged { .. } => io::ErrorKind::InvalidData,
            Self::NewerFormat { .. } => io::ErrorKind::Unsupported,
            Self::OtherIncarnation { .. }
            | Self::Chunk { .. }
            | Self::Kept { .. }
            | Self::GivenUp(_) => io::ErrorKind::Other,
        }
    }
}

impl From<SnapshotError> for io::Error {
    fn from(error: SnapshotError) -> Self {
        Self::new(error.kind(), error)
    }
}

/// The snapshots of one directory. Clones are handles of the same store, usable on any thread.
#[derive(Clone)]
pub struct SnapshotStore {
    shared: Arc<Shared>,
}

struct Shared {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// The histories whose snapshots are of use, the newest last.
    lineage: Vec<History>,
    known: Mutex<BTreeMap<Revision, State>>,
    /// Held while a file is made or removed.
    writing: Mutex<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unread,
    Verified,
    Damaged,
}

/// One snapshot of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// The revision that it is complete up to.
    pub revision: Revision,
    /// Every byte of it was read and found good since the store was opened.
    pub verified: bool,
}

/// A history, as far as a log goes back to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// Its identity.
    pub incarnation: Incarnation,
    /// The newest entry of it that is left, when a repair cut off the rest.
    pub last: Option<Revision>,
}

impl History {
    /// Returns true if a snapshot was made from this history and lies within the rest of it.
    pub(crate) fn holds(&self, header: &Header) -> bool {
        self.incarnation == header.incarnation && !self.ends_before(header)
    }

    /// Returns true if a snapshot was made from entries of this history that a repair cut off.
    pub(crate) fn ends_before(&self, header: &Header) -> bool {
        self.incarnation == header.incarnation
            && self.last.is_some_and(|last| header.revision > last)
    }
}

impl SnapshotStore {
    /// A store whose files are in `directory`; `lineage` are the histories that count, the one
    /// that new snapshots belong to last.
    ///
    /// # Errors
    /// When the files cannot be listed: unknown ones would count as missing.
    pub fn open(
        disk: Arc<dyn Disk>,
        directory: PathBuf,
        lineage: Vec<History>,
    ) -> io::Result<Self> {
        let revisions = revisions(&*disk, &directory)?;
        let known = revisions.into_iter().map(|revision| (revision, State::Unread)).collect();
        let (known, writing) = (Mutex::new(known), Mutex::new(()));
        Ok(Self { shared: Arc::new(Shared { disk, directory, lineage, known, writing }) })
    }

    /// The snapshots, oldest first, without those found damaged.
    #[must_use]
    pub fn list(&self) -> Vec<SnapshotInfo> {
        let known = self.shared.known();
        let usable = known.iter().filter(|(_, state)| **state != State::Damaged);
        let infos = usable.map(|(revision, state)| SnapshotInfo {
            revision: *revision,
            verified: *state == State::Verified,
        });
        infos.collect()
    }

    /// Writes the snapshot of `revision` from the chunks that `fill` writes, reads it back, and
    /// makes it durable. One that was there already is replaced.
    ///
    /// # Errors
    /// See [`SnapshotError`]. After an error the store is as it was.
    pub fn write(
        &self,
        revision: Revision,
        fill: impl FnOnce(&mut SnapshotWriter) -> Result<(), SnapshotError>,
    ) -> Result<(), SnapshotError> {
        let shared = &*self.shared;
        let _alone = shared.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let unfinished = shared.directory.join(format!("{:020}.tmp", revision.0));
        let made = self.make(revision, &unfinished, fill);
        if made.is_err() {
            // Best effort: an unfinished file that stays is removed at the next open.
            let _ = shared.disk.remove(&unfinished);
        }
        made?;
        shared.known().insert(revision, State::Verified);
        Ok(())
    }

    fn make(
        &self,
        revision: Revision,
        unfinished: &Path,
        fill: impl FnOnce(&mut SnapshotWriter) -> Result<(), SnapshotError>,
    ) -> Result<(), SnapshotError> {
        let shared = &*self.shared;
        let Some(History { incarnation, .. }) = shared.lineage.last() else {
            return Err(SnapshotError::GivenUp("the store has no history".to_owned()));
        };
        let mut writer = SnapshotWriter::create(&*shared.disk, unfinished, *incarnation, revision)?;
        fill(&mut writer)?;
        writer.finish()?;
        SnapshotReader::open(shared, unfinished, revision)?.read_through()?;
        let path = path(&shared.directory, revision);
        let was_usable = shared.known().get(&revision).is_some_and(|was| *was != State::Damaged);
        shared.disk.rename(unfinished, &path).map_err(storage(&path))?;
        let synced = shared.disk.sync_directory(&shared.directory);
        if synced.is_err() && !was_usable {
            // Its name looks durable now and may not be: the log must not be trimmed on the
            // strength of it.
            let _ = shared.disk.remove(&path);
        }
        synced.map_err(storage(&shared.directory))
    }

    /// Opens a snapshot for reading chunk by chunk.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn read(&self, revision: Revision) -> Result<SnapshotReader, SnapshotError> {
        let path = path(&self.shared.directory, revision);
        let opened = SnapshotReader::open(&self.shared, &path, revision);
        if let Err(SnapshotError::Damaged { .. }) = &opened {
            self.shared.learn(revision, State::Damaged);
        }
        Ok(opened?.reporting_to(self.clone()))
    }

    /// Reads a snapshot through.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn verify(&self, revision: Revision) -> Result<(), SnapshotError> {
        self.read(revision)?.read_through()
    }

    /// Removes a snapshot.
    ///
    /// # Errors
    /// [`SnapshotError::Kept`] for the two newest verified ones.
    pub fn delete(&self, revision: Revision) -> Result<(), SnapshotError> {
        let shared = &*self.shared;
        let _alone = shared.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.newest_verified().contains(&revision) {
            return Err(SnapshotError::Kept { revision });
        }
        let path = path(&shared.directory, revision);
        match shared.disk.remove(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SnapshotError::Missing { revision });
            }
            removed => removed.map_err(storage(&path))?,
        }
        shared.disk.sync_directory(&shared.directory).map_err(storage(&shared.directory))?;
        shared.known().remove(&revision);
        Ok(())
    }

    /// Removes everything older than the two newest verified snapshots, and says how many.
    ///
    /// # Errors
    /// See [`SnapshotStore::delete`].
    pub fn prune(&self) -> Result<usize, SnapshotError> {
        let kept = self.newest_verified();
        if kept.len() < KEPT {
            return Ok(0);
        }
        let oldest = kept.last().copied().unwrap_or_default();
        let old: Vec<Revision> = self.shared.known().range(..oldest).map(|(old, _)| *old).collect();
        for revision in &old {
            self.delete(*revision)?;
        }
        Ok(old.len())
    }

    /// The floor that the log may be trimmed to: behind the older of the two newest verified
    /// snapshots. `None` while there are not two.
    #[must_use]
    pub fn safe_floor(&self) -> Option<Revision> {
        let kept = self.newest_verified();
        kept.get(KEPT - 1).map(|older| older.next())
    }

    fn newest_verified(&self) -> Vec<Revision> {
        let known = self.shared.known();
        let verified = known.iter().rev().filter(|(_, state)| **state == State::Verified);
        verified.map(|(revision, _)| *revision).take(KEPT).collect()
    }
}

impl Snapshots for SnapshotStore {
    fn list(&self) -> io::Result<Vec<Revision>> {
        Ok(self.list().into_iter().map(|info| info.revision).collect())
    }

    fn open(&self, revision: Revision) -> io::Result<Chunks> {
        let mut reader = self.read(revision)?;
        let next = move || reader.next_chunk().map_err(io::Error::from).transpose();
        Ok(Box::new(std::iter::from_fn(next)))
    }

    fn write(
        &self,
        revision: Revision,
        fill: &mut dyn FnMut(&mut TakeChunk<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.write(revision, |writer| {
            let mut failure = None;
            let mut take = |chunk: &[u8]| {
                writer.chunk(chunk).map_err(|error| {
                    let told = io::Error::other(error.to_string());
                    failure = Some(error);
                    told
                })
            };
            match (fill(&mut take), failure) {
                (_, Some(error)) => Err(error),
                (Err(error), None) => Err(SnapshotError::GivenUp(error.to_string())),
                (Ok(()), None) => Ok(()),
            }
        })?;
        self.prune()?;
        Ok(())
    }

    fn covered(&self) -> Option<Revision> {
        self.safe_floor()
    }
}

impl Shared {
    // Each change of the map is one insertion or removal, so a poisoned lock is whole.
    fn known(&self) -> MutexGuard<'_, BTreeMap<Revision, State>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, revision: Revision, state: State) {
        if let Some(known) = self.known().get_mut(&revision) {
            *known = state;
        }
    }
}

/// The revisions of the snapshots in a directory, oldest first.
pub(crate) fn revisions(disk: &dyn Disk, directory: &Path) -> io::Result<Vec<Revision>> {
    match disk.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names.map(|names| revisions_of(&names)),
    }
}

/// The revisions of the snapshots among file names, oldest first.
pub(crate) fn revisions_of(names: &[String]) -> Vec<Revision> {
    let numbers = names.iter().filter_map(|name| segment::number(name, ENDING));
    let mut revisions: Vec<Revision> = numbers.map(Revision).collect();
    revisions.sort_unstable();
    revisions
}

/// The path of the snapshot of a revision.
pub(crate) fn path(directory: &Path, revision: Revision) -> PathBuf {
    directory.join(format!("{:020}{ENDING}", revision.0))
}

/// The first chunk of each snapshot in the directory of a log, as far as it can be read, with its
/// file: a caller that knows the contents of snapshots sees their format there.
///
/// # Errors
/// [`OpenError`], when they cannot be listed or opened.
pub fn beginnings(disk: &dyn Disk, directory: &Path) -> Result<Vec<(PathBuf, Bytes)>, OpenError> {
    let directory = directory.join(segment::SNAPSHOTS);
    let mut found = Vec::new();
    for revision in revisions(disk, &directory).map_err(OpenError::of(&directory))? {
        let path = path(&directory, revision);
        let file = match disk.open(&path, Access::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file.map_err(OpenError::of(&path))?,
        };
        // A damaged file says nothing, and is not used.
        let reader = SnapshotReader::start(file, &path, revision, None);
        if let Ok(Some(first)) = reader.and_then(|mut reader| reader.next_chunk()) {
            found.push((path, first));
        }
    }
    Ok(found)
}

/// Reads a snapshot through without a store, whatever history it belongs to.
pub(crate) fn verify_file(
    disk: &dyn Disk,
    path: &Path,
    revision: Revision,
) -> Result<(), SnapshotError> {
    let file = disk.open(path, Access::Read).map_err(storage(path))?;
    SnapshotReader::start(file, path, revision, None)?.read_through()
}

fn storage(path: &Path) -> impl FnOnce(io::Error) -> SnapshotError {
    let path = path.to_owned();
    move |source| match Shortage::of(&source) {
        Some(Shortage::Space) => SnapshotError::StorageFull(source),
        Some(Shortage::Resources) | None => SnapshotError::Storage { path, source },
    }
}

/// The checksum of a chunk, or of the end, behind the checksum before it.
fn chunk_checksum(before: u64, head: &[u8], bytes: &[u8]) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::with_seed(before);
    hasher.update(head);
    hasher.update(bytes);
    hasher.digest()
}
