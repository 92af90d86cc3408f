//! Recovery: makes a log again of the files that a crash left, or refuses them.
//!
//! Nothing that recovery finds is published before it is durable. After a kill the newest frame
//! may exist only in the page cache, and after a failed sync the kernel may believe that it is
//! written when it is not. So the newest frame is written once more, and synced, before any reader
//! can see it: a crash right after open must not take it back (I5).

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;

use instep_model::disk::{Access, Disk, DiskFile, DiskLock};
use instep_model::position::{Incarnation, Revision};

use crate::error::OpenError;
use crate::format::{HEADER_BYTES, Header, SEGMENT_MAGIC, digest};
use crate::identity;
use crate::lock::take_lock;
use crate::log::{self, Active, EmbeddedLog, Options, Recovery};
use crate::newer;
use crate::preallocator::Spare;
use crate::reader::{Segment, Shared};
use crate::repair;
use crate::scan::{self, Rules, Scan, Scanned, zero_rest};
use crate::segment::{self, SEGMENT_BYTES_MIN, make_segment};
use crate::snapshot::SnapshotStore;

pub(crate) fn open(disk: Arc<dyn Disk>, options: Options) -> Result<EmbeddedLog, OpenError> {
    let lock = enter(&*disk, &options.directory)?;
    open_locked(disk, options, lock)
}

/// Opens a log whose history ends here: another one begins behind its head. One rename decides.
pub(crate) fn open_anew(disk: Arc<dyn Disk>, options: Options) -> Result<EmbeddedLog, OpenError> {
    let lock = enter(&*disk, &options.directory)?;
    let log = open_locked(Arc::clone(&disk), options.clone(), Arc::clone(&lock))?;
    if log.recovery.created {
        return Ok(log);
    }
    let head = log.shared.state().head;
    let chain = log.active.chain;
    drop(log);
    let scan = scan::scan(&*disk, &options.directory, rules(&options))?;
    let predecessor = scan.segments.last().map(|last| {
        if last.last < last.header.revision {
            // It has the name of the new one, which takes its place.
            last.header.predecessor
        } else {
            last.header.incarnation
        }
    });
    drop(scan);
    let header = Header {
        magic: SEGMENT_MAGIC,
        incarnation: options.new_incarnation,
        predecessor: predecessor.unwrap_or(options.new_incarnation),
        revision: head.next(),
        chain,
        // As small as can be: what does not fit goes on in a segment of the usual size.
        bytes: SEGMENT_BYTES_MIN,
    };
    make_segment(&*disk, &options.directory, &header)?;
    open_locked(disk, options, lock)
}

/// Makes missing files of a directory, and locks it.
fn enter(disk: &dyn Disk, directory: &Path) -> Result<Arc<dyn DiskLock>, OpenError> {
    newer::refuse(disk, directory)?;
    let snapshots = directory.join(segment::SNAPSHOTS);
    disk.create_directory(&snapshots).map_err(OpenError::of(&snapshots))?;
    take_lock(disk, directory)
}

fn open_locked(
    disk: Arc<dyn Disk>,
    mut options: Options,
    lock: Arc<dyn DiskLock>,
) -> Result<EmbeddedLog, OpenError> {
    options.segment_bytes = options.segment_bytes.max(SEGMENT_BYTES_MIN).next_multiple_of(8);
    let directory = options.directory.clone();
    let snapshots = directory.join(segment::SNAPSHOTS);
    let repaired = repair::is_unfinished(&*disk, &directory)?;
    if repaired && !repair::is_done_but_for_its_marker(&*disk, &directory)? {
        return Err(OpenError::RepairUnfinished { directory });
    }
    // Before anything changes: files of a newer program are refused as they are.
    let mut scan = scan::scan(&*disk, &directory, rules(&options))?;
    if let Some(damage) = scan.damage.take() {
        return Err(damage.into());
    }
    remove_unfinished(&*disk, &directory)?;
    remove_unfinished(&*disk, &snapshots)?;
    let created = scan.segments.is_empty();
    if created {
        identity::refuse_lost_log(&*disk, &directory)?;
        begin(&*disk, &options)?;
        scan = scan::scan(&*disk, &directory, rules(&options))?;
    } else if let Some(last) = scan.segments.last().filter(|last| last.last < last.header.revision)
    {
        // The directory may never have been synced with this name in it, if that failed: a later
        // sync of the directory does not say whether. Without entries the file is made anew.
        make_segment(&*disk, &directory, &last.header.clone())?;
        scan = scan::scan(&*disk, &directory, rules(&options))?;
    }
    let log = assemble(disk, options, lock, scan, created)?;
    if repaired {
        repair::remove_marker(&*log.disk, &directory)?;
    }
    Ok(log)
}

