//! Pages of a journal: records from a number on, found in the log by halving it.

use bytes::Bytes;
use instep_model::commit::{Entry, Record};
use instep_model::log::{LogReader, ReadError, StoredEntry};
use instep_model::name::Name;
use instep_model::position::{Incarnation, Place, Position, Revision};

use super::JournalRecords;

/// Bytes of entries read at a time.
const READ_BYTES: usize = 256 * 1024;
/// Entries among which a record is looked for one by one.
const NEAR: u64 = 64;

/// Record of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalRecord {
    /// Its number, from 1.
    pub ordinal: u64,
    /// Position of its commit.
    pub position: Position,
    /// Time of its commit, in milliseconds since 1970.
    pub time_ms: u64,
    /// The record.
    pub bytes: Bytes,
}

/// Page of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalPage {
    /// Records, one after the other.
    pub records: Vec<JournalRecord>,
    /// The number of the next one, which may not be there yet.
    pub next: u64,
    /// The number of the newest one; 0: there never was one.
    pub last: u64,
}

/// Log, of which a journal is read up to an entry.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) log: &'a dyn LogReader,
    pub(crate) incarnation: Incarnation,
    pub(crate) journal: &'a Name,
    /// The newest entry that is visible.
    pub(crate) head: Revision,
}

impl Reading<'_> {
    /// A page of records from a number on, or from the oldest that the log has: at most `records`,
    /// and at least one, then as many as begin within `bytes`.
    pub(crate) fn page(
        self,
        JournalRecords { last, first_kept }: JournalRecords,
        from: Option<u64>,
        limits: (usize, usize),
    ) -> Result<JournalPage, ReadError> {
        let first = first_kept.unwrap_or(last + 1);
        let from = from.unwrap_or(first);
        let floor = self.log.bounds().floor;
        if from < first {
            return Err(ReadError::Trimmed { floor });
        }
        let records = if from > last { vec![] } else { self.read((from, last), floor, limits)? };
        let next = records.last().map_or(from, |newest| newest.ordinal + 1);
        Ok(JournalPage { records, next, last })
    }

    /// Records from a number on, which is in the log at or behind the entry `at`, to another one.
    fn read(
        self,
        (from, last): (u64, u64),
        at: Revision,
        (records, bytes): (usize, usize),
    ) -> Result<Vec<JournalRecord>, ReadError> {
        let (mut page, mut size) = (vec![], 0);
        self.each(self.find(from, at)?, self.head, |record| {
            // Behind the newest one the rest of the log has none.
            let goes_on = record.ordinal < last;
            if record.ordinal >= from {
                size += record.bytes.len();
                page.push(record);
            }
            goes_on && page.len() < records && size < bytes
        })?;
        Ok(page)
    }

    /// An entry close before the record with this number, or its own.
    fn find(self, ordinal: u64, at: Revision) -> Result<Revision, ReadError> {
        let (mut low, mut high) = (at, self.head.next());
        while high.0.saturating_sub(low.0) > NEAR {
            let middle = Revision(low.0.midpoint(high.0));
            let mut first = None;
            self.each(middle, Revision(high.0 - 1), |record| {
                first = Some((record.position.place.revision, record.ordinal));
                false
            })?;
            match first {
                Some((revision, found)) if found <= ordinal => low = revision,
                Some(_) | None => high = middle,
            }
        }
        Ok(low)
    }

    /// Visits the records of the journal in the entries `from` to `to`, as long as that is wanted.
    fn each(
        self,
        from: Revision,
        to: Revision,
        mut visit: impl FnMut(JournalRecord) -> bool,
    ) -> Result<(), ReadError> {
        let mut next = from;
        while next <= to {
            for stored in self.log.read(next, READ_BYTES)? {
                if stored.revision > to {
                    return Ok(());
                }
                for record in self.records(&stored)? {
                    if !visit(record) {
                        return Ok(());
                    }
                }
                next = stored.revision.next();
            }
        }
        Ok(())
    }

    /// Records of the journal in an entry.
    fn records(self, stored: &StoredEntry) -> Result<Vec<JournalRecord>, ReadError> {
        let revision = stored.revision;
        let entry = Entry::decode(&stored.bytes)
            .map_err(|error| ReadError::Damaged { at: revision, detail: error.to_string() })?;
        let mut records = vec![];
        for (index, commit) in (0..).zip(entry.commits) {
            let place = Place { revision, index };
            for record in commit.records {
                if let Record::Append { journal, ordinal, bytes } = record
                    && journal == *self.journal
                {
                    let position = Position { incarnation: self.incarnation, place };
                    let time_ms = entry.time_ms;
                    records.push(JournalRecord { ordinal, position, time_ms, bytes });
                }
            }
        }
        Ok(records)
    }
}
