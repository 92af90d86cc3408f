//! Mirror: a dataset in memory that follows its log. Entries go in, changes by commit come out.
//!
//! | entry | result | state |
//! | --- | --- | --- |
//! | the next one | its changes | at the entry's end |
//! | another one, of another history, or one that does not decode | [`FoldError`] | as it was |
//! | the next one, with a record of what does not exist | [`FoldError`] | of no use any more |
//!
//! The owner folds what it has appended, a start folds the log behind a snapshot, a follower folds
//! what it is sent: all of them through this, so that they agree. Nothing else changes a [`State`]
//! (law 10).

use crate::mail::MailChange;
use crate::position::{Incarnation, Place, Position, Revision};
use crate::state::{CommitChanges, FoldError, Seen, State};

#[cfg(test)]
mod tests;

/// Mirror of one dataset: the state of its log, as far as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    incarnation: Incarnation,
    state: State,
}

/// Changes of one entry, for views, changefeeds and mail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryChanges {
    /// Changes of rows, by commit. A commit that changes no row is not among them.
    pub commits: Vec<CommitChanges>,
    /// Changes of messages, in order.
    pub mail: Vec<MailChange>,
}

impl Mirror {
    /// A mirror of the history `incarnation`, of which the entries up to `state.applied` add up to
    /// `state`.
    #[must_use]
    pub fn new(incarnation: Incarnation, state: State) -> Self {
        Self { incarnation, state }
    }

    /// Identity of the history that it follows.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Returns the state of the log.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Position of the newest commit that was folded.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { incarnation: self.incarnation, place: self.state.applied }
    }

    /// Folds the next entry and returns its changes.
    ///
    /// # Errors
    /// [`FoldError`]; the dataset stops then.
    pub fn apply(&mut self, revision: Revision, bytes: &[u8]) -> Result<EntryChanges, FoldError> {
        let mut changes = EntryChanges::default();
        self.state.fold(revision, bytes, &mut |place, seen| changes.add(place, seen))?;
        Ok(changes)
    }

    /// Folds the next entry for a reader that keeps no change: `see` is shown each, with the place
    /// of its commit. A start folds a whole log, and needs no list of its changes.
    ///
    /// # Errors
    /// [`FoldError`]; the dataset stops then.
    pub fn replay(
        &mut self,
        revision: Revision,
        bytes: &[u8],
        see: &mut dyn FnMut(Place, Seen),
    ) -> Result<(), FoldError> {
        self.state.fold(revision, bytes, see)
    }
}

impl EntryChanges {
    fn add(&mut self, place: Place, seen: Seen) {
        match (seen, self.commits.last_mut()) {
            (Seen::Mail(change), _) => self.mail.push(change),
            (Seen::Row(change), Some(last)) if last.place == place => last.changes.push(change),
            (Seen::Row(change), _) => {
                self.commits.push(CommitChanges { place, changes: vec![change] });
            }
        }
    }
}
