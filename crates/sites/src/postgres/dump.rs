//! Dumps of a database: `pg_dump` of one snapshot, in which the row of the site is read too.

use std::io::{self, Read};
use std::process::{Child, ChildStdout, Stdio};
use std::thread::JoinHandle;

use instep_model::position::Position;
use tokio::runtime::Handle;
use tokio_postgres::Client;

use super::connection::{Database, connect};
use super::failure::failure;
use super::position;
use super::programs::{Programs, last_words};
use super::schema::{Form, Schema};
use crate::limits::ROWS_AT_A_TIME;
use crate::store::{Dumper, Identity, Kept, Outgoing, StoreError};
use crate::targets::Targets;

/// Form of the dumps: SQL of `pg_dump`.
pub(super) const KIND: &str = "postgres";

/// A way to give dumps of a database.
pub(super) struct PostgresDumper {
    pub(super) database: Database,
    pub(super) identity: Identity,
    pub(super) targets: Targets,
    pub(super) programs: Programs,
    pub(super) runtime: Handle,
}

impl Dumper for PostgresDumper {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn begin(&self) -> Result<Outgoing, StoreError> {
        let (holder, snapshot, position) = self.runtime.block_on(self.snapshot())?;
        let mut command = self.programs.command("pg_dump", &self.database)?;
        command.args(["--format=plain", "--clean", "--if-exists", "--no-owner", "--no-privileges"]);
        command.args(["--no-publications", "--no-subscriptions", "--snapshot", &snapshot]);
        let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child =
            spawned.map_err(|error| StoreError::Passing(format!("pg_dump: {error}")))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let told = std::thread::spawn(move || stderr.map(last_words).unwrap_or_default());
        let bytes = DumpOutput { child, stdout, told: Some(told), _holder: holder };
        Ok(Outgoing { position, bytes: Box::new(bytes) })
    }

    fn read(
        &self,
        tables: &[String],
        take: &mut dyn FnMut(Kept) -> bool,
    ) -> Result<(), StoreError> {
        let (client, _, position) = self.runtime.block_on(self.snapshot())?;
        let mut goes_on = take(Kept::Position(position));
        let mut schema = Schema::default();
        for (index, table) in tables.iter().enumerate() {
            let found = schema.table(&client, table, &self.targets);
            let Some(found) = self.runtime.block_on(found)? else { continue };
            if !goes_on {
                break;
            }
            goes_on = match found.form {
                Form::Document => self.read_rows(&client, (index, &found.quoted), take)?,
                Form::Columns { .. } => take(Kept::Columns { table: index }),
            };
        }
        Ok(())
    }
}

impl PostgresDumper {
    /// Reads a table by parts: `take` may block, which no task of the runtime may.
    fn read_rows(
        &self,
        client: &Client,
        (table, quoted): (usize, &str),
        take: &mut dyn FnMut(Kept) -> bool,
    ) -> Result<bool, StoreError> {
        let told = |error| failure("the database", &error);
        let declare = format!(
            "DECLARE instep_site_rows NO SCROLL CURSOR FOR
             SELECT key::text, \"row\"::text FROM {quoted} ORDER BY key::text COLLATE \"C\""
        );
        self.runtime.block_on(client.batch_execute(&declare)).map_err(told)?;
        let fetch = format!("FETCH {ROWS_AT_A_TIME} FROM instep_site_rows");
        loop {
            let rows = self.runtime.block_on(client.query(&fetch, &[])).map_err(told)?;
            if rows.is_empty() {
                let close = client.batch_execute("CLOSE instep_site_rows");
                self.runtime.block_on(close).map_err(told)?;
                return Ok(true);
            }
            for row in rows {
                if !take(Kept::Row { table, key: row.get(0), row: row.get(1) }) {
                    return Ok(false);
                }
            }
        }
    }

    /// A connection that holds a snapshot, the snapshot's name, and the position in it.
    async fn snapshot(&self) -> Result<(Client, String, Position), StoreError> {
        let client = connect(&self.database).await?;
        let told = |error| failure("the dump", &error);
        let begin = "SET idle_in_transaction_session_timeout = 0;
            BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        client.batch_execute(begin).await.map_err(told)?;
        let exported = client.query_one("SELECT pg_export_snapshot()", &[]).await.map_err(told)?;
        let row = position::look(&client, &self.identity).await?;
        Ok((client, exported.get(0), row.position.to_give()?))
    }
}

/// Output of `pg_dump`. Its end is one only if the program has succeeded.
struct DumpOutput {
    child: Child,
    stdout: Option<ChildStdout>,
    told: Option<JoinHandle<String>>,
    /// The snapshot is there for as long as its transaction is.
    _holder: Client,
}

impl Read for DumpOutput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(stdout) = &mut self.stdout else { return Ok(0) };
        let read = stdout.read(buffer)?;
        if read > 0 || buffer.is_empty() {
            return Ok(read);
        }
        self.stdout = None;
        let status = self.child.wait()?;
        if status.success() {
            return Ok(0);
        }
        let told = self.told.take().and_then(|told| told.join().ok()).unwrap_or_default();
        Err(io::Error::other(format!("pg_dump has failed ({status}): {told}")))
    }
}

impl Drop for DumpOutput {
    fn drop(&mut self) {
        // One that has ended is only waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
