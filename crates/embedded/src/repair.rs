//! Repair: keeps the readable entries of a damaged log, for `instep check --repair`.
//!
//! `choice` decides what to keep: as many entries as possible behind a state that is whole. If
//! these are all that there were, only history is given up, and all goes on as before. If entries
//! behind them are lost, continuity cannot be proven there, so a new incarnation begins (I2): every
//! reader starts anew.
//!
//! The plan is written into a marker before anything is touched, and the marker is removed last.
//! Nothing is deleted: files of no use to the log are moved to a folder of its own under `damaged`.
//!
//! Every step can be done twice, so a crash in a repair is repaired by running it again; a log
//! with a marker does not open. Doing a step twice is more than looking whether it is done: a name
//! whose directory failed to sync looks durable, and a later sync of the directory does not make
//! it so. Therefore names are given anew. The new segment is begun when everything before it is
//! durable, so with it in place only the marker is left to remove, and that opening does too.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use instep_model::disk::{Access, Disk, DiskFile, DiskLock};
use instep_model::position::{Incarnation, Revision};

use crate::check;
use crate::error::{Damage, OpenError};
use crate::format::{HEADER_BYTES, Header, SEGMENT_MAGIC, SNAPSHOT_MAGIC};
use crate::lock::take_lock;
use crate::newer;
use crate::scan::{self, Rules, Scanned, zero_rest};
use crate::segment::{self, SEGMENT_BYTES_MIN, make_segment, name_segment};
use crate::snapshot;
use choice::{Choice, Run, SegmentFile};
pub(crate) use marker::MARKERS;
pub(crate) use marker::remove_marker;
use marker::{MARKER, read_marker, write_marker};

mod choice;
mod marker;

/// Folder of the parts that were cut off.
pub(crate) const ASIDE: &str = "damaged";
const BLOCK_BYTES: usize = 1024 * 1024;

/// Report of a repair.
#[derive(Debug)]
pub struct RepairReport {
    /// Damage found; `None` when there was none, or when an unfinished repair was completed.
    pub damage: Option<Damage>,
    /// Something was changed.
    pub changed: bool,
    /// The oldest entry that was kept.
    pub floor: Revision,
    /// The newest entry that was kept.
    pub head: Revision,
    /// Entries behind it that are known to have been written, and are lost.
    pub lost: u64,
    /// Entries are lost, or may be, so a new history begins and every reader starts anew. Where
    /// only old history was given up, everything goes on.
    pub begins_anew: bool,
    /// Paths of the files that were moved aside, as they are of no use to the log.
    pub moved: Vec<PathBuf>,
    /// The identity of the history from here on.
    pub incarnation: Option<Incarnation>,
}

/// Plan of a repair, as the marker keeps it.
struct RepairPlan {
    incarnation: Incarnation,
    predecessor: Incarnation,
    head: Revision,
    chain: u64,
    newest_seen: Revision,
    /// A new history begins behind the head. Else history is given up, and nothing else.
    begins_anew: bool,
}

/// Progress of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Something may be left to cut off.
    Underway,
    /// The new segment is there, without entries: all before it is durable.
    Begun,
    /// The history went on behind the cut: the marker came back after a power cut.
    Outlived,
}

/// Returns true if only the marker is left of a repair, so that opening can go on and remove it.
pub(crate) fn is_done_but_for_its_marker(
    disk: &dyn Disk,
    directory: &Path,
) -> Result<bool, OpenError> {
    match read_marker(disk, directory)? {
        // Whatever is left to move is damage, which opening finds for itself.
        Some(plan) if !plan.begins_anew => Ok(true),
        Some(plan) => Ok(progress(disk, directory, &plan)? != Progress::Underway),
        None => Ok(false),
    }
}

/// Returns true if a repair was begun in a directory and not completed.
pub(crate) fn is_unfinished(disk: &dyn Disk, directory: &Path) -> Result<bool, OpenError> {
    let names = disk.list(directory).map_err(OpenError::of(directory))?;
    Ok(names.iter().any(|name| name == MARKER))
}

