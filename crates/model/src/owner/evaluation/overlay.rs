//! Overlay: changes by commits of a batch that are not durable yet.

use std::collections::{BTreeMap, BTreeSet};

use super::mail_overlay::MailOverlay;
use crate::commit::TableOptions;
use crate::name::{Key, Name};
use crate::row::Row;

/// Overlay of changes by commits that are not durable yet.
#[derive(Debug, Default)]
pub(in crate::owner) struct Overlay {
    /// Tables created, or dropped (`None`).
    pub(super) tables: BTreeMap<Name, Option<TableOptions>>,
    /// Tables whose rows in the state do not count any more.
    pub(super) cleared: BTreeSet<Name>,
    pub(super) rows: BTreeMap<(Name, Key), Option<Row>>,
    /// Ordinal of each touched journal's newest record.
    pub(super) journals: BTreeMap<Name, u64>,
    pub(super) letters: MailOverlay,
}

impl Overlay {
    /// Puts a later overlay on top.
    pub(in crate::owner) fn merge(&mut self, later: Self) {
        if !later.cleared.is_empty() {
            self.rows.retain(|(table, _), _| !later.cleared.contains(table));
        }
        self.tables.extend(later.tables);
        self.cleared.extend(later.cleared);
        self.rows.extend(later.rows);
        self.journals.extend(later.journals);
        self.letters = later.letters;
    }

    /// Gives up the overlay of a commit that is not to be.
    pub(in crate::owner) fn undo(&mut self, mut later: Self) {
        later.letters.undo();
        self.letters = later.letters;
    }
}
