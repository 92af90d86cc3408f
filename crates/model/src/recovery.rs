//! Recovery: from the files of an engine to a dataset in memory.
//!
//! | step | what it does |
//! | --- | --- |
//! | [`newest_snapshot`] | finds the newest snapshot that reads whole |
//! | [`Recovery::replay`] | folds the log behind it; slow views are told the end only |
//! | [`Recovery::hold_definitions`] | parts the positions that were given by other views |
//!
//! Findings that an operator should know of are returned; the caller logs them.

use std::collections::{BTreeSet, VecDeque};
use std::io;

use uuid::Uuid;

use crate::commit::Entry;
use crate::definition::Start;
use crate::disk::Shortage;
use crate::feed::Feed;
use crate::limits;
use crate::log::{AppendError, Log, LogReader, ReadError, StoredEntry};
use crate::mail::MailChange;
use crate::mirror::Mirror;
use crate::name::Name;
use crate::position::{Place, Revision};
use crate::retention::Retention;
use crate::snapshot::{Reader, SnapshotError};
use crate::state::{CommitChanges, FoldError, Seen, State};
use crate::store::{DefinitionStore, Snapshots};
use crate::view::View;

#[cfg(test)]
mod tests;

/// Bytes of the log read at a time: as many as the caches of a core hold.
const READ_BYTES: usize = 512 * 1024;

/// Failure to recover a dataset.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The log begins behind the newest snapshot.
    #[error("the log begins at entry {floor}, and no readable snapshot reaches there: {detail}")]
    NoSnapshot {
        /// The oldest entry of the log.
        floor: Revision,
        /// Problems of the snapshots there are.
        detail: String,
    },
    /// A newer Instep wrote a snapshot.
    #[error("snapshot {revision}: {detail}: use a newer program")]
    NewerSnapshot {
        /// The revision of the snapshot.
        revision: Revision,
        /// Its format, and the newest one that is known here.
        detail: String,
    },
    /// The log cannot be read.
    #[error("the log cannot be read: {0}")]
    Read(#[from] ReadError),
    /// The log does not add up.
    #[error("the log does not add up: {0}")]
    Fold(#[from] FoldError),
    /// The storage refused.
    #[error("the storage refused: {0}")]
    Storage(#[from] io::Error),
}

impl RecoveryError {
    /// Returns true if the data on disk is damaged. Everything else is about the system.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::NoSnapshot { .. }
            | Self::NewerSnapshot { .. }
            | Self::Fold(_)
            | Self::Read(ReadError::Damaged { .. }) => true,
            Self::Read(_) | Self::Storage(_) => false,
        }
    }

    /// The entry of the log that does not add up.
    #[must_use]
    pub fn entry(&self) -> Option<Revision> {
        match self {
            Self::Fold(error) => Some(error.entry()),
            Self::NoSnapshot { .. }
            | Self::NewerSnapshot { .. }
            | Self::Read(_)
            | Self::Storage(_) => None,
        }
    }

    /// Returns true if the system had no descriptor or no memory.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        match self {
            Self::Read(error) => matches!(error, ReadError::Exhausted(_)),
            Self::Storage(error) => Shortage::of(error) == Some(Shortage::Resources),
            Self::NoSnapshot { .. } | Self::NewerSnapshot { .. } | Self::Fold(_) => false,
        }
    }
}

/// Returns the state of the newest snapshot that reads back whole, or an empty state when the log
/// has everything from the first entry on. `unusable` is told of each snapshot that is passed over.
///
/// # Errors
/// [`RecoveryError::NoSnapshot`] when none reaches the log's floor,
/// [`RecoveryError::NewerSnapshot`], and [`RecoveryError::Storage`] when one may be good, and be
/// read a little later.
pub fn newest_snapshot(
    snapshots: &dyn Snapshots,
    floor: Revision,
    unusable: &mut dyn FnMut(Revision, &str),
) -> Result<State, RecoveryError> {
    let mut problems = Vec::new();
    for revision in snapshots.list()?.into_iter().rev() {
        if revision.next() < floor {
            break;
        }
        match read_snapshot(snapshots, revision) {
            Ok(state) => return Ok(state),
            // It may be good, and read a little later.
            Err(Unread::Now(error)) => return Err(error.into()),
            // It may hold what the log does not: nothing older takes its place.
            Err(Unread::Newer(detail)) => {
                return Err(RecoveryError::NewerSnapshot { revision, detail });
            }
            Err(Unread::Ever(problem)) => {
                unusable(revision, &problem);
                problems.push(format!("snapshot {revision}: {problem}"));
            }
        }
    }
    if floor <= Revision(1) {
        return Ok(State::default());
    }
    if problems.is_empty() {
        problems.push("there are none".into());
    }
    Err(RecoveryError::NoSnapshot { floor, detail: problems.join("; ") })
}

/// Reason why a snapshot was not read.
#[derive(Debug)]
pub enum Unread {
    /// Shortage of the system: a retry may succeed.
    Now(io::Error),
    /// Format that only a newer program reads.
    Newer(String),
    /// Damage, or an error that no retry solves.
    Ever(String),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        match Shortage::of(&error) {
            Some(_) => Self::Now(error),
            None if error.kind() == io::ErrorKind::Unsupported => Self::Newer(error.to_string()),
            None => Self::Ever(error.to_string()),
        }
    }
}

