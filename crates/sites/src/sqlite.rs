//! Store in SQLite: rows, journals and the position in one file, and in one transaction.

mod dump;
mod failure;
mod journals;
mod position;
mod rows;
mod schema;
mod value;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use instep_model::position::Position;
use rusqlite::{Connection, TransactionBehavior};

use self::dump::SqliteDumper;
use self::failure::failure;
use self::schema::Schema;
use crate::batch::Batch;
use crate::fold;
use crate::limits::LOCK_WAIT;
use crate::ordinals::Ordinals;
use crate::site_row::SiteRow;
use crate::store::{
    Applied, Chunks, DumpHead, DumpRow, Dumper, Identity, Interrupter, Store, StoreError,
    StorePosition,
};
use crate::targets::{JournalTarget, Targets};

/// A SQLite database of a site.
pub struct SqliteStore {
    path: PathBuf,
    identity: Identity,
    targets: Targets,
    /// Generation of the registration that has fenced the database.
    generation: u64,
    open: Option<Open>,
}

/// A connection, and what it knows by now.
struct Open {
    connection: Connection,
    /// Device and number of the file.
    file: Option<(u64, u64)>,
    /// True while the text of a journal is prepared.
    is_guarded: Arc<AtomicBool>,
    position: Option<Position>,
    ordinals: Ordinals,
    schema: Schema,
}

impl SqliteStore {
    /// A store in the file at `path`, which is made if it does not exist.
    #[must_use]
    pub fn new(path: &Path, identity: Identity, targets: Targets) -> Self {
        Self { path: path.to_owned(), identity, targets, generation: 0, open: None }
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let connection = Connection::open(&self.path)?;
        connection.busy_timeout(LOCK_WAIT)?;
        // Readers go on while a batch is written; a commit is on the disk before it is confirmed.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.set_prepared_statement_cache_capacity(256);
        Ok(connection)
    }

    fn opened(&mut self) -> Result<(&mut Open, &Targets), StoreError> {
        let closed = || StoreError::Passing("the database is not open".into());
        Ok((self.open.as_mut().ok_or_else(closed)?, &self.targets))
    }
}

impl Store for SqliteStore {
    fn open(&mut self) -> Result<StorePosition, StoreError> {
        self.open = None;
        dump::clear(&self.path);
        let subject = self.path.display().to_string();
        let told = |error| failure(&subject, &error);
        let mut connection = self.connect().map_err(told)?;
        let file = identity_of(&self.path);
        position::make(&connection).map_err(told)?;
        let is_guarded = journals::guard(&mut connection).map_err(told)?;
        let position = position::read(&connection, &self.identity)?.position;
        let ordinals = position::ordinals(&connection).map_err(told)?;
        self.open = Some(Open {
            connection,
            file,
            is_guarded,
            position: position.kept(),
            ordinals: Ordinals::new(ordinals),
            schema: Schema::default(),
        });
        Ok(position)
    }

    fn fence(
        &mut self,
        generation: u64,
        begin: Option<Position>,
    ) -> Result<StorePosition, StoreError> {
        let identity = self.identity.clone();
        let (open, _) = self.opened()?;
        let told = |error| failure("the row of the site", &error);
        let write = TransactionBehavior::Immediate;
        let transaction = open.connection.transaction_with_behavior(write).map_err(told)?;
        let row = position::read(&transaction, &identity)?.fenced(generation, begin)?;
        // An older registration may have applied until here.
        let ordinals = position::ordinals(&transaction).map_err(told)?;
        position::write(&transaction, &identity, &row).map_err(told)?;
        transaction.commit().map_err(told)?;
        open.position = row.position.kept();
        open.ordinals = Ordinals::new(ordinals);
        self.generation = generation;
        Ok(row.position)
    }

