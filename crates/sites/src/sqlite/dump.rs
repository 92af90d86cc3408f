//! Dumps of a database: a copy in one step of the backup, with the row of the site in it.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use instep_model::position::Position;
use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use super::failure::failure;
use super::position;
use super::schema::{Form, Schema};
use crate::limits::LOCK_WAIT;
use crate::site_row::SiteRow;
use crate::store::{Chunks, Dumper, Identity, Kept, Outgoing, StoreError, StorePosition};
use crate::targets::Targets;

/// Form of the dumps: a database of SQLite.
pub(super) const KIND: &str = "sqlite";

/// Ends of the names of copies, next to the database.
const GIVEN: &str = ".given";
const TAKEN: &str = ".taken";

/// A way to give dumps of a database.
#[derive(Debug)]
pub(super) struct SqliteDumper {
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
    pub(super) targets: Targets,
}

impl Dumper for SqliteDumper {
    fn kind(&self) -> &'static str {
        KIND
    }

    // The copy is in a file that has no name any more, so that it goes with its reader.
    fn begin(&self) -> Result<Outgoing, StoreError> {
        let told = |error| failure("the dump", &error);
        let copy = next_to(&self.path, GIVEN);
        forget(&copy);
        let from = Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY);
        let from = from.map_err(told)?;
        from.busy_timeout(LOCK_WAIT).map_err(told)?;
        let row = {
            let mut to = Connection::open(&copy).map_err(told)?;
            copy_whole(&from, &mut to).map_err(told)?;
            // Its content is in the one file that is read.
            to.pragma_update(None, "journal_mode", "DELETE").map_err(told)?;
            position::read(&to, &self.identity)?
        };
        let file = File::open(&copy);
        forget(&copy);
        let file = file.map_err(|error| StoreError::Passing(format!("the dump: {error}")))?;
        let position = row.position.to_give()?;
        Ok(Outgoing { position, bytes: Box::new(file) })
    }

    fn read(
        &self,
        tables: &[String],
        take: &mut dyn FnMut(Kept) -> bool,
    ) -> Result<(), StoreError> {
        let told = |error| failure("the database", &error);
        let from = Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY);
        let from = from.map_err(told)?;
        from.busy_timeout(LOCK_WAIT).map_err(told)?;
        from.execute_batch("BEGIN").map_err(told)?;
        let row = position::read(&from, &self.identity)?;
        let mut goes_on = take(Kept::Position(row.position.to_give()?));
        let mut schema = Schema::default();
        for (index, table) in tables.iter().enumerate() {
            let Some(found) = schema.table(&from, table, &self.targets)? else { continue };
            if !goes_on {
                break;
            }
            goes_on = match found.form {
                Form::Document => read_rows(&from, (index, &found.quoted), take).map_err(told)?,
                Form::Columns { .. } => take(Kept::Columns { table: index }),
            };
        }
        Ok(())
    }
}

fn read_rows(
    from: &Connection,
    (table, quoted): (usize, &str),
    take: &mut dyn FnMut(Kept) -> bool,
) -> rusqlite::Result<bool> {
    let query = format!(
        "SELECT CAST(key AS TEXT), CAST(row AS TEXT) FROM {quoted}
         ORDER BY CAST(key AS TEXT) COLLATE BINARY"
    );
    let mut query = from.prepare(&query)?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        if !take(Kept::Row { table, key: row.get(0)?, row: row.get(1)? }) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Restores a dump: into a file of its own, which is checked, then over the database in one
/// transaction. Readers see the old content until then; cut off, it is still there.
pub(super) fn restore(
    connection: &mut Connection,
    path: &Path,
    (identity, generation): (&Identity, u64),
    chunks: &mut Chunks<'_>,
) -> Result<Position, StoreError> {
    let copy = next_to(path, TAKEN);
    forget(&copy);
    let restored = receive(&copy, chunks).and_then(|()| {
        let told = |error| failure("the dump", &error);
        let own = position::read(connection, identity)?;
        let from = Connection::open(&copy).map_err(told)?;
        let position = adopt(&from, &own, (identity, generation))?;
        copy_whole(&from, connection).map_err(told)?;
        Ok(position)
    });
    forget(&copy);
    restored
}

/// Removes copies that a process has left which was killed.
pub(super) fn clear(path: &Path) {
    forget(&next_to(path, GIVEN));
    forget(&next_to(path, TAKEN));
}

fn receive(copy: &Path, chunks: &mut Chunks<'_>) -> Result<(), StoreError> {
    let told = |error: std::io::Error| StoreError::Passing(format!("the dump: {error}"));
    let mut file = File::create(copy).map_err(told)?;
    while let Some(chunk) = chunks()? {
        file.write_all(&chunk).map_err(told)?;
    }
    Ok(())
}

/// Checks a copy, and makes the row in it that of this site.
fn adopt(
    copy: &Connection,
    own: &SiteRow,
    (identity, generation): (&Identity, u64),
) -> Result<Position, StoreError> {
    let told = |error| failure("the dump", &error);
    let check: String =
        copy.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(told)?;
    if check != "ok" {
        return Err(StoreError::Passing(format!("the dump is damaged: {check}")));
    }
    let source: String =
        copy.query_row("SELECT site FROM instep_site", [], |row| row.get(0)).map_err(told)?;
    let source = Identity { dataset: identity.dataset.clone(), site: source };
    let StorePosition::At(position) = position::read(copy, &source)?.position else {
        return Err(StoreError::Passing("the dump is that of a site without a position".into()));
    };
    own.admit_dump(generation, position)?;
    position::write(copy, identity, &SiteRow::at(position, generation)).map_err(told)?;
    Ok(position)
}

fn copy_whole(from: &Connection, to: &mut Connection) -> rusqlite::Result<()> {
    let backup = Backup::new(from, to)?;
    // All pages in one step: one state of the source, and one transaction of the target.
    match backup.step(-1)? {
        rusqlite::backup::StepResult::Done => Ok(()),
        _ => Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
            Some("another process has the database locked".into()),
        )),
    }
}

fn next_to(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn forget(copy: &Path) {
    for end in ["", "-wal", "-shm", "-journal"] {
        // One that is not there is the usual case, and one that stays is written over.
        let _ = std::fs::remove_file(next_to(copy, end));
    }
}
