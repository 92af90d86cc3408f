//! Torn tail or damage: the two are never taken for each other.

use std::path::Path;
use std::sync::Arc;

use instep_embedded::error::OpenError;
use instep_embedded::log::{EmbeddedLog, Options};
use instep_model::disk::Disk;
use instep_model::disk::simulated::SimulatedDisk;
use instep_model::log::Log;
use instep_model::log::conformance::entry;
use instep_model::position::Revision;

use crate::world::{self, DIRECTORY, HEADER, append, frames, held, open, segment, segments};
use crate::world::{SEGMENT, try_open, written};

#[test]
fn a_file_cut_at_every_byte_of_its_last_two_frames_holds_every_whole_frame_before_the_cut() {
    each_cut(|bytes, cut| bytes.truncate(cut));
}

#[test]
fn a_file_that_is_zero_from_any_byte_of_its_last_two_frames_holds_every_whole_frame_before_it() {
    each_cut(|bytes, cut| bytes[cut..].fill(0));
}

fn each_cut(change: impl Fn(&mut Vec<u8>, usize)) {
    let disk = written(5);
    let good = disk.contents(&segment(1)).unwrap();
    let starts = frames(&good);
    for cut in starts[3]..starts[5] {
        let disk = disk.fork(cut as u64);
        world::damage(&disk, &segment(1), |bytes| change(bytes, cut));
        let whole = disk.contents(&segment(1)).unwrap();
        // Padding is zero anyhow: a frame that lost nothing but zeros is whole.
        let is_whole = |number: usize| {
            whole.get(starts[number]..starts[number + 1])
                == good.get(starts[number]..starts[number + 1])
        };
        let expected = 3 + u64::from(is_whole(3)) + u64::from(is_whole(3) && is_whole(4));

        let mut log = open(&disk);
        assert_eq!(held(&log), expected, "cut at {cut}");
        let clean = whole.len() == good.len()
            && whole[starts[expected as usize]..].iter().all(|byte| *byte == 0);
        assert_eq!(log.recovery().torn.is_none(), clean, "cut at {cut}");
        append(&mut log, expected + 1, 6);
        drop(log);
        assert_eq!(held(&open(&disk)), 6, "cut at {cut}");
        assert_eq!(open(&disk).recovery().torn, None, "recovery is done once, cut at {cut}");
    }
}

#[test]
fn no_flipped_byte_ever_changes_an_entry_or_loses_one_silently() {
    let disk = written(30);
    let files = segments(&disk);
    assert!(files.len() > 2, "the log has several segments");
    for (number, file) in files.iter().enumerate() {
        let good = disk.contents(file).unwrap();
        let starts = frames(&good);
        let last_frame = match starts.as_slice() {
            [.., last, _] if number + 1 == files.len() => *last..good.len(),
            _ => good.len()..good.len(),
        };
        for at in 0..good.len() {
            let disk = disk.fork(at as u64);
            world::damage(&disk, file, |bytes| bytes[at] ^= 1 << (at % 8));
            let place = format!("byte {at} of {}", file.display());
            match try_open(&disk) {
                Ok(log) if last_frame.contains(&at) => {
                    let kept = held(&log);
                    assert!(log.recovery().torn.is_some(), "{place}");
                    let in_frame = at < *starts.last().unwrap();
                    assert_eq!(kept, if in_frame { 29 } else { 30 }, "{place}");
                }
                Ok(log) => {
                    assert_eq!(held(&log), 30, "{place}");
                    assert!(at >= *starts.last().unwrap(), "{place} went unnoticed");
                }
                Err(OpenError::Damaged(damage)) => {
                    assert_eq!(&damage.file, file, "{place}");
                    assert!(damage.offset as usize <= at, "{place}: {damage}");
                    assert!(damage.to_string().contains("instep check --repair"));
                }
                // A byte of the header's predecessor cannot be told from damage: checksum first.
                Err(other) => panic!("{place}: {other}"),
            }
        }
    }
}

