//! Trimming: which segments are removed, and which are not.

use std::sync::Arc;

use instep_embedded::log::{EmbeddedLog, Trimming};
use instep_model::disk::simulated::{Fault, SimulatedDisk};
use instep_model::log::{Log, ReadError};
use instep_model::position::Revision;

use crate::world::{DIRECTORY, SEGMENT, append, held, open, options, segments};

#[test]
fn i28_whole_segments_go_and_the_floor_says_so() {
    let disk = SimulatedDisk::new(1);
    let mut log = open(&disk);
    append(&mut log, 1, 100);
    let infos = log.segments();
    assert_eq!(infos.first().unwrap().first, Revision(1));
    assert_eq!(infos.last().unwrap().last, Revision(100));
    assert!(infos.windows(2).all(|pair| pair[1].first == pair[0].last.next()));

    for info in &infos[1..] {
        let bounds = log.trim(info.first).unwrap();
        assert_eq!(bounds.floor, info.first);
        let below = log.reader().read(Revision(info.first.0 - 1), 100);
        assert_eq!(below, Err(ReadError::Trimmed { floor: info.first }));
        held(&log);
    }
    assert_eq!(segments(&disk).len(), 1, "the active segment stays");
    log.trim(Revision(u64::MAX)).unwrap();
    assert_eq!(segments(&disk).len(), 1);
    drop(log);
    assert_eq!(held(&open(&disk)), 100);
}

#[test]
fn a_trim_between_two_segments_keeps_the_one_that_holds_the_floor() {
    let disk = SimulatedDisk::new(1);
    let mut log = open(&disk);
    append(&mut log, 1, 100);
    let third = log.segments()[2].clone();

    let bounds = log.trim(third.last).unwrap();
    assert_eq!(bounds.floor, third.first);
}

#[test]
fn i25_a_guarded_log_is_trimmed_only_below_the_older_of_two_verified_snapshots() {
    let disk = Arc::new(SimulatedDisk::new(1));
    let mut guarded = options(DIRECTORY, SEGMENT);
    guarded.trimming = Trimming::BelowSnapshots;
    let mut log = EmbeddedLog::open(disk, guarded).unwrap();
    append(&mut log, 1, 100);
    let snapshots = log.snapshots();
    assert_eq!(log.trim(Revision(90)).unwrap().floor, Revision(1));

    snapshots.write(Revision(80), |writer| writer.chunk(b"80")).unwrap();
    assert_eq!(log.trim(Revision(90)).unwrap().floor, Revision(1), "one is not enough");
    snapshots.write(Revision(40), |writer| writer.chunk(b"40")).unwrap();
    let floor = log.trim(Revision(90)).unwrap().floor;
    assert!(floor > Revision(1) && floor <= Revision(41), "{floor}");
    snapshots.write(Revision(99), |writer| writer.chunk(b"99")).unwrap();
    let floor = log.trim(Revision(90)).unwrap().floor;
    assert!(floor > Revision(41) && floor <= Revision(81), "{floor}");
}

#[test]
fn a_file_that_cannot_be_removed_now_is_removed_by_a_later_trim() {
    let disk = SimulatedDisk::new(1);
    let mut log = open(&disk);
    append(&mut log, 1, 100);
    let before = segments(&disk).len();
    disk.set_read_only(true);
    let floor = log.trim(Revision(60)).unwrap().floor;
    assert_eq!(segments(&disk).len(), before);
    disk.set_read_only(false);

    assert_eq!(log.trim(Revision(60)).unwrap().floor, floor);
    assert!(segments(&disk).len() < before);
    append(&mut log, 101, 110);
    drop(log);
    assert_eq!(held(&open(&disk)), 110);
}

#[test]
fn law_1_a_trim_whose_sync_failed_leaves_no_gap_when_the_next_process_trims_on() {
    for seed in 0..16 {
        let disk = SimulatedDisk::new(seed);
        let mut log = open(&disk);
        append(&mut log, 1, 100);
        let infos = log.segments();
        disk.inject(Fault::DirectorySyncError, 0);
        log.trim(infos[1].first).unwrap_err();
        drop(log);
        disk.kill();

        let mut log = open(&disk);
        log.trim(infos[2].first).unwrap();
        drop(log);
        disk.crash();

        let log = open(&disk);
        assert_eq!(log.bounds().floor, infos[2].first, "seed {seed}");
        assert_eq!(held(&log), 100, "seed {seed}");
    }
}
