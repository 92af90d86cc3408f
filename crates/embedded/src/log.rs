//! The log: one appender, one write and one sync per entry, segments prepared ahead.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use instep_model::disk::{Disk, DiskFile, DiskLock, Shortage};
use instep_model::limits;
use instep_model::log::{AppendError, Bounds, Log, LogReader, Promise};
use instep_model::position::{Incarnation, Revision};

use crate::error::OpenError;
use crate::format::{HEADER_BYTES, Header, SEGMENT_MAGIC, digest, encode_frame, frame_bytes};
use crate::preallocator::{Preallocator, Prepared, Spare};
use crate::reader::{Segment, Shared};
use crate::recovery;
use crate::scan::TornTail;
pub use crate::segment::SEGMENT_BYTES_MIN;
use crate::segment::{self, name_segment};
use crate::snapshot::SnapshotStore;
use tail::AppendStep;

mod tail;

/// A good size of a segment: large enough to be cheap, small enough to trim closely.
pub const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
/// Size of a log's first segment, if segments are not smaller: a dataset with little in it takes
/// little room, and is read at once when it is opened.
pub const FIRST_SEGMENT_BYTES: u64 = 64 * 1024;
/// Each segment may be so many times as large as the one before, until it has its full size.
const SEGMENT_GROWTH: u64 = 4;
/// A buffer that grew beyond this for one entry is given back.
const BUFFER_BYTES: usize = 8 * 1024 * 1024;
/// Name of a trimmed segment until it is removed.
const TRIMMED: &str = "trimmed.tmp";
const INLINE: &str = "inline.tmp";

/// Options for opening a log.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory; it is created when it is missing, and belongs to this log alone.
    pub directory: PathBuf,
    /// Bytes of a segment file, [`SEGMENT_BYTES`] unless there is a reason. The first ones of a log
    /// are smaller, from [`FIRST_SEGMENT_BYTES`] on. An entry that does not fit gets a segment of
    /// its own size.
    pub segment_bytes: u64,
    /// The identity of the history if one begins here. Nothing in the engine is random.
    pub new_incarnation: Incarnation,
    /// Limit on how far a trim may go.
    pub trimming: Trimming,
    /// Newest format of an entry that the program reads, as its first byte says; a log with a newer
    /// one is refused. None: entries have no formats.
    pub newest_entry: Option<u8>,
}

/// Limit on how far [`Log::trim`] may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trimming {
    /// Only below [`SnapshotStore::safe_floor`], whatever is asked.
    BelowSnapshots,
    /// As far as it is asked: the caller knows that no reader needs more.
    AsAsked,
}

/// Report of the recovery at open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The directory was empty, and a history began.
    pub created: bool,
    /// Entries found.
    pub entries: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// An unfinished write that was cut off.
    pub torn: Option<TornTail>,
}

/// A segment file, for trimming.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its first entry.
    pub first: Revision,
    /// Its last entry; below `first` while it has none.
    pub last: Revision,
    /// Bytes of its frames.
    pub bytes: u64,
    /// Time of the last write to it, in milliseconds since 1970.
    pub modified_ms: u64,
}

/// A durable log in a directory.
pub struct EmbeddedLog {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: Options,
    pub(crate) shared: Arc<Shared>,
    pub(crate) active: Active,
    pub(crate) snapshots: SnapshotStore,
    pub(crate) recovery: Recovery,
    pub(crate) spare: Arc<Spare>,
    pub(crate) lock: Arc<dyn DiskLock>,
    /// Trimmed files that could not be removed yet, oldest first.
    pub(crate) doomed: VecDeque<PathBuf>,
    pub(crate) buffer: Vec<u8>,
    /// Failure after which nothing can be promised any more.
    pub(crate) failed: Option<String>,
}

/// The segment that is appended to.
pub(crate) struct Active {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) path: PathBuf,
    pub(crate) incarnation: Incarnation,
    pub(crate) end: u64,
    pub(crate) capacity: u64,
    /// The checksum of the newest frame.
    pub(crate) chain: u64,
    /// Behind `end` lie, up to here, the remains of an entry that was not stored.
    pub(crate) dirty_end: Option<u64>,
}

