//! Following: the commits of a log behind a position, entry by entry.

use crate::commit::{Entry, EntryError, Record};
use crate::position::{Incarnation, Place, Position, Revision};

use super::{Bounds, StoredEntry};

/// A commit as a reader of the log sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowedCommit {
    /// The commit.
    pub position: Position,
    /// Time of the commit, in milliseconds since 1970.
    pub time_ms: u64,
    /// Changes, in order.
    pub records: Vec<Record>,
}

/// Reason why a log cannot be followed from a position on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotFollowed {
    /// The position belongs to another history.
    OtherHistory,
    /// The commits behind the position are not kept any more.
    Trimmed {
        /// The oldest entry kept.
        floor: Revision,
    },
    /// The position lies ahead of the log.
    Ahead {
        /// The newest entry.
        head: Revision,
    },
}

/// Reader of a log: where it stands, and which entry it reads next.
#[derive(Debug, Clone)]
pub struct Following {
    incarnation: Incarnation,
    /// Place up to which everything was given.
    done: Place,
    next: Revision,
}

impl Following {
    /// A reader behind `since`, or of everything that is kept, of a log that is visible up to a
    /// place.
    ///
    /// # Errors
    /// [`NotFollowed`].
    pub fn new(
        bounds: Bounds,
        visible: Place,
        since: Option<Position>,
    ) -> Result<Self, NotFollowed> {
        let incarnation = bounds.incarnation;
        let done = match since {
            None => Place { revision: Revision(bounds.floor.0.saturating_sub(1)), index: u16::MAX },
            Some(since) => since.place_in(incarnation).ok_or(NotFollowed::OtherHistory)?,
        };
        // An index that the newest entry does not have was never given to a reader either.
        if since.is_some() && done > visible {
            return Err(NotFollowed::Ahead { head: visible.revision });
        }
        // The entry of the position itself may hold more commits. If it is not kept any more, that
        // it has none is known only of the newest commit and of what was before the first.
        let is_newest = done == visible;
        let is_oldest = done.revision == Revision::ZERO && bounds.floor <= Revision(1);
        let next = match since {
            None => bounds.floor,
            Some(_) if done.revision >= bounds.floor => done.revision,
            Some(_) if is_newest || is_oldest => done.revision.next(),
            Some(_) => return Err(NotFollowed::Trimmed { floor: bounds.floor }),
        };
        Ok(Self { incarnation, done, next })
    }

    /// The entry to read next.
    #[must_use]
    pub fn next(&self) -> Revision {
        self.next
    }

    /// Takes that entry; returns its commits that were not given yet.
    ///
    /// # Errors
    /// [`EntryError`] when the entry does not decode; the reader stands where it stood.
    pub fn take(
        &mut self,
        stored: &StoredEntry,
    ) -> Result<impl Iterator<Item = FollowedCommit> + use<>, EntryError> {
        let Entry { time_ms, commits, .. } = Entry::decode(&stored.bytes)?;
        let (incarnation, done, revision) = (self.incarnation, self.done, stored.revision);
        self.next = revision.next();
        let commits = commits.into_iter().enumerate().filter_map(move |(index, commit)| {
            let place = Place { revision, index: index as u16 };
            let position = Position { incarnation, place };
            let records = commit.records;
            (place > done).then_some(FollowedCommit { position, time_ms, records })
        });
        Ok(commits)
    }
}
