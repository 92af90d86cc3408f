//! A log on a disk that has been tampered with: opened with the written entries and nothing else,
//! or refused; then repaired.
#![no_main]

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use arbitrary::Arbitrary;
use instep_embedded::check::check;
use instep_embedded::log::{EmbeddedLog, Options, Trimming};
use instep_embedded::repair::repair;
use instep_fuzz::allowance::within;
use instep_model::disk::Disk;
use instep_model::disk::simulated::SimulatedDisk;
use instep_model::log::Log;
use instep_model::log::conformance::entry;
use instep_model::position::{Incarnation, Revision};
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

const DIRECTORY: &str = "/log";
const ENTRIES: u64 = 12;

/// Something that happens to a file of the log.
#[derive(Debug, Arbitrary)]
enum Harm {
    /// Bytes change.
    Overwrite { file: u8, at: u16, bytes: Vec<u8> },
    /// The file ends earlier.
    Cut { file: u8, at: u16 },
    /// Bytes stand behind the end.
    Extend { file: u8, bytes: Vec<u8> },
    /// Part of a file lies elsewhere in it.
    Copy { file: u8, from: u16, to: u16, length: u16 },
}

static WRITTEN: LazyLock<SimulatedDisk> = LazyLock::new(|| {
    let disk = SimulatedDisk::new(1);
    let mut log = open(&disk).expect("an empty directory opens");
    for revision in 1..=ENTRIES {
        log.append(Revision(revision - 1), &entry(revision)).expect("the disk is whole");
    }
    drop(log);
    disk
});

fuzz_target!(
    init: { LazyLock::force(&WRITTEN); },
    |harms: Vec<Harm>| {
        within(64 * 1024 * 1024, 0, 0, || run(&harms));
    }
);

fn run(harms: &[Harm]) {
    let disk = WRITTEN.fork(2);
    harms.iter().for_each(|harm| inflict(&disk, harm));
    let report = check(&disk, Path::new(DIRECTORY), None);
    let head = match open(&disk) {
        Ok(log) => Some(held(&log)),
        Err(_) => None,
    };
    if report.is_ok_and(|report| report.is_healthy()) {
        assert!(head.is_some(), "what is healthy opens");
    }
    let new = Incarnation(Uuid::from_u128(9));
    let repaired = repair(&disk, Path::new(DIRECTORY), new);
    if let Ok(repaired) = repaired {
        let log = open(&disk).expect("what has been repaired opens");
        assert_eq!(held(&log), repaired.head.0);
        assert!(head.is_none_or(|head| head == repaired.head.0), "a repair takes nothing whole");
    }
}

fn inflict(disk: &SimulatedDisk, harm: &Harm) {
    let (Harm::Overwrite { file, .. }
    | Harm::Cut { file, .. }
    | Harm::Extend { file, .. }
    | Harm::Copy { file, .. }) = harm;
    let names: Vec<PathBuf> = disk.list(Path::new(DIRECTORY)).map_or(vec![], |names| {
        names.into_iter().map(|name| Path::new(DIRECTORY).join(name)).collect()
    });
    let Some(path) = names.get(usize::from(*file) % names.len().max(1)) else { return };
    let Ok(mut contents) = disk.contents(path) else { return };
    match harm {
        Harm::Overwrite { at, bytes, .. } => {
            let room = contents.iter_mut().skip(usize::from(*at));
            room.zip(bytes).for_each(|(old, new)| *old = *new);
        }
        Harm::Cut { at, .. } => contents.truncate(usize::from(*at)),
        Harm::Extend { bytes, .. } => contents.extend_from_slice(bytes),
        Harm::Copy { from, to, length, .. } => {
            let (from, to) = (usize::from(*from), usize::from(*to));
            let length = usize::from(*length);
            let taken: Vec<u8> = contents.iter().skip(from).take(length).copied().collect();
            contents.iter_mut().skip(to).zip(taken).for_each(|(old, new)| *old = new);
        }
    }
    let _ = disk.replace(path, &contents);
}

/// The newest entry, after checking that each is the one that was written.
fn held(log: &dyn Log) -> u64 {
    let bounds = log.bounds();
    let read = log.reader().read(bounds.floor, usize::MAX).expect("an open log reads");
    for stored in &read {
        assert_eq!(stored.bytes, entry(stored.revision.0), "entry {}", stored.revision);
    }
    bounds.head.0
}

fn open(disk: &SimulatedDisk) -> Result<EmbeddedLog, instep_embedded::error::OpenError> {
    let options = Options {
        directory: DIRECTORY.into(),
        segment_bytes: 1024,
        new_incarnation: Incarnation(Uuid::from_u128(7)),
        trimming: Trimming::AsAsked,
        newest_entry: None,
    };
    EmbeddedLog::open(Arc::new(disk.clone()), options)
}
