//! Bodies of messages on disk, by their number: what does not belong in memory and outlives the
//! log's entries.
//!
//! The log is the truth, and this file is derived from it: whoever drives it writes a body again
//! as often as it likes, and says with [`BodyFile::sync`] when what it has written must be there
//! after a power failure. It is an `SQLite` database, made with the first body.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The file in the directory of a dataset.
pub const FILE: &str = "bodies.db";
/// What `PRAGMA user_version` says of this layout.
const FORMAT: i32 = 1;
/// Pages in the write-ahead log after which they are moved to the file.
const CHECKPOINT_PAGES: u32 = 4_096;
/// Free pages that a file keeps for what comes, besides a third of those in use.
const SPARE_PAGES: i64 = 1_024;
/// A write that removes bodies gives back the room of those, or of so many pages if that is more.
const SHRUNK_PAGES: i64 = 4_096;
/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 8;
/// Memory for pages of a connection, in KiB: the inner pages of ten million bodies take half of it,
/// so that a body is one read of the file.
const CACHE_KIB: u32 = 16 * 1024;

/// Why bodies cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// `SQLite` refused.
    #[error("{}: {error}", file.display())]
    Database {
        /// The file.
        file: PathBuf,
        /// What it says.
        error: rusqlite::Error,
    },
    /// A newer Instep wrote the file.
    #[error("{} has format {found}, this program reads up to {FORMAT}", file.display())]
    NewerFormat {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: i32,
    },
    /// Not everything could be moved to the file.
    #[error("{} is not synced: another connection was in the way", file.display())]
    Busy {
        /// The file.
        file: PathBuf,
    },
}

/// A body as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is what was written.
    Whole(Bytes),
    /// It is not there.
    Missing,
    /// It is there, and its checksum is that of something else.
    Damaged,
}

/// The bodies of one dataset.
pub struct BodyFile {
    file: PathBuf,
    /// One writes, one reads: a reader does not wait for a flush.
    writer: Mutex<Option<Connection>>,
    reader: Mutex<Option<Connection>>,
}

impl BodyFile {
    /// The bodies in a directory. No file is touched before the first write or read.
    #[must_use]
    pub fn in_directory(directory: &Path) -> Self {
        let (writer, reader) = (Mutex::new(None), Mutex::new(None));
        Self { file: directory.join(FILE), writer, reader }
    }

    /// Writes and removes bodies, all or nothing. One that is there already is replaced, one that
    /// is not there need not be removed. The file shrinks when much of it is free.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn write(&self, put: &[(u64, Bytes)], removed: &[u64]) -> Result<(), BodyError> {
        self.with(&self.writer, |connection| {
            let free = match removed {
                [] => None,
                _ => Some(pragma(connection, "freelist_count")?),
            };
            let transaction = connection.transaction()?;
            {
                let mut insert = transaction.prepare_cached(
                    "INSERT OR REPLACE INTO bodies (seq, sum, body) VALUES (?, ?, ?)",
                )?;
                for (seq, body) in put {
                    insert.execute(params![key(*seq), sum(*seq, body), &body[..]])?;
                }
                let mut delete = transaction.prepare_cached("DELETE FROM bodies WHERE seq = ?")?;
                for seq in removed {
                    delete.execute(params![key(*seq)])?;
                }
            }
            transaction.commit()?;
            if let Some(free) = free {
                // What was to be written is written; where this fails, the next write tries again.
                let _ = shrink(connection, free);
            }
            Ok(())
        })
    }

    /// Sees to it that everything written so far survives a power failure.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn sync(&self) -> Result<(), BodyError> {
        let busy = self.with(&self.writer, |connection| {
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))
        })?;
        match busy {
            0 => Ok(()),
            _ => Err(BodyError::Busy { file: self.file.clone() }),
        }
    }

    /// Reads bodies, in the order of `seqs`.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn read(&self, seqs: &[u64]) -> Result<Vec<Found>, BodyError> {
        self.with(&self.reader, |connection| {
            // One look at the file for all of them.
            let transaction = connection.transaction()?;
            let mut select =
                transaction.prepare_cached("SELECT sum, body FROM bodies WHERE seq = ?")?;
            let read = seqs.iter().map(|seq| {
                let row = select.query_row(params![key(*seq)], |row| {
                    Ok((row.get::<_, i64>(0)?, Bytes::from(row.get::<_, Vec<u8>>(1)?)))
                });
                Ok(match row.optional()? {
                    Some((expected, body)) if sum(*seq, &body) == expected => Found::Whole(body),
                    Some(_) => Found::Damaged,
                    None => Found::Missing,
                })
            });
            read.collect()
        })
    }

    /// Bytes of the file and of what waits beside it.
    #[must_use]
    pub fn size(&self) -> u64 {
        let size = |file: &Path| std::fs::metadata(file).map_or(0, |found| found.len());
        size(&self.file) + size(&self.file.with_extension("db-wal"))
    }

    fn with<T>(
        &self,
        connection: &Mutex<Option<Connection>>,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, BodyError> {
        let mut slot = connection.lock().unwrap_or_else(PoisonError::into_inner);
        let open = match slot.take() {
            Some(open) => open,
            None => open(&self.file)?,
        };
        let open = slot.insert(open);
        work(open).map_err(|error| BodyError::Database { file: self.file.clone(), error })
    }
}