/// Keeps readable entries, moves the rest aside, and completes a repair that was interrupted. A log
/// that is not damaged is left alone.
///
/// # Errors
/// See [`OpenError`]. Running it again is always safe.
pub fn repair(
    disk: &dyn Disk,
    directory: &Path,
    new_incarnation: Incarnation,
) -> Result<RepairReport, OpenError> {
    let _lock = take(disk, directory)?;
    let mut interrupted = read_marker(disk, directory)?;
    if let Some(plan) = &interrupted
        && progress(disk, directory, plan)? == Progress::Outlived
    {
        remove_marker(disk, directory)?;
        interrupted = None;
    }
    let again = interrupted.is_some();
    let scan = scan::scan_to_repair(disk, directory, Rules::CHAIN)?;
    let damage = match &scan.damage {
        Some(damage) => Some(damage.clone()),
        None => check::unreached(disk, directory, &scan)?,
    };
    let mut choice = choice::choose(disk, directory)?;
    let plan = match (interrupted, &damage) {
        (Some(plan), _) => plan,
        (None, Some(damage)) => plan(disk, directory, &choice, damage, new_incarnation)?,
        (None, None) => {
            // A marker that was never finished stands for a repair that never began.
            remove_marker(disk, directory)?;
            let aside = directory.join(ASIDE).join(new_incarnation.to_string());
            let moved = bad_snapshots_aside(disk, &choice, &aside)?;
            return Ok(RepairReport {
                damage,
                changed: !moved.is_empty(),
                floor: check::floor(&scan),
                head: scan.head(),
                lost: 0,
                begins_anew: false,
                moved,
                incarnation: scan.segments.last().map(|last| last.header.incarnation),
            });
        }
    };
    let aside = directory.join(ASIDE).join(plan.incarnation.to_string());
    let mut moved = Vec::new();
    if progress(disk, directory, &plan)? == Progress::Underway {
        write_marker(disk, directory, &plan)?;
        disk.create_directory(&aside).map_err(OpenError::of(&aside))?;
        if again {
            take_back(disk, directory, &aside)?;
            choice = choice::choose(disk, directory)?;
        }
        moved = shape(disk, &choice, &plan, &aside, again)?;
        if plan.begins_anew {
            moved.extend(cut_off(disk, directory, &plan, &aside)?);
        }
    }
    if plan.begins_anew {
        begin(disk, directory, &plan)?;
    }
    finish(disk, directory)?;
    let incarnation = if plan.begins_anew { plan.incarnation } else { plan.predecessor };
    Ok(RepairReport {
        damage,
        changed: true,
        floor: choice.path.first().map_or(plan.head.next(), |(_, run)| run.first),
        head: plan.head,
        lost: plan.newest_seen.0.saturating_sub(plan.head.0),
        begins_anew: plan.begins_anew,
        moved,
        incarnation: Some(incarnation),
    })
}

/// Takes a directory in which nothing is newer than this program.
fn take(disk: &dyn Disk, directory: &Path) -> Result<Arc<dyn DiskLock>, OpenError> {
    newer::refuse(disk, directory)?;
    take_lock(disk, directory)
}

/// Ends a repair, and reads the result before it is reported as whole.
fn finish(disk: &dyn Disk, directory: &Path) -> Result<(), OpenError> {
    remove_marker(disk, directory)?;
    let left = scan::scan(disk, directory, Rules::CHAIN)?.damage;
    left.map_or(Ok(()), |left| Err(left.into()))
}

fn plan(
    disk: &dyn Disk,
    directory: &Path,
    choice: &Choice,
    damage: &Damage,
    incarnation: Incarnation,
) -> Result<RepairPlan, OpenError> {
    let predecessor = match choice.incarnation {
        Some(known) => known,
        None => any_incarnation(disk, directory)?.unwrap_or(incarnation),
    };
    let newest_seen = choice.newest_seen.max(damage.newest_seen);
    Ok(RepairPlan {
        incarnation,
        predecessor,
        head: choice.end,
        chain: choice.chain(),
        newest_seen,
        begins_anew: choice.loses_entries() || newest_seen > choice.end,
    })
}

/// Makes the files up to the newest entry that is kept those of a log: what is kept in a file that
/// cannot stay as it is gets one of its own, and what is of no use goes aside.
fn shape(
    disk: &dyn Disk,
    choice: &Choice,
    plan: &RepairPlan,
    aside: &Path,
    again: bool,
) -> Result<Vec<PathBuf>, OpenError> {
    let mut moved = Vec::new();
    let mut made = Vec::new();
    for (at, run) in &choice.path {
        let part = &choice.parts[*at];
        let is_whole = part.is_whole_for(run);
        // The name of one that an earlier attempt made may not be durable.
        if is_whole && !(again && part.was_made_for(run)) {
            continue;
        }
        let Some(header) = choice.header_for(*at, run) else {
            let detail = "nothing says which history its entries belong to";
            return Err(scan::damage(&part.path, 0, run.first, detail).into());
        };
        let path = part.path.with_file_name(segment::file_name(run.first));
        if path == part.path && !is_whole {
            let copy = aside.join(segment::file_name(run.first));
            copy_whole(disk, &path, &copy).map_err(OpenError::of(&copy))?;
            moved.push(copy);
        }
        copy_run(disk, part, run, &header, &path)?;
        made.push(path);
    }
    for (at, part) in choice.parts.iter().enumerate() {
        if part.first <= plan.head && !choice.keeps(at) && !made.contains(&part.path) {
            moved.push(move_aside(disk, &part.path, aside)?);
        }
    }
    moved.extend(bad_snapshots_aside(disk, choice, aside)?);
    Ok(moved)
}

