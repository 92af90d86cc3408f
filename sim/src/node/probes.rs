//! Looking at a node without changing it, and keeping its disk small.

use std::collections::BTreeMap;

use instep_model::commit::digest;
use instep_model::log::{Log, ReadError};
use instep_model::mirror::Mirror;
use instep_model::position::{Incarnation, Position, Revision};
use instep_model::recovery::read_snapshot;
use instep_model::snapshot;
use instep_model::state::State;
use instep_model::store::Snapshots;
use serde_json::Value;

use super::{Fault, KEEP, Node};
use crate::history::{Event, ReadOutcome, Source};

/// Content of a state, as an event.
pub(super) fn memory(incarnation: Incarnation, state: &State, source: Source) -> Event {
    let tables = state.tables.iter().map(|(name, table)| {
        let rows = table.rows.iter().map(|(key, stored)| {
            let row = Value::Object(stored.row.fields());
            (key.to_string(), row)
        });
        (name.to_string(), rows.collect())
    });
    let journals = state.journals.iter();
    let journals: BTreeMap<_, _> =
        journals.map(|(name, journal)| (name.to_string(), journal.last)).collect();
    Event::Memory {
        position: Position { incarnation, place: state.applied },
        source,
        tables: tables.collect(),
        journals,
    }
}

impl Node {
    /// Reads the node's memory, as any request does.
    pub(crate) fn look(&mut self, trace: &mut Vec<Event>) {
        self.remember_memory(trace);
    }

    /// Writes a snapshot; what fails leaves everything as it was.
    pub(crate) fn snapshot(&self) {
        let state = self.state();
        if state.applied.revision == Revision::ZERO {
            return;
        }
        let snapshots: &dyn Snapshots = &self.snapshots;
        let _ = snapshots.write(state.applied.revision, &mut |take| {
            snapshot::write(state, &mut |piece| take(piece))
        });
    }

    /// Gives up history that the snapshots cover and that is kept for no reader.
    pub(crate) fn trim(&mut self, trace: &mut Vec<Event>) {
        let covered = match self.fault {
            Some(Fault::TrimBeyondSnapshots) => Some(self.log.bounds().head.next()),
            _ => self.snapshots.covered(),
        };
        let Some(covered) = covered else { return };
        let floor = self.retention.floor(KEEP, covered, self.now_ms, self.steady_ms);
        let Some(floor) = floor else { return };
        if let Err(error) = self.log.trim(floor) {
            self.failed = true;
            let reason = error.to_string();
            trace.push(Event::Failed { reason });
        }
    }

    /// Reads the log from an entry around its floor or head.
    pub(crate) fn read_log(&self, from: Revision, trace: &mut Vec<Event>) {
        let bounds = self.reader.bounds();
        let outcome = match self.reader.read(from, usize::MAX) {
            Ok(entries) => ReadOutcome::Entries {
                entries: entries
                    .iter()
                    .map(|entry| (entry.revision, digest(&entry.bytes)))
                    .collect(),
            },
            Err(ReadError::Trimmed { .. }) => ReadOutcome::Trimmed,
            Err(ReadError::Ahead { .. }) => ReadOutcome::Ahead,
            Err(error) => ReadOutcome::Failed { reason: error.to_string() },
        };
        trace.push(Event::Read { from, floor: bounds.floor, head: bounds.head, outcome });
    }

    /// The part of the log that can be read: floor and head.
    pub(crate) fn bounds(&self) -> (u64, u64) {
        let bounds = self.reader.bounds();
        (bounds.floor.0, bounds.head.0)
    }

    /// Folds every snapshot with the entries after it, for comparison with the whole.
    pub(crate) fn replay(&self, trace: &mut Vec<Event>) {
        for known in self.snapshots.list() {
            let Ok(state) = read_snapshot(&self.snapshots, known.revision) else {
                continue;
            };
            let mut mirror = Mirror::new(self.incarnation, state);
            let from = mirror.state().applied.revision.next();
            let Ok(entries) = self.reader.read(from, usize::MAX) else {
                continue;
            };
            for entry in entries {
                if mirror.apply(entry.revision, &entry.bytes).is_err() {
                    break;
                }
            }
            let source = Source::SnapshotAndTail;
            trace.push(memory(self.incarnation, mirror.state(), source));
        }
    }

    /// Folds the newest entry a second time into a copy of the memory.
    pub(crate) fn refold(&self, trace: &mut Vec<Event>) {
        let revision = self.state().applied.revision;
        let Ok(entries) = self.reader.read(revision, 1) else {
            return;
        };
        let Some(entry) = entries.first() else { return };
        let mut copy = Mirror::new(self.incarnation, self.state().clone());
        let refused = copy.apply(revision, &entry.bytes).is_err();
        let harmless = refused && copy.state() == self.state();
        trace.push(Event::Refolded { revision, harmless });
    }
}
