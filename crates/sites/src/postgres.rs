//! Store in PostgreSQL: rows, journals and the position in one database, and in one transaction.

mod connection;
mod dump;
mod failure;
mod journals;
mod pipeline;
mod position;
mod programs;
mod restore;
mod rows;
mod schema;
mod tls;

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::{join, join3};
use instep_model::position::Position;
use tokio::runtime::Handle;

use self::connection::{Database, Open};
use self::dump::PostgresDumper;
use self::programs::Programs;
use self::tls::Authorities;
use crate::batch::Batch;
use crate::ordinals::Ordinals;
use crate::site_row::SiteRow;
use crate::store::{
    Applied, Chunks, DumpHead, DumpRow, Dumper, Fatal, Identity, Store, StoreError, StorePosition,
};
use crate::targets::Targets;

/// A PostgreSQL database of a site. The agent has one connection, and sends nothing that leaves
/// its transactions.
pub struct PostgresStore {
    database: Database,
    identity: Identity,
    targets: Targets,
    programs: Programs,
    runtime: Handle,
    /// Generation of the registration that has fenced the database.
    generation: u64,
    open: Option<Open>,
}

impl PostgresStore {
    /// A store in the database at `url` (`postgres://…`, or `host=… dbname=…`).
    ///
    /// # Errors
    /// [`Fatal::Unusable`] when that is no address of a database.
    pub fn new(
        url: &str,
        identity: Identity,
        targets: Targets,
        runtime: Handle,
    ) -> Result<Self, Fatal> {
        let config = connection::config(url, &identity)?;
        let database = Database { config, authorities: Authorities::default() };
        let programs = Programs::default();
        Ok(Self { database, identity, targets, programs, runtime, generation: 0, open: None })
    }

    /// The same store, with `pg_dump` and `psql` of a directory: they are as new as the server.
    #[must_use]
    pub fn with_programs(mut self, directory: PathBuf) -> Self {
        self.programs = Programs(Some(directory));
        self
    }

    /// The same store, whose database is vouched for by the certificates of a file in PEM.
    #[must_use]
    pub fn trusting(mut self, certificates: PathBuf) -> Self {
        self.database.authorities = Authorities::File(certificates);
        self
    }

    fn opened(&mut self) -> Result<(&mut Open, &Targets, Handle), StoreError> {
        let closed = || StoreError::Passing("there is no connection to the database".into());
        let open = self.open.as_mut().filter(|open| !open.client.is_closed());
        Ok((open.ok_or_else(closed)?, &self.targets, self.runtime.clone()))
    }
}

impl Store for PostgresStore {
    fn open(&mut self) -> Result<StorePosition, StoreError> {
        self.open = None;
        let runtime = self.runtime.clone();
        let (open, row) = runtime.block_on(Open::connect(&self.database, &self.identity))?;
        self.open = Some(open);
        Ok(row.position)
    }

    fn fence(
        &mut self,
        generation: u64,
        begin: Option<Position>,
    ) -> Result<StorePosition, StoreError> {
        let identity = self.identity.clone();
        let (open, _, runtime) = self.opened()?;
        let row = runtime.block_on(open.fence(&identity, generation, begin))?;
        self.generation = generation;
        Ok(row.position)
    }

    fn apply(&mut self, batch: &Batch) -> Result<Applied, StoreError> {
        let generation = self.generation;
        let (open, targets, runtime) = self.opened()?;
        runtime.block_on(open.apply(batch, targets, generation))
    }

    fn tells_one_by_one(&self) -> bool {
        true
    }

    fn seek(&mut self, generation: u64, to: Position) -> Result<(), StoreError> {
        let identity = self.identity.clone();
        let (open, _, runtime) = self.opened()?;
        runtime.block_on(open.seek(&identity, generation, to))
    }

    fn skipped(&mut self) -> Result<Option<u64>, StoreError> {
        let (open, _, runtime) = self.opened()?;
        runtime.block_on(position::count_skipped(&open.client)).map(Some)
    }

    fn begin_tables(&mut self, generation: u64, head: &DumpHead) -> Result<(), StoreError> {
        let identity = self.identity.clone();
        let (open, targets, runtime) = self.opened()?;
        runtime.block_on(open.begin_tables(&identity, generation, (head, targets)))?;
        self.generation = generation;
        Ok(())
    }

    fn put_rows(&mut self, rows: &[DumpRow]) -> Result<(), StoreError> {
        let (open, targets, runtime) = self.opened()?;
        runtime.block_on(open.put_rows(rows, targets))
    }

    fn end_tables(&mut self, position: Position) -> Result<(), StoreError> {
        let (identity, generation) = (self.identity.clone(), self.generation);
        let (open, _, runtime) = self.opened()?;
        runtime.block_on(open.end_tables(&identity, SiteRow::at(position, generation)))
    }

