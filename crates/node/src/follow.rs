//! Changefeeds: the commits after a position, from the log, then as they come.

use std::collections::VecDeque;
use std::sync::Arc;

use instep_model::commit::{Entry, Record};
use instep_model::log::{LogReader, ReadError};
use instep_model::position::{Incarnation, Place, Position, Revision};
use serde::Serialize;
use tokio::sync::watch;

/// Bytes of entries read at a time.
const READ_BYTES: usize = 1024 * 1024;

/// A commit as a reader of the log sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowedCommit {
    /// The commit.
    pub position: Position,
    /// When it was made, in milliseconds since 1970.
    pub time_ms: u64,
    /// What changed, in order.
    pub records: Vec<Record>,
}

/// Why a changefeed ends.
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
    /// The log cannot be read.
    #[error("the log cannot be read: {detail}")]
    Unreadable {
        /// What happened.
        detail: String,
    },
    /// The dataset was closed.
    #[error("the dataset is closing")]
    Closed,
}

/// A reader of the log that waits at its end.
pub struct Follow {
    incarnation: Incarnation,
    reader: Arc<dyn LogReader>,
    /// Everything up to here was given.
    done: Place,
    next: Revision,
    head: watch::Receiver<Place>,
    ready: VecDeque<FollowedCommit>,
}

impl Follow {
    pub(crate) fn new(
        incarnation: Incarnation,
        reader: Arc<dyn LogReader>,
        head: watch::Receiver<Place>,
        since: Option<Position>,
    ) -> Result<Self, FollowError> {
        let bounds = reader.bounds();
        let done = match since {
            None => Place { revision: Revision(bounds.floor.0.saturating_sub(1)), index: u16::MAX },
            Some(since) => since.place_in(incarnation).ok_or(FollowError::OtherHistory)?,
        };
        let visible = *head.borrow();
        // An index that the newest entry does not have was never given to anybody either.
        if since.is_some() && done > visible {
            return Err(FollowError::Ahead { head: visible.revision });
        }
        // The entry of the position itself may hold more commits; without it we start behind it.
        let next = if done.revision < bounds.floor { done.revision.next() } else { done.revision };
        if next < bounds.floor && visible.revision >= next {
            return Err(FollowError::Trimmed { floor: bounds.floor });
        }
        let next = next.max(Revision(1));
        Ok(Self { incarnation, reader, done, next, head, ready: VecDeque::new() })
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
            if self.next <= visible {
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
        while self.ready.is_empty() && self.next <= self.head.borrow().revision {
            self.read().await?;
        }
        Ok(self.ready.pop_front())
    }

    async fn read(&mut self) -> Result<(), FollowError> {
        let (reader, from) = (Arc::clone(&self.reader), self.next);
        let read = tokio::task::spawn_blocking(move || reader.read(from, READ_BYTES));
        let unreadable = |detail: String| FollowError::Unreadable { detail };
        let entries = read.await.map_err(|error| unreadable(error.to_string()))?;
        let entries = entries.map_err(|error| match error {
            ReadError::Trimmed { floor } => FollowError::Trimmed { floor },
            ReadError::Ahead { head } => FollowError::Ahead { head },
            other => unreadable(other.to_string()),
        })?;
        let visible = self.head.borrow().revision;
        for stored in entries {
            // What is in the log but not yet folded is not visible to anybody (law 2).
            if stored.revision > visible {
                break;
            }
            let entry = Entry::decode(&stored.bytes).map_err(|e| unreadable(e.to_string()))?;
            let time_ms = entry.time_ms;
            for (index, commit) in entry.commits.into_iter().enumerate() {
                let place = Place { revision: stored.revision, index: index as u16 };
                if place > self.done {
                    let position = Position { incarnation: self.incarnation, place };
                    let records = commit.records;
                    self.ready.push_back(FollowedCommit { position, time_ms, records });
                }
            }
            self.next = stored.revision.next();
        }
        Ok(())
    }
}
