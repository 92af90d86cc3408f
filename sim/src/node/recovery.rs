//! From a disk to a memory: the newest snapshot that reads whole, then the log.

use std::io;
use std::sync::Arc;

use instep_embedded::datasets::{Datasets, Found};
use instep_embedded::definitions::DefinitionFile;
use instep_embedded::error::OpenError;
use instep_embedded::log::{EmbeddedLog, Options};
use instep_embedded::snapshot::SnapshotStore;
use instep_model::definition::Start as Definitions;
use instep_model::disk::simulated::SimulatedDisk;
use instep_model::feed::Feed;
use instep_model::ids::IdMemory;
use instep_model::log::{Log, LogReader};
use instep_model::mirror::Mirror;
use instep_model::position::Revision;
use instep_model::snapshot::Reader;
use instep_model::state::{Seen, State};
use instep_model::store::DefinitionStore;

use super::{Start, datasets_root, directory, feed_of};
use crate::fault::Fault;
use crate::faulty_disk::disk_with;
use crate::history::Event;
use crate::shop;

/// Reason why a process did not come up.
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
) -> Result<(Mirror, Feed), Unopened> {
    let fault = start.fault;
    let bounds = log.bounds();
    let mut state = newest_snapshot(snapshots, bounds.floor)?;
    if fault == Some(Fault::ForgetIdsAtRestart) {
        state.ids = IdMemory::default();
    }
    let views = shop::views(start.views);
    let has_views = !views.is_empty();
    let mut mirror = Mirror::new(bounds.incarnation, state);
    let mut feed = feed_of(&mirror, views);
    let from = mirror.state().applied.revision.next();
    if from > bounds.head.next() {
        return Err(failed("the newest snapshot is newer than the log"));
    }
    for entry in log.read(from, usize::MAX).map_err(failed)? {
        if fault == Some(Fault::ForgetNewestEntry) && entry.revision == bounds.head {
            break;
        }
        if has_views {
            let changes = mirror.apply(entry.revision, &entry.bytes).map_err(failed)?;
            let state = mirror.state();
            feed.apply(&changes.commits, state.tables.clone(), state.applied);
        } else {
            let mut see = |place, seen| match seen {
                Seen::Row(change) => feed.replay(place, &change),
                Seen::Mail(_) => {}
            };
            mirror.replay(entry.revision, &entry.bytes, &mut see).map_err(failed)?;
        }
    }
    if !has_views {
        let state = mirror.state();
        feed.apply(&[], state.tables.clone(), state.applied);
    }
    Ok((mirror, feed))
}

/// Makes the dataset where there is none.
pub(super) fn make(
    disk: &SimulatedDisk,
    options: &Options,
    fault: Option<Fault>,
) -> Result<(), Unopened> {
    let disk = disk_with(disk, fault);
    let (datasets, _) = Datasets::open(Arc::clone(&disk), &datasets_root()).map_err(failed)?;
    let name = shop::name(shop::DATASET);
    match datasets.find(&name).map_err(failed)? {
        Found::Dataset => Ok(()),
        Found::Foreign | Found::Empty => Err(failed("something else lies there")),
        Found::Nothing | Found::Unfinished => datasets.make(&name, |directory| {
            let directory = directory.to_owned();
            EmbeddedLog::open(disk, Options { directory, ..options.clone() })?;
            Ok(())
        }),
    }
}

impl From<io::Error> for Unopened {
    fn from(error: io::Error) -> Self {
        failed(error)
    }
}

/// Looks whether readers were told by other views until now, and keeps them from going on.
pub(super) fn hold_definitions(
    disk: &SimulatedDisk,
    start: &Start,
    log: &mut EmbeddedLog,
    (mirror, feed): (&mut Mirror, &mut Feed),
) -> Result<(), Unopened> {
    let file = DefinitionFile::in_directory(disk_with(disk, start.fault), &directory());
    let incarnation = log.bounds().incarnation;
    // What cannot be read counts as another definition.
    let stored = file.read().unwrap_or_default();
    let views = shop::views(start.views);
    let known = Definitions::new(&views, stored, incarnation, mirror.state().applied);
    let mut is_bounded = false;
    if !known.changed().is_empty() {
        let state = mirror.state();
        let bytes = Definitions::boundary(state, start.writer, start.now_ms);
        if let Ok(revision) = log.append(state.applied.revision, &bytes) {
            mirror.apply(revision, &bytes).map_err(failed)?;
            let state = mirror.state();
            feed.apply(&[], state.tables.clone(), state.applied);
            is_bounded = true;
        }
    }
    let held = known.hold(mirror.state().applied, is_bounded);
    if let Some(bytes) = held.to_write {
        // If that fails, the next start finds them changed again.
        let _ = file.write(&bytes);
    }
    feed.hold(held.definitions);
    Ok(())
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
    mirror: &Mirror,
    start: &Start,
    trace: &mut Vec<Event>,
) -> Result<(), Unopened> {
    let bounds = log.bounds();
    if start.first {
        trace.push(Event::Began { incarnation: bounds.incarnation, copied: None });
    }
    let entries = log.reader().read(bounds.floor, usize::MAX);
    for entry in entries.map_err(failed)? {
        let (revision, bytes) = (entry.revision, &entry.bytes);
        trace.push(Event::stored(bounds.incarnation, revision, bytes));
    }
    trace.push(Event::Declared { views: start.views });
    trace.push(Event::Recovered { position: mirror.position(), floor: bounds.floor });
    Ok(())
}
