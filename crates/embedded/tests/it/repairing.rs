//! `instep check` looks, `instep check --repair` cuts; neither deletes.

use std::path::{Path, PathBuf};

use instep_embedded::check::check;
use instep_embedded::error::OpenError;
use instep_embedded::repair::repair;
use instep_embedded::snapshot::SnapshotError;
use instep_model::disk::Disk;
use instep_model::disk::simulated::{Fault, SimulatedDisk};
use instep_model::log::Log;
use instep_model::position::Revision;

use crate::world::{self, DIRECTORY, append, frames, held, incarnation, open, segment, segments};
use crate::world::{try_open, written};

#[test]
fn a_check_of_a_good_log_says_so_and_changes_nothing() {
    let disk = written(40);
    let log = open(&disk);
    log.snapshots().write(Revision(30), |writer| writer.chunk(b"rows")).unwrap();
    drop(log);
    disk.set_read_only(true);

    let report = check(&disk, Path::new(DIRECTORY), None).unwrap();
    assert!(report.is_healthy());
    assert_eq!((report.floor, report.head), (Revision(1), Revision(40)));
    assert_eq!(report.incarnation, Some(incarnation(7)));
    assert_eq!(report.segments, segments(&disk).len());
    assert_eq!(report.snapshots.len(), 1);
}

#[test]
fn a_check_names_a_torn_tail_damage_and_a_bad_snapshot() {
    let disk = written(5);
    let log = open(&disk);
    log.snapshots().write(Revision(2), |writer| writer.chunk(b"rows")).unwrap();
    drop(log);
    let starts = frames(&disk.contents(&segment(1)).unwrap());
    world::damage(&disk, &segment(1), |bytes| bytes[starts[4] + 42] ^= 1);
    let report = check(&disk, Path::new(DIRECTORY), None).unwrap();
    assert!(report.is_healthy(), "an unfinished write is no damage");
    assert_eq!(report.torn.unwrap().revision, Revision(5));

    world::damage(&disk, &segment(1), |bytes| {
        bytes[starts[4] + 42] ^= 1;
        bytes[starts[2] + 42] ^= 1;
    });
    let snapshot = Path::new(DIRECTORY).join("snapshots/00000000000000000002.snapshot");
    world::damage(&disk, &snapshot, |bytes| bytes[100] ^= 1);
    let report = check(&disk, Path::new(DIRECTORY), None).unwrap();
    assert!(!report.is_healthy());
    assert_eq!(report.damage.unwrap().revision, Revision(3));
    assert!(report.snapshots[0].fault.is_some());
}

#[test]
fn i2_a_repair_cuts_in_front_of_the_damage_and_begins_a_new_incarnation() {
    let disk = damaged();
    let before: Vec<Vec<u8>> =
        segments(&disk).iter().map(|path| disk.contents(path).unwrap()).collect();

    let report = repair(&disk, Path::new(DIRECTORY), incarnation(8)).unwrap();
    assert!(report.changed);
    assert_eq!(report.head, Revision(11));
    assert_eq!(report.lost, 29);
    assert_eq!(report.incarnation, Some(incarnation(8)));
    let kept: Vec<Vec<u8>> =
        report.moved.iter().filter(|p| is_segment(p)).map(|p| disk.contents(p).unwrap()).collect();
    assert!(kept.iter().all(|moved| before.contains(moved)), "moved aside unchanged");

    let mut log = open(&disk);
    assert_eq!(log.bounds().incarnation, incarnation(8));
    assert_eq!(held(&log), 11);
    append(&mut log, 12, 60);
    let snapshots = log.snapshots();
    assert_eq!(snapshots.list().len(), 1, "the bad one was moved aside");
    snapshots.verify(Revision(5)).unwrap();
    drop(log);
    assert_eq!(held(&open(&disk)), 60);
    assert!(!repair(&disk, Path::new(DIRECTORY), incarnation(9)).unwrap().changed);
    assert_eq!(open(&disk).bounds().incarnation, incarnation(8));
}

