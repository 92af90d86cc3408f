//! A log with little in it takes little room: its segments grow with it.

use std::sync::Arc;

use instep_embedded::log::{EmbeddedLog, FIRST_SEGMENT_BYTES};
use instep_embedded::real::RealDisk;
use instep_model::log::{Log, StoredEntry};
use instep_model::position::Revision;

use crate::world::options;

const FULL: u64 = 16 * FIRST_SEGMENT_BYTES;
const ENTRY: usize = 10_000;

/// Bytes of the segment files, oldest first.
fn sizes(directory: &std::path::Path) -> Vec<u64> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> = entries
        .filter(|entry| entry.path().extension().is_some_and(|ending| ending == "segment"))
        .map(|entry| (entry.file_name(), entry.metadata().unwrap().len()))
        .collect();
    files.sort();
    files.into_iter().map(|(_, bytes)| bytes).collect()
}

#[test]
fn segments_grow_from_a_small_first_one_to_their_full_size_and_hold_everything() {
    for prepares in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path();
        let open = || EmbeddedLog::open(Arc::new(RealDisk), options(directory, FULL)).unwrap();
        let mut log = open();
        let preallocator = log.preallocator();
        assert_eq!(sizes(directory), [FIRST_SEGMENT_BYTES]);

        let count = 3 * FULL / ENTRY as u64;
        for revision in 1..=count {
            let entry = vec![u8::try_from(revision % 251).unwrap(); ENTRY];
            log.append(Revision(revision - 1), &entry).unwrap();
            if prepares && preallocator.is_wanted() {
                assert!(preallocator.prepare().unwrap());
            }
        }

        let [first, second] = [FIRST_SEGMENT_BYTES, 4 * FIRST_SEGMENT_BYTES];
        assert_eq!(sizes(directory)[..4], [first, second, FULL, FULL]);
        drop((log, preallocator));
        let log = open();
        let read = log.reader().read(Revision(1), usize::MAX).unwrap();
        let whole = |stored: &StoredEntry| {
            let byte = u8::try_from(stored.revision.0 % 251).unwrap();
            stored.bytes.len() == ENTRY && stored.bytes.iter().all(|found| *found == byte)
        };
        assert_eq!(read.len() as u64, count);
        assert!(read.iter().all(whole));
    }
}

#[test]
fn an_entry_beyond_a_small_segment_gets_its_room_and_the_log_grows_on() {
    let root = tempfile::tempdir().unwrap();
    let mut log = EmbeddedLog::open(Arc::new(RealDisk), options(root.path(), FULL)).unwrap();

    log.append(Revision(0), b"small").unwrap();
    log.append(Revision(1), &vec![1; 2 * usize::try_from(FULL).unwrap()]).unwrap();
    log.append(Revision(2), b"small").unwrap();

    let sizes = sizes(root.path());
    assert_eq!(sizes[0], FIRST_SEGMENT_BYTES);
    assert!(sizes[1] > 2 * FULL);
    assert_eq!(sizes[2], FULL);
}