/// Copies whole frames into a segment of their own, as they are.
fn copy_run(
    disk: &dyn Disk,
    part: &SegmentFile,
    run: &Run,
    header: &Header,
    path: &Path,
) -> Result<(), OpenError> {
    let unnamed = path.with_extension("tmp");
    let of = |error| OpenError::of(&unnamed)(error);
    let source = disk.open(&part.path, Access::Read).map_err(OpenError::of(&part.path))?;
    let target = create_anew(disk, &unnamed).map_err(of)?;
    copy_bytes(&*source, (run.start, run.end), &*target, HEADER_BYTES as u64).map_err(of)?;
    name_segment(disk, &*target, header, &unnamed, path).map_err(OpenError::of(path))
}

fn copy_bytes(
    source: &dyn DiskFile,
    (start, end): (u64, u64),
    target: &dyn DiskFile,
    to: u64,
) -> io::Result<()> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut at = start;
    while at < end {
        let wanted = block.len().min(segment::length_of(end - at));
        let filled = source.read_full_at(&mut block[..wanted], at)?;
        if filled == 0 {
            break;
        }
        target.write_all_at(&block[..filled], to + at - start)?;
        at += filled as u64;
    }
    Ok(())
}

fn bad_snapshots_aside(
    disk: &dyn Disk,
    choice: &Choice,
    aside: &Path,
) -> Result<Vec<PathBuf>, OpenError> {
    if !choice.bad_snapshots.is_empty() {
        disk.create_directory(aside).map_err(OpenError::of(aside))?;
    }
    let bad = choice.bad_snapshots.iter();
    bad.map(|path| move_aside(disk, path, aside)).collect()
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

pub(crate) fn header_of(
    disk: &dyn Disk,
    path: &Path,
    magic: [u8; 8],
) -> Result<Option<Header>, OpenError> {
    let file = match disk.open(path, Access::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(OpenError::of(path))?,
    };
    let mut bytes = [0; HEADER_BYTES];
    let length = file.read_full_at(&mut bytes, 0).map_err(OpenError::of(path))?;
    Ok(Header::decode(&bytes[..length], magic).ok())
}

fn progress(disk: &dyn Disk, directory: &Path, plan: &RepairPlan) -> Result<Progress, OpenError> {
    if !plan.begins_anew {
        return Ok(Progress::Underway);
    }
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

/// Moves back the files that an earlier attempt moved aside.
fn take_back(disk: &dyn Disk, directory: &Path, aside: &Path) -> Result<(), OpenError> {
    let snapshots = directory.join(segment::SNAPSHOTS);
    for first in behind(disk, aside, segment::firsts, Revision::ZERO)? {
        restore(disk, &segment::path(directory, first), aside)?;
    }
    for revision in behind(disk, aside, snapshot::revisions_of, Revision::ZERO)? {
        restore(disk, &snapshot::path(&snapshots, revision), aside)?;
    }
    Ok(())
}

/// Moves aside everything behind the newest entry that is kept.
fn cut_off(
    disk: &dyn Disk,
    directory: &Path,
    plan: &RepairPlan,
    aside: &Path,
) -> Result<Vec<PathBuf>, OpenError> {
    let mut moved = Vec::new();
    let scan = scan::scan_to_repair(disk, directory, Rules::CHAIN)?;
    let kept = |segment: &&Scanned| segment.header.revision <= plan.head;
    if let Some(last) = scan.segments.iter().rev().find(kept) {
        moved.extend(cut(disk, last, aside)?);
    }
    for first in behind(disk, directory, segment::firsts, plan.head)? {
        moved.push(move_aside(disk, &segment::path(directory, first), aside)?);
    }
    let snapshots = directory.join(segment::SNAPSHOTS);
    for revision in behind(disk, &snapshots, snapshot::revisions_of, plan.head)? {
        moved.push(move_aside(disk, &snapshot::path(&snapshots, revision), aside)?);
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

/// Moves back the files that an earlier attempt moved aside, to be moved once more: its name there
/// may not be durable.
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
fn begin(disk: &dyn Disk, directory: &Path, plan: &RepairPlan) -> Result<(), OpenError> {
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
    copy_bytes(&*source, (0, source.length()?), &*target, 0)?;
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