/// What a look at a whole file of bodies found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BodyReport {
    /// Bodies in it.
    pub bodies: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong; empty when everything is whole.
    pub problems: Vec<String>,
}

/// Looks at every body in a directory; none when there is no file. The server must not run.
///
/// # Errors
/// [`BodyError`].
pub fn check(directory: &Path) -> Result<Option<BodyReport>, BodyError> {
    let file = directory.join(FILE);
    if !file.exists() {
        return Ok(None);
    }
    let failed = |error| BodyError::Database { file: file.clone(), error };
    let connection = open(&file)?;
    let mut report = BodyReport::default();
    let mut note = |problem: String| {
        if report.problems.len() < PROBLEMS {
            report.problems.push(problem);
        }
    };
    let said: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .unwrap_or_else(|error| error.to_string());
    if said != "ok" {
        note(format!("{FILE}: {said}"));
        return Ok(Some(report));
    }
    let mut select = connection.prepare("SELECT seq, sum, body FROM bodies").map_err(failed)?;
    let mut rows = select.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let seq = row.get::<_, i64>(0).map_err(failed)?;
        let expected = row.get::<_, i64>(1).map_err(failed)?;
        let body = row.get::<_, Vec<u8>>(2).map_err(failed)?;
        report.bodies += 1;
        report.bytes += body.len() as u64;
        if sum(seq.cast_unsigned(), &body) != expected {
            note(format!("the body of message {seq} is not what was written"));
        }
    }
    Ok(Some(report))
}

/// Gives room back to the file system if far more of the file is free than will be used soon;
/// `before`: the pages that were free before the last write.
fn shrink(connection: &Connection, before: i64) -> rusqlite::Result<()> {
    let (free, all) = (pragma(connection, "freelist_count")?, pragma(connection, "page_count")?);
    // So many fewer pages, and what is free is the spare ones and a quarter of all that are left.
    let surplus = (4 * (free - SPARE_PAGES) - all) / 3;
    let pages = surplus.min((free - before).max(SHRUNK_PAGES));
    if pages <= 0 {
        return Ok(());
    }
    // Each step gives back one page.
    let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut steps = vacuum.query([])?;
    while steps.next()?.is_some() {}
    Ok(())
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
}

/// Problems that a report lists.
const PROBLEMS: usize = 100;

fn open(file: &Path) -> Result<Connection, BodyError> {
    let failed = |error| BodyError::Database { file: file.to_owned(), error };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // With NORMAL a commit is not flushed, only a checkpoint is: the log has what was not. A file
    // can only shrink if that was said before anything else was written.
    let pragmas = format!(
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;
         PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 10000;
         PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}; PRAGMA journal_size_limit = 67108864;
         PRAGMA cache_size = -{CACHE_KIB};"
    );
    connection.execute_batch(&pragmas).map_err(failed)?;
    let found: i32 =
        connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    match found {
        FORMAT => {}
        0 => {
            let made = format!(
                "BEGIN IMMEDIATE;
                 CREATE TABLE IF NOT EXISTS bodies (
                   seq INTEGER PRIMARY KEY, sum INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
                 PRAGMA user_version = {FORMAT};
                 COMMIT;"
            );
            connection.execute_batch(&made).map_err(failed)?;
        }
        found => return Err(BodyError::NewerFormat { file: file.to_owned(), found }),
    }
    Ok(connection)
}

