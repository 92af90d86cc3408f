//! Cuts a damaged log in front of the damage: what `instep check --repair` does.
//!
//! The plan is written into a marker before anything is touched, and the marker is removed last.
//! Nothing is deleted: what does not fit the log any more is moved to a folder of its own under
//! `damaged`. Continuity cannot be proven behind the cut, so a new incarnation begins there (I2):
//! every reader starts anew.
//!
//! Every step can be done twice, so a crash in a repair is repaired by running it again; a log
//! with a marker does not open. Doing a step twice is more than looking whether it is done: a name
//! whose directory failed to sync looks durable, and a later sync of the directory does not make
//! it so. Therefore names are given anew. The new segment is begun when everything before it is
//! durable, so with it in place only the marker is left to remove, and that opening does too.

use std::io;
use std::path::{Path, PathBuf};

use instep_model::disk::{Access, Disk, DiskFile};
use instep_model::position::{Incarnation, Revision};

use crate::error::{Damage, OpenError};
use crate::format::{HEADER_BYTES, Header, SEGMENT_MAGIC, SNAPSHOT_MAGIC};
use crate::log::SEGMENT_BYTES_MIN;
use crate::recovery::{make_segment, take_lock, zero_rest};
use crate::scan::{self, Chain, Scan, Scanned};
use crate::segment;
use crate::snapshot;

/// The file that says a repair is under way, and which.
pub(crate) const MARKER: &str = "repairing";
const MARKER_UNFINISHED: &str = "repairing.tmp";
const MARKER_MAGIC: [u8; 8] = *b"INSTEPRP";
/// The folder that keeps what was cut off.
const ASIDE: &str = "damaged";
const BLOCK_BYTES: usize = 1024 * 1024;

/// What a repair did.
#[derive(Debug)]
pub struct RepairReport {
    /// What was wrong; `None` when nothing was, or when an unfinished repair was completed.
    pub damage: Option<Damage>,
    /// Something was changed.
    pub changed: bool,
    /// The newest entry that was kept.
    pub head: Revision,
    /// Entries behind it that are known to have been written, and are lost.
    pub lost: u64,
    /// Where the cut-off remainder lies now.
    pub moved: Vec<PathBuf>,
    /// The identity of the history from here on.
    pub incarnation: Option<Incarnation>,
}

/// What is going to be done, as the marker keeps it.
struct Plan {
    incarnation: Incarnation,
    predecessor: Incarnation,
    head: Revision,
    chain: u64,
    newest_seen: Revision,
}

/// How far a plan was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Something may be left to cut off.
    Underway,
    /// The new segment is there, without entries: all before it is durable.
    Begun,
    /// The history went on behind the cut: the marker came back after a power cut.
    Outlived,
}

/// Whether only the marker is left of a repair, so that opening can go on and remove it.
pub(crate) fn is_done_but_for_its_marker(
    disk: &dyn Disk,
    directory: &Path,
) -> Result<bool, OpenError> {
    match read_marker(disk, directory)? {
        Some(plan) => Ok(progress(disk, directory, &plan)? != Progress::Underway),
        None => Ok(false),
    }
}

/// Whether a repair was begun in a directory and not completed.
pub(crate) fn is_unfinished(disk: &dyn Disk, directory: &Path) -> Result<bool, OpenError> {
    let names = disk.list(directory).map_err(OpenError::of(directory))?;
    Ok(names.iter().any(|name| name == MARKER))
}

