//! From a disk to a memory: the newest snapshot that reads whole, then the log.

use instep_embedded::error::OpenError;
use instep_embedded::log::EmbeddedLog;
use instep_embedded::snapshot::SnapshotStore;
use instep_model::feed::Feed;
use instep_model::ids::IdMemory;
use instep_model::log::{Log, LogReader};
use instep_model::position::{Position, Revision};
use instep_model::snapshot::Reader;
use instep_model::state::{CommitChanges, State};

use super::{Start, feed_of};
use crate::fault::Fault;
use crate::history::Event;

/// Why a process did not come up.
pub(crate) enum Unopened {
    /// The disk has no space: an operator can help.
    Full,
    /// Something else.
    Failed(String),
}

impl From<OpenError> for Unopened {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::StorageFull { .. } => Self::Full,
            error => Self::Failed(error.to_string()),
        }
    }
}

fn failed(error: impl ToString) -> Unopened {
    Unopened::Failed(error.to_string())
}

pub(super) fn recover(
    log: &dyn LogReader,
    snapshots: &SnapshotStore,
    start: &Start,
) -> Result<(State, Feed), Unopened> {
    let fault = start.fault;
    let bounds = log.bounds();
    let mut state = newest_snapshot(snapshots, bounds.floor)?;
    if fault == Some(Fault::ForgetIdsAtRestart) {
        state.ids = IdMemory::default();
    }
    let mut feed = feed_of(bounds.incarnation, &state, start.has_views);
    let from = state.applied.revision.next();
    if from > bounds.head.next() {
        return Err(failed("the newest snapshot is newer than the log"));
    }
    for entry in log.read(from, usize::MAX).map_err(failed)? {
        if fault == Some(Fault::ForgetNewestEntry) && entry.revision == bounds.head {
            break;
        }
        if start.has_views {
            let commits = fold(&mut state, entry.revision, &entry.bytes)?;
            feed.apply(&commits, state.tables.clone(), state.applied);
        } else {
            let mut see = |place, change| feed.replay(place, &change);
            state.fold(entry.revision, &entry.bytes, &mut see).map_err(failed)?;
        }
    }
    if !start.has_views {
        feed.apply(&[], state.tables.clone(), state.applied);
    }
    Ok((state, feed))
}

/// Folds an entry and sorts its changes by commit.
pub(super) fn fold(
    state: &mut State,
    revision: Revision,
    bytes: &[u8],
) -> Result<Vec<CommitChanges>, Unopened> {
    let mut commits: Vec<CommitChanges> = Vec::new();
    let folded = state.fold(revision, bytes, &mut |place, change| match commits.last_mut() {
        Some(last) if last.place == place => last.changes.push(change),
        _ => commits.push(CommitChanges { place, changes: vec![change] }),
    });
    folded.map_err(failed)?;
    Ok(commits)
}

/// Reads a snapshot; none when it is not whole.
pub(super) fn read_snapshot(snapshots: &SnapshotStore, revision: Revision) -> Option<State> {
    let mut chunks = snapshots.read(revision).ok()?;
    let mut reader = Reader::default();
    while let Some(chunk) = chunks.next_chunk().ok()? {
        reader.push(&chunk).ok()?;
    }
    reader.finish().ok()
}

fn newest_snapshot(snapshots: &SnapshotStore, floor: Revision) -> Result<State, Unopened> {
    for snapshot in snapshots.list().into_iter().rev() {
        if snapshot.revision.next() >= floor
            && let Some(state) = read_snapshot(snapshots, snapshot.revision)
        {
            return Ok(state);
        }
    }
    match floor <= Revision(1) {
        true => Ok(State::default()),
        false => Err(failed(format!("no snapshot reaches the log's floor {floor}"))),
    }
}

/// Records what was found.
pub(super) fn record(
    log: &EmbeddedLog,
    state: &State,
    first: bool,
    trace: &mut Vec<Event>,
) -> Result<(), Unopened> {
    let bounds = log.bounds();
    if first {
        trace.push(Event::Began { incarnation: bounds.incarnation, copied: None });
    }
    let entries = log.reader().read(bounds.floor, usize::MAX);
    for entry in entries.map_err(failed)? {
        let (revision, bytes) = (entry.revision, &entry.bytes);
        trace.push(Event::stored(bounds.incarnation, revision, bytes));
    }
    trace.push(Event::Recovered {
        position: Position { incarnation: bounds.incarnation, place: state.applied },
        floor: bounds.floor,
    });
    Ok(())
}