#[test]
fn damage_says_which_file_byte_and_entry_and_changes_nothing() {
    let disk = written(5);
    let starts = frames(&disk.contents(&segment(1)).unwrap());
    world::damage(&disk, &segment(1), |bytes| bytes[starts[2] + 50] ^= 1);
    let before = disk.contents(&segment(1)).unwrap();

    let Err(OpenError::Damaged(damage)) = try_open(&disk) else { panic!("it opened") };
    assert_eq!(damage.file, segment(1));
    assert_eq!(damage.offset, starts[2] as u64);
    assert_eq!(damage.revision, Revision(3));
    assert_eq!(damage.newest_seen, Revision(5));
    assert_eq!(disk.contents(&segment(1)).unwrap(), before);
}

#[test]
fn i36_a_missing_segment_in_the_middle_is_damage() {
    let disk = written(40);
    let files = segments(&disk);
    disk.remove(&files[1]).unwrap();

    let Err(OpenError::Damaged(damage)) = try_open(&disk) else { panic!("it opened") };
    assert!(damage.detail.contains("missing"), "{damage}");
    assert_eq!(damage.newest_seen, Revision(40));
}

#[test]
fn a_log_that_ends_before_one_of_its_snapshots_is_damage() {
    let disk = written(40);
    let log = open(&disk);
    log.snapshots().write(Revision(40), |writer| writer.chunk(b"all of it")).unwrap();
    drop(log);
    disk.remove(segments(&disk).last().unwrap()).unwrap();

    let Err(OpenError::Damaged(damage)) = try_open(&disk) else { panic!("it opened") };
    assert!(damage.detail.contains("a snapshot of 40"), "{damage}");
}

#[test]
fn i2_a_segment_of_another_history_is_refused() {
    let disk = written(40);
    let other = SimulatedDisk::new(2);
    let mut options = world::options(DIRECTORY, world::SEGMENT);
    options.new_incarnation = world::incarnation(8);
    let disk_of_other = std::sync::Arc::new(other.clone());
    append(&mut instep_embedded::log::EmbeddedLog::open(disk_of_other, options).unwrap(), 1, 40);
    let file = &segments(&disk)[1];
    let foreign = other.contents(file).unwrap();
    disk.replace(file, &foreign).unwrap();

    let Err(error) = try_open(&disk) else { panic!("it opened") };
    assert!(matches!(error, OpenError::OtherIncarnation { .. }), "{error}");
}

#[test]
fn a_stale_tail_of_the_same_file_is_never_taken_for_frames() {
    let old = written(6);
    let disk = SimulatedDisk::new(1);
    let mut log = open(&disk);
    for revision in 1..=3_u64 {
        // Entries as long as the old ones, with another content.
        let stale: Vec<u8> = entry(revision).iter().map(|byte| byte ^ 0xff).collect();
        log.append(Revision(revision - 1), &stale).unwrap();
    }
    drop(log);
    let stale = old.contents(&segment(1)).unwrap();
    let starts = frames(&stale);

    // One frame of the old file where the next one would be: its chain does not fit.
    world::damage(&disk, &segment(1), |bytes| {
        bytes[starts[3]..starts[4]].copy_from_slice(&stale[starts[3]..starts[4]]);
    });
    let log = open(&disk);
    assert_eq!(log.bounds().head, Revision(3));
    assert!(log.recovery().torn.is_some());
    drop(log);
    let zeros = disk.contents(&segment(1)).unwrap().split_off(starts[3]);
    assert!(zeros.iter().all(|byte| *byte == 0), "the stale frame is gone from the disk");

    // Several of them: entries that seem to follow make it damage, never content.
    world::damage(&disk, &segment(1), |bytes| {
        bytes[starts[3]..].copy_from_slice(&stale[starts[3]..]);
    });
    assert!(matches!(try_open(&disk), Err(OpenError::Damaged(_))));

    // Of another history, or from before: nothing.
    world::damage(&disk, &segment(1), |bytes| {
        bytes[starts[3]..].fill(0);
        let before = &stale[starts[0]..starts[2]];
        bytes[starts[3]..starts[3] + before.len()].copy_from_slice(before);
    });
    assert_eq!(open(&disk).bounds().head, Revision(3));
}

