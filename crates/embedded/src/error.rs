//! Errors of opening, checking and repairing a log, in words for the operator.

use std::io;
use std::path::{Path, PathBuf};

use instep_model::disk::Shortage;
use instep_model::position::{Incarnation, Revision};

/// Damage: acknowledged entries that cannot be read any more, with place and evidence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "entry {revision} is damaged: {}, byte {offset}: {detail}. \
     Entries that were acknowledged are lost or follow the damage, so this is no unfinished \
     write, and nothing was changed. `instep check` says more; `instep check --repair` keeps \
     what can still be read behind a good snapshot or the beginning, and moves the rest to the \
     folder `damaged`; if entries are lost, every reader begins anew",
    file.display()
)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Offset of the first damaged byte.
    pub offset: u64,
    /// The first entry that cannot be read.
    pub revision: Revision,
    /// Description of the damage.
    pub detail: String,
    /// The newest entry that is known to have been written.
    pub newest_seen: Revision,
}

/// Error in opening a log.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory.
    #[error("another process uses {}", directory.display())]
    Locked {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory takes no writes.
    #[error("cannot write to {}: {source}", path.display())]
    ReadOnly {
        /// The file or directory.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// No space is left for a segment.
    #[error("no space left for {}: {source}", path.display())]
    StorageFull {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The system has no descriptor or no memory left.
    #[error("cannot use {} now: {source}", path.display())]
    Exhausted {
        /// The file or directory.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// Acknowledged entries cannot be read.
    #[error(transparent)]
    Damaged(Box<Damage>),
    /// A newer Instep wrote this.
    #[error(
        "{} has format version {found}, this program knows up to {known}: use a newer one",
        file.display()
    )]
    NewerFormat {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// A file of another history lies among the others.
    #[error(
        "{} belongs to history {found}, the files before it to {expected}: \
         was it copied here from another data directory? `instep check --repair` moves it to the \
         folder `damaged`",
        file.display()
    )]
    OtherIncarnation {
        /// The file.
        file: PathBuf,
        /// The history that the file says it belongs to.
        found: Incarnation,
        /// The history of the files before it.
        expected: Incarnation,
    },
    /// A repair did not come to its end.
    #[error(
        "a repair of {} did not come to its end: run `instep check --repair` again",
        directory.display()
    )]
    RepairUnfinished {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory had a log, and has none.
    #[error(
        "{} had a log, and no segment of it is there: was it copied without them? Nothing was \
         changed; put them back, or restore a backup",
        directory.display()
    )]
    NoLog {
        /// The directory.
        directory: PathBuf,
    },
    /// A sync failed: recovered entries may not be durable.
    #[error("cannot sync {}: {source}", path.display())]
    SyncFailed {
        /// The file or directory.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The storage refused otherwise.
    #[error("cannot use {}: {source}", path.display())]
    Storage {
        /// The file or directory.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
}

impl From<Damage> for OpenError {
    fn from(damage: Damage) -> Self {
        Self::Damaged(Box::new(damage))
    }
}

impl OpenError {
    /// True when the stored data is damaged, or cannot be read by this program: another try would
    /// find the same.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_)
            | Self::NewerFormat { .. }
            | Self::OtherIncarnation { .. }
            | Self::RepairUnfinished { .. }
            | Self::NoLog { .. } => true,
            Self::Locked { .. }
            | Self::ReadOnly { .. }
            | Self::StorageFull { .. }
            | Self::Exhausted { .. }
            | Self::SyncFailed { .. }
            | Self::Storage { .. } => false,
        }
    }

    /// Sorts an error of the operating system about `path`.
    pub fn of(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match (Shortage::of(&source), source.kind()) {
            (Some(Shortage::Space), _) => Self::StorageFull { path, source },
            (Some(Shortage::Resources), _) => Self::Exhausted { path, source },
            (None, io::ErrorKind::ReadOnlyFilesystem) => Self::ReadOnly { path, source },
            (None, _) => Self::Storage { path, source },
        }
    }

    /// Says that a sync of `path` failed.
    pub(crate) fn sync(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::SyncFailed { path, source }
    }
}
