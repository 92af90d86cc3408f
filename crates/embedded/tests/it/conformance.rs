//! The suite of every log, on a simulated and on a real disk.

use std::sync::Arc;

use instep_embedded::log::{EmbeddedLog, SEGMENT_BYTES};
use instep_embedded::real::RealDisk;
use instep_model::disk::simulated::SimulatedDisk;
use instep_model::log::conformance;

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
