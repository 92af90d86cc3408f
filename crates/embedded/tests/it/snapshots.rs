//! Snapshots are whole or absent.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use instep_embedded::snapshot::{History, SnapshotError, SnapshotStore};
use instep_model::disk::Disk;
use instep_model::disk::simulated::Fault;
use instep_model::position::Revision;

use crate::world::{self, DIRECTORY, append, incarnation, open, written};

const FOLDER: &str = "/data/log/snapshots";

#[test]
fn a_snapshot_gives_its_chunks_back_one_by_one() {
    let disk = written(30);
    let log = open(&disk);
    let store = log.snapshots();
    let large = vec![3; 3 * 1024 * 1024];
    let chunks: Vec<&[u8]> = vec![b"first", &large, b"x", &large[..900_000], &large[..900_001]];
    write(&store, 20, &chunks).unwrap();

    let mut reader = store.read(Revision(20)).unwrap();
    assert_eq!((reader.revision(), reader.incarnation()), (Revision(20), incarnation(7)));
    for chunk in &chunks {
        assert_eq!(reader.next_chunk().unwrap().unwrap(), *chunk);
    }
    assert_eq!(reader.next_chunk().unwrap(), None);
    assert_eq!(reader.next_chunk().unwrap(), None);
    let missing = store.read(Revision(21)).err().unwrap();
    assert!(matches!(missing, SnapshotError::Missing { revision: Revision(21) }));
}

#[test]
fn a_snapshot_without_chunks_is_a_snapshot_and_an_empty_chunk_is_none() {
    let store = open(&written(30)).snapshots();
    write(&store, 5, &[]).unwrap();
    assert_eq!(store.read(Revision(5)).unwrap().next_chunk().unwrap(), None);
    assert!(matches!(write(&store, 6, &[b""]), Err(SnapshotError::Chunk { bytes: 0 })));
    assert_eq!(store.list().len(), 1);
}

#[test]
fn the_two_newest_verified_snapshots_are_kept_and_bound_the_floor() {
    let disk = written(60);
    let log = open(&disk);
    let store = log.snapshots();
    for revision in [10, 20, 30, 40] {
        write(&store, revision, &[b"rows"]).unwrap();
    }
    assert_eq!(store.safe_floor(), Some(Revision(31)));
    assert!(matches!(store.delete(Revision(30)), Err(SnapshotError::Kept { .. })));
    assert_eq!(store.prune().unwrap(), 2);
    assert_eq!(revisions(&store), [30, 40]);
    drop((log, store));

    let store = open(&disk).snapshots();
    assert_eq!(store.safe_floor(), None, "what was not read since the start is not verified");
    store.verify(Revision(40)).unwrap();
    assert_eq!(store.safe_floor(), None);
    store.verify(Revision(30)).unwrap();
    assert_eq!(store.safe_floor(), Some(Revision(31)));
}

#[test]
fn every_flipped_byte_of_a_snapshot_is_found_before_its_chunk_is_handed_out() {
    let disk = written(30);
    let chunks: [&[u8]; 3] = [b"alpha", b"beta and more", b"gamma"];
    write(&open(&disk).snapshots(), 9, &chunks).unwrap();
    let path = file(9);
    for at in 0..disk.contents(&path).unwrap().len() {
        let disk = disk.fork(1);
        world::damage(&disk, &path, |bytes| bytes[at] ^= 0x20);
        let store = open(&disk).snapshots();
        assert!(expect_damage(&store, &chunks), "byte {at}");
        assert!(revisions(&store).is_empty(), "a damaged one is not listed any more");
    }
    for length in 0..disk.contents(&path).unwrap().len() {
        let disk = disk.fork(1);
        world::damage(&disk, &path, |bytes| bytes.truncate(length));
        assert!(expect_damage(&open(&disk).snapshots(), &chunks), "cut at {length}");
    }
    world::damage(&disk, &path, |bytes| bytes.push(0));
    assert!(expect_damage(&open(&disk).snapshots(), &chunks), "something follows");
}

