//! The suites of every log and of the stores beside it, on a simulated and on a real disk.

use std::path::Path;
use std::sync::Arc;

use instep_embedded::definitions::DefinitionFile;
use instep_embedded::log::{EmbeddedLog, SEGMENT_BYTES};
use instep_embedded::real::RealDisk;
use instep_model::disk::Disk as _;
use instep_model::disk::simulated::SimulatedDisk;
use instep_model::log::conformance;
use instep_model::store;

use crate::world::options;

#[test]
fn the_log_on_a_simulated_disk_does_what_every_log_does() {
    for segment_bytes in [1024, 16 * 1024] {
        conformance::run(|| {
            let disk = Arc::new(SimulatedDisk::new(1));
            Box::new(EmbeddedLog::open(disk, options("/log", segment_bytes)).unwrap())
        });
    }
}

#[test]
fn the_log_on_a_real_disk_does_what_every_log_does() {
    for segment_bytes in [1024, SEGMENT_BYTES] {
        let root = tempfile::tempdir().unwrap();
        let mut opened = 0;
        conformance::run(|| {
            opened += 1;
            let directory = root.path().join(format!("log-{opened}"));
            let disk = Arc::new(RealDisk);
            Box::new(EmbeddedLog::open(disk, options(directory, segment_bytes)).unwrap())
        });
    }
}

#[test]
fn snapshots_on_a_simulated_disk_do_what_all_snapshots_do() {
    store::conformance::snapshots(|| {
        let disk = Arc::new(SimulatedDisk::new(1));
        let log = EmbeddedLog::open(disk, options("/log", SEGMENT_BYTES)).unwrap();
        Box::new(log.snapshots())
    });
}

#[test]
fn snapshots_on_a_real_disk_do_what_all_snapshots_do() {
    let root = tempfile::tempdir().unwrap();
    let mut opened = 0;
    store::conformance::snapshots(|| {
        opened += 1;
        let directory = root.path().join(format!("log-{opened}"));
        let log = EmbeddedLog::open(Arc::new(RealDisk), options(directory, SEGMENT_BYTES)).unwrap();
        Box::new(log.snapshots())
    });
}

#[test]
fn definitions_on_a_simulated_disk_do_what_all_definitions_do() {
    let directory = Path::new("/node/shop");
    store::conformance::definitions(|| {
        let disk = SimulatedDisk::new(1);
        disk.create_directory(directory).unwrap();
        Box::new(DefinitionFile::in_directory(Arc::new(disk), directory))
    });
}

#[test]
fn definitions_on_a_real_disk_do_what_all_definitions_do() {
    let root = tempfile::tempdir().unwrap();
    let mut opened = 0;
    store::conformance::definitions(|| {
        opened += 1;
        let directory = root.path().join(format!("shop-{opened}"));
        RealDisk.create_directory(&directory).unwrap();
        Box::new(DefinitionFile::in_directory(Arc::new(RealDisk), &directory))
    });
}
