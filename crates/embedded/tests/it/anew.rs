//! A copy that begins another history: wherever that is cut off, all entries are there, and it is
//! one history or the other.

use std::path::Path;
use std::sync::Arc;

use instep_embedded::error::OpenError;
use instep_embedded::log::{EmbeddedLog, Options};
use instep_model::disk::simulated::{Fault, SimulatedDisk};
use instep_model::log::Log;
use instep_model::position::Incarnation;

use crate::world::{self, DIRECTORY, SEGMENT, append, held, incarnation, open, try_open, written};

fn open_anew(disk: &SimulatedDisk, new: u128) -> Result<EmbeddedLog, OpenError> {
    let options =
        Options { new_incarnation: incarnation(new), ..world::options(DIRECTORY, SEGMENT) };
    EmbeddedLog::open_anew(Arc::new(disk.clone()), options)
}

/// Logs whose newest segment has entries, is without any, and is the only one.
fn logs() -> Vec<(u64, SimulatedDisk)> {
    let blank = written(30);
    drop(open_anew(&blank, 8).unwrap());
    vec![(30, written(30)), (30, blank), (3, written(3))]
}

/// Checks that what an attempt has left opens, and that the next attempt completes it.
fn check(disk: &SimulatedDisk, entries: u64, case: &str) {
    let before = open(disk);
    assert_eq!(held(&before), entries, "{case}");
    let known: [Incarnation; 3] = [7, 8, 9].map(incarnation);
    assert!(known.contains(&before.bounds().incarnation), "{case}");
    drop(before);
    let mut log = open_anew(disk, 10).unwrap_or_else(|error| panic!("{case}: {error}"));
    assert_eq!((log.bounds().incarnation, held(&log)), (incarnation(10), entries), "{case}");
    append(&mut log, entries + 1, entries + 20);
    drop(log);
    let again = open(disk);
    assert_eq!(again.bounds().incarnation, incarnation(10), "{case}");
    assert_eq!(held(&again), entries + 20, "{case}");
    let report = instep_embedded::check::check(disk, Path::new(DIRECTORY), None);
    assert!(report.is_err() || report.is_ok_and(|report| report.is_healthy()), "{case}");
}

#[test]
fn another_history_may_be_cut_off_at_every_operation() {
    for (number, (entries, log)) in logs().into_iter().enumerate() {
        let calm = log.fork(0);
        let before = calm.operations();
        drop(open_anew(&calm, 9).unwrap());
        for cut in 0..=calm.operations() - before {
            for seed in 0..12 {
                let case = format!("log {number}, cut {cut}, seed {seed}");
                let disk = log.fork(seed);
                disk.power_off_after(cut);
                let anew = open_anew(&disk, 9).is_ok();
                if seed % 3 == 0 {
                    disk.kill()
                } else {
                    disk.crash()
                }
                if anew {
                    let Ok(log) = try_open(&disk) else { panic!("{case}") };
                    assert_eq!(log.bounds().incarnation, incarnation(9), "taken back: {case}");
                }
                check(&disk, entries, &case);
            }
        }
    }
}

#[test]
fn another_history_that_is_refused_at_any_operation_is_begun_by_the_next_attempt() {
    let faults = [
        Fault::WriteError,
        Fault::ShortWrite,
        Fault::Full,
        Fault::SyncError,
        Fault::DirectorySyncError,
        Fault::NoDescriptor,
        Fault::NoDescriptorAtSync,
    ];
    for (number, (entries, log)) in logs().into_iter().enumerate() {
        for fault in faults {
            for skip in 0..14 {
                let case = format!("log {number}, {fault:?} after {skip}");
                let disk = log.fork(skip);
                disk.inject(fault, skip);
                let anew = open_anew(&disk, 9).is_ok();
                // What has not struck must not strike later.
                if anew || skip % 2 == 0 {
                    disk.crash()
                } else {
                    disk.kill()
                }
                if anew {
                    assert_eq!(open(&disk).bounds().incarnation, incarnation(9), "{case}");
                }
                while try_open(&disk).is_err() {}
                check(&disk, entries, &case);
            }
        }
    }
}
