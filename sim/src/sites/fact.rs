//! Facts about sites, as their databases, their feeds and a reader of the log see them.

use std::collections::BTreeMap;

use instep_model::commit::Record;
use instep_model::position::{Place, Revision};
use instep_model::registration::Generation;
use instep_model::site::Scope;
use instep_model::state::State;

/// One thing that happened. A site is its number in [`SITES`](super::SITES).
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// An entry is in the log.
    Stored {
        /// Its number.
        revision: Revision,
        /// Its size.
        bytes: u64,
        /// Records of its commits.
        commits: Vec<Vec<Record>>,
    },
    /// The server died and came up again.
    Restarted,
    /// The log was trimmed, as far as it could be.
    Trimmed {
        /// The oldest entry kept.
        floor: Revision,
        /// Bytes of history that are held for a site.
        hold: u64,
        /// Sites whose eviction was decided.
        evicted: Vec<String>,
    },
    /// A feed told a commit, or up to where it is complete.
    Told {
        /// The site.
        site: usize,
        /// Place up to which it was complete before.
        from: Place,
        /// Place up to which it is complete.
        to: Place,
        /// It was a commit.
        commit: bool,
    },
    /// The database of a site has changed.
    Store {
        /// The site.
        site: usize,
        /// Position in the database.
        place: Place,
        /// Everything in it.
        content: Content,
    },
    /// A dump was restored, whole.
    Restored {
        /// The site.
        site: usize,
        /// The registration that asked for it.
        generation: Generation,
        /// The dump.
        dump: u64,
        /// Its position.
        place: Place,
    },
    /// A site was told which dump it takes.
    Given {
        /// The site.
        site: usize,
        /// The dump.
        dump: u64,
    },
    /// A site cannot go on from a place, for history is not kept or held: it needs a dump.
    Reset {
        /// The site.
        site: usize,
        /// The place.
        place: Place,
    },
    /// An acknowledgement was taken.
    Heard {
        /// The site.
        site: usize,
        /// The registration that spoke.
        generation: Generation,
        /// The commit.
        at: Place,
    },
    /// Every site had time to catch up with all there is.
    Quiet,
    /// Some more time has passed.
    Rested,
}

/// Content of a database of a site: rows by table and key, and how many records of a journal it
/// has taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Tables.
    pub tables: BTreeMap<String, BTreeMap<String, String>>,
    /// Journals.
    pub journals: BTreeMap<String, u64>,
}

impl Content {
    /// Takes a record. A record of a journal that comes twice is counted twice.
    pub fn take(&mut self, record: &Record) {
        match record {
            Record::Put { table, key, row } => {
                let rows = self.tables.entry(table.to_string()).or_default();
                rows.insert(key.as_str().to_owned(), row.as_json().to_owned());
            }
            Record::Delete { table, key } => {
                self.tables.entry(table.to_string()).or_default().remove(key.as_str());
            }
            Record::CreateTable { table, .. } => {
                self.tables.entry(table.to_string()).or_default();
            }
            Record::DropTable { table } => drop(self.tables.remove(table.as_str())),
            Record::Append { journal, .. } => {
                *self.journals.entry(journal.to_string()).or_default() += 1;
            }
            Record::CreateJournal { journal } => {
                self.journals.entry(journal.to_string()).or_default();
            }
            Record::Mail(_) => {}
        }
    }

    /// Dump of a state, as far as a site follows it.
    pub(super) fn of(state: &State, scope: &Scope) -> Self {
        let tables = state.tables.iter().filter(|(name, _)| scope.has_table(name));
        let tables = tables.map(|(name, table)| {
            let rows = table.rows.iter();
            let row =
                |(key, stored): (&instep_model::name::Key, &instep_model::state::StoredRow)| {
                    (key.as_str().to_owned(), stored.row.as_json().to_owned())
                };
            (name.to_string(), rows.map(row).collect())
        });
        let journals = state.journals.iter().filter(|(name, _)| scope.has_journal(name));
        let journals = journals.map(|(name, journal)| (name.to_string(), journal.last));
        Self { tables: tables.collect(), journals: journals.collect() }
    }
}