/// Cuts the log in front of its damage, or completes a repair that was interrupted. A log that
/// is not damaged is left alone.
///
/// # Errors
/// See [`OpenError`]. Running it again is always safe.
pub fn repair(
    disk: &dyn Disk,
    directory: &Path,
    new_incarnation: Incarnation,
) -> Result<RepairReport, OpenError> {
    let _lock = take_lock(disk, directory)?;
    let mut interrupted = read_marker(disk, directory)?;
    if let Some(plan) = &interrupted
        && progress(disk, directory, plan)? == Progress::Outlived
    {
        remove_marker(disk, directory)?;
        interrupted = None;
    }
    let again = interrupted.is_some();
    let scan = scan::scan(disk, directory, Chain::Checked)?;
    let damage = scan.damage.clone();
    let plan = match (interrupted, &damage) {
        (Some(plan), _) => plan,
        (None, Some(damage)) => plan(disk, directory, &scan, damage, new_incarnation)?,
        (None, None) => {
            // A marker that was never finished stands for a repair that never began.
            remove_marker(disk, directory)?;
            let incarnation = scan.segments.last().map(|last| last.header.incarnation);
            let head = scan.head();
            let moved = Vec::new();
            return Ok(RepairReport { damage, changed: false, head, lost: 0, moved, incarnation });
        }
    };
    let moved = match progress(disk, directory, &plan)? {
        Progress::Begun | Progress::Outlived => Vec::new(),
        Progress::Underway => {
            write_marker(disk, directory, &plan)?;
            cut_off(disk, directory, &plan, &scan, again)?
        }
    };
    begin(disk, directory, &plan)?;
    remove_marker(disk, directory)?;
    Ok(RepairReport {
        damage,
        changed: true,
        head: plan.head,
        lost: plan.newest_seen.0.saturating_sub(plan.head.0),
        moved,
        incarnation: Some(plan.incarnation),
    })
}

fn plan(
    disk: &dyn Disk,
    directory: &Path,
    scan: &Scan,
    damage: &Damage,
    incarnation: Incarnation,
) -> Result<Plan, OpenError> {
    let newest_seen = damage.newest_seen;
    if let Some(last) = scan.segments.last() {
        let predecessor = last.header.incarnation;
        return Ok(Plan {
            incarnation,
            predecessor,
            head: last.last,
            chain: last.chain,
            newest_seen,
        });
    }
    // Not even the first segment is good. Its number still says where the history goes on.
    let head = Revision(damage.revision.0.saturating_sub(1));
    let predecessor = any_incarnation(disk, directory)?.unwrap_or(incarnation);
    Ok(Plan { incarnation, predecessor, head, chain: 0, newest_seen })
}

/// The history that any readable header names.
fn any_incarnation(disk: &dyn Disk, directory: &Path) -> Result<Option<Incarnation>, OpenError> {
    let names = disk.list(directory).map_err(OpenError::of(directory))?;
    for first in segment::firsts(&names) {
        let path = segment::path(directory, first);
        if let Some(header) = header_of(disk, &path, SEGMENT_MAGIC)? {
            return Ok(Some(header.predecessor));
        }
    }
    let snapshots = directory.join(segment::SNAPSHOTS);
    for revision in snapshot::revisions(disk, &snapshots).map_err(OpenError::of(&snapshots))? {
        let path = snapshot::path(&snapshots, revision);
        if let Some(header) = header_of(disk, &path, SNAPSHOT_MAGIC)? {
            return Ok(Some(header.incarnation));
        }
    }
    Ok(None)
}

fn header_of(disk: &dyn Disk, path: &Path, magic: [u8; 8]) -> Result<Option<Header>, OpenError> {
    let file = match disk.open(path, Access::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(OpenError::of(path))?,
    };
    let mut bytes = [0; HEADER_BYTES];
    let length = file.read_full_at(&mut bytes, 0).map_err(OpenError::of(path))?;
    Ok(Header::decode(&bytes[..length], magic).ok())
}