/// Rules by which the log of these options is read.
fn rules(options: &Options) -> Rules {
    Rules { newest_entry: options.newest_entry, ..Rules::CHAIN }
}

/// Removes files that a crash left half-made.
fn remove_unfinished(disk: &dyn Disk, directory: &Path) -> Result<(), OpenError> {
    for name in disk.list(directory).map_err(OpenError::of(directory))? {
        if name.ends_with(segment::UNFINISHED) {
            let path = directory.join(name);
            disk.remove(&path).map_err(OpenError::of(&path))?;
        }
    }
    Ok(())
}

/// Writes the first segment of a history.
fn begin(disk: &dyn Disk, options: &Options) -> Result<(), OpenError> {
    let header = Header {
        magic: SEGMENT_MAGIC,
        incarnation: options.new_incarnation,
        predecessor: options.new_incarnation,
        revision: Revision(1),
        chain: 0,
        bytes: log::first_segment_bytes(options),
    };
    make_segment(disk, &options.directory, &header)
}

fn assemble(
    disk: Arc<dyn Disk>,
    options: Options,
    lock: Arc<dyn DiskLock>,
    scan: Scan,
    created: bool,
) -> Result<EmbeddedLog, OpenError> {
    let lineage = scan.lineage();
    let head = scan.head();
    let torn = scan.torn.clone();
    let (Some(first), Some(last)) = (scan.segments.first(), scan.segments.last()) else {
        // The segment that was just begun has vanished.
        let directory = options.directory;
        let source = io::ErrorKind::NotFound.into();
        return Err(OpenError::Storage { path: directory, source });
    };
    let floor = first.header.revision;
    let incarnation = last.header.incarnation;
    let bytes = scan.segments.iter().map(|segment| segment.end - HEADER_BYTES as u64).sum();
    let entries = head.next().0 - floor.0;
    let active = settle(&*disk, &options.directory, last)?;
    let segments = segments_of(scan, &active);
    let shared = Shared::new(Arc::clone(&disk), incarnation, floor, head, segments);
    let snapshots = options.directory.join(segment::SNAPSHOTS);
    let failed = OpenError::of(&snapshots);
    let snapshots =
        SnapshotStore::open(Arc::clone(&disk), snapshots.clone(), lineage).map_err(failed)?;
    Ok(EmbeddedLog {
        disk,
        options,
        shared: Arc::new(shared),
        active,
        snapshots,
        recovery: Recovery { created, entries, bytes, torn },
        spare: Arc::new(Spare::default()),
        lock,
        doomed: VecDeque::new(),
        buffer: Vec::new(),
        failed: None,
    })
}

/// Makes everything that was found in the last segment durable, and what lies behind it zero.
fn settle(disk: &dyn Disk, directory: &Path, last: &Scanned) -> Result<Active, OpenError> {
    let path = &last.path;
    let file = disk.open(path, Access::Write).map_err(OpenError::of(path))?;
    rewrite(&*file, last).map_err(OpenError::of(path))?;
    file.sync_data().map_err(OpenError::sync(path))?;
    disk.sync_directory(directory).map_err(OpenError::sync(directory))?;
    Ok(Active {
        file: Arc::from(file),
        path: path.clone(),
        incarnation: last.header.incarnation,
        end: last.end,
        capacity: last.header.bytes.max(last.end),
        chain: last.chain,
        dirty_end: None,
    })
}

fn rewrite(file: &dyn DiskFile, last: &Scanned) -> io::Result<()> {
    file.write_all_at(&last.header.encode(), 0)?;
    if let Some(start) = last.last_frame {
        let mut frame = vec![0; segment::length_of(last.end - start)];
        file.read_full_at(&mut frame, start)?;
        file.write_all_at(&frame, start)?;
    }
    zero_rest(file, last)
}

fn segments_of(scan: Scan, active: &Active) -> BTreeMap<Revision, Segment> {
    let segments = scan.segments.into_iter().map(|scanned| {
        let incarnation: Incarnation = scanned.header.incarnation;
        let segment = Segment {
            file: (scanned.path == active.path).then(|| Arc::clone(&active.file)),
            path: scanned.path,
            incarnation: digest(incarnation),
            end: scanned.end,
            marks: scanned.marks,
        };
        (scanned.header.revision, segment)
    });
    segments.collect()
}