#[test]
fn i2_a_repair_cut_at_every_operation_is_completed_by_the_next_one() {
    for cut in 0..60 {
        for seed in 0..6 {
            let disk = damaged().fork(seed);
            disk.power_off_after(cut);
            let done = repair(&disk, Path::new(DIRECTORY), incarnation(8)).is_ok();
            disk.crash();
            if !done {
                match try_open(&disk) {
                    Err(OpenError::Damaged(_) | OpenError::RepairUnfinished { .. }) => {}
                    Err(other) => panic!("cut {cut}, seed {seed}: {other}"),
                    Ok(log) => assert_eq!(log.bounds().incarnation, incarnation(8), "cut {cut}"),
                }
                repair(&disk, Path::new(DIRECTORY), incarnation(8)).unwrap();
            }
            let log = open(&disk);
            assert_eq!(held(&log), 11, "cut {cut}, seed {seed}");
            assert_eq!(log.bounds().incarnation, incarnation(8));
        }
    }
}

#[test]
fn i2_a_repair_whose_directory_syncs_fail_is_completed_without_a_power_cut_in_between() {
    for (first, second) in (0..10).flat_map(|first| (0..10).map(move |second| (first, second))) {
        for seed in 0..6 {
            let disk = damaged().fork(seed);
            let case = format!("syncs {first} and {second}, seed {seed}");
            for skip in [first, second] {
                disk.inject(Fault::DirectorySyncError, skip);
                let _ = repair(&disk, Path::new(DIRECTORY), incarnation(8));
                disk.kill();
            }
            // A fault that has not struck yet may strike here.
            while repair(&disk, Path::new(DIRECTORY), incarnation(8)).is_err() {
                disk.kill();
            }
            disk.crash();

            let mut log = open(&disk);
            assert_eq!(log.bounds().incarnation, incarnation(8), "{case}");
            assert_eq!(held(&log), 11, "{case}");
            append(&mut log, 12, 40);
            assert_eq!(log.snapshots().list().len(), 1, "{case}");
            drop(log);
            disk.crash();
            assert_eq!(held(&open(&disk)), 40, "{case}");
        }
    }
}

#[test]
fn law_1_a_marker_that_comes_back_after_a_power_cut_does_not_stop_the_history_that_went_on() {
    let mut came_back = 0;
    for seed in 0..32 {
        let disk = damaged().fork(seed);
        // The last sync of a directory is the one behind the removal of the marker.
        let last = (0..).take_while(|skip| fails_at_sync(*skip, seed)).last().unwrap();
        disk.inject(Fault::DirectorySyncError, last);
        repair(&disk, Path::new(DIRECTORY), incarnation(8)).unwrap_err();
        disk.kill();
        append(&mut open(&disk), 12, 20);
        disk.crash();

        came_back += u32::from(disk.contents(&marker()).is_ok());
        assert_eq!(held(&open(&disk)), 20, "seed {seed}");
        assert!(disk.contents(&marker()).is_err(), "seed {seed}");
    }
    assert!(came_back > 0);
}

#[test]
fn i1_a_snapshot_that_was_cut_off_and_comes_back_is_not_taken_for_one_of_the_new_history() {
    let disk = damaged();
    let report = repair(&disk, Path::new(DIRECTORY), incarnation(8)).unwrap();
    let name = "00000000000000000030.snapshot";
    let moved = report.moved.iter().find(|path| path.ends_with(name)).unwrap();
    world::damage(&disk, moved, |bytes| bytes[SNAPSHOT_BYTE] ^= 1);
    disk.rename(moved, &Path::new(DIRECTORY).join("snapshots").join(name)).unwrap();

    let mut log = open(&disk);
    append(&mut log, 12, 40);
    let refused = log.snapshots().verify(Revision(30));
    assert!(matches!(refused, Err(SnapshotError::OtherIncarnation { .. })), "{refused:?}");
}

#[test]
fn a_repair_finds_its_way_whatever_single_byte_is_bad() {
    let disk = written(20);
    let first = disk.contents(&segment(1)).unwrap();
    for at in 0..*frames(&first).last().unwrap() {
        let disk = disk.fork(1);
        world::damage(&disk, &segment(1), |bytes| bytes[at] ^= 1);
        let report = repair(&disk, Path::new(DIRECTORY), incarnation(8)).unwrap();
        assert!(report.changed, "byte {at}");
        assert_eq!(report.head.0 + report.lost, 20, "byte {at}");
        assert_eq!(open(&disk).bounds().head, report.head, "byte {at}");
    }
}

#[test]
fn a_missing_segment_is_repaired_by_giving_up_what_follows() {
    let disk = written(40);
    let files = segments(&disk);
    disk.remove(&files[1]).unwrap();
    let report = repair(&disk, Path::new(DIRECTORY), incarnation(8)).unwrap();

    assert_eq!(report.head.0 + report.lost, 40);
    assert_eq!(report.moved.len(), files.len() - 2);
    assert_eq!(held(&open(&disk)), report.head.0);
}