#[test]
fn a_crash_at_every_operation_leaves_the_snapshot_whole_or_absent() {
    for cut in 0..12 {
        for seed in 0..20 {
            let disk = written(30);
            write(&open(&disk).snapshots(), 10, &[b"old"]).unwrap();
            let disk = disk.fork(seed);
            let log = open(&disk);
            disk.power_off_after(cut);
            let done = write(&log.snapshots(), 20, &[b"new", b"rows"]).is_ok();
            drop(log);
            disk.crash();

            let store = open(&disk).snapshots();
            let listed = revisions(&store);
            assert!(listed == [10, 20] || (listed == [10] && !done), "{cut} {seed}: {listed:?}");
            for revision in listed {
                store.verify(Revision(revision)).unwrap();
            }
            let names = disk.list(Path::new(FOLDER)).unwrap();
            assert!(names.iter().all(|name| !name.ends_with(".tmp")), "{names:?}");
        }
    }
}

#[test]
fn a_snapshot_that_cannot_be_written_leaves_everything_as_it_was() {
    let disk = written(30);
    let mut log = open(&disk);
    let store = log.snapshots();
    write(&store, 10, &[b"old"]).unwrap();
    for fault in [Fault::WriteError, Fault::SyncError, Fault::Full] {
        disk.inject(fault, 0);
        assert!(write(&store, 20, &[b"new"]).is_err());
        assert_eq!(disk.list(Path::new(FOLDER)).unwrap().len(), 1, "{fault:?}");
    }
    disk.set_capacity(Some(0));
    assert!(matches!(write(&store, 20, &[b"new"]), Err(SnapshotError::StorageFull(_))));
    disk.set_capacity(None);
    let given_up = store.write(Revision(20), |_| Err(SnapshotError::GivenUp("why".to_owned())));
    assert!(given_up.is_err());
    assert_eq!(revisions(&store), [10]);
    append(&mut log, 31, 33);
    write(&store, 20, &[b"new"]).unwrap();
}

#[test]
fn a_snapshot_whose_name_was_not_synced_is_not_found_by_the_next_process() {
    for seed in 0..16 {
        let disk = written(30).fork(seed);
        let log = open(&disk);
        disk.inject(Fault::DirectorySyncError, 0);
        write(&log.snapshots(), 10, &[b"rows"]).unwrap_err();
        drop(log);
        disk.kill();

        assert_eq!(open(&disk).snapshots().list(), vec![], "seed {seed}");
    }
}

#[test]
fn i1_a_snapshot_of_another_history_is_refused() {
    let disk = written(30);
    let log = open(&disk);
    write(&log.snapshots(), 10, &[b"rows"]).unwrap();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let other = SnapshotStore::open(
        shared,
        PathBuf::from(FOLDER),
        vec![History { incarnation: incarnation(8), last: None }],
    )
    .unwrap();

    let error = other.read(Revision(10)).err().unwrap();
    assert!(matches!(error, SnapshotError::OtherIncarnation { .. }), "{error}");
}

fn write(store: &SnapshotStore, revision: u64, chunks: &[&[u8]]) -> Result<(), SnapshotError> {
    store.write(Revision(revision), |writer| chunks.iter().try_for_each(|c| writer.chunk(c)))
}

fn revisions(store: &SnapshotStore) -> Vec<u64> {
    store.list().iter().map(|info| info.revision.0).collect()
}

/// Returns true if a read ends with damage, after nothing but chunks that were written.
fn expect_damage(store: &SnapshotStore, chunks: &[&[u8]]) -> bool {
    let mut reader = match store.read(Revision(9)) {
        Ok(reader) => reader,
        Err(error) => return matches!(error, SnapshotError::Damaged { .. }),
    };
    for expected in chunks.iter().map(Some).chain([None]) {
        match reader.next_chunk() {
            Ok(chunk) => assert_eq!(chunk.as_deref(), expected.copied()),
            Err(error) => return matches!(error, SnapshotError::Damaged { .. }),
        }
    }
    false
}

fn file(revision: u64) -> PathBuf {
    Path::new(DIRECTORY).join(format!("snapshots/{revision:020}.snapshot"))
}
