//! Looks at a directory without changing it: what `instep check` shows.

use std::io;
use std::path::{Path, PathBuf};

use instep_model::disk::{Disk, Sharing};
use instep_model::position::{Incarnation, Revision};

use crate::error::{Damage, OpenError};
use crate::format::HEADER_BYTES;
use crate::repair;
use crate::scan::{self, Chain, TornTail};
use crate::segment;
use crate::snapshot;

/// What a check found.
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
    /// An unfinished write, which the next open cuts off. Nobody was promised that entry.
    pub torn: Option<TornTail>,
    /// The log does not open because of this.
    pub damage: Option<Damage>,
    /// A repair was begun and must be run again.
    pub repair_unfinished: bool,
    /// The snapshots, oldest first.
    pub snapshots: Vec<CheckedSnapshot>,
}

/// What a check found about one snapshot.
#[derive(Debug)]
pub struct CheckedSnapshot {
    /// The file.
    pub file: PathBuf,
    /// The revision in its name.
    pub revision: Revision,
    /// What is wrong with it.
    pub fault: Option<String>,
}

impl Report {
    /// Nothing stands in the way of opening the log, and every snapshot is good.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.damage.is_none()
            && !self.repair_unfinished
            && self.snapshots.iter().all(|snapshot| snapshot.fault.is_none())
    }
}

/// Reads every byte of a directory and changes none. The log must not be open.
///
/// # Errors
/// [`OpenError::Locked`] while a process has it open, [`OpenError::NewerFormat`],
/// [`OpenError::OtherIncarnation`], and what the disk refuses.
pub fn check(disk: &dyn Disk, directory: &Path) -> Result<Report, OpenError> {
    let lock = directory.join(segment::LOCK);
    let _held = match disk.lock(&lock, Sharing::Shared) {
        Ok(held) => Some(held),
        // Nobody ever opened it, so nobody has it open.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(OpenError::Locked { directory: directory.to_owned() });
        }
        Err(error) => return Err(OpenError::of(&lock)(error)),
    };
    let scan = scan::scan(disk, directory, Chain::Checked)?;
    let snapshots = directory.join(segment::SNAPSHOTS);
    let revisions = snapshot::revisions(disk, &snapshots).map_err(OpenError::of(&snapshots))?;
    let checked = revisions.into_iter().map(|revision| {
        let file = snapshot::path(&snapshots, revision);
        let fault = snapshot::verify_file(disk, &file, revision).err();
        CheckedSnapshot { file, revision, fault: fault.map(|fault| fault.to_string()) }
    });
    Ok(Report {
        incarnation: scan.segments.last().map(|segment| segment.header.incarnation),
        floor: scan.segments.first().map_or(Revision(1), |segment| segment.header.revision),
        head: scan.head(),
        segments: scan.segments.len(),
        bytes: scan.segments.iter().map(|segment| segment.end - HEADER_BYTES as u64).sum(),
        repair_unfinished: repair::is_unfinished(disk, directory)?,
        snapshots: checked.collect(),
        torn: scan.torn,
        damage: scan.damage,
    })
}
