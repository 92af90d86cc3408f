//! Repair after arbitrary damage: it mends the log, and takes nothing that was whole.

use std::path::{Path, PathBuf};

use instep_embedded::check::check;
use instep_embedded::error::OpenError;
use instep_embedded::log::EmbeddedLog;
use instep_embedded::repair::repair;
use instep_model::disk::Disk;
use instep_model::disk::simulated::SimulatedDisk;
use instep_model::log::Log;
use instep_model::position::Revision;
use std::sync::Arc;

use crate::world::written;
use crate::world::{self, DIRECTORY, append, held, incarnation, open, segment, segments, try_open};

/// Histories that files are mixed from.
const HISTORIES: [u128; 3] = [7, 3, 8];
const SEEDS: u64 = 4_000;

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }
}

/// A log of a history, with `entries` entries; an even number of them ends in a blank segment.
fn of_history(number: u128, entries: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(entries);
    let options = || {
        let new_incarnation = incarnation(number);
        instep_embedded::log::Options { new_incarnation, ..world::options(DIRECTORY, 1024) }
    };
    let mut log = EmbeddedLog::open(Arc::new(disk.clone()), options()).unwrap();
    append(&mut log, 1, entries);
    if entries > 4 {
        log.snapshots().write(Revision(entries / 2), |writer| writer.chunk(b"rows")).unwrap();
    }
    drop(log);
    if entries.is_multiple_of(2) {
        let anew = instep_embedded::log::Options { new_incarnation: incarnation(8), ..options() };
        drop(EmbeddedLog::open_anew(Arc::new(disk.clone()), anew).unwrap());
    }
    disk
}

fn put(disk: &SimulatedDisk, path: &Path, bytes: &[u8]) {
    if disk.contents(path).is_err() {
        drop(disk.create(path).unwrap());
    }
    disk.replace(path, bytes).unwrap();
}

/// Does something to a file.
fn harm(disk: &SimulatedDisk, strange: &[SimulatedDisk], dice: &mut Dice) -> String {
    let files = segments(disk);
    if files.is_empty() {
        return "no file is left".into();
    }
    let path = files[dice.below(files.len())].clone();
    let mut bytes = disk.contents(&path).unwrap();
    let what = match dice.below(8) {
        0 => {
            let (at, length) = (dice.below(bytes.len()), dice.below(64));
            let room = bytes.iter_mut().skip(at).take(length);
            room.for_each(|byte| *byte = dice.below(256) as u8);
            format!("{length} bytes at {at} change")
        }
        1 => {
            let length = dice.below(bytes.len());
            bytes.truncate(length);
            format!("it ends at {length}")
        }
        2 => {
            let more = dice.below(200);
            bytes.extend((0..more).map(|_| dice.below(256) as u8));
            format!("{more} bytes more")
        }
        3 => {
            let (from, to) = (dice.below(bytes.len()), dice.below(bytes.len()));
            let taken: Vec<u8> = bytes[from..].iter().take(dice.below(300)).copied().collect();
            bytes.iter_mut().skip(to).zip(taken).for_each(|(old, new)| *old = new);
            format!("what is at {from} is at {to} too")
        }
        4 => {
            disk.remove(&path).unwrap();
            return format!("{} is gone", path.display());
        }
        5 => {
            let to = segment(1 + dice.below(30) as u64);
            put(disk, &to, &bytes);
            return format!("{} is at {} too", path.display(), to.display());
        }
        6 => {
            let other = &strange[dice.below(strange.len())];
            let theirs = segments(other);
            let theirs = &theirs[dice.below(theirs.len())];
            put(disk, theirs, &other.contents(theirs).unwrap());
            return format!("{} is another's", theirs.display());
        }
        _ => {
            let end = bytes.len();
            let from = 96.min(end) + dice.below(end.saturating_sub(96) + 1);
            bytes[from.min(end)..].fill(0);
            format!("zeros from {from}")
        }
    };
    disk.replace(&path, &bytes).unwrap();
    format!("{}: {what}", path.display())
}

#[test]
fn a_repair_mends_whatever_happens_to_files_and_takes_nothing_that_is_whole() {
    let counts = [3, 8, 12, 13];
    let all = HISTORIES.iter().flat_map(|history| counts.map(|count| of_history(*history, count)));
    let strange: Vec<SimulatedDisk> = all.collect();
    let whole: Vec<SimulatedDisk> = counts.map(|count| of_history(7, count)).into();
    let mut mended = 0;
    for seed in 0..SEEDS {
        let mut dice = Dice(seed);
        let disk = whole[dice.below(whole.len())].fork(seed);
        let harms: Vec<String> =
            (0..1 + dice.below(3)).map(|_| harm(&disk, &strange, &mut dice)).collect();
        let case = format!("seed {seed}: {harms:?}");
        disk.sync_directory(Path::new(DIRECTORY)).unwrap();
        let before = try_open(&disk.fork(1)).map(|log| held(&log)).ok();
        let starts = check(&disk, Path::new(DIRECTORY), None).is_ok_and(|report| report.starts());
        assert!(before.is_some() || !starts, "what is healthy opens: {case}");

        let repaired = match repair(&disk, Path::new(DIRECTORY), incarnation(9)) {
            Ok(repaired) => repaired,
            Err(OpenError::NewerFormat { .. }) => continue,
            Err(error) => panic!("{case}: {error}"),
        };

        let log = try_open(&disk).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(log.bounds().head, repaired.head, "{case}");
        assert_eq!(held(&log), repaired.head.0, "{case}");
        if starts {
            assert_eq!(before, Some(repaired.head.0), "{case}");
        }
        drop(log);
        let again = repair(&disk, Path::new(DIRECTORY), incarnation(10)).unwrap();
        assert!(!again.changed, "it ends: {case}");
        mended += usize::from(repaired.changed);
    }
    assert!(mended > SEEDS as usize / 3, "{mended}");
}

#[test]
fn a_blank_segment_before_a_stray_one_is_kept_and_the_stray_one_goes_aside() {
    let disk = written(20);
    let options = world::options(DIRECTORY, world::SEGMENT);
    let anew = instep_embedded::log::Options { new_incarnation: incarnation(8), ..options };
    drop(EmbeddedLog::open_anew(Arc::new(disk.clone()), anew).unwrap());
    let later = written(60);
    let stray: PathBuf = segments(&later).pop().unwrap();
    put(&disk, &stray, &later.contents(&stray).unwrap());

    let report = repair(&disk, Path::new(DIRECTORY), incarnation(9)).unwrap();

    assert_eq!(held(&open(&disk)), 20);
    assert!(report.moved.iter().any(|path| path.file_name() == stray.file_name()));
    assert!(!repair(&disk, Path::new(DIRECTORY), incarnation(10)).unwrap().changed);
}
