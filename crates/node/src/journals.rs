//! Journals: how much of each the log still has, and pages of it.
//!
//! The records of a journal are in the log alone, and go when history goes. Its state knows the
//! number of the newest one. The oldest is looked for in the log when it is asked for; what
//! was looked at before is not looked at again.

mod page;

use std::collections::BTreeMap;

use instep_model::commit::{Entry, Record};
use instep_model::log::{LogReader, ReadError};
use instep_model::name::Name;
use instep_model::position::Revision;
use instep_model::state::State;

pub(crate) use self::page::Reading;
pub use self::page::{JournalPage, JournalRecord};

/// Bytes of entries read at a time.
const READ_BYTES: usize = 1024 * 1024;

/// The records of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalRecords {
    /// The number of the newest one, from 1; 0: there never was one.
    pub last: u64,
    /// The number of the oldest one that the log still has.
    pub first_kept: Option<u64>,
}

/// Cache of the oldest records found in the log.
#[derive(Debug, Default)]
pub(crate) struct Oldest(BTreeMap<Name, Looked>);

#[derive(Debug, Clone, Copy, Default)]
struct Looked {
    /// The oldest record found: its entry, and its number.
    found: Option<(Revision, u64)>,
    /// Entries below have no record of the journal, but for those that are trimmed.
    from: Revision,
}

impl JournalRecords {
    /// Returns the number of records that the log still has.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.first_kept.map_or(0, |first| (self.last + 1).saturating_sub(first))
    }
}

impl Oldest {
    /// The records of every journal of a state. Reads the log where that has been trimmed.
    pub(crate) fn records(
        &mut self,
        state: &State,
        log: &dyn LogReader,
    ) -> Result<BTreeMap<Name, JournalRecords>, ReadError> {
        loop {
            match self.look(state, log) {
                // It was trimmed meanwhile.
                Err(ReadError::Trimmed { .. }) => {}
                looked => return looked,
            }
        }
    }

    fn look(
        &mut self,
        state: &State,
        log: &dyn LogReader,
    ) -> Result<BTreeMap<Name, JournalRecords>, ReadError> {
        let floor = log.bounds().floor;
        let mut records = BTreeMap::new();
        let mut missing = vec![];
        for (name, journal) in &state.journals {
            let known = self.0.entry(name.clone()).or_default();
            if let Some((entry, _)) = known.found.filter(|(entry, _)| *entry < floor) {
                *known = Looked { found: None, from: entry.next() };
            }
            known.from = known.from.max(floor);
            let last = journal.last;
            let first_kept = match known.found {
                _ if last == 0 => None,
                // Nothing was trimmed.
                _ if floor <= Revision(1) => Some(1),
                Some((_, first)) => Some(first),
                None => {
                    missing.push(name.clone());
                    None
                }
            };
            records.insert(name.clone(), JournalRecords { last, first_kept });
        }
        self.find(missing, state.applied.revision, log)?;
        for (name, of) in records.iter_mut().filter(|(_, of)| of.first_kept.is_none()) {
            of.first_kept = self.0.get(name).and_then(|known| known.found).map(|(_, first)| first);
        }
        Ok(records)
    }