    fn apply(&mut self, batch: &Batch) -> Result<Applied, StoreError> {
        let (path, generation) = (self.path.clone(), self.generation);
        let (open, targets) = self.opened()?;
        open.check_file(&path)?;
        let behind = open.ordinals.behind(batch)?;
        let applied = open.in_transaction("the batch", |open| {
            let applied = open.write(batch, targets)?;
            let told = |error| failure("the row of the site", &error);
            position::write_ordinals(&open.connection, &behind).map_err(told)?;
            position::write_skipped(&open.connection, batch).map_err(told)?;
            let expected = open.position;
            position::advance(&open.connection, generation, expected, batch.through)?;
            Ok(applied)
        })?;
        // Written into a file that was removed meanwhile, it would be durable nowhere.
        open.check_file(&path)?;
        open.ordinals.take(behind);
        open.position = Some(batch.through);
        Ok(applied)
    }

    fn seek(&mut self, generation: u64, to: Position) -> Result<(), StoreError> {
        let identity = self.identity.clone();
        let (open, _) = self.opened()?;
        open.in_transaction("the row of the site", |open| {
            let told = |error| failure("the row of the site", &error);
            let row = position::read(&open.connection, &identity)?.sought(generation, to)?;
            position::write(&open.connection, &identity, &row).map_err(told)?;
            position::forget_behind(&open.connection, to).map_err(told)
        })
    }

    fn skipped(&mut self) -> Result<Option<u64>, StoreError> {
        let (open, _) = self.opened()?;
        let counted = position::count_skipped(&open.connection);
        counted.map(Some).map_err(|error| failure("the account of skipped records", &error))
    }

    fn interrupter(&self) -> Option<Interrupter> {
        let handle = self.open.as_ref()?.connection.get_interrupt_handle();
        Some(Box::new(move || handle.interrupt()))
    }

    fn begin_tables(&mut self, generation: u64, head: &DumpHead) -> Result<(), StoreError> {
        let identity = self.identity.clone();
        let (open, targets) = self.opened()?;
        // Rows of a dump come by table, and one may refer to a table that comes later.
        let unchecked = open.connection.pragma_update(None, "foreign_keys", false);
        unchecked.map_err(|error| failure("the restore", &error))?;
        open.in_transaction("the restore", |open| {
            let told = |error| failure("the restore", &error);
            let row = position::read(&open.connection, &identity)?;
            row.admit_dump(generation, head.position)?;
            let row = row.restoring(generation);
            position::write(&open.connection, &identity, &row).map_err(told)?;
            position::forget_account(&open.connection).map_err(told)?;
            let last = head.journals.iter().map(|(name, last)| (name.as_str(), *last)).collect();
            position::write_ordinals(&open.connection, &last).map_err(told)?;
            for table in &head.tables {
                open.make(table, targets)?;
                open.clear(table, targets)?;
            }
            Ok(())
        })?;
        open.position = None;
        open.ordinals = Ordinals::new(head.journals.clone());
        self.generation = generation;
        Ok(())
    }

    fn put_rows(&mut self, rows: &[DumpRow]) -> Result<(), StoreError> {
        let (open, targets) = self.opened()?;
        open.in_transaction("the restore", |open| {
            for DumpRow { table, key, row } in rows {
                open.put(table, key, row, targets)?;
            }
            Ok(())
        })
    }

    fn end_tables(&mut self, position: Position) -> Result<(), StoreError> {
        let (identity, generation) = (self.identity.clone(), self.generation);
        let (open, _) = self.opened()?;
        let told = |error| failure("the restore", &error);
        open.in_transaction("the restore", |open| {
            position::check_foreign_keys(&open.connection)?;
            let row = SiteRow::at(position, generation);
            position::write(&open.connection, &identity, &row).map_err(told)
        })?;
        open.connection.pragma_update(None, "foreign_keys", true).map_err(told)?;
        open.position = Some(position);
        Ok(())
    }

