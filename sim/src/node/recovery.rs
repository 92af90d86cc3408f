//! From a disk to a memory, by the product's own recovery.

use std::io;
use std::sync::Arc;

use instep_embedded::datasets::{Datasets, Found};
use instep_embedded::definitions::DefinitionFile;
use instep_embedded::error::OpenError;
use instep_embedded::log::{EmbeddedLog, Options};
use instep_embedded::snapshot::SnapshotStore;
use instep_model::disk::simulated::SimulatedDisk;
use instep_model::ids::DedupWindow;
use instep_model::limits;
use instep_model::log::{Bounds, Log, LogReader, Piece, ReadError, StoredEntry};
use instep_model::mirror::Mirror;
use instep_model::position::Revision;
use instep_model::recovery::{Recovery, Replaying, newest_snapshot};
use instep_model::retention::Retention;

use super::{RETENTION_STEP_BYTES, Start, datasets_root, directory};
use crate::fault::Fault;
use crate::faulty_disk::disk_with;
use crate::history::Event;
use crate::shop;

/// Time that slow views take for an entry: after three of them it is too much.
const SLOW_VIEW_US: u64 = limits::REPLAY_VIEWS_MS * 1_000 / 3;

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

impl From<io::Error> for Unopened {
    fn from(error: io::Error) -> Self {
        failed(error)
    }
}

fn failed(error: impl ToString) -> Unopened {
    Unopened::Failed(error.to_string())
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

/// Brings the dataset into memory.
pub(super) fn recover(
    disk: &SimulatedDisk,
    log: &mut EmbeddedLog,
    snapshots: &SnapshotStore,
    start: &Start,
) -> Result<Recovery, Unopened> {
    let Bounds { incarnation, floor, head } = log.bounds();
    let mut state = newest_snapshot(snapshots, floor, &mut |_, _| {}).map_err(failed)?;
    if state.applied.revision > head {
        return Err(failed("the newest snapshot is newer than the log"));
    }
    if start.fault == Some(Fault::ForgetIdsAtRestart) {
        state.ids = DedupWindow::default();
    }
    let (mirror, views) = (Mirror::new(incarnation, state), shop::views(start.views));
    let retention = Retention::in_steps_of(RETENTION_STEP_BYTES);
    let mut recovery = Recovery::new(mirror, shop::name(shop::DATASET), views.clone(), retention);
    let reader = log.reader();
    let reader: Arc<dyn LogReader> = match start.fault {
        Some(Fault::ForgetNewestEntry) => Arc::new(WithoutNewest(reader)),
        _ => reader,
    };
    // At some starts views are slow, and are evaluated over the last entries only.
    let (mut us, step_us) = (0, SLOW_VIEW_US * u64::from(start.writer.as_u128().is_multiple_of(3)));
    let mut now_us = || {
        us += step_us;
        us
    };
    let with = Replaying { keep: &mut |_| Ok(()), now_us: &mut now_us };
    recovery.replay(&*reader, with).map_err(failed)?;
    if start.fault != Some(Fault::ResumeOverAnotherDefinition) {
        let file = DefinitionFile::in_directory(disk_with(disk, start.fault), &directory());
        let by = (start.writer, start.now_ms);
        recovery.hold_definitions(&views, log, &file, by).map_err(failed)?;
    }
    Ok(recovery)
}

/// A log of which one entry too few is read.
struct WithoutNewest(Arc<dyn LogReader>);

impl LogReader for WithoutNewest {
    fn bounds(&self) -> Bounds {
        let bounds = self.0.bounds();
        Bounds { head: Revision(bounds.head.0.saturating_sub(1)), ..bounds }
    }

    fn read(&self, from: Revision, max_bytes: usize) -> Result<Vec<StoredEntry>, ReadError> {
        let head = self.bounds().head;
        let entries = self.0.read(from, max_bytes)?.into_iter();
        Ok(entries.filter(|entry| entry.revision <= head).collect())
    }

    fn pieces(&self) -> Vec<Piece> {
        self.0.pieces()
    }
}

/// Records the findings.
pub(super) fn record(
    log: &EmbeddedLog,
    recovery: &Recovery,
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
    let (position, floor) = (recovery.mirror.position(), bounds.floor);
    trace.push(Event::Recovered { position, floor });
    Ok(())
}