    /// Looks for the oldest records of these journals, up to the entry `head`.
    fn find(
        &mut self,
        mut missing: Vec<Name>,
        head: Revision,
        log: &dyn LogReader,
    ) -> Result<(), ReadError> {
        let from = missing.iter().filter_map(|name| self.0.get(name)).map(|known| known.from);
        let Some(mut next) = from.min() else { return Ok(()) };
        while next <= head && !missing.is_empty() {
            for stored in log.read(next, READ_BYTES)? {
                if stored.revision > head {
                    break;
                }
                let damaged = |error: &dyn std::fmt::Display| ReadError::Damaged {
                    at: stored.revision,
                    detail: error.to_string(),
                };
                let entry = Entry::decode(&stored.bytes).map_err(|error| damaged(&error))?;
                let all = entry.commits.into_iter().flat_map(|commit| commit.records);
                for record in all {
                    let Record::Append { journal, ordinal, .. } = record else { continue };
                    let Some(at) = missing.iter().position(|name| *name == journal) else {
                        continue;
                    };
                    missing.swap_remove(at);
                    let found = Some((stored.revision, ordinal));
                    self.0.insert(journal, Looked { found, from: stored.revision });
                }
                next = stored.revision.next();
            }
        }
        for name in missing {
            self.0.insert(name, Looked { found: None, from: next });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use instep_model::commit::Commit;
    use instep_model::log::Log;
    use instep_model::log::memory::MemoryLog;
    use instep_model::mirror::Mirror;
    use instep_model::position::Incarnation;
    use uuid::Uuid;

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    struct Kept {
        log: MemoryLog,
        mirror: Mirror,
        oldest: Oldest,
    }

    impl Kept {
        fn new() -> Self {
            let incarnation = Incarnation(Uuid::from_u128(1));
            let mirror = Mirror::new(incarnation, State::default());
            Self { log: MemoryLog::new(incarnation), mirror, oldest: Oldest::default() }
        }

        /// One entry with a record for each of these journals.
        fn append(&mut self, journals: &[&str]) {
            let mut records = vec![];
            let mut last = self.mirror.state().journals.clone();
            for journal in journals {
                let journal = name(journal);
                let of = last.entry(journal.clone()).or_default();
                of.last += 1;
                records.push(Record::CreateJournal { journal: journal.clone() });
                let bytes = Bytes::from_static(b"x");
                records.push(Record::Append { journal, ordinal: of.last, bytes });
            }
            let commit = Commit { records, commit_id: None, results: vec![] };
            let state = self.mirror.state();
            let head = state.applied.revision;
            let entry = Entry {
                writer: Uuid::nil(),
                sequence: head.0,
                time_ms: 0,
                history: state.history,
                commits: vec![commit],
            };
            let bytes = entry.encode();
            let revision = self.log.append(head, &bytes).unwrap();
            self.mirror.apply(revision, &bytes).unwrap();
        }

        fn told(&mut self) -> Vec<(String, u64, Option<u64>, u64)> {
            let records = self.oldest.records(self.mirror.state(), &*self.log.reader()).unwrap();
            let told = |(name, of): (Name, JournalRecords)| {
                (name.to_string(), of.last, of.first_kept, of.kept())
            };
            records.into_iter().map(told).collect()
        }
    }

    #[test]
    fn a_journal_tells_which_of_its_records_history_still_has() {
        let mut kept = Kept::new();
        for journals in [&["a", "b"][..], &["a"], &[], &["a"], &["b"], &["a"]] {
            kept.append(journals);
        }
        let told = |a: (u64, Option<u64>, u64), b: (u64, Option<u64>, u64)| {
            vec![("a".to_owned(), a.0, a.1, a.2), ("b".to_owned(), b.0, b.1, b.2)]
        };

        assert_eq!(kept.told(), told((4, Some(1), 4), (2, Some(1), 2)));
        kept.log.trim(Revision(3)).unwrap();
        assert_eq!(kept.told(), told((4, Some(3), 2), (2, Some(2), 1)));
        assert_eq!(kept.told(), told((4, Some(3), 2), (2, Some(2), 1)), "the same again");
        kept.log.trim(Revision(6)).unwrap();
        assert_eq!(kept.told(), told((4, Some(4), 1), (2, None, 0)));
        kept.append(&["b"]);
        assert_eq!(kept.told(), told((4, Some(4), 1), (3, Some(3), 1)));
    }

    fn page(kept: &mut Kept, from: Option<u64>, records: usize) -> Result<JournalPage, ReadError> {
        let (state, log, journal) = (kept.mirror.state(), kept.log.reader(), name("a"));
        let of = kept.oldest.records(state, &*log)?[&journal];
        let reading = Reading {
            log: &*log,
            incarnation: Incarnation(Uuid::from_u128(1)),
            journal: &journal,
            head: state.applied.revision,
        };
        reading.page(of, from, (records, 1_000))
    }

    fn ordinals(kept: &mut Kept, from: Option<u64>, records: usize) -> Vec<u64> {
        let page = page(kept, from, records).unwrap();
        let numbers: Vec<_> = page.records.iter().map(|record| record.ordinal).collect();
        assert_eq!(page.next, numbers.last().map_or(from.unwrap_or(page.next), |last| last + 1));
        numbers
    }

    #[test]
    fn a_page_of_a_journal_begins_with_the_record_that_is_asked_for() {
        for gap in [0, 1, 7, 300] {
            let mut kept = Kept::new();
            for _ in 0..40 {
                (0..gap).for_each(|_| kept.append(&["b"]));
                kept.append(&["a", "b", "a", "a"]);
            }

            for from in 1..=120 {
                let to = (from + 4).min(120);
                let wanted: Vec<_> = (from..=to).collect();
                assert_eq!(ordinals(&mut kept, Some(from), 5), wanted, "gap {gap}");
            }
            assert_eq!(ordinals(&mut kept, Some(121), 5), [0; 0]);
        }
    }

    #[test]
    fn i28_a_page_that_begins_below_what_is_kept_is_refused() {
        let mut kept = Kept::new();
        (0..200).for_each(|_| kept.append(&["a"]));
        kept.log.trim(Revision(101)).unwrap();

        let refused = page(&mut kept, Some(100), 5);

        assert_eq!(refused, Err(ReadError::Trimmed { floor: Revision(101) }));
        assert_eq!(ordinals(&mut kept, None, 2), [101, 102]);
        assert_eq!(ordinals(&mut kept, Some(199), 5), [199, 200]);
    }
}
