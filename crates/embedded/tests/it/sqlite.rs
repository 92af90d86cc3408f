//! The reference: the same damage, byte by byte, to SQLite in its durable mode and to our log.
//!
//! A silent loss: the store opens without a word and an acknowledged entry is not there. The last
//! entry is left out on both sides, because it cannot be told from an unfinished write.

use std::fs;
use std::path::Path;

use instep_model::disk::simulated::SimulatedDisk;
use instep_model::log::Log;
use instep_model::log::conformance::entry;
use rusqlite::Connection;

use crate::world::{self, append, frames, held, open, segment, try_open};

const ENTRIES: u64 = 4;

#[test]
fn our_log_loses_nothing_silently_where_sqlite_does() {
    let ours = silent_losses_of_ours();
    let (theirs, flips) = silent_losses_of_sqlite();

    eprintln!("silent losses: ours {ours}, SQLite {theirs} of {flips} flipped bytes");
    assert_eq!(ours, 0);
    assert!(theirs > 0, "the reference was expected to stop at the first bad frame");
}

fn silent_losses_of_ours() -> usize {
    let disk = SimulatedDisk::new(1);
    append(&mut open(&disk), 1, ENTRIES);
    let starts = frames(&disk.contents(&segment(1)).unwrap());
    assert_eq!(starts.len() as u64, ENTRIES + 1, "one segment holds them all");
    let losses = (0..starts[ENTRIES as usize - 1]).filter(|at| {
        let disk = disk.fork(1);
        world::damage(&disk, &segment(1), |bytes| bytes[*at] ^= 1);
        try_open(&disk).is_ok_and(|log| held(&log) < ENTRIES || log.bounds().head.0 < ENTRIES)
    });
    losses.count()
}

fn silent_losses_of_sqlite() -> (usize, usize) {
    let root = tempfile::tempdir().unwrap();
    let live = root.path().join("live.db");
    let connection = Connection::open(&live).unwrap();
    connection
        .execute_batch(
            "PRAGMA page_size = 512; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             PRAGMA wal_autocheckpoint = 0;
             CREATE TABLE log (revision INTEGER PRIMARY KEY, entry BLOB NOT NULL);",
        )
        .unwrap();
    let wal = root.path().join("live.db-wal");
    let (mut begin, mut end) = (0, 0);
    for revision in 1..=ENTRIES {
        if revision == 1 {
            begin = fs::metadata(&wal).unwrap().len() as usize;
        }
        if revision == ENTRIES {
            end = fs::metadata(&wal).unwrap().len() as usize;
        }
        let values = (revision as i64, entry(revision));
        connection.execute("INSERT INTO log VALUES (?1, ?2)", values).unwrap();
    }
    let (database, journal) = (fs::read(&live).unwrap(), fs::read(&wal).unwrap());
    let copy = root.path().join("copy.db");
    let opens_with_less = |journal: &[u8]| {
        fs::write(&copy, &database).unwrap();
        fs::write(root.path().join("copy.db-wal"), journal).unwrap();
        // A restart of the machine leaves no index of the journal either.
        let _ = fs::remove_file(root.path().join("copy.db-shm"));
        opens_with_less(&copy)
    };
    assert!(!opens_with_less(&journal), "an undamaged copy holds every entry");
    let lost = (begin..end).filter(|at| {
        let mut damaged = journal.clone();
        damaged[*at] ^= 1;
        opens_with_less(&damaged)
    });
    (lost.count(), end - begin)
}

fn opens_with_less(path: &Path) -> bool {
    let Ok(connection) = Connection::open(path) else {
        return false;
    };
    // Nothing is written back when the connection closes.
    connection.execute_batch("PRAGMA wal_autocheckpoint = 0").unwrap();
    let count = connection.query_row("SELECT count(*) FROM log", [], |row| row.get::<_, i64>(0));
    count.is_ok_and(|count| (count as u64) < ENTRIES)
}
