//! Bodies of messages on disk, by their number: they do not belong in memory, and outlive the log's
//! entries.
//!
//! The log is the truth, and this file is derived from it: the caller may write a body again as
//! often as it likes, and says with [`BodyFile::sync`] when its writes must survive a power
//! failure. It is an `SQLite` database, made with the first body.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use instep_model::mail::Seq;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, params};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::real::{Counted, DIRECTORY_MODE, FILE_MODE, regular_or_none};

mod inspection;

pub use self::inspection::{BodyReport, check, refuse_newer};

/// The file in the directory of a dataset.
pub const FILE: &str = "bodies.db";
/// Layout version of the file, in `PRAGMA user_version`.
const FORMAT: i32 = 1;
/// VFS of `SQLite` that keeps the index of the write-ahead log in memory of its own. In a file that
/// is mapped, a write that finds no room on the disk would end the process.
const SYSTEM: &str = "unix-excl";
/// Pages in the write-ahead log after which they are moved to the file.
const CHECKPOINT_PAGES: u32 = 4_096;
/// Free pages that a file keeps for further bodies, besides a third of those in use.
const SPARE_PAGES: i64 = 1_024;
/// A write that removes bodies gives back the room of those, or of so many pages if that is more.
const SHRUNK_PAGES: i64 = 4_096;
/// Files that a connection has open.
const CONNECTION_FILES: usize = 2;
/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 8;
/// Memory for pages of a connection, in KiB: the inner pages of ten million bodies take half of it,
/// so that a body is one read of the file.
const CACHE_KIB: u32 = 16 * 1024;

/// Error in writing or reading bodies.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// `SQLite` refused.
    #[error("{}: {error}", file.display())]
    Database {
        /// The file.
        file: PathBuf,
        /// Error of `SQLite`.
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
    /// The file was there, and is gone.
    #[error("{} was taken away", file.display())]
    Gone {
        /// The file.
        file: PathBuf,
    },
    /// Something else than a file has its name, or the name of its write-ahead log.
    #[error("{}: {error}", file.display())]
    Irregular {
        /// The path.
        file: PathBuf,
        /// Kind of the file that lies there.
        error: io::Error,
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
    /// The body is intact.
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
    writer: Mutex<Option<Opened>>,
    reader: Mutex<Option<Opened>>,
    /// The file was there.
    made: AtomicBool,
}

/// A connection, with the descriptors of its file and its write-ahead log.
struct Opened {
    connection: Connection,
    _counted: Counted,
}

impl BodyFile {
    /// The bodies in a directory. No file is touched before the first write or read.
    #[must_use]
    pub fn in_directory(directory: &Path) -> Self {
        let (writer, reader) = (Mutex::new(None), Mutex::new(None));
        Self { file: directory.join(FILE), writer, reader, made: AtomicBool::new(false) }
    }

    /// Writes and removes bodies, all or nothing. One that is there already is replaced, one that
    /// is not there need not be removed. The file shrinks when much of it is free.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn write(&self, put: &[(Seq, Bytes)], removed: &[Seq]) -> Result<(), BodyError> {
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
    /// [`BodyError`]; where a page is no good, of all of them.
    pub fn read(&self, seqs: &[Seq]) -> Result<Vec<Found>, BodyError> {
        if !self.file.exists() && !self.made.load(Ordering::Relaxed) {
            return Ok(vec![Found::Missing; seqs.len()]);
        }
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

    /// Bytes of the file and of its write-ahead log.
    #[must_use]
    pub fn size(&self) -> u64 {
        let size = |file: &Path| std::fs::metadata(file).map_or(0, |found| found.len());
        size(&self.file) + size(&self.file.with_extension("db-wal"))
    }

    fn with<T>(
        &self,
        connection: &Mutex<Option<Opened>>,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, BodyError> {
        let mut slot = connection.lock().unwrap_or_else(PoisonError::into_inner);
        if self.made.load(Ordering::Relaxed) && !self.file.exists() {
            // What is still open goes to no name any more.
            return Err(BodyError::Gone { file: self.file.clone() });
        }
        let worked = match slot.take() {
            Some(open) => Ok(open),
            None => open(&self.file)
                .map(|connection| Opened { connection, _counted: Counted::new(CONNECTION_FILES) }),
        };
        let worked = worked.and_then(|open| {
            self.made.store(true, Ordering::Relaxed);
            let failed = |error| BodyError::Database { file: self.file.clone(), error };
            work(&mut slot.insert(open).connection).map_err(failed)
        });
        worked.inspect_err(|error| {
            if error.is_damage() {
                // Best effort: without it, the next start finds out as this one did.
                let _ = write_private(&self.note(), &error.to_string());
            }
        })
    }

    /// Returns the condition of the file. The bodies in it are not read through.
    ///
    /// # Errors
    /// [`BodyError::NewerFormat`], and transient errors: no room, no descriptor.
    pub fn condition(&self) -> Result<Condition, BodyError> {
        if self.note().exists() {
            let found = format!("{} was found to be damaged", self.file.display());
            return Ok(Condition::Unreadable(found));
        }
        if !self.file.exists() {
            drop(self.close());
            return Ok(Condition::Empty);
        }
        let any = self.with(&self.reader, |connection| {
            connection.query_row("SELECT EXISTS (SELECT 1 FROM bodies)", [], |row| row.get(0))
        });
        match any {
            Ok(true) => Ok(Condition::Usable),
            Ok(false) => Ok(Condition::Empty),
            Err(error) if error.is_damage() => Ok(Condition::Unreadable(error.to_string())),
            Err(error) => Err(error),
        }
    }

    /// A file beside the bodies that says that these are damaged: the next start begins anew.
    fn note(&self) -> PathBuf {
        self.file.with_extension("db-damaged")
    }

    /// Moves a file that cannot be read to the folder of damaged files, so that the next write
    /// begins another one.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn move_aside(&self) -> io::Result<PathBuf> {
        // Held meanwhile: a process that opened the file now would write to the copy put aside.
        let _closed = self.close();
        move_aside(&self.file)
    }

    /// Closes the file; it stays closed as long as the answer is held. It may be made anew then.
    fn close(&self) -> [MutexGuard<'_, Option<Opened>>; 2] {
        let mut slots = [&self.writer, &self.reader]
            .map(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner));
        slots.iter_mut().for_each(|slot| drop(slot.take()));
        self.made.store(false, Ordering::Relaxed);
        slots
    }
}

/// Condition of the file of bodies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// There are none.
    Empty,
    /// It can be read; single bodies in it may still be damaged.
    Usable,
    /// It is no database, or one that does not add up.
    Unreadable(String),
}