impl EmbeddedLog {
    /// Opens the log of a directory, or begins one when the directory is empty.
    ///
    /// Reads every segment once. Cuts an unfinished last write off; anything else that is not as
    /// it was written is refused.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<Self, OpenError> {
        recovery::open(disk, options)
    }

    /// Opens the log of a directory that is a copy, and gives it another identity: from here on it
    /// is `options.new_incarnation`. An empty directory begins its first history.
    ///
    /// # Errors
    /// See [`OpenError`]. Doing it again is safe, and gives another identity again.
    pub fn open_anew(disk: Arc<dyn Disk>, options: Options) -> Result<Self, OpenError> {
        recovery::open_anew(disk, options)
    }

    /// Returns the report of the recovery at open.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// The snapshots beside the log.
    #[must_use]
    pub fn snapshots(&self) -> SnapshotStore {
        self.snapshots.clone()
    }

    /// Returns the preallocator of segments; run it on another thread than the appends.
    #[must_use]
    pub fn preallocator(&self) -> Preallocator {
        let (disk, lock) = (Arc::clone(&self.disk), Arc::clone(&self.lock));
        Preallocator::new(disk, &self.options.directory, Arc::clone(&self.spare), lock)
    }

    /// The segments, oldest first. The last one is appended to and never trimmed.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let state = self.shared.state();
        let firsts = state.segments.keys().skip(1).copied();
        let nexts = firsts.chain([state.head.next()]);
        let infos = state.segments.iter().zip(nexts).map(|((first, segment), next)| SegmentInfo {
            first: *first,
            last: Revision(next.0 - 1),
            bytes: segment.end - HEADER_BYTES as u64,
            // Only a hint for the age of entries: a file that cannot be asked counts as old.
            modified_ms: self.disk.modified_ms(&segment.path).unwrap_or_default(),
        });
        infos.collect()
    }

    fn check_alive(&self) -> Result<(), AppendError> {
        match &self.failed {
            Some(reason) => Err(AppendError::Fatal(reason.clone())),
            None => Ok(()),
        }
    }

    /// Refuses an append of which nothing was written: for a while after a shortage, else for good.
    fn refuse(&mut self, doing: &str, path: &Path, error: &io::Error) -> AppendError {
        match Shortage::of(error) {
            Some(shortage) => tail::passing(shortage, error),
            None => self.fail(doing, path, error),
        }
    }

    /// A failed write or sync is final: what the disk holds now is unknown (law 8).
    fn fail(&mut self, doing: &str, path: &Path, error: &io::Error) -> AppendError {
        let reason = format!("cannot {doing} {}: {error}", path.display());
        self.failed = Some(reason.clone());
        AppendError::Fatal(reason)
    }

    /// Goes on in a new segment with room for one frame of `frame` bytes.
    fn roll(&mut self, first: Revision, frame: usize) -> Result<(), AppendError> {
        let directory = self.options.directory.clone();
        let needed = (HEADER_BYTES + frame) as u64;
        let (unnamed, Prepared { file, bytes: capacity }) =
            match self.spare.take(&directory, needed) {
                Some(prepared) => prepared,
                None => {
                    let (unnamed, bytes) = (directory.join(INLINE), needed.max(self.next_bytes()));
                    let made = segment::make_zeroed(&*self.disk, &unnamed, bytes);
                    let file = made.map_err(|error| self.refuse("prepare", &unnamed, &error))?;
                    (unnamed, Prepared { file, bytes })
                }
            };
        let incarnation = self.active.incarnation;
        let header = Header {
            magic: SEGMENT_MAGIC,
            incarnation,
            predecessor: incarnation,
            revision: first,
            chain: self.active.chain,
            bytes: capacity,
        };
        let path = segment::path(&directory, first);
        let named = name_segment(&*self.disk, &*file, &header, &unnamed, &path);
        self.spare.begun();
        if let Err(error) = named {
            // It has no entries. The next append makes another one and gives it the name anew,
            // which does not depend on what became of this one.
            for made in [&unnamed, &path] {
                let _ = self.disk.remove(made);
            }
            return Err(self.refuse("begin", &path, &error));
        }
        self.active = Active {
            file: Arc::clone(&file),
            path: path.clone(),
            incarnation,
            end: HEADER_BYTES as u64,
            capacity,
            chain: self.active.chain,
            dirty_end: None,
        };
        let segment = Segment {
            path,
            incarnation: digest(incarnation),
            end: HEADER_BYTES as u64,
            marks: Vec::new(),
            file: Some(file),
        };
        self.shared.change().roll(first, segment);
        Ok(())
    }

    /// Bytes of the segment behind the active one.
    fn next_bytes(&self) -> u64 {
        let least = first_segment_bytes(&self.options);
        self.active.capacity.saturating_mul(SEGMENT_GROWTH).clamp(least, self.options.segment_bytes)
    }

    /// Removes trimmed files, oldest first, each durably before the next: a gap is damage.
    fn remove_doomed(&mut self) -> Result<(), AppendError> {
        let directory = self.options.directory.clone();
        let unnamed = directory.join(TRIMMED);
        while let Some(path) = self.doomed.front().cloned() {
            match self.disk.rename(&path, &unnamed) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Ok(()),
                _ => {}
            }
            if let Err(error) = self.disk.sync_directory(&directory) {
                // While it only looks gone, the next process would trim behind it, and a power
                // cut that brings it back would leave a gap. With its name back it is trimmed anew.
                return Err(match self.disk.rename(&unnamed, &path) {
                    Ok(()) => self.refuse("sync", &directory, &error),
                    Err(_) => self.fail("sync", &directory, &error),
                });
            }
            // Best effort: an unfinished file that stays is removed at the next open.
            let _ = self.disk.remove(&unnamed);
            self.doomed.pop_front();
        }
        Ok(())
    }
}

