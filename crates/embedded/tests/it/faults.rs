//! Writes that fail, disks that are full, directories that are taken.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use instep_embedded::error::OpenError;
use instep_embedded::log::EmbeddedLog;
use instep_embedded::real::RealDisk;
use instep_model::disk::Disk;
use instep_model::disk::simulated::{Fault, SimulatedDisk};
use instep_model::log::{AppendError, Log, Promise, ReadError};
use instep_model::position::Revision;

use crate::world::{DIRECTORY, SEGMENT, append, held, open, options, try_open, written};

#[test]
fn law_8_a_failed_sync_is_final_and_the_entry_was_never_visible() {
    let disk = SimulatedDisk::new(1);
    let mut log = open(&disk);
    append(&mut log, 1, 2);
    let reader = log.reader();
    disk.inject(Fault::SyncError, 0);

    let failed = log.append(Revision(2), b"lost");
    assert!(matches!(failed, Err(AppendError::Fatal(_))), "{failed:?}");
    for _ in 0..3 {
        assert_eq!(log.append(Revision(2), b"again"), failed, "no sync is tried again");
    }
    assert!(matches!(log.trim(Revision(2)), Err(AppendError::Fatal(_))));
    assert_eq!(log.promise(), Promise::PowerLoss);
    assert_eq!(reader.bounds().head, Revision(2));
    assert_eq!(reader.read(Revision(3), 100), Ok(vec![]));
    assert_eq!(reader.read(Revision(4), 100), Err(ReadError::Ahead { head: Revision(2) }));
}

#[test]
fn law_8_a_failed_write_inside_a_segment_is_final() {
    let disk = SimulatedDisk::new(1);
    let mut log = open(&disk);
    append(&mut log, 1, 2);
    disk.inject(Fault::WriteError, 0);

    assert!(matches!(log.append(Revision(2), b"lost"), Err(AppendError::Fatal(_))));
    assert!(matches!(log.append(Revision(2), b"again"), Err(AppendError::Fatal(_))));
    drop(log);
    assert_eq!(held(&open(&disk)), 2, "a restart goes on");
}

#[test]
fn a_shortage_at_any_step_of_an_append_passes_and_leaves_nothing_of_the_entry() {
    let shortages = [
        Fault::Full,
        Fault::FullAtSync,
        Fault::NoMemory,
        Fault::NoDescriptor,
        Fault::NoDescriptorAtSync,
    ];
    for (seed, fault) in (0..60).flat_map(|seed| shortages.map(|fault| (seed, fault))) {
        let what = format!("{fault:?}, seed {seed}");
        let disk = SimulatedDisk::new(seed);
        let mut log = open(&disk);
        append(&mut log, 1, 3);
        disk.inject(fault, seed % 4);
        let mut refused = 0;

        for revision in 4..=40 {
            // What is refused is another entry, and longer than what follows in its place.
            if let Err(error) = log.append(Revision(revision - 1), &other(revision)) {
                let passes =
                    matches!(error, AppendError::StorageFull(_) | AppendError::Exhausted(_));
                assert!(passes && log.bounds().head == Revision(revision - 1), "{what}: {error}");
                refused += 1;
                if seed % 3 == 0 {
                    drop(log);
                    disk.crash();
                    log = open(&disk);
                    let found = log.bounds().head;
                    assert_eq!(found, Revision(revision - 1), "{what}: it was refused");
                }
            }
            if log.bounds().head < Revision(revision) {
                append(&mut log, revision, revision);
            }
        }
        assert_eq!(refused, 1, "{what}");
        drop(log);
        disk.crash();
        let log = open(&disk);
        assert_eq!(log.bounds().head, Revision(40), "{what}");
        assert_eq!(log.reader().read(Revision(1), usize::MAX).unwrap().len(), 40, "{what}");
    }
}

fn other(revision: u64) -> Vec<u8> {
    vec![revision as u8; 300]
}

#[test]
fn a_full_disk_that_copies_on_write_refuses_for_as_long_as_it_is_full() {
    let disk = SimulatedDisk::new(1);
    let mut log = open(&disk);
    append(&mut log, 1, 2);
    disk.set_full_for_overwrites(true);
    for _ in 0..3 {
        let full = log.append(Revision(2), b"refused");
        assert!(matches!(full, Err(AppendError::StorageFull(_))), "{full:?}");
    }
    assert_eq!(held(&log), 2);

    disk.set_full_for_overwrites(false);
    append(&mut log, 3, 40);
    drop(log);
    assert_eq!(held(&open(&disk)), 40);
}