impl BodyError {
    /// Returns true if the file is damaged. Other errors are transient, or need another remedy.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Database { error, .. } => is_corrupt(error) || is_of_another_layout(error),
            // No body was ever in it; in what waits beside the file there may be some.
            Self::Irregular { file, .. } => file.ends_with(FILE),
            Self::NewerFormat { .. } | Self::Busy { .. } | Self::Gone { .. } => false,
        }
    }

    /// The kind that the operating system's errors of this sort have.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            _ if self.is_damage() => io::ErrorKind::InvalidData,
            Self::Gone { .. } => io::ErrorKind::NotFound,
            Self::Irregular { error, .. } => error.kind(),
            Self::NewerFormat { .. } => io::ErrorKind::Unsupported,
            Self::Busy { .. } => io::ErrorKind::ResourceBusy,
            Self::Database { error, .. } => match error.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => io::ErrorKind::StorageFull,
                Some(ErrorCode::OutOfMemory) => io::ErrorKind::OutOfMemory,
                _ => io::ErrorKind::Other,
            },
        }
    }
}

fn is_corrupt(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
}

/// A database, but without our table.
fn is_of_another_layout(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::Unknown)
        && error.to_string().contains("no such table")
}

/// Moves the file of the bodies in a directory to the folder of damaged files, under a name that is
/// not taken, with its write-ahead log.
fn move_aside(file: &Path) -> io::Result<PathBuf> {
    let directory = file.parent().unwrap_or_else(|| Path::new("."));
    let damaged = directory.join(crate::repair::ASIDE);
    let mut private = DirBuilder::new();
    private.recursive(true).mode(DIRECTORY_MODE).create(&damaged)?;
    let aside = (1..).map(|number: u64| damaged.join(format!("bodies-{number}")));
    let Some(aside) = aside.into_iter().find(|aside| !aside.exists()) else {
        return Err(io::ErrorKind::AlreadyExists.into());
    };
    private.create(&aside)?;
    let beside = ["-wal", "-shm", "", "-damaged"];
    for name in beside.map(|ending| format!("{FILE}{ending}")) {
        match std::fs::rename(directory.join(&name), aside.join(&name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
    }
    for changed in [&aside, &damaged, directory] {
        std::fs::File::open(changed)?.sync_all()?;
    }
    Ok(aside)
}

/// Moves the bodies in a directory aside if they cannot be read. The server must not run.
///
/// # Errors
/// When the disk refuses.
pub fn repair(directory: &Path) -> io::Result<Option<PathBuf>> {
    let bodies = BodyFile::in_directory(directory);
    match bodies.condition() {
        Ok(Condition::Unreadable(_)) => bodies.move_aside().map(Some),
        Ok(Condition::Empty | Condition::Usable) | Err(_) => Ok(None),
    }
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

/// Writes a small text for its owner alone.
fn write_private(file: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(FILE_MODE);
    options.open(file)?.write_all(text.as_bytes())
}

/// Refuses paths that `SQLite` would block on: only files are opened, and no links beside them.
fn regular_files(file: &Path) -> Result<(), BodyError> {
    for ending in ["db", "db-wal", "db-journal"] {
        let file = file.with_extension(ending);
        let regular = if ending != "db" && file.is_symlink() {
            Err(io::Error::other("is a link"))
        } else {
            regular_or_none(&file)
        };
        regular.map_err(|error| BodyError::Irregular { file, error })?;
    }
    Ok(())
}

fn open(file: &Path) -> Result<Connection, BodyError> {
    regular_files(file)?;
    let failed = |error| BodyError::Database { file: file.to_owned(), error };
    // `SQLite` makes files that every user can read, as far as the umask lets it, and gives its
    // side files the same mode. Where this fails, it says why.
    drop(OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(file));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags_and_vfs(file, flags, SYSTEM).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // With NORMAL a commit is not flushed, only a checkpoint is: the log has what was not. A file
    // can only shrink if that was said before anything else was written.
    let pragmas = format!(
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;
         PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 10000;
         PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}; PRAGMA journal_size_limit = 67108864;
         PRAGMA cache_size = -{CACHE_KIB}; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY;"
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
fn key(seq: Seq) -> i64 {
    seq.0.cast_signed()
}

/// The checksum of a body, which is no other message's.
fn sum(seq: Seq, body: &[u8]) -> i64 {
    xxh3_64_with_seed(body, seq.0).cast_signed()
}

#[cfg(test)]
mod tests;