#[test]
fn damage_below_the_newest_good_snapshot_costs_history_only() {
    let disk = damaged();
    let bad = Path::new(DIRECTORY).join("snapshots/00000000000000000030.snapshot");
    world::damage(&disk, &bad, |bytes| bytes[SNAPSHOT_BYTE] ^= 1);

    let report = repair(&disk, Path::new(DIRECTORY), incarnation(8)).unwrap();

    assert_eq!((report.head, report.lost, report.begins_anew), (Revision(40), 0, false));
    assert_eq!(report.floor, Revision(13), "entry 12 cannot be read, and 13 can");
    let mut log = open(&disk);
    assert_eq!(log.bounds().incarnation, incarnation(7), "readers go on");
    assert_eq!((log.bounds().floor, held(&log)), (Revision(13), 40));
    log.snapshots().verify(Revision(30)).unwrap();
    append(&mut log, 41, 80);
    drop(log);
    assert_eq!(held(&open(&disk)), 80);
    assert!(check(&disk, Path::new(DIRECTORY), None).unwrap().is_healthy());
}

#[test]
fn a_repair_that_gives_up_history_is_completed_by_the_next_one_wherever_it_was_cut() {
    for (cut, seed) in (0..40).flat_map(|cut| (0..4).map(move |seed| (cut, seed))) {
        let disk = damaged().fork(seed);
        let bad = Path::new(DIRECTORY).join("snapshots/00000000000000000030.snapshot");
        world::damage(&disk, &bad, |bytes| bytes[SNAPSHOT_BYTE] ^= 1);
        disk.power_off_after(cut);
        let _ = repair(&disk, Path::new(DIRECTORY), incarnation(8));
        disk.crash();

        repair(&disk, Path::new(DIRECTORY), incarnation(9)).unwrap();
        disk.crash();
        let log = open(&disk);
        assert_eq!((log.bounds().floor, held(&log)), (Revision(13), 40), "cut {cut}, seed {seed}");
        assert_eq!(log.bounds().incarnation, incarnation(7), "cut {cut}, seed {seed}");
    }
}

#[test]
fn a_file_that_does_not_belong_among_the_segments_is_moved_aside_and_costs_nothing() {
    let disk = written(40);
    let files = segments(&disk);
    let stray = segment(2);
    for of in [&files[0], &files[1]] {
        let bytes = disk.contents(of).unwrap();
        disk.create(&stray).unwrap();
        disk.replace(&stray, &bytes).unwrap();
        assert!(!check(&disk, Path::new(DIRECTORY), None).unwrap().starts());

        let report = repair(&disk, Path::new(DIRECTORY), incarnation(8)).unwrap();
        assert_eq!((report.head, report.lost, report.begins_anew), (Revision(40), 0, false));
        assert!(report.moved.iter().any(|path| path.file_name() == stray.file_name()));
        assert!(check(&disk, Path::new(DIRECTORY), None).unwrap().is_healthy());
        assert_eq!(open(&disk).bounds().incarnation, incarnation(7));
        assert_eq!(held(&open(&disk)), 40);
    }
}

#[test]
fn a_log_that_no_snapshot_reaches_is_damaged_and_goes_on_from_what_there_is() {
    let disk = written(40);
    for revision in [2, 3] {
        open(&disk).snapshots().write(Revision(revision), |to| to.chunk(b"rows")).unwrap();
    }
    disk.remove(&segments(&disk)[0]).unwrap();
    let report = check(&disk, Path::new(DIRECTORY), None).unwrap();
    assert!(!report.starts() && !report.is_healthy());

    let report = repair(&disk, Path::new(DIRECTORY), incarnation(8)).unwrap();
    assert_eq!((report.head, report.lost), (Revision(3), 37));
    assert!(report.begins_anew);
    assert!(check(&disk, Path::new(DIRECTORY), None).unwrap().is_healthy());
    let mut log = open(&disk);
    assert_eq!(log.bounds().head, Revision(3));
    log.snapshots().verify(Revision(3)).unwrap();
    append(&mut log, 4, 20);
    drop(log);
    assert!(check(&disk, Path::new(DIRECTORY), None).unwrap().is_healthy());
}

/// A byte of the only chunk of a snapshot.
const SNAPSHOT_BYTE: usize = 113;