#[test]
fn a_sync_whose_outcome_cannot_be_proven_is_final_also_for_want_of_space() {
    let disk = SimulatedDisk::new(1);
    let mut log = open(&disk);
    append(&mut log, 1, 2);
    disk.inject(Fault::FullAtSync, 0);
    disk.inject(Fault::FullAtSync, 0);

    let failed = log.append(Revision(2), b"lost");
    assert!(matches!(failed, Err(AppendError::Fatal(_))), "{failed:?}");
    assert_eq!(log.append(Revision(2), b"again"), failed);
}

#[test]
fn a_trim_that_finds_no_descriptor_is_done_later() {
    let disk = SimulatedDisk::new(1);
    let mut log = open(&disk);
    append(&mut log, 1, 40);
    let before = disk.list(Path::new(DIRECTORY)).unwrap().len();
    disk.inject(Fault::NoDescriptorAtSync, 0);

    let refused = log.trim(Revision(20));
    assert!(matches!(refused, Err(AppendError::Exhausted(_))), "{refused:?}");
    assert_eq!(disk.list(Path::new(DIRECTORY)).unwrap().len(), before);
    append(&mut log, 41, 42);
    log.trim(Revision(20)).unwrap();
    drop(log);
    assert_eq!(held(&open(&disk)), 42);
}

#[test]
fn a_failed_directory_sync_at_a_new_segment_is_final() {
    let disk = SimulatedDisk::new(1);
    let mut log = open(&disk);
    disk.inject(Fault::DirectorySyncError, 0);

    // A dozen of these entries fill more than one segment.
    let mut head = 0;
    let failed = (0..12).find_map(|_| match log.append(Revision(head), &[7; 300]) {
        Ok(revision) => {
            head = revision.0;
            None
        }
        Err(error) => Some(error),
    });
    let failed = failed.unwrap();
    assert!(matches!(failed, AppendError::Fatal(_)));
    assert_eq!(log.append(Revision(head), b"again"), Err(failed));
}

#[test]
fn a_short_write_is_continued() {
    let disk = SimulatedDisk::new(5);
    let mut log = open(&disk);
    disk.inject(Fault::ShortWrite, 0);
    append(&mut log, 1, 2);
    drop(log);

    disk.crash();
    assert_eq!(held(&open(&disk)), 2);
}

#[test]
fn no_space_for_a_new_segment_is_retryable_and_service_resumes_by_itself() {
    let disk = SimulatedDisk::new(1);
    let mut log = open(&disk);
    disk.set_capacity(Some(SEGMENT + SEGMENT / 2));
    let mut head = 0;
    while head < 20 && log.append(Revision(head), &[1; 300]).is_ok() {
        head += 1;
    }

    for _ in 0..3 {
        let full = log.append(Revision(head), &[1; 300]);
        assert!(matches!(full, Err(AppendError::StorageFull(_))), "{full:?}");
    }
    assert_eq!(log.bounds().head, Revision(head));
    let names = disk.list(Path::new(DIRECTORY)).unwrap();
    assert!(
        !names.iter().any(|name| name.ends_with(".tmp")),
        "the attempt leaves no file: {names:?}"
    );
    disk.set_capacity(None);
    assert_eq!(log.append(Revision(head), &[1; 300]), Ok(Revision(head + 1)));
    drop(log);
    assert_eq!(open(&disk).bounds().head, Revision(head + 1));
}

#[test]
fn a_preallocator_without_space_leaves_the_appender_to_try_itself() {
    let disk = SimulatedDisk::new(1);
    let mut log = open(&disk);
    let preallocator = log.preallocator();
    assert!(matches!(preallocator.prepare(), Ok(false)), "a quiet log wants nothing");
    disk.set_capacity(Some(SEGMENT));
    let mut head = 0;
    let refused = loop {
        head += 1;
        append(&mut log, head, head);
        match preallocator.prepare() {
            Ok(false) if head < 40 => {}
            other => break other,
        }
    };
    assert!(matches!(refused, Err(OpenError::StorageFull { .. })), "wanted from the half on");
    assert!(matches!(preallocator.prepare(), Ok(false)), "asked again only after the next roll");
    disk.set_capacity(None);

    while head < 40 {
        head += 1;
        append(&mut log, head, head);
    }
    assert!(preallocator.is_wanted(), "a segment is wanted again");
    assert!(preallocator.prepare().unwrap());
    drop(log);
    assert!(!preallocator.is_wanted(), "the log is closed");
    assert!(matches!(try_open(&disk), Err(OpenError::Locked { .. })), "until it is dropped");
    drop(preallocator);
    assert_eq!(held(&open(&disk)), 40);
}