fn progress(disk: &dyn Disk, directory: &Path, plan: &Plan) -> Result<Progress, OpenError> {
    let names = disk.list(directory).map_err(OpenError::of(directory))?;
    let mut progress = Progress::Underway;
    for first in segment::firsts(&names).into_iter().filter(|first| *first > plan.head) {
        let path = segment::path(directory, first);
        let header = header_of(disk, &path, SEGMENT_MAGIC)?;
        if header.is_none_or(|header| header.incarnation != plan.incarnation) {
            continue;
        }
        let file = disk.open(&path, Access::Read).map_err(OpenError::of(&path))?;
        let mut walk = segment::Walk::new(&*file).map_err(OpenError::of(&path))?;
        let tail = walk.tail(HEADER_BYTES as u64, 0).map_err(OpenError::of(&path))?;
        if first > plan.head.next() || tail.dirty_end > HEADER_BYTES as u64 {
            return Ok(Progress::Outlived);
        }
        progress = Progress::Begun;
    }
    Ok(progress)
}

fn cut_off(
    disk: &dyn Disk,
    directory: &Path,
    plan: &Plan,
    scan: &Scan,
    again: bool,
) -> Result<Vec<PathBuf>, OpenError> {
    let aside = directory.join(ASIDE).join(plan.incarnation.to_string());
    disk.create_directory(&aside).map_err(OpenError::of(&aside))?;
    let snapshots = directory.join(segment::SNAPSHOTS);
    if again {
        for first in behind(disk, &aside, segment::firsts, plan.head)? {
            restore(disk, &segment::path(directory, first), &aside)?;
        }
        for revision in behind(disk, &aside, snapshot::revisions_of, plan.head)? {
            restore(disk, &snapshot::path(&snapshots, revision), &aside)?;
        }
    }
    let mut moved = Vec::new();
    let kept = |segment: &&Scanned| segment.header.revision <= plan.head;
    if let Some(last) = scan.segments.iter().rev().find(kept) {
        moved.extend(cut(disk, last, &aside)?);
    }
    for first in behind(disk, directory, segment::firsts, plan.head)? {
        moved.push(move_aside(disk, &segment::path(directory, first), &aside)?);
    }
    for revision in behind(disk, &snapshots, snapshot::revisions_of, plan.head)? {
        moved.push(move_aside(disk, &snapshot::path(&snapshots, revision), &aside)?);
    }
    Ok(moved)
}

/// The files of a kind that lie in a directory and behind the cut.
fn behind(
    disk: &dyn Disk,
    directory: &Path,
    of_kind: impl Fn(&[String]) -> Vec<Revision>,
    head: Revision,
) -> Result<Vec<Revision>, OpenError> {
    let names = match disk.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        names => names.map_err(OpenError::of(directory))?,
    };
    Ok(of_kind(&names).into_iter().filter(|revision| *revision > head).collect())
}

/// Takes back what an earlier attempt moved aside, to be moved once more: its name there may not
/// be durable.
fn restore(disk: &dyn Disk, path: &Path, aside: &Path) -> Result<(), OpenError> {
    match disk.open(path, Access::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let moved = aside.join(path.file_name().unwrap_or_default());
            disk.rename(&moved, path).map_err(OpenError::of(&moved))
        }
        opened => opened.map(drop).map_err(OpenError::of(path)),
    }
}

/// Begins the new history. A segment that is there already has no entries and is made anew.
fn begin(disk: &dyn Disk, directory: &Path, plan: &Plan) -> Result<(), OpenError> {
    let header = Header {
        magic: SEGMENT_MAGIC,
        incarnation: plan.incarnation,
        predecessor: plan.predecessor,
        revision: plan.head.next(),
        chain: plan.chain,
        // As small as can be: what does not fit goes on in a segment of the usual size.
        bytes: SEGMENT_BYTES_MIN,
    };
    make_segment(disk, directory, &header)
}

