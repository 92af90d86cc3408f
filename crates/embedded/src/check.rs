//! Check of a directory, without changing it: `instep check`.

use std::io;
use std::path::{Path, PathBuf};

use instep_model::disk::{Disk, Sharing};
use instep_model::position::{Incarnation, Revision};

use crate::error::{Damage, OpenError};
use crate::format::{HEADER_BYTES, SNAPSHOT_MAGIC};
use crate::identity;
use crate::newer;
use crate::repair;
use crate::scan::{self, Rules, Scan, TornTail};
use crate::segment;
use crate::snapshot::{self, History};

/// Report of a check.
#[derive(Debug)]
pub struct Report {
    /// The identity of the history; `None` when there is no segment.
    pub incarnation: Option<Incarnation>,
    /// The oldest entry.
    pub floor: Revision,
    /// The newest good entry.
    pub head: Revision,
    /// Segment files up to the damage.
    pub segments: usize,
    /// Bytes of good frames.
    pub bytes: u64,
    /// An unfinished write, which the next open cuts off. That entry was never acknowledged.
    pub torn: Option<TornTail>,
    /// The log does not open because of this.
    pub damage: Option<Damage>,
    /// A repair was begun and must be run again.
    pub repair_unfinished: bool,
    /// The histories that snapshots may belong to.
    pub lineage: Vec<History>,
    /// The snapshots, oldest first.
    pub snapshots: Vec<CheckedSnapshot>,
}

/// Report of a check about one snapshot.
#[derive(Debug)]
pub struct CheckedSnapshot {
    /// The file.
    pub file: PathBuf,
    /// The revision in its name.
    pub revision: Revision,
    /// Fault of the snapshot; none when it is good.
    pub fault: Option<String>,
}

impl Report {
    /// Nothing stands in the way of a start: a damaged snapshot does not, as long as another one
    /// or the whole log is there.
    #[must_use]
    pub fn starts(&self) -> bool {
        self.damage.is_none() && !self.repair_unfinished
    }

    /// Nothing stands in the way of a start, and every snapshot is good.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.starts() && self.snapshots.iter().all(|snapshot| snapshot.fault.is_none())
    }
}

/// The oldest entry of a log.
pub(crate) fn floor(scan: &Scan) -> Revision {
    scan.segments.first().map_or(Revision(1), |segment| segment.header.revision)
}

/// Returns the damage that prevents a start although every file of the log is whole: the log does
/// not go back to its beginning, and no good snapshot reaches it.
pub(crate) fn unreached(
    disk: &dyn Disk,
    directory: &Path,
    scan: &Scan,
) -> Result<Option<Damage>, OpenError> {
    let floor = floor(scan);
    if floor <= Revision(1) {
        return Ok(None);
    }
    let lineage = scan.lineage();
    let snapshots = directory.join(segment::SNAPSHOTS);
    let revisions = snapshot::revisions(disk, &snapshots).map_err(OpenError::of(&snapshots))?;
    for revision in revisions.into_iter().rev().filter(|revision| revision.next() >= floor) {
        let file = snapshot::path(&snapshots, revision);
        let header = repair::header_of(disk, &file, SNAPSHOT_MAGIC)?;
        let is_of_use = header.is_some_and(|one| lineage.iter().any(|of| of.holds(&one)));
        if is_of_use && snapshot::verify_file(disk, &file, revision).is_ok() {
            return Ok(None);
        }
    }
    let first = Revision(floor.0 - 1);
    let file = segment::path(directory, floor);
    let detail = format!("the log begins at {floor}, and no good snapshot reaches there");
    let mut found = scan::damage(&file, 0, first, &detail);
    found.newest_seen = scan.head();
    Ok(Some(found))
}

/// The file of the log in a directory that an entry lies in, by the names of its files.
#[must_use]
pub fn file_of(disk: &dyn Disk, directory: &Path, entry: Revision) -> Option<PathBuf> {
    let firsts = segment::firsts(&disk.list(directory).ok()?);
    let first = firsts.into_iter().rev().find(|first| *first <= entry)?;
    Some(segment::path(directory, first))
}

/// Reads every byte of a directory and changes none. The log must not be open. `newest_entry`: as
/// in [`Options`](crate::log::Options).
///
/// # Errors
/// [`OpenError::Locked`] while a process has it open, [`OpenError::NewerFormat`], and what the disk
/// refuses.
pub fn check(
    disk: &dyn Disk,
    directory: &Path,
    newest_entry: Option<u8>,
) -> Result<Report, OpenError> {
    newer::refuse(disk, directory)?;
    let lock = directory.join(segment::LOCK);
    let _held = match disk.lock(&lock, Sharing::Shared) {
        Ok(held) => Some(held),
        // Never opened, so no process has it open.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(OpenError::Locked { directory: directory.to_owned() });
        }
        Err(error) => return Err(OpenError::of(&lock)(error)),
    };
    let scan = scan::scan_to_repair(disk, directory, Rules { newest_entry, ..Rules::CHAIN })?;
    let repair_unfinished = repair::is_unfinished(disk, directory)?
        && !repair::is_done_but_for_its_marker(disk, directory)?;
    if scan.segments.is_empty() && scan.damage.is_none() && !repair_unfinished {
        identity::refuse_lost_log(disk, directory)?;
    }
    let snapshots = directory.join(segment::SNAPSHOTS);
    let revisions = snapshot::revisions(disk, &snapshots).map_err(OpenError::of(&snapshots))?;
    let checked = revisions.into_iter().map(|revision| {
        let file = snapshot::path(&snapshots, revision);
        let fault = snapshot::verify_file(disk, &file, revision).err();
        CheckedSnapshot { file, revision, fault: fault.map(|fault| fault.to_string()) }
    });
    let damage = match &scan.damage {
        Some(damage) => Some(damage.clone()),
        None => unreached(disk, directory, &scan)?,
    };
    Ok(Report {
        incarnation: scan.segments.last().map(|segment| segment.header.incarnation),
        floor: floor(&scan),
        head: scan.head(),
        segments: scan.segments.len(),
        bytes: scan.segments.iter().map(|segment| segment.end - HEADER_BYTES as u64).sum(),
        repair_unfinished,
        lineage: scan.lineage(),
        snapshots: checked.collect(),
        torn: scan.torn,
        damage,
    })
}
