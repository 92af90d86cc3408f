//! Start of a dataset whose views may be others than before: which positions are of no use any
//! more, and which definitions to store. The caller reads, appends and writes.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::Definitions;
use crate::commit::{Commit, Entry};
use crate::position::{Incarnation, Place, Revision};
use crate::state::State;
use crate::view::View;

/// Start of a dataset: its present views, and the stored ones.
#[derive(Debug, Clone)]
pub struct Start {
    incarnation: Incarnation,
    current: Definitions,
    before: Option<Definitions>,
    changed: BTreeSet<String>,
    stored: Option<Vec<u8>>,
    is_needed: bool,
}

/// Result of a start: the definitions from then on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartResult {
    /// Definitions that the feed goes by.
    pub definitions: Definitions,
    /// Bytes to write down; none when they are stored already, or must not be: then the next start
    /// finds the views changed again.
    pub to_write: Option<Vec<u8>>,
}

impl Start {
    /// Compares views with the stored definitions beside a log that was read up to `applied`.
    #[must_use]
    pub fn new(
        views: &[View],
        stored: Option<Vec<u8>>,
        incarnation: Incarnation,
        applied: Place,
    ) -> Self {
        let current = Definitions::of(views);
        // The views of a dataset that was always empty told no reader anything.
        let is_new = applied.revision == Revision::ZERO;
        let known = stored.as_deref();
        let before = known
            .and_then(|bytes| Definitions::decode(bytes, incarnation, applied))
            .or_else(|| is_new.then(|| current.clone()));
        let changed = if is_new { BTreeSet::new() } else { current.changed_since(before.as_ref()) };
        let is_needed = stored.is_some() || !views.is_empty();
        Self { incarnation, current, before, changed, stored, is_needed }
    }

    /// The patterns of the topics whose readers begin anew. If there are any, a
    /// [`Start::boundary`] is to be appended: it stands between the positions that were given
    /// before and those that are given from now on.
    #[must_use]
    pub fn changed(&self) -> &BTreeSet<String> {
        &self.changed
    }

    /// An entry with one commit that changes nothing.
    #[must_use]
    pub fn boundary(state: &State, writer: Uuid, now_ms: u64) -> Vec<u8> {
        let commit = Commit { records: vec![], commit_id: None, results: vec![] };
        let history = state.history;
        Entry { writer, sequence: 0, time_ms: now_ms, history, commits: vec![commit] }.encode()
    }

    /// Decides what holds, once the log was read up to `applied`: behind the boundary, if one was
    /// wanted and could be appended (`is_bounded`).
    #[must_use]
    pub fn hold(self, applied: Place, is_bounded: bool) -> StartResult {
        let is_clear = is_bounded || self.changed.is_empty();
        let from = if is_clear {
            applied
        } else {
            // Positions that are given before the next commit cannot be told from older ones, so
            // they are of no use either.
            Place { index: applied.index.saturating_add(1), ..applied }
        };
        let definitions = self.current.hold_from(from, self.changed, self.before);
        let bytes = definitions.encode(self.incarnation);
        let is_news = self.is_needed && self.stored.as_ref() != Some(&bytes);
        StartResult { definitions, to_write: (is_clear && is_news).then_some(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(event: &str) -> View {
        let declaration = json!({
            "name": "v", "dataset": "d", "table": "t", "topic": "a:{x}", "event": event,
        });
        View::compile(&serde_json::from_value(declaration).unwrap()).unwrap()
    }

    fn place(revision: u64) -> Place {
        Place { revision: Revision(revision), index: 0 }
    }

    fn start(event: &str, stored: Option<Vec<u8>>, revision: u64) -> Start {
        Start::new(&[view(event)], stored, Incarnation(Uuid::from_u128(1)), place(revision))
    }

    #[test]
    fn positions_from_before_a_changed_view_are_of_no_use_and_it_is_written_down_once() {
        let new = start("e", None, 0);
        assert!(new.changed().is_empty(), "no reader was told anything");
        let written = new.hold(place(0), false).to_write;

        let same = start("e", written.clone(), 5);
        assert!(same.changed().is_empty());
        let same = same.hold(place(5), false);
        assert_eq!((same.definitions.floor_of("a:1"), same.to_write), (place(0), None));

        let other = start("f", written.clone(), 5);
        assert_eq!(other.changed().len(), 1);
        let held = other.hold(place(6), true);
        assert_eq!(held.definitions.floor_of("a:1"), place(6));
        let again = start("f", held.to_write, 6);
        assert!(again.changed().is_empty());
        assert_eq!(again.hold(place(6), false).definitions.floor_of("a:1"), place(6));
    }

    #[test]
    fn a_change_that_cannot_be_logged_is_one_again_at_the_next_start() {
        let written = start("e", None, 0).hold(place(0), false).to_write;

        let held = start("f", written.clone(), 5).hold(place(5), false);

        assert_eq!(held.to_write, None);
        assert!(held.definitions.floor_of("a:1") > place(5), "not even the newest is of use");
        assert_eq!(start("f", written, 6).changed().len(), 1);
    }
}
