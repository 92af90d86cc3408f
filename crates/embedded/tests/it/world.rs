//! The small language of these tests: a log on a simulated disk, and what it holds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use instep_embedded::error::OpenError;
use instep_embedded::log::{EmbeddedLog, Options, Trimming};
use instep_model::disk::Disk;
use instep_model::disk::simulated::SimulatedDisk;
use instep_model::log::Log;
use instep_model::log::conformance::entry;
use instep_model::position::{Incarnation, Revision};
use uuid::Uuid;

pub(crate) const DIRECTORY: &str = "/data/log";
pub(crate) const HEADER: usize = 96;
pub(crate) const SEGMENT: u64 = 2048;

pub(crate) fn incarnation(number: u128) -> Incarnation {
    Incarnation(Uuid::from_u128(number))
}

pub(crate) fn options(directory: impl Into<PathBuf>, segment_bytes: u64) -> Options {
    Options {
        directory: directory.into(),
        segment_bytes,
        new_incarnation: incarnation(7),
        trimming: Trimming::AsAsked,
        newest_entry: None,
    }
}

pub(crate) fn try_open(disk: &SimulatedDisk) -> Result<EmbeddedLog, OpenError> {
    EmbeddedLog::open(Arc::new(disk.clone()), options(DIRECTORY, SEGMENT))
}

pub(crate) fn open(disk: &SimulatedDisk) -> EmbeddedLog {
    try_open(disk).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn append(log: &mut dyn Log, first: u64, last: u64) {
    for revision in first..=last {
        log.append(Revision(revision - 1), &entry(revision)).unwrap();
    }
}

/// A disk with a closed log of `entries` entries.
pub(crate) fn written(entries: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(entries);
    append(&mut open(&disk), 1, entries);
    disk
}

/// Every entry that can be read, after checking that each is the one that was written.
pub(crate) fn held(log: &dyn Log) -> u64 {
    let bounds = log.bounds();
    let read = log.reader().read(bounds.floor, usize::MAX).unwrap();
    for stored in &read {
        assert_eq!(stored.bytes, entry(stored.revision.0), "entry {}", stored.revision);
    }
    assert_eq!(read.len() as u64, bounds.head.next().0 - bounds.floor.0);
    bounds.head.0
}

pub(crate) fn segment(first: u64) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{first:020}.segment"))
}

/// The segment files, oldest first.
pub(crate) fn segments(disk: &SimulatedDisk) -> Vec<PathBuf> {
    let names = disk.list(Path::new(DIRECTORY)).unwrap();
    let segments = names.into_iter().filter(|name| name.ends_with(".segment"));
    segments.map(|name| Path::new(DIRECTORY).join(name)).collect()
}

/// Returns the offsets of the frames of a segment, with the end of the last one.
pub(crate) fn frames(bytes: &[u8]) -> Vec<usize> {
    let mut offsets = vec![HEADER];
    let mut at = HEADER;
    while at + 40 <= bytes.len() && bytes[at + 12..at + 16] == *b"FRME" {
        let body = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
        at += (40 + body).next_multiple_of(8);
        offsets.push(at);
    }
    offsets
}

pub(crate) fn damage(disk: &SimulatedDisk, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = disk.contents(path).unwrap();
    change(&mut bytes);
    disk.replace(path, &bytes).unwrap();
}
