use std::collections::BTreeSet;

use super::*;

const FILE: &str = "/d/file";

fn disk(seed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(seed);
    disk.create_directory(Path::new("/d")).unwrap();
    disk
}

fn synced_file(disk: &SimulatedDisk) -> Box<dyn DiskFile> {
    let file = disk.create(Path::new(FILE)).unwrap();
    file.sync_data().unwrap();
    disk.sync_directory(Path::new("/d")).unwrap();
    file
}

#[test]
fn it_passes_the_conformance_suite() {
    let mut seed = 0;
    super::super::conformance::run(|| {
        seed += 1;
        (Arc::new(SimulatedDisk::new(seed)), "/data".into())
    });
}

#[test]
fn synced_bytes_under_a_synced_name_survive_every_crash() {
    for seed in 0..200 {
        let disk = disk(seed);
        let file = synced_file(&disk);
        file.write_all_at(b"kept", 0).unwrap();
        file.sync_data().unwrap();
        file.write_all_at(b"lost?", 4).unwrap();
        disk.crash();

        let contents = disk.contents(Path::new(FILE)).unwrap();
        assert_eq!(&contents[..4], b"kept", "seed {seed}");
    }
}

#[test]
fn unsynced_bytes_vanish_tear_or_survive_and_later_ones_may_survive_earlier_ones() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..500 {
        let disk = disk(seed);
        let file = synced_file(&disk);
        file.write_all_at(b"ab", 0).unwrap();
        file.write_all_at(b"cd", 2).unwrap();
        disk.crash();
        outcomes.insert(disk.contents(Path::new(FILE)).unwrap());
    }

    for expected in [&b""[..], b"ab", b"abcd", b"a", b"\0\0cd", b"\0b", b"ab\0d"] {
        assert!(outcomes.contains(expected), "{expected:?} never happened");
    }
}

#[test]
fn unsynced_names_may_or_may_not_survive() {
    let (mut old, mut new, mut both) = (0, 0, 0);
    for seed in 0..200 {
        let disk = disk(seed);
        synced_file(&disk).write_all_at(b"x", 0).unwrap();
        disk.rename(Path::new(FILE), Path::new("/d/other")).unwrap();
        disk.crash();

        match disk.list(Path::new("/d")).unwrap().as_slice() {
            [one] if one == "file" => old += 1,
            [one] if one == "other" => new += 1,
            _ => both += 1,
        }
    }
    assert!(old > 50 && new > 50 && both == 0, "{old} {new} {both}");
}

#[test]
fn after_a_failed_sync_the_next_one_succeeds_and_the_bytes_are_gone_all_the_same() {
    let lost = (0..100).filter(|seed| {
        let disk = disk(*seed);
        let file = synced_file(&disk);
        disk.inject(Fault::SyncError, 0);
        file.write_all_at(b"gone", 0).unwrap();
        assert!(file.sync_data().is_err());
        assert!(file.sync_data().is_ok());
        assert_eq!(disk.contents(Path::new(FILE)).unwrap(), b"gone");
        disk.crash();
        disk.contents(Path::new(FILE)).unwrap().is_empty()
    });
    assert!(lost.count() > 20);
}

#[test]
fn a_full_disk_takes_what_fits_then_refuses_and_recovers_by_itself() {
    let disk = disk(1);
    let file = synced_file(&disk);
    disk.set_capacity(Some(3));

    assert_eq!(file.write_at(b"12345", 0).unwrap(), 3);
    assert_eq!(file.write_at(b"45", 3).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.write_at(b"abc", 0).unwrap(), 3);
    disk.set_capacity(None);
    assert_eq!(file.write_at(b"45", 3).unwrap(), 2);
}

#[test]
fn the_power_goes_at_the_chosen_operation_and_stays_off() {
    let disk = disk(1);
    let file = synced_file(&disk);
    disk.power_off_after(1);

    assert!(file.write_all_at(b"a", 0).is_ok());
    assert!(file.write_all_at(b"b", 1).is_err());
    assert!(disk.list(Path::new("/d")).is_err());
    disk.crash();
    assert!(disk.list(Path::new("/d")).is_ok());
    assert!(file.write_all_at(b"c", 2).is_err());
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = |seed| {
        let disk = disk(seed);
        let file = synced_file(&disk);
        disk.inject(Fault::WriteError, 5);
        for at in 0..20_u64 {
            let _ = file.write_all_at(&[at as u8; 50], at * 40);
        }
        disk.crash();
        disk.contents(Path::new(FILE)).unwrap()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
