//! Scan of a whole directory, once: which entries are good, torn or damaged.
//!
//! Only reading happens here; [`crate::recovery`] and [`crate::repair`] act on the outcome.
//!
//! A segment's successor appears only after the segment's last frame was synced. So only the end
//! of the last segment can be torn: at the first bad frame the rest of that segment is searched
//! for a whole frame of a higher revision. None: an unfinished write, which was never acknowledged.
//! Any, or a later segment: damage.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use instep_model::disk::{Access, Disk, DiskFile};
use instep_model::position::{Incarnation, Revision};

use crate::error::{Damage, OpenError};
use crate::format::{
    FRAME_HEADER_BYTES, Found, HEADER_BYTES, Header, HeaderFault, SEGMENT_MAGIC, SNAPSHOT_MAGIC,
    VERSION, digest,
};
use crate::segment::{self, MARK_BYTES, Mark, Walk};
use crate::snapshot::{self, History};

/// Contents of a directory, as far as they are good.
pub(crate) struct Scan {
    /// The segments up to the first bad frame, in order.
    pub(crate) segments: Vec<Scanned>,
    /// The end of the last segment is an unfinished write.
    pub(crate) torn: Option<TornTail>,
    /// Acknowledged entries cannot be read.
    pub(crate) damage: Option<Damage>,
    /// The damage is that a file is of another history than those before it.
    foreign: Option<Foreign>,
}

struct Foreign {
    file: PathBuf,
    found: Incarnation,
    expected: Incarnation,
}

/// One segment, as far as its frames are good.
pub(crate) struct Scanned {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) header: Header,
    /// The newest good frame, or the revision before the segment when it has none.
    pub(crate) last: Revision,
    /// Offset of the newest good frame, if there is one.
    pub(crate) last_frame: Option<u64>,
    /// The checksum of the newest good frame.
    pub(crate) chain: u64,
    /// The end of the good frames.
    pub(crate) end: u64,
    pub(crate) marks: Vec<Mark>,
    pub(crate) length: u64,
}

/// An unfinished write that was cut off at open: that entry was never acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub file: PathBuf,
    /// Offset of the unfinished frame.
    pub offset: u64,
    /// Offset behind its last byte.
    pub end: u64,
    /// The revision that the frame would have had.
    pub revision: Revision,
}

/// Rules by which a log is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) chain: Chain,
    /// Newest format of an entry that can be read, see [`Options`](crate::log::Options).
    pub(crate) newest_entry: Option<u8>,
}

impl Rules {
    /// Frames and their chain alone, whatever the entries are.
    pub(crate) const CHAIN: Self = Self { chain: Chain::Checked, newest_entry: None };
}

/// Verification of the chain of checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chain {
    Checked,
    /// The broken variant that a test must catch.

    #[cfg(test)]
    Ignored,
}

impl Scan {
    /// The newest good entry.
    pub(crate) fn head(&self) -> Revision {
        self.segments.last().map_or(Revision::ZERO, |segment| segment.last)
    }

    /// The histories that the segments belong to; more than one after a repair.
    pub(crate) fn lineage(&self) -> Vec<History> {
        lineage_of(self.segments.iter().map(|segment| &segment.header))
    }
}

/// The histories that headers of segments, in order, speak of.
pub(crate) fn lineage_of<'a>(headers: impl Iterator<Item = &'a Header>) -> Vec<History> {
    let mut lineage: Vec<History> = Vec::new();
    for header in headers {
        let (incarnation, predecessor) = (header.incarnation, header.predecessor);
        if predecessor != incarnation {
            let last = Some(Revision(header.revision.0.saturating_sub(1)));
            lineage.pop_if(|newest| newest.incarnation == predecessor);
            lineage.push(History { incarnation: predecessor, last });
        }
        if lineage.last().is_none_or(|newest| newest.incarnation != incarnation) {
            lineage.push(History { incarnation, last: None });
        }
    }
    lineage
}

/// Reads everything. Damage is an outcome, not an error; a file of another history is one: it was
/// put there, and the operator who did that decides.
pub(crate) fn scan(disk: &dyn Disk, directory: &Path, rules: Rules) -> Result<Scan, OpenError> {
    let scan = scan_to_repair(disk, directory, rules)?;
    match scan.foreign {
        Some(Foreign { file, found, expected }) => {
            Err(OpenError::OtherIncarnation { file, found, expected })
        }
        None => Ok(scan),
    }
}