/// Forty entries, a snapshot of 5, a bad one of 30, and a bad byte in entry 12.
fn damaged() -> SimulatedDisk {
    let disk = written(40);
    let log = open(&disk);
    for revision in [5, 30] {
        log.snapshots().write(Revision(revision), |writer| writer.chunk(b"rows")).unwrap();
    }
    let holds = |first: &u64| *first <= 12;
    let first = log.segments().iter().map(|info| info.first.0).filter(holds).max().unwrap();
    drop(log);
    let starts = frames(&disk.contents(&segment(first)).unwrap());
    let at = starts[(12 - first) as usize] + 41;
    world::damage(&disk, &segment(first), |bytes| bytes[at] ^= 1);
    let bad = Path::new(DIRECTORY).join("snapshots/00000000000000000030.snapshot");
    world::damage(&disk, &bad, |bytes| bytes[SNAPSHOT_BYTE] ^= 1);
    disk
}

fn fails_at_sync(skip: u64, seed: u64) -> bool {
    let disk = damaged().fork(seed);
    disk.inject(Fault::DirectorySyncError, skip);
    repair(&disk, Path::new(DIRECTORY), incarnation(8)).is_err()
}

fn marker() -> PathBuf {
    Path::new(DIRECTORY).join("repairing")
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "segment")
}

/// A log like [`written`], of another history.
fn of_another_history(entries: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(entries);
    let mut options = world::options(DIRECTORY, world::SEGMENT);
    options.new_incarnation = incarnation(3);
    let log = instep_embedded::log::EmbeddedLog::open(std::sync::Arc::new(disk.clone()), options);
    append(&mut log.unwrap(), 1, entries);
    disk
}

fn put(disk: &SimulatedDisk, path: &Path, bytes: &[u8]) {
    if disk.contents(path).is_err() {
        drop(disk.create(path).unwrap());
        disk.sync_directory(Path::new(DIRECTORY)).unwrap();
    }
    disk.replace(path, bytes).unwrap();
}

#[test]
fn a_repair_moves_what_is_of_another_history_aside_and_keeps_its_own() {
    let (whole, other) = (written(40), of_another_history(40));
    let files = segments(&whole);
    for (number, file) in files.iter().enumerate().skip(1) {
        let first = file.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
        for is_replaced in [true, false] {
            let disk = written(if is_replaced { 40 } else { first - 1 });
            let snapshot_at = first - 2;
            let log = open(&disk);
            log.snapshots().write(Revision(snapshot_at), |writer| writer.chunk(b"rows")).unwrap();
            drop(log);
            let foreign = other.contents(file).unwrap();
            put(&disk, file, &foreign);
            let case = format!("segment {number}, replaced: {is_replaced}");
            assert!(matches!(try_open(&disk), Err(OpenError::OtherIncarnation { .. })), "{case}");
            assert!(!check(&disk, Path::new(DIRECTORY), None).unwrap().is_healthy(), "{case}");

            let report = repair(&disk, Path::new(DIRECTORY), incarnation(8)).unwrap();

            assert_eq!(report.head, Revision(first - 1), "{case}");
            assert!(report.begins_anew, "what lay there may have been its own: {case}");
            let aside = report.moved.iter().find(|path| path.file_name() == file.file_name());
            assert_eq!(disk.contents(aside.unwrap()).unwrap(), foreign, "{case}");
            let mut log = open(&disk);
            assert_eq!((held(&log), log.bounds().incarnation), (first - 1, incarnation(8)));
            append(&mut log, first, first + 30);
            drop(log);
            assert_eq!(held(&open(&disk)), first + 30, "{case}");
            assert!(check(&disk, Path::new(DIRECTORY), None).unwrap().is_healthy(), "{case}");
        }
    }
}

#[test]
fn entries_of_another_history_are_never_taken_for_those_behind_a_snapshot() {
    let other = of_another_history(40);
    let file = segments(&other).swap_remove(1);
    let first = file.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
    let disk = written(first + 5);
    let log = open(&disk);
    log.snapshots().write(Revision(first + 1), |writer| writer.chunk(b"rows")).unwrap();
    drop(log);
    // What would go on behind the snapshot is another dataset's.
    put(&disk, &file, &other.contents(&file).unwrap());

    let report = repair(&disk, Path::new(DIRECTORY), incarnation(8)).unwrap();

    let log = open(&disk);
    assert_eq!(log.bounds().incarnation, incarnation(8));
    assert_eq!((report.head, log.bounds().head), (Revision(first + 1), Revision(first + 1)));
    assert!(report.moved.iter().any(|path| path.file_name() == file.file_name()));
}
