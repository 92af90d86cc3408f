//! Changefeeds: the commits after a position, from the log, then as they come.

use std::collections::VecDeque;
use std::sync::Arc;

use instep_model::log::following::{Following, NotFollowed};
use instep_model::log::{LogReader, ReadError};
use instep_model::position::{Place, Position, Revision};
use serde::Serialize;
use tokio::sync::watch;

use crate::blocking::blocking;

pub use instep_model::log::following::FollowedCommit;

/// Bytes of entries read at a time.
const READ_BYTES: usize = 1024 * 1024;

/// Reason why a changefeed ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum FollowError {
    /// The position belongs to another history: take a snapshot.
    #[error("the position belongs to another history of the dataset")]
    OtherHistory,
    /// The commits after the position are not kept any more: take a snapshot.
    #[error("the log begins at entry {floor}, after the position")]
    Trimmed {
        /// The oldest entry kept.
        floor: Revision,
    },
    /// The position lies ahead of the log.
    #[error("the position is ahead of the log, which ends at entry {head}")]
    Ahead {
        /// The newest entry.
        head: Revision,
    },
    /// The system has no descriptor or no memory left to read the log.
    #[error("{detail}")]
    Exhausted {
        /// Error of the system.
        detail: String,
    },
    /// The log cannot be read.
    #[error("the log cannot be read: {detail}")]
    Unreadable {
        /// Error of reading.
        detail: String,
    },
    /// The dataset was closed.
    #[error("the dataset is closing")]
    Closed,
}

impl From<ReadError> for FollowError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Trimmed { floor } => Self::Trimmed { floor },
            ReadError::Ahead { head } => Self::Ahead { head },
            ReadError::Exhausted(detail) => Self::Exhausted { detail },
            ReadError::Damaged { .. } | ReadError::Storage(_) => {
                Self::Unreadable { detail: error.to_string() }
            }
        }
    }
}

/// A reader of the log that waits at its end.
pub struct Follow {
    following: Following,
    reader: Arc<dyn LogReader>,
    head: watch::Receiver<Place>,
    ready: VecDeque<FollowedCommit>,
}

impl Follow {
    pub(crate) fn new(
        reader: Arc<dyn LogReader>,
        head: watch::Receiver<Place>,
        since: Option<Position>,
    ) -> Result<Self, FollowError> {
        let following = Following::new(reader.bounds(), *head.borrow(), since)?;
        Ok(Self { following, reader, head, ready: VecDeque::new() })
    }

    /// The next commit; waits for it.
    ///
    /// # Errors
    /// [`FollowError`]; the feed is over then.
    pub async fn next(&mut self) -> Result<FollowedCommit, FollowError> {
        loop {
            if let Some(commit) = self.ready.pop_front() {
                return Ok(commit);
            }
            let visible = self.head.borrow_and_update().revision;
            if self.following.next() <= visible {
                self.read().await?;
                continue;
            }
            self.head.changed().await.map_err(|_| FollowError::Closed)?;
        }
    }

    /// The next commit, if it is there already.
    ///
    /// # Errors
    /// [`FollowError`]; the feed is over then.
    pub async fn try_next(&mut self) -> Result<Option<FollowedCommit>, FollowError> {
        while self.ready.is_empty() && self.following.next() <= self.head.borrow().revision {
            self.read().await?;
        }
        Ok(self.ready.pop_front())
    }

    async fn read(&mut self) -> Result<(), FollowError> {
        let (reader, from) = (Arc::clone(&self.reader), self.following.next());
        let read = blocking(move || reader.read(from, READ_BYTES)).await;
        let entries = read.map_err(|error| FollowError::Exhausted { detail: error.to_string() })?;
        let unreadable = |detail: String| FollowError::Unreadable { detail };
        let entries = entries?;
        let visible = self.head.borrow().revision;
        for stored in entries {
            // What is in the log but not yet folded is not visible to any reader (law 2).
            if stored.revision > visible {
                break;
            }
            let commits = self.following.take(&stored).map_err(|e| unreadable(e.to_string()))?;
            self.ready.extend(commits);
        }
        Ok(())
    }
}

impl From<NotFollowed> for FollowError {
    fn from(reason: NotFollowed) -> Self {
        match reason {
            NotFollowed::OtherHistory => Self::OtherHistory,
            NotFollowed::Trimmed { floor } => Self::Trimmed { floor },
            NotFollowed::Ahead { head } => Self::Ahead { head },
        }
    }
}

#[cfg(test)]
mod tests {
    use instep_model::commit::{Commit, Entry};
    use instep_model::log::Log;
    use instep_model::log::memory::MemoryLog;
    use instep_model::position::Incarnation;
    use uuid::Uuid;

    use super::*;

    fn here() -> Incarnation {
        Incarnation(Uuid::from_u128(1))
    }

    fn place(revision: u64, index: u16) -> Place {
        Place { revision: Revision(revision), index }
    }

    /// Three entries of two commits each, of which those below `floor` are trimmed.
    fn log(floor: u64) -> MemoryLog {
        let mut log = MemoryLog::new(here());
        for revision in 0..3 {
            let commit = Commit { records: vec![], commit_id: None, results: vec![] };
            let entry = Entry {
                writer: Uuid::nil(),
                sequence: revision,
                time_ms: 0,
                history: 0,
                commits: vec![commit.clone(), commit],
            };
            log.append(Revision(revision), &entry.encode()).unwrap();
        }
        log.trim(Revision(floor)).unwrap();
        log
    }

    async fn follow(floor: u64, since: Option<Place>) -> Result<Vec<Place>, FollowError> {
        let (_head, watch) = watch::channel(place(3, 1));
        let since = since.map(|place| Position { incarnation: here(), place });
        let mut follow = Follow::new(log(floor).reader(), watch, since)?;
        let mut told = vec![];
        while let Some(commit) = follow.try_next().await? {
            told.push(commit.position.place);
        }
        Ok(told)
    }

    #[tokio::test]
    async fn law_4_a_feed_goes_on_only_where_no_commit_can_have_been_trimmed_in_between() {
        let trimmed = |floor| Err(FollowError::Trimmed { floor: Revision(floor) });
        let rest = |from: (u64, u16)| -> Vec<Place> {
            let all = (1..=3).flat_map(|revision| (0..2).map(move |index| (revision, index)));
            all.filter(|at| *at > from).map(|(revision, index)| place(revision, index)).collect()
        };

        for index in 0..2 {
            assert_eq!(follow(3, Some(place(2, index))).await, trimmed(3), "the entry is gone");
            assert_eq!(follow(3, Some(place(1, index))).await, trimmed(3));
            assert_eq!(follow(2, Some(place(2, index))).await, Ok(rest((2, index))));
        }
        assert_eq!(follow(1, Some(Place::default())).await, Ok(rest((0, 0))));
        assert_eq!(follow(2, Some(Place::default())).await, trimmed(2));
        assert_eq!(follow(2, None).await, Ok(rest((1, 1))), "without a position from the floor on");
        assert_eq!(follow(4, Some(place(3, 1))).await, Ok(vec![]), "the newest commit is known");
        assert_eq!(follow(4, Some(place(3, 0))).await, trimmed(4));
    }
}