    fn dump_kind(&self) -> Option<&'static str> {
        Some(dump::KIND)
    }

    fn restore(
        &mut self,
        generation: u64,
        chunks: &mut Chunks<'_>,
    ) -> Result<Position, StoreError> {
        let (path, identity) = (self.path.clone(), self.identity.clone());
        let (open, _) = self.opened()?;
        let restored = dump::restore(&mut open.connection, &path, (&identity, generation), chunks);
        // Everything that was known of the content is of before.
        self.open = None;
        restored
    }

    fn dumper(&self) -> Option<Arc<dyn Dumper>> {
        let (path, identity, targets) =
            (self.path.clone(), self.identity.clone(), self.targets.clone());
        Some(Arc::new(SqliteDumper { path, identity, targets }))
    }
}

/// Device and number of the file at a path.
fn identity_of(path: &Path) -> Option<(u64, u64)> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

impl Open {
    /// Checks that the file at the path is still the one that is open.
    fn check_file(&self, path: &Path) -> Result<(), StoreError> {
        if identity_of(path) == self.file {
            return Ok(());
        }
        let text = format!("the database was removed or replaced: {}", path.display());
        Err(StoreError::Passing(text))
    }

    /// Runs `work` in a transaction that can write from its begin: all of it, or nothing.
    fn in_transaction<T>(
        &mut self,
        subject: &str,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let told = |error| failure(subject, &error);
        self.connection
            .execute_batch("BEGIN IMMEDIATE; PRAGMA defer_foreign_keys = ON")
            .map_err(told)?;
        let worked = work(self).and_then(|value| {
            self.connection.execute_batch("COMMIT").map_err(told)?;
            Ok(value)
        });
        if worked.is_err() && !self.connection.is_autocommit() {
            // A connection that cannot even roll back is of no use; the next one is.
            self.connection.execute_batch("ROLLBACK").map_err(told)?;
        }
        if worked.is_err() {
            self.schema = Schema::default();
        }
        worked
    }

    fn write(&mut self, batch: &Batch, targets: &Targets) -> Result<Applied, StoreError> {
        self.schema.look(&self.connection)?;
        let is_sql = |journal: &str| targets.journal(journal) == JournalTarget::Sql;
        let is_ordered = |table: &str| self.schema.is_ordered(&self.connection, table, targets);
        let steps = fold::steps(batch, is_ordered, is_sql)?;
        let mut applied = Applied::default();
        for step in &steps {
            for (table, fold) in &step.tables {
                applied.drift += self.write_fold(table, fold, targets)?;
            }
            for change in &step.ordered {
                applied.drift += self.write_change(*change, targets)?;
            }
            for (journal, appends) in &step.appends {
                self.write_appends(journal, appends)?;
            }
            if let Some(append) = step.sql {
                self.execute(append).map_err(|error| error.about_append(append))?;
            }
        }
        Ok(applied)
    }

    fn write_fold(
        &mut self,
        table: &str,
        fold: &fold::Fold<'_>,
        targets: &Targets,
    ) -> Result<u64, StoreError> {
        if fold.is_dropped {
            self.drop(table, targets)?;
        }
        if fold.is_made {
            self.make(table, targets)?;
        }
        let found = self.schema.table(&self.connection, table, targets)?;
        if found.is_some_and(|found| found.is_exclusive) {
            for (key, _) in fold.rows.iter().filter(|(_, state)| state.row.is_some()) {
                self.delete(table, key, targets)?;
            }
        }
        let mut drift = 0;
        for (key, state) in fold.rows.iter().filter(|(_, state)| state.row.is_none()) {
            let was_there = self.delete(table, key, targets)?;
            drift += u64::from(state.is_expected && !was_there);
        }
        for (key, state) in &fold.rows {
            if let Some(row) = state.row {
                self.put(table, key, row, targets)?;
            }
        }
        Ok(drift)
    }

    fn write_change(
        &mut self,
        change: fold::Change<'_>,
        targets: &Targets,
    ) -> Result<u64, StoreError> {
        match change {
            fold::Change::Put(table, key, row) => self.put(table, key, row, targets)?,
            fold::Change::Delete(table, key) => {
                return Ok(u64::from(!self.delete(table, key, targets)?));
            }
            fold::Change::Make(table) => self.make(table, targets)?,
            fold::Change::Drop(table) => self.drop(table, targets)?,
        }
        Ok(0)
    }
}