/// Keeps a copy of a segment whose end is bad, and makes everything behind its good frames zero.
fn cut(disk: &dyn Disk, last: &Scanned, aside: &Path) -> Result<Option<PathBuf>, OpenError> {
    let file = disk.open(&last.path, Access::Write).map_err(OpenError::of(&last.path))?;
    let of = |error| OpenError::of(&last.path)(error);
    let tail = segment::Walk::new(&*file).map_err(of)?.tail(last.end, 0).map_err(of)?;
    if tail.dirty_end <= last.end && last.length >= last.header.bytes {
        return Ok(None);
    }
    let copy = aside.join(last.path.file_name().unwrap_or_default());
    copy_whole(disk, &last.path, &copy).map_err(OpenError::of(&copy))?;
    zero_rest(&*file, last).map_err(of)?;
    file.sync_data().map_err(OpenError::sync(&last.path))?;
    Ok(Some(copy))
}

/// Copies a file. A copy that exists is copied instead: the file may have been cut already, and
/// the name of the copy may not be durable.
fn copy_whole(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    let source = match disk.open(to, Access::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => disk.open(from, Access::Read)?,
        opened => opened?,
    };
    let unfinished = to.with_extension("tmp");
    let target = create_anew(disk, &unfinished)?;
    let mut block = vec![0; BLOCK_BYTES];
    let mut at = 0;
    loop {
        let filled = source.read_full_at(&mut block, at)?;
        if filled == 0 {
            break;
        }
        target.write_all_at(&block[..filled], at)?;
        at += filled as u64;
    }
    target.sync_data()?;
    disk.rename(&unfinished, to)?;
    match to.parent() {
        Some(directory) => disk.sync_directory(directory),
        None => Ok(()),
    }
}

fn create_anew(disk: &dyn Disk, path: &Path) -> io::Result<Box<dyn DiskFile>> {
    match disk.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(path)?;
            disk.create(path)
        }
        created => created,
    }
}

fn move_aside(disk: &dyn Disk, path: &Path, aside: &Path) -> Result<PathBuf, OpenError> {
    let target = aside.join(path.file_name().unwrap_or_default());
    disk.rename(path, &target).map_err(OpenError::of(path))?;
    disk.sync_directory(aside).map_err(OpenError::sync(aside))?;
    if let Some(directory) = path.parent() {
        disk.sync_directory(directory).map_err(OpenError::sync(directory))?;
    }
    Ok(target)
}

/// The plan of an interrupted repair. A marker that is not whole was never acted on.
fn read_marker(disk: &dyn Disk, directory: &Path) -> Result<Option<Plan>, OpenError> {
    let header = header_of(disk, &directory.join(MARKER), MARKER_MAGIC)?;
    Ok(header.map(|header| Plan {
        incarnation: header.incarnation,
        predecessor: header.predecessor,
        head: header.revision,
        chain: header.chain,
        newest_seen: Revision(header.bytes),
    }))
}

/// Writes the marker, whole or not at all, also in the place of one that is there.
fn write_marker(disk: &dyn Disk, directory: &Path, plan: &Plan) -> Result<(), OpenError> {
    let header = Header {
        magic: MARKER_MAGIC,
        incarnation: plan.incarnation,
        predecessor: plan.predecessor,
        revision: plan.head,
        chain: plan.chain,
        bytes: plan.newest_seen.0,
    };
    let unnamed = directory.join(MARKER_UNFINISHED);
    let file = create_anew(disk, &unnamed).map_err(OpenError::of(&unnamed))?;
    file.write_all_at(&header.encode(), 0).map_err(OpenError::of(&unnamed))?;
    file.sync_data().map_err(OpenError::sync(&unnamed))?;
    disk.rename(&unnamed, &directory.join(MARKER)).map_err(OpenError::of(&unnamed))?;
    disk.sync_directory(directory).map_err(OpenError::sync(directory))
}

pub(crate) fn remove_marker(disk: &dyn Disk, directory: &Path) -> Result<(), OpenError> {
    let path = directory.join(MARKER);
    match disk.remove(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => {
            removed.map_err(OpenError::of(&path))?;
            disk.sync_directory(directory).map_err(OpenError::sync(directory))
        }
    }
}