    fn dump_kind(&self) -> Option<&'static str> {
        Some(dump::KIND)
    }

    fn restore(
        &mut self,
        generation: u64,
        chunks: &mut Chunks<'_>,
    ) -> Result<Position, StoreError> {
        let (identity, programs) = (self.identity.clone(), self.programs.clone());
        let database = self.database.clone();
        let (open, _, runtime) = self.opened()?;
        let own = runtime.block_on(async {
            open.lock().await?;
            position::look(&open.client, &identity).await
        })?;
        restore::restore((&programs, &database), &own, (&identity, generation), chunks)?;
        let restored = runtime.block_on(position::look(&open.client, &identity))?;
        // Everything that was known of the content is of before.
        self.open = None;
        let lost = || StoreError::Passing("the restored row was changed by another agent".into());
        restored.position.kept().ok_or_else(lost)
    }

    fn dumper(&self) -> Option<Arc<dyn Dumper>> {
        Some(Arc::new(PostgresDumper {
            database: self.database.clone(),
            identity: self.identity.clone(),
            targets: self.targets.clone(),
            programs: self.programs.clone(),
            runtime: self.runtime.clone(),
        }))
    }
}

impl Open {
    async fn apply(
        &mut self,
        batch: &Batch,
        targets: &Targets,
        generation: u64,
    ) -> Result<Applied, StoreError> {
        let behind = self.ordinals.behind(batch)?;
        let (expected, through) = (self.position, batch.through);
        // Sent one behind the other, as they are polled, and answered together.
        let held = position::hold(&self.client, generation, expected);
        let (begun, held) = join(self.begin(), held).await;
        begun?;
        let written = async {
            held?;
            let applied = self.write(batch, targets).await?;
            let ordinals = position::write_ordinals(&self.client, &behind);
            let skipped = position::write_skipped(&self.client, batch);
            let advanced = position::advance(&self.client, generation, expected, through);
            let (ordinals, skipped, advanced) = join3(ordinals, skipped, advanced).await;
            ordinals?;
            skipped?;
            advanced?;
            Ok(applied)
        };
        let written = written.await;
        let applied = self.end("the batch", written).await?;
        self.ordinals.take(behind);
        self.position = Some(batch.through);
        Ok(applied)
    }

    async fn fence(
        &mut self,
        identity: &Identity,
        generation: u64,
        begin: Option<Position>,
    ) -> Result<SiteRow, StoreError> {
        position::read(&self.client, identity).await?.admit(generation, begin)?;
        self.lock().await?;
        self.begin().await?;
        let fenced = async {
            let row = position::read(&self.client, identity).await?.fenced(generation, begin)?;
            position::write(&self.client, identity, &row).await?;
            // An older registration may have applied until here.
            Ok((row, position::ordinals(&self.client).await?))
        };
        let fenced = fenced.await;
        let (row, ordinals) = self.end("the row of the site", fenced).await?;
        self.position = row.position.kept();
        self.ordinals = Ordinals::new(ordinals);
        Ok(row)
    }

    async fn seek(
        &mut self,
        identity: &Identity,
        generation: u64,
        to: Position,
    ) -> Result<(), StoreError> {
        position::read(&self.client, identity).await?.admit(generation, Some(to))?;
        self.lock().await?;
        self.begin().await?;
        let sought = async {
            let row = position::read(&self.client, identity).await?.sought(generation, to)?;
            position::write(&self.client, identity, &row).await?;
            position::forget_behind(&self.client, to).await
        };
        let sought = sought.await;
        self.end("the row of the site", sought).await
    }

    async fn begin_tables(
        &mut self,
        identity: &Identity,
        generation: u64,
        (head, targets): (&DumpHead, &Targets),
    ) -> Result<(), StoreError> {
        self.lock().await?;
        // Rows of a dump come by table, and one may refer to a table that comes later.
        self.may_refer_to_later_rows(true).await?;
        self.begin().await?;
        let begun = async {
            let row = position::read(&self.client, identity).await?;
            row.admit_dump(generation, head.position)?;
            position::write(&self.client, identity, &row.restoring(generation)).await?;
            position::forget_account(&self.client).await?;
            let last = head.journals.iter().map(|(name, last)| (name.as_str(), *last)).collect();
            position::write_ordinals(&self.client, &last).await?;
            for table in &head.tables {
                self.make(table, targets).await?;
                self.clear(table, targets).await?;
            }
            Ok(())
        };
        let begun = begun.await;
        self.end("the restore", begun).await?;
        self.position = None;
        self.ordinals = Ordinals::new(head.journals.clone());
        Ok(())
    }

    async fn put_rows(&mut self, rows: &[DumpRow], targets: &Targets) -> Result<(), StoreError> {
        self.begin().await?;
        let put = async {
            for of_table in rows.chunk_by(|row, next| row.table == next.table) {
                let pairs: Vec<_> =
                    of_table.iter().map(|row| (row.key.as_str(), &*row.row)).collect();
                self.put(&of_table[0].table, &pairs, targets).await?;
            }
            Ok(())
        };
        let put = put.await;
        self.end("the restore", put).await
    }

    async fn end_tables(&mut self, identity: &Identity, row: SiteRow) -> Result<(), StoreError> {
        self.begin().await?;
        let written = position::write(&self.client, identity, &row).await;
        self.end("the restore", written).await?;
        self.may_refer_to_later_rows(false).await?;
        self.position = row.position.kept();
        Ok(())
    }
}