impl From<SnapshotError> for Unread {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::NewerFormat { .. } => Self::Newer(error.to_string()),
            SnapshotError::Malformed(_) => Self::Ever(error.to_string()),
        }
    }
}

/// Reads a snapshot, whole.
///
/// # Errors
/// [`Unread`].
pub fn read_snapshot(snapshots: &dyn Snapshots, revision: Revision) -> Result<State, Unread> {
    let mut reader = Reader::default();
    for chunk in snapshots.open(revision)? {
        make_room();
        reader.push(&chunk?)?;
    }
    Ok(reader.finish()?)
}

/// Recovery of one dataset, behind its snapshot.
pub struct Recovery {
    /// Mirror of the dataset.
    pub mirror: Mirror,
    /// Feed of its topics.
    pub feed: Feed,
    /// Retention of its log.
    pub retention: Retention,
    views: Views,
    /// Changes of messages by the entry that is being folded.
    mail: Vec<MailChange>,
}

/// Evaluation of views while a log is replayed.
enum Views {
    /// There are none.
    None,
    /// Over each entry, so that positions behind the snapshot can be resumed.
    Each {
        /// Time that it took so far, in microseconds.
        spent_us: u64,
    },
    /// It takes too long: over the rows as they are before these entries, the last that were read,
    /// and over these.
    Last(Window),
}

/// The newest entries that were read, not folded yet.
#[derive(Default)]
struct Window {
    entries: VecDeque<StoredEntry>,
    bytes: usize,
}

impl Window {
    fn push(&mut self, entry: StoredEntry) {
        self.bytes += entry.bytes.len();
        self.entries.push_back(entry);
    }

    /// The oldest entry, while there are too many.
    fn surplus(&mut self) -> Option<StoredEntry> {
        let is_full = self.entries.len() > limits::REPLAY_VIEWS_ENTRIES
            || self.bytes > limits::REPLAY_VIEWS_BYTES;
        let oldest = if is_full { self.entries.pop_front() } else { None };
        self.bytes -= oldest.as_ref().map_or(0, |entry| entry.bytes.len());
        oldest
    }
}

/// Callbacks of a replay.
pub struct Replaying<'a> {
    /// Is told, entry by entry, how messages changed.
    pub keep: &'a mut dyn FnMut(&[MailChange]) -> io::Result<()>,
    /// A clock in microseconds that never goes back, for the time that views take.
    pub now_us: &'a mut dyn FnMut() -> u64,
}

impl Recovery {
    /// Counts the history that the snapshot covers, by pieces of the log: it is kept, and it ages,
    /// over any number of starts.
    fn count_history(&mut self, log: &dyn LogReader) {
        let State { applied, time_ms, .. } = self.mirror.state();
        let pieces = log.pieces();
        for (piece, next) in pieces.iter().zip(pieces.iter().skip(1)) {
            if next.first > applied.revision {
                break;
            }
            // A piece is no newer than the entry behind it. One whose age cannot be read is young.
            let behind = log.read(next.first, 1).ok();
            let behind = behind.and_then(|read| Entry::decode(&read.first()?.bytes).ok());
            let time_ms = behind.map_or(*time_ms, |entry| entry.time_ms);
            self.retention.appended(piece.first, piece.bytes, time_ms);
        }
    }

    /// Recovery of a dataset whose snapshot `mirror` stands at.
    #[must_use]
    pub fn new(mirror: Mirror, dataset: Name, views: Vec<View>, retention: Retention) -> Self {
        let evaluated = if views.is_empty() { Views::None } else { Views::Each { spent_us: 0 } };
        let State { tables, applied, .. } = mirror.state();
        let feed = Feed::new(dataset, mirror.incarnation(), views, tables.clone(), *applied);
        Self { mirror, feed, retention, views: evaluated, mail: vec![] }
    }