/// `SQLite` counts in signed numbers.
fn key(seq: u64) -> i64 {
    seq.cast_signed()
}

/// The checksum of a body, which is no other message's.
fn sum(seq: u64, body: &[u8]) -> i64 {
    xxh3_64_with_seed(body, seq).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    #[test]
    fn bodies_come_back_by_number_from_another_opening() {
        let directory = tempfile::tempdir().unwrap();
        let bodies = BodyFile::in_directory(directory.path());
        assert!(!directory.path().join(FILE).exists(), "made with the first body");

        bodies.write(&[(1, bytes("one")), (2, bytes("two")), (u64::MAX, bytes(""))], &[]).unwrap();
        bodies.write(&[(2, bytes("two again"))], &[1, 7]).unwrap();
        bodies.sync().unwrap();
        drop(bodies);

        let again = BodyFile::in_directory(directory.path());
        let found = again.read(&[u64::MAX, 2, 1]).unwrap();
        let whole = |text| Found::Whole(bytes(text));
        assert_eq!(found, [whole(""), whole("two again"), Found::Missing]);
        let report = check(directory.path()).unwrap().unwrap();
        assert_eq!((report.bodies, report.bytes, report.problems), (2, 9, vec![]));
    }

    #[test]
    fn a_reader_does_not_wait_for_a_writer_and_sees_what_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let bodies = BodyFile::in_directory(directory.path());
        bodies.write(&[(1, bytes("one"))], &[]).unwrap();

        let writing = bodies.writer.lock().unwrap();
        let found = bodies.read(&[1]).unwrap();
        drop(writing);

        assert_eq!(found, [Found::Whole(bytes("one"))]);
    }

    #[test]
    fn a_body_that_was_changed_on_disk_is_damaged_and_not_served() {
        let directory = tempfile::tempdir().unwrap();
        let bodies = BodyFile::in_directory(directory.path());
        bodies.write(&[(5, bytes("right"))], &[]).unwrap();
        let other = Connection::open(directory.path().join(FILE)).unwrap();
        other.execute("UPDATE bodies SET body = x'77726f6e67' WHERE seq = 5", []).unwrap();
        drop(other);

        assert_eq!(bodies.read(&[5]).unwrap(), [Found::Damaged]);
        let report = check(directory.path()).unwrap().unwrap();
        assert_eq!(report.problems, ["the body of message 5 is not what was written"]);
        assert_eq!(check(tempfile::tempdir().unwrap().path()).unwrap(), None);
    }

    #[test]
    fn the_room_of_bodies_that_are_gone_is_given_back() {
        const BODIES: u64 = 8_000;
        let directory = tempfile::tempdir().unwrap();
        let bodies = BodyFile::in_directory(directory.path());
        let all: Vec<u64> = (0..BODIES).collect();
        let body = Bytes::from(vec![7; 4_000]);
        for seqs in all.chunks(1_000) {
            let put: Vec<_> = seqs.iter().map(|seq| (*seq, body.clone())).collect();
            bodies.write(&put, &[]).unwrap();
        }
        bodies.sync().unwrap();
        let full = bodies.size();

        // Every tenth stays, in between.
        for seqs in all.chunks(1_000) {
            let gone: Vec<u64> = seqs.iter().copied().filter(|seq| seq % 10 > 0).collect();
            bodies.write(&[], &gone).unwrap();
        }
        bodies.sync().unwrap();

        assert!(full > BODIES * 4_000, "{full}");
        assert!(bodies.size() < full / 3, "{full} bytes became {}", bodies.size());
        let kept: Vec<u64> = (0..BODIES).step_by(10).collect();
        assert!(
            bodies.read(&kept).unwrap().iter().all(|found| *found == Found::Whole(body.clone()))
        );
        let report = check(directory.path()).unwrap().unwrap();
        assert_eq!((report.bodies, report.problems), (BODIES / 10, vec![]));
    }

    #[test]
    fn a_newer_format_is_named_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let other = Connection::open(directory.path().join(FILE)).unwrap();
        other.execute_batch("PRAGMA user_version = 9").unwrap();
        drop(other);

        let bodies = BodyFile::in_directory(directory.path());

        let refused = bodies.write(&[], &[]);
        assert!(matches!(refused, Err(BodyError::NewerFormat { found: 9, .. })));
    }
}