/// Bytes of the first segment of a log.
pub(crate) fn first_segment_bytes(options: &Options) -> u64 {
    options.segment_bytes.min(FIRST_SEGMENT_BYTES)
}

impl Log for EmbeddedLog {
    fn bounds(&self) -> Bounds {
        self.shared.state().bounds()
    }

    fn promise(&self) -> Promise {
        Promise::PowerLoss
    }

    fn largest_entry(&self) -> usize {
        limits::LOG_FRAME_BYTES
    }

    fn append(&mut self, expected: Revision, entry: &[u8]) -> Result<Revision, AppendError> {
        self.check_alive()?;
        let limit = self.largest_entry();
        if entry.len() > limit {
            return Err(AppendError::TooLarge { bytes: entry.len(), limit });
        }
        let head = self.shared.state().head;
        if head != expected {
            return Err(AppendError::Conflict { head });
        }
        let revision = head.next();
        self.clear_tail()?;
        let frame = frame_bytes(entry.len());
        if self.active.end + frame as u64 > self.active.capacity {
            self.roll(revision, frame)?;
        }
        let incarnation = digest(self.active.incarnation);
        let chain = self.active.chain;
        let checksum = encode_frame(&mut self.buffer, incarnation, revision, chain, entry);
        let (file, offset) = (Arc::clone(&self.active.file), self.active.end);
        let end = offset + frame as u64;
        if let Err(error) = file.write_all_at(&self.buffer, offset) {
            return Err(self.take_back(AppendStep::Write, end, &error));
        }
        if let Err(error) = file.sync_data() {
            return Err(self.take_back(AppendStep::Sync, end, &error));
        }
        self.active.end = end;
        self.active.chain = checksum;
        self.shared.change().publish(revision, offset, self.active.end);
        if self.active.end > self.active.capacity / 2 {
            self.spare.want(self.next_bytes());
        }
        if self.buffer.capacity() > BUFFER_BYTES {
            self.buffer = Vec::new();
        }
        Ok(revision)
    }

    fn trim(&mut self, floor: Revision) -> Result<Bounds, AppendError> {
        self.check_alive()?;
        let allowed = match self.options.trimming {
            Trimming::AsAsked => floor,
            Trimming::BelowSnapshots => floor.min(self.snapshots.safe_floor().unwrap_or_default()),
        };
        {
            let mut state = self.shared.change();
            // A segment can go when its successor begins at or below the floor.
            while let Some(next) = state.segments.keys().nth(1).copied().filter(|n| *n <= allowed) {
                if let Some((_, gone)) = state.segments.pop_first() {
                    self.doomed.push_back(gone.path);
                }
                state.floor = next;
            }
        }
        self.remove_doomed()?;
        Ok(self.bounds())
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::<Shared>::clone(&self.shared)
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.spare.close();
    }
}