    /// Folds the log behind the snapshot. Where views take too long for each entry, they are
    /// evaluated over the rows as they are near the end, and over the last entries only; older
    /// positions are resets on their topics then.
    ///
    /// # Errors
    /// [`RecoveryError`]; nothing of it is of use then.
    pub fn replay(
        &mut self,
        log: &dyn LogReader,
        mut with: Replaying<'_>,
    ) -> Result<(), RecoveryError> {
        let head = log.bounds().head;
        self.count_history(log);
        let mut next = self.mirror.state().applied.revision.next();
        while next <= head {
            make_room();
            for stored in log.read(next, READ_BYTES)? {
                next = stored.revision.next();
                self.take(stored, &mut with)?;
            }
        }
        match std::mem::replace(&mut self.views, Views::None) {
            Views::None => self.show(&[]),
            Views::Each { .. } => {}
            Views::Last(window) => {
                let State { tables, applied, .. } = self.mirror.state();
                self.feed.begin_views(tables.clone(), *applied);
                for stored in window.entries {
                    self.tell(&stored, with.keep)?;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, stored: StoredEntry, with: &mut Replaying<'_>) -> Result<(), RecoveryError> {
        match &mut self.views {
            Views::None => self.fold(&stored, with.keep),
            Views::Each { spent_us } if *spent_us <= limits::REPLAY_VIEWS_MS * 1_000 => {
                let (spent_us, before) = (*spent_us, (with.now_us)());
                self.tell(&stored, with.keep)?;
                let spent_us = spent_us + (with.now_us)().saturating_sub(before);
                self.views = Views::Each { spent_us };
                Ok(())
            }
            Views::Each { .. } => {
                self.views = Views::Last(Window::default());
                self.take(stored, with)
            }
            Views::Last(window) => {
                window.push(stored);
                while let Views::Last(window) = &mut self.views
                    && let Some(oldest) = window.surplus()
                {
                    self.fold(&oldest, with.keep)?;
                }
                Ok(())
            }
        }
    }

    /// Folds an entry with a look at the views.
    fn tell(
        &mut self,
        stored: &StoredEntry,
        keep: &mut dyn FnMut(&[MailChange]) -> io::Result<()>,
    ) -> Result<(), RecoveryError> {
        let changes = self.mirror.apply(stored.revision, &stored.bytes)?;
        // Views need the tables as they were. It is not cheap: what a clone shares, the next fold
        // copies.
        self.show(&changes.commits);
        self.count(stored.revision, &stored.bytes);
        Ok(keep(&changes.mail)?)
    }

    /// Folds an entry without a look at the views: no subscriber has joined yet.
    fn fold(
        &mut self,
        stored: &StoredEntry,
        keep: &mut dyn FnMut(&[MailChange]) -> io::Result<()>,
    ) -> Result<(), RecoveryError> {
        let Self { mirror, feed, mail, .. } = self;
        mirror.replay(stored.revision, &stored.bytes, &mut |place, seen| match seen {
            Seen::Row(change) => feed.replay(place, &change),
            Seen::Mail(change) => mail.push(change),
        })?;
        self.count(stored.revision, &stored.bytes);
        keep(&self.mail)?;
        self.mail.clear();
        Ok(())
    }

    fn show(&mut self, commits: &[CommitChanges]) {
        let State { tables, applied, .. } = self.mirror.state();
        self.feed.apply(commits, tables.clone(), *applied);
    }

    fn count(&mut self, revision: Revision, bytes: &[u8]) {
        self.retention.appended(revision, bytes.len() as u64, self.mirror.state().time_ms);
    }

    /// Looks whether readers were told by other views until now. If so, positions from before are
    /// of no use on the topics of those views: an entry that changes nothing stands between them
    /// and those that are given from now on.
    ///
    /// # Errors
    /// [`RecoveryError::Fold`] of that entry; [`RecoveryError::Storage`] when what is written down
    /// is of other views than readers are told by, and can neither be replaced nor removed.
    pub fn hold_definitions(
        &mut self,
        views: &[View],
        log: &mut dyn Log,
        store: &dyn DefinitionStore,
        (writer, now_ms): (Uuid, u64),
    ) -> Result<HeldDefinitions, RecoveryError> {
        let mut told = HeldDefinitions::default();
        let stored = store.read().unwrap_or_else(|error| {
            told.unread = Some(error);
            None
        });
        let start = Start::new(views, stored, self.mirror.incarnation(), self.applied());
        let mut is_bounded = false;
        if !start.changed().is_empty() {
            told.changed.clone_from(start.changed());
            let bytes = Start::boundary(self.mirror.state(), writer, now_ms);
            match log.append(self.applied().revision, &bytes) {
                Ok(revision) => {
                    self.mirror.apply(revision, &bytes)?;
                    self.count(revision, &bytes);
                    self.show(&[]);
                    is_bounded = true;
                }
                Err(error) => told.unlogged = Some(error),
            }
        }
        let held = start.hold(self.applied(), is_bounded);
        told.unwritten = held.to_write.and_then(|bytes| store.write(&bytes).err());
        let is_noted = told.unlogged.is_none() && told.unwritten.is_none();
        if !told.changed.is_empty() && !is_noted {
            // The next start finds all views changed, also where it has those of before again.
            store.remove()?;
        }
        self.feed.hold(held.definitions);
        Ok(told)
    }

    fn applied(&self) -> Place {
        self.mirror.state().applied
    }
}

/// Result of holding the definitions of views, for the operator.
#[derive(Debug, Default)]
pub struct HeldDefinitions {
    /// Patterns of the topics whose readers begin anew.
    pub changed: BTreeSet<String>,
    /// Error in reading the definitions of before, which count as changed then.
    pub unread: Option<io::Error>,
    /// Error in appending the entry that stands between: positions are of no use until another is.
    pub unlogged: Option<AppendError>,
    /// Error in writing the definitions down: the next start finds all views changed.
    pub unwritten: Option<io::Error>,
}

/// Takes the room that the rows of one read need in one piece and gives it back to the allocator.
/// On a thread that is not the main one, glibc asks the system for every page of a growing heap by
/// itself, which was a tenth of a start. Nothing is written, so it costs no memory.
fn make_room() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(4 * READ_BYTES)));
}
