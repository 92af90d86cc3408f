//! Inspection of a whole file of bodies, without changing it, for `instep check`.

use std::path::Path;

use instep_model::mail::Seq;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::{BodyError, FILE, FORMAT, SYSTEM, pragma, regular_files, sum};
use crate::error::OpenError;

/// Report of a check of the whole file of bodies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BodyReport {
    /// Bodies in it.
    pub bodies: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Problems; empty when everything is whole.
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
    let mut report = BodyReport::default();
    match regular_files(&file) {
        Err(error) if error.is_damage() => {
            report.problems.push(error.to_string());
            return Ok(Some(report));
        }
        regular => regular?,
    }
    let connection = open_to_look(&file).map_err(failed)?;
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
    let format = pragma(&connection, "user_version").map_err(failed)?;
    match i32::try_from(format) {
        // Without bodies so far: the next start makes the table.
        Ok(0) => return Ok(Some(report)),
        Ok(FORMAT) => {}
        found => {
            return Err(BodyError::NewerFormat { file, found: found.unwrap_or(i32::MAX) });
        }
    }
    let mut select = connection.prepare("SELECT seq, sum, body FROM bodies").map_err(failed)?;
    let mut rows = select.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let seq = row.get::<_, i64>(0).map_err(failed)?;
        let expected = row.get::<_, i64>(1).map_err(failed)?;
        let body = row.get::<_, Vec<u8>>(2).map_err(failed)?;
        report.bodies += 1;
        report.bytes += body.len() as u64;
        if sum(Seq(seq.cast_unsigned()), &body) != expected {
            note(format!("the body of message {seq} is damaged"));
        }
    }
    Ok(Some(report))
}

/// Refuses a directory whose file of bodies is of a newer format; changes nothing in it.
///
/// # Errors
/// [`OpenError::NewerFormat`]. Damage is found when the file is opened.
pub fn refuse_newer(directory: &Path) -> Result<(), OpenError> {
    let file = directory.join(FILE);
    if !file.exists() || regular_files(&file).is_err() {
        return Ok(());
    }
    let format = open_to_look(&file).and_then(|connection| pragma(&connection, "user_version"));
    let known = FORMAT.cast_unsigned();
    match format.map(u32::try_from) {
        Ok(Ok(found)) if found > known => Err(OpenError::NewerFormat { file, found, known }),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// VFS of `SQLite` for a process that only reads: an exclusive lock wants a file that can be
/// written. The lock of the dataset keeps others out.
const WITHOUT_LOCKS: &str = "unix-none";
/// Problems that a report lists.
const PROBLEMS: usize = 100;

/// Opens a file to look at it, and changes nothing on the disk. The write-ahead log is seen; where
/// there is none, none is made.
fn open_to_look(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let waits = std::fs::metadata(file.with_extension("db-wal")).is_ok_and(|wal| wal.len() > 0);
    let connection = if waits {
        Connection::open_with_flags_and_vfs(file, flags, WITHOUT_LOCKS)?
    } else {
        let flags = flags | OpenFlags::SQLITE_OPEN_URI;
        Connection::open_with_flags_and_vfs(immutable(file), flags, SYSTEM)?
    };
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Exclusive: the index of the write-ahead log is in memory, and no file of it is left behind.
    connection.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY;",
    )?;
    Ok(connection)
}

/// URI of a file that does not change.
fn immutable(file: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;

    let mut address = String::from("file:");
    for byte in file.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => {
                address.push(char::from(*byte));
            }
            other => write!(address, "%{other:02X}").expect("a string takes everything"),
        }
    }
    address + "?immutable=1"
}
