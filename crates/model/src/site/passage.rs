//! Passage: what of a log a site is told, and the position to tell it while commits that it does
//! not follow pass by.
//!
//! | commit | told | position that may be told |
//! | --- | --- | --- |
//! | has records of the scope | these | none: the commit has its own |
//! | has records of clients only outside of the scope | no | its own (I29) |
//! | has nothing but rows of the server itself | no | as before: an acknowledgement moves no site |

use crate::commit::Record;
use crate::position::Position;
use crate::reserved;

use super::Scope;

/// Filter of the feed of one site.
#[derive(Debug, Clone)]
pub struct Passage {
    scope: Scope,
    /// Newest commit that was left out and not told of.
    passed: Option<Position>,
}

impl Passage {
    /// A filter that has seen nothing.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Self { scope, passed: None }
    }

    /// Leaves out of a commit what the site does not follow; returns whether anything is left.
    pub fn take(&mut self, position: Position, records: &mut Vec<Record>) -> bool {
        // A commit that is nothing but the records of sites moves no site: that would never end.
        let is_increment = !records.iter().all(is_of_the_server);
        records.retain(|record| self.scope.has(record));
        let is_told = !records.is_empty();
        if is_told {
            self.passed = None;
        } else if is_increment {
            self.passed = Some(position);
        }
        is_told
    }

    /// Position up to which commits were left out since the last that was told.
    #[must_use]
    pub fn passed(&self) -> Option<Position> {
        self.passed
    }

    /// The same, to be told.
    pub fn take_passed(&mut self) -> Option<Position> {
        self.passed.take()
    }
}

impl Scope {
    /// True when a site with this scope follows a record.
    #[must_use]
    pub fn has(&self, record: &Record) -> bool {
        match record {
            Record::Put { table, .. }
            | Record::Delete { table, .. }
            | Record::CreateTable { table, .. }
            | Record::DropTable { table } => self.has_table(table),
            Record::Append { journal, .. } | Record::CreateJournal { journal } => {
                self.has_journal(journal)
            }
            Record::Mail(_) => false,
        }
    }
}

fn is_of_the_server(record: &Record) -> bool {
    match record {
        Record::Put { table, .. }
        | Record::Delete { table, .. }
        | Record::CreateTable { table, .. }
        | Record::DropTable { table } => reserved::is_name(table.as_str()),
        Record::Append { .. } | Record::CreateJournal { .. } | Record::Mail(_) => false,
    }
}