/// Gives the header of a file a newer version.
fn make_newer(disk: &SimulatedDisk, path: &Path) {
    world::damage(disk, path, |bytes| {
        bytes[8] = 9;
        let checksum = xxhash_rust::xxh3::xxh3_64(&bytes[..HEADER - 8]);
        bytes[HEADER - 8..HEADER].copy_from_slice(&checksum.to_le_bytes());
    });
}

/// Every file of the log with its bytes.
fn files(disk: &SimulatedDisk) -> Vec<(String, Vec<u8>)> {
    let names = disk.list(Path::new(DIRECTORY)).unwrap();
    let bytes = |name: &String| disk.contents(&Path::new(DIRECTORY).join(name)).unwrap();
    names.iter().map(|name| (name.clone(), bytes(name))).collect()
}

#[test]
fn a_newer_file_behind_damage_is_neither_opened_nor_repaired_and_nothing_changes() {
    let disk = written(40);
    let last = segments(&disk).pop().unwrap();
    world::damage(&disk, &segment(1), |bytes| bytes[HEADER + 45] ^= 4);
    assert!(matches!(try_open(&disk), Err(OpenError::Damaged(_))));
    make_newer(&disk, &last);
    drop(disk.create(&Path::new(DIRECTORY).join("prepared.tmp")).unwrap());
    let before = files(&disk);

    let directory = Path::new(DIRECTORY);
    for refused in [
        try_open(&disk).map(drop),
        instep_embedded::repair::repair(&disk, directory, world::incarnation(8)).map(drop),
        instep_embedded::check::check(&disk, directory, None).map(drop),
    ] {
        let Err(OpenError::NewerFormat { file, found, known }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!((file, found, known), (last.clone(), 9, 1));
    }
    assert!(files(&disk) == before);
}

#[test]
fn an_entry_of_a_newer_format_is_no_unfinished_write_and_nothing_changes() {
    let disk = SimulatedDisk::new(1);
    let options = || Options { newest_entry: Some(1), ..world::options(DIRECTORY, SEGMENT) };
    let reopen = || EmbeddedLog::open(Arc::new(disk.clone()), options());
    let mut log = reopen().unwrap();
    log.append(Revision(0), b"\x01 known").unwrap();
    drop(log);
    let mut log = open(&disk);
    log.append(Revision(1), b"\x02 newer").unwrap();
    drop(log);
    drop(disk.create(&Path::new(DIRECTORY).join("prepared.tmp")).unwrap());
    let before = files(&disk);

    let Err(error) = reopen() else { panic!("it opened") };

    let is_named = |error: OpenError| match error {
        OpenError::NewerFormat { file, found: 2, known: 1 } => file == segment(1),
        other => panic!("{other}"),
    };
    assert!(is_named(error));
    let checked = instep_embedded::check::check(&disk, Path::new(DIRECTORY), Some(1));
    assert!(checked.is_err_and(is_named));
    assert!(files(&disk) == before);
    assert_eq!(open(&disk).bounds().head, Revision(2));
}

#[test]
fn a_newer_format_is_named_as_such() {
    let disk = written(3);
    make_newer(&disk, &segment(1));

    let Err(error) = try_open(&disk) else { panic!("it opened") };
    assert!(matches!(error, OpenError::NewerFormat { found: 9, known: 1, .. }), "{error}");
}

#[test]
fn a_reader_notices_bytes_that_changed_after_open() {
    let disk = written(5);
    let log = open(&disk);
    let starts = frames(&disk.contents(&segment(1)).unwrap());
    world::damage(&disk, &segment(1), |bytes| bytes[starts[2] + 45] ^= 4);

    let read = log.reader().read(Revision(1), usize::MAX);
    let error = read.unwrap_err().to_string();
    assert!(error.contains("damaged at 3"), "{error}");
    assert!(disk.list(Path::new(DIRECTORY)).is_ok());
}