/// Reads everything, as [`scan`] does. A file of another history is damage.
pub(crate) fn scan_to_repair(
    disk: &dyn Disk,
    directory: &Path,
    rules: Rules,
) -> Result<Scan, OpenError> {
    let names = disk.list(directory).map_err(OpenError::of(directory))?;
    let mut firsts = segment::firsts(&names);
    let mut stray = None;
    let mut scan = Scan { segments: Vec::new(), torn: None, damage: None, foreign: None };
    let mut at = 0;
    while let Some(first) = firsts.get(at).copied() {
        let path = segment::path(directory, first);
        let scanned = match scan_segment(disk, &path, first, scan.segments.last(), rules)? {
            Ok(scanned) => scanned,
            Err((damage, foreign)) => {
                (scan.damage, scan.foreign) = (Some(damage), foreign);
                break;
            }
        };
        while let Some(inside) = firsts.get(at + 1).copied().filter(|next| *next <= scanned.last) {
            let file = segment::path(directory, inside);
            let detail = format!(
                "the file does not belong here: entries {first} to {} are in another one",
                scanned.last
            );
            stray.get_or_insert_with(|| damage(&file, 0, inside, &detail));
            firsts.remove(at + 1);
        }
        at += 1;
        match firsts.get(at) {
            Some(next) if *next == scanned.last.next() => scan.segments.push(scanned),
            Some(next) => {
                scan.damage = Some(broken_off(&scanned, *next)?);
                scan.segments.push(scanned);
                break;
            }
            None => {
                scan.torn = judge_tail(&scanned, &mut scan.damage)?;
                scan.segments.push(scanned);
            }
        }
    }
    match &mut scan.damage {
        Some(damage) => {
            let seen = newest_seen(disk, directory, &firsts, damage.revision)?;
            damage.newest_seen = damage.newest_seen.max(seen);
        }
        None => scan.damage = snapshot_ahead(disk, directory, &scan)?,
    }
    if let (None, Some(mut stray)) = (&scan.damage, stray) {
        stray.newest_seen = scan.head();
        scan.damage = Some(stray);
    }
    Ok(scan)
}

fn scan_segment(
    disk: &dyn Disk,
    path: &Path,
    first: Revision,
    before: Option<&Scanned>,
    rules: Rules,
) -> Result<Result<Scanned, (Damage, Option<Foreign>)>, OpenError> {
    let bad = |at: u64, detail: &str| Ok(Err((damage(path, at, first, detail), None)));
    let file: Arc<dyn DiskFile> =
        Arc::from(disk.open(path, Access::Read).map_err(OpenError::of(path))?);
    let header = match read_header(&*file, path)? {
        Ok(header) => header,
        Err(fault) => return bad(0, fault),
    };
    if header.revision != first {
        return bad(48, "its name and its header disagree about its first entry");
    }
    if let Some(before) = before {
        if header.predecessor != before.header.incarnation {
            let foreign = Foreign {
                file: path.to_owned(),
                found: header.incarnation,
                expected: before.header.incarnation,
            };
            let detail = "it belongs to another history than the files before it";
            return Ok(Err((damage(path, 32, first, detail), Some(foreign))));
        }
        if header.chain != before.chain && rules.chain == Chain::Checked {
            return bad(56, "it does not continue the segment before it");
        }
    }
    walk_frames(file, path, header, rules).map(Ok)
}

fn read_header(
    file: &dyn DiskFile,
    path: &Path,
) -> Result<Result<Header, &'static str>, OpenError> {
    let mut bytes = [0; HEADER_BYTES];
    let length = file.read_full_at(&mut bytes, 0).map_err(OpenError::of(path))?;
    match Header::decode(&bytes[..length], SEGMENT_MAGIC) {
        Ok(header) => Ok(Ok(header)),
        Err(HeaderFault::Damaged(detail)) => Ok(Err(detail)),
        Err(HeaderFault::Newer(found)) => {
            Err(OpenError::NewerFormat { file: path.to_owned(), found, known: VERSION })
        }
    }
}

fn walk_frames(
    file: Arc<dyn DiskFile>,
    path: &Path,
    header: Header,
    rules: Rules,
) -> Result<Scanned, OpenError> {
    let incarnation = digest(header.incarnation);
    let of = |error| OpenError::of(path)(error);
    let mut last = Revision(header.revision.0.saturating_sub(1));
    let (mut chain, mut end, mut last_frame) = (header.chain, HEADER_BYTES as u64, None);
    let mut marks: Vec<Mark> = Vec::new();
    let mut walk = Walk::new(&*file).map_err(of)?;
    while let Found::Frame(frame) = walk.look(end).map_err(of)? {
        let chained = frame.chain == chain || rules.chain != Chain::Checked;
        if frame.incarnation != incarnation || frame.revision != last.next() || !chained {
            break;
        }
        if let (Some(known), Some(found)) = (rules.newest_entry, walk.first_byte(end, &frame))
            && found > known
        {
            let (file, found, known) = (path.to_owned(), found.into(), known.into());
            return Err(OpenError::NewerFormat { file, found, known });
        }
        if marks.last().is_none_or(|mark| end >= mark.offset + MARK_BYTES) {
            marks.push(Mark { revision: frame.revision, offset: end });
        }
        last_frame = Some(end);
        end += frame.bytes() as u64;
        last = frame.revision;
        chain = frame.checksum;
    }
    let length = walk.length();
    drop(walk);
    Ok(Scanned { path: path.to_owned(), file, header, last, last_frame, chain, end, marks, length })
}