#[test]
fn a_preallocator_on_another_thread_prepares_what_the_appender_needs() {
    let root = tempfile::tempdir().unwrap();
    let mut log = EmbeddedLog::open(Arc::new(RealDisk), options(root.path(), 4096)).unwrap();
    let preallocator = log.preallocator();
    let is_over = AtomicBool::new(false);
    let prepared = std::thread::scope(|scope| {
        let background = scope.spawn(|| {
            let mut prepared = 0;
            while !is_over.load(Ordering::SeqCst) {
                prepared += u32::from(preallocator.prepare().unwrap());
            }
            prepared
        });
        append(&mut log, 1, 300);
        is_over.store(true, Ordering::SeqCst);
        background.join().unwrap()
    });
    assert_eq!(held(&log), 300);
    drop((log, preallocator));

    assert!(prepared > 0);
    let log = EmbeddedLog::open(Arc::new(RealDisk), options(root.path(), 4096)).unwrap();
    assert_eq!(held(&log), 300);
}

#[test]
fn an_entry_larger_than_a_segment_gets_one_of_its_own() {
    let disk = SimulatedDisk::new(1);
    let mut log = open(&disk);
    let large = vec![9; 5 * SEGMENT as usize];
    log.append(Revision(0), &large).unwrap();
    log.append(Revision(1), b"small").unwrap();
    log.append(Revision(2), &large).unwrap();
    drop(log);

    let log = open(&disk);
    let read = log.reader().read(Revision(1), usize::MAX).unwrap();
    let lengths: Vec<usize> = read.iter().map(|stored| stored.bytes.len()).collect();
    assert_eq!(lengths, [large.len(), 5, large.len()]);
}

#[test]
fn a_read_only_directory_is_named_as_such() {
    let disk = written(3);
    disk.set_read_only(true);
    let Err(error) = try_open(&disk) else { panic!("it opened") };
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error}");
    assert!(error.to_string().contains(DIRECTORY));

    let fresh = SimulatedDisk::new(1);
    fresh.set_read_only(true);
    assert!(matches!(try_open(&fresh), Err(OpenError::ReadOnly { .. })));
}

#[test]
fn a_full_disk_at_the_beginning_is_named_as_such() {
    let disk = SimulatedDisk::new(1);
    disk.set_capacity(Some(100));
    assert!(matches!(try_open(&disk), Err(OpenError::StorageFull { .. })));
    disk.set_capacity(None);
    assert_eq!(held(&open(&disk)), 0);
}

#[test]
fn a_failed_sync_at_open_is_named_as_such() {
    let disk = written(3);
    disk.inject(Fault::SyncError, 0);
    assert!(matches!(try_open(&disk), Err(OpenError::SyncFailed { .. })));
    assert_eq!(held(&open(&disk)), 3);
}

#[test]
fn a_second_opener_is_refused_and_told_the_directory() {
    let root = tempfile::tempdir().unwrap();
    let first = EmbeddedLog::open(Arc::new(RealDisk), options(root.path(), SEGMENT)).unwrap();
    let Err(error) = EmbeddedLog::open(Arc::new(RealDisk), options(root.path(), SEGMENT)) else {
        panic!("it opened twice")
    };
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    assert!(error.to_string().contains(root.path().to_str().unwrap()));
    let checked = instep_embedded::check::check(&RealDisk, root.path(), None);
    assert!(matches!(checked, Err(OpenError::Locked { .. })));
    drop(first);

    assert!(EmbeddedLog::open(Arc::new(RealDisk), options(root.path(), SEGMENT)).is_ok());
}

#[test]
fn i2_a_directory_begun_anew_has_the_incarnation_that_the_caller_brought() {
    let disk = written(3);
    let mut other = options(DIRECTORY, SEGMENT);
    other.new_incarnation = crate::world::incarnation(99);
    let log = EmbeddedLog::open(Arc::new(disk.clone()), other.clone()).unwrap();
    assert_eq!(log.bounds().incarnation, crate::world::incarnation(7), "an old one keeps its own");
    assert!(!log.recovery().created);

    let log = EmbeddedLog::open(Arc::new(SimulatedDisk::new(2)), other).unwrap();
    assert_eq!(log.bounds().incarnation, crate::world::incarnation(99));
    assert!(log.recovery().created);
}

#[test]
fn law_1_entries_acknowledged_in_a_segment_without_a_synced_name_survive_a_power_cut() {
    for seed in 0..16 {
        let disk = SimulatedDisk::new(seed);
        let mut log = open(&disk);
        disk.inject(Fault::DirectorySyncError, 0);
        let mut head = 0;
        while log.append(Revision(head), &[7; 300]).is_ok() {
            head += 1;
        }
        drop(log);
        disk.kill();

        let mut log = open(&disk);
        let acknowledged = log.append(Revision(head), b"acknowledged").unwrap();
        drop(log);
        disk.crash();

        assert_eq!(open(&disk).bounds().head, acknowledged, "seed {seed}");
    }
}