/// The last segment: unfinished or damaged?
fn judge_tail(
    scanned: &Scanned,
    damaged: &mut Option<Damage>,
) -> Result<Option<TornTail>, OpenError> {
    let of = |error| OpenError::of(&scanned.path)(error);
    let mut walk = Walk::new(&*scanned.file).map_err(of)?;
    let tail = walk.tail(scanned.end, digest(scanned.header.incarnation)).map_err(of)?;
    let revision = scanned.last.next();
    match tail.newest {
        Some(newest) if newest > revision => {
            let detail = format!("its frame is damaged, and entry {newest} follows");
            let mut found = damage(&scanned.path, scanned.end, revision, &detail);
            found.newest_seen = newest;
            *damaged = Some(found);
            Ok(None)
        }
        _ => {
            let torn = tail.dirty_end > scanned.end || scanned.length < scanned.header.bytes;
            let end = tail.dirty_end.max(scanned.end);
            let file = scanned.path.clone();
            Ok(torn.then_some(TornTail { file, offset: scanned.end, end, revision }))
        }
    }
}

/// A segment that ends before its successor begins.
fn broken_off(scanned: &Scanned, next: Revision) -> Result<Damage, OpenError> {
    let of = |error| OpenError::of(&scanned.path)(error);
    let revision = scanned.last.next();
    let mut walk = Walk::new(&*scanned.file).map_err(of)?;
    let tail = walk.tail(scanned.end, digest(scanned.header.incarnation)).map_err(of)?;
    let detail = if tail.dirty_end > scanned.end || scanned.length < scanned.header.bytes {
        format!("its frame is damaged, and the next segment begins at {next}")
    } else {
        format!("nothing follows here, and the next segment begins at {next}: a file is missing")
    };
    let mut found = damage(&scanned.path, scanned.end, revision, &detail);
    found.newest_seen = tail.newest.unwrap_or_default();
    Ok(found)
}

/// The newest entry that any later segment speaks of.
fn newest_seen(
    disk: &dyn Disk,
    directory: &Path,
    firsts: &[Revision],
    from: Revision,
) -> Result<Revision, OpenError> {
    let mut newest = Revision(from.0.saturating_sub(1));
    for first in firsts.iter().filter(|first| **first >= from) {
        let path = segment::path(directory, *first);
        newest = newest.max(Revision(first.0 - 1));
        let file = disk.open(&path, Access::Read).map_err(OpenError::of(&path))?;
        let mut walk = Walk::new(&*file).map_err(OpenError::of(&path))?;
        // The header may be what is damaged: the first whole frame names its history as well.
        let mut offset = HEADER_BYTES as u64;
        while offset + FRAME_HEADER_BYTES as u64 <= walk.length() {
            if let Found::Frame(frame) = walk.look(offset).map_err(OpenError::of(&path))? {
                let tail = walk.tail(offset, frame.incarnation).map_err(OpenError::of(&path))?;
                newest = newest.max(tail.newest.unwrap_or_default());
                break;
            }
            offset += crate::format::ALIGNMENT as u64;
        }
    }
    Ok(newest)
}

/// A snapshot is made from durable entries, so a log that ends before it has lost some. One of
/// a history that a repair cut off before it says nothing about this one.
fn snapshot_ahead(
    disk: &dyn Disk,
    directory: &Path,
    scan: &Scan,
) -> Result<Option<Damage>, OpenError> {
    let head = scan.head();
    let lineage = scan.lineage();
    let snapshots = directory.join(segment::SNAPSHOTS);
    let revisions = snapshot::revisions(disk, &snapshots).map_err(OpenError::of(&snapshots))?;
    for revision in revisions.into_iter().rev().take_while(|revision| *revision > head) {
        let path = snapshot::path(&snapshots, revision);
        let file = disk.open(&path, Access::Read).map_err(OpenError::of(&path))?;
        let mut bytes = [0; HEADER_BYTES];
        let length = file.read_full_at(&mut bytes, 0).map_err(OpenError::of(&path))?;
        let header = Header::decode(&bytes[..length], SNAPSHOT_MAGIC);
        if header.is_ok_and(|header| lineage.iter().any(|of| of.ends_before(&header))) {
            continue;
        }
        let detail =
            format!("the log ends at {head}, yet a snapshot of {revision} was made from it");
        let mut found = damage(&path, 0, head.next(), &detail);
        found.newest_seen = revision;
        return Ok(Some(found));
    }
    Ok(None)
}

pub(crate) fn damage(file: &Path, offset: u64, revision: Revision, detail: &str) -> Damage {
    Damage {
        file: file.to_owned(),
        offset,
        revision,
        detail: detail.to_owned(),
        newest_seen: Revision(revision.0.saturating_sub(1)),
    }
}

/// Writes zeros over everything behind the last good frame that is not zero, and makes the file
/// as long as it was made.
pub(crate) fn zero_rest(file: &dyn DiskFile, last: &Scanned) -> io::Result<()> {
    let mut walk = segment::Walk::new(file)?;
    let dirty_end = walk.tail(last.end, digest(last.header.incarnation))?.dirty_end;
    segment::write_zeros(file, last.end, dirty_end)?;
    segment::write_zeros(file, last.length.max(last.end), last.header.bytes)
}

#[cfg(test)]
mod tests;
