//! Rows: set-wise upserts and deletes, in the order of the log where a table needs it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::value::RawValue;
use tokio_postgres::Client;

use super::connection::Open;
use super::failure::failure;
use super::pipeline::pipelined;
use super::schema::{Form, Table, quoted};
use crate::batch::Batch;
use crate::fold::{self, Change, Fold};
use crate::limits::PIPELINED;
use crate::store::{Applied, StoreError, is_key, row_subject};
use crate::targets::{JournalTarget, Targets};

impl Open {
    /// Writes a batch, in a transaction.
    pub(super) async fn write(
        &mut self,
        batch: &Batch,
        targets: &Targets,
    ) -> Result<Applied, StoreError> {
        let is_sql = |journal: &str| targets.journal(journal) == JournalTarget::Sql;
        for record in batch.records() {
            if let Some(table) = fold::table_of(record) {
                self.schema.table(&self.client, table, targets).await?;
            }
        }
        let is_ordered = |table: &str| {
            let known = self.schema.known(table).flatten();
            Ok::<_, StoreError>(known.is_some_and(|table| table.is_ordered))
        };
        let steps = fold::steps(batch, is_ordered, is_sql)?;
        let (mut applied, mut queued) = (Applied::default(), Vec::new());
        let most = if batch.one_by_one { 1 } else { usize::MAX };
        for step in &steps {
            if step.has_rows() {
                self.execute(&mut queued).await?;
            }
            for (table, fold) in &step.tables {
                applied.drift += self.write_fold(table, fold, (targets, most)).await?;
            }
            applied.drift += self.write_ordered(&step.ordered, targets).await?;
            for (journal, appends) in &step.appends {
                if appends.is_empty() {
                    self.write_appends(journal, &[]).await?;
                }
                for appends in appends.chunks(most) {
                    self.write_appends(journal, appends).await?;
                }
            }
            queued.extend(step.sql);
        }
        self.execute(&mut queued).await?;
        Ok(applied)
    }

    async fn write_fold(
        &mut self,
        table: &str,
        fold: &Fold<'_>,
        (targets, most): (&Targets, usize),
    ) -> Result<u64, StoreError> {
        if fold.is_dropped {
            self.drop(table, targets).await?;
        }
        if fold.is_made {
            self.make(table, targets).await?;
        }
        let (mut put, mut expected, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for (key, state) in &fold.rows {
            match state.row {
                Some(row) => put.push((*key, row)),
                None if state.is_expected => expected.push(*key),
                None => others.push(*key),
            }
        }
        let found = self.schema.table(&self.client, table, targets).await?;
        if found.is_some_and(|found| found.is_exclusive) {
            let keys: Vec<&str> = put.iter().map(|(key, _)| *key).collect();
            self.delete(table, &keys, targets).await?;
        }
        let mut deleted = 0;
        for keys in others.chunks(most) {
            self.delete(table, keys, targets).await?;
        }
        for keys in expected.chunks(most) {
            deleted += self.delete(table, keys, targets).await?;
        }
        for rows in put.chunks(most) {
            self.put(table, rows, targets).await?;
        }
        Ok((expected.len() as u64).saturating_sub(deleted))
    }

    /// Changes in the order of the log, many of them on their way at a time.
    async fn write_ordered(
        &mut self,
        changes: &[Change<'_>],
        targets: &Targets,
    ) -> Result<u64, StoreError> {
        let (mut drift, mut sent) = (0, Vec::new());
        for change in changes {
            match *change {
                Change::Put(table, key, row) => {
                    let found = self.existing(table, targets).await?;
                    check(&found, table, key, row)?;
                    sent.push(Sent { found, table, key, row: Some(row) });
                }
                Change::Delete(table, key) => {
                    match self.schema.table(&self.client, table, targets).await? {
                        Some(found) => sent.push(Sent { found, table, key, row: None }),
                        None => drift += 1,
                    }
                }
                Change::Make(table) => {
                    drift += self.answers(&mut sent).await?;
                    self.make(table, targets).await?;
                }
                Change::Drop(table) => {
                    drift += self.answers(&mut sent).await?;
                    self.drop(table, targets).await?;
                }
            }
            if sent.len() >= PIPELINED {
                drift += self.answers(&mut sent).await?;
            }
        }
        Ok(drift + self.answers(&mut sent).await?)
    }

    /// Sends changes one behind the other, and waits for their answers. Returns the rows that were
    /// not there to be deleted.
    async fn answers(&self, sent: &mut Vec<Sent<'_>>) -> Result<u64, StoreError> {
        // They are polled in their order first, and so sent in it. The first error is the reason of
        // all others.
        let all = pipelined(sent.iter().map(|change| change.run(&self.client))).await;
        sent.clear();
        all.into_iter().sum()
    }

    /// Writes rows of a table, of keys that differ.
    pub(super) async fn put(
        &mut self,
        table: &str,
        rows: &[(&str, &RawValue)],
        targets: &Targets,
    ) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let found = self.existing(table, targets).await?;
        for (key, row) in rows {
            check(&found, table, key, row)?;
        }
        let about = |error: StoreError| match rows {
            [(key, _)] => error.about_row(table, key),
            _ => error,
        };
        let keys: Vec<&str> = rows.iter().map(|(key, _)| *key).collect();
        let texts: Vec<&str> = rows.iter().map(|(_, row)| row.get()).collect();
        let subject = match rows {
            [(key, _)] => row_subject(table, key),
            _ => format!("table {table}"),
        };
        let written = self.client.execute(&found.upsert, &[&keys, &texts]).await;
        let written = written.map_err(|error| about(failure(&subject, &error)))?;
        match (rows.len() as u64).saturating_sub(written) {
            0 => Ok(()),
            _ => Err(about(unfit(&subject))),
        }
    }

    /// Deletes rows of a table, and returns how many were there.
    async fn delete(
        &mut self,
        table: &str,
        keys: &[&str],
        targets: &Targets,
    ) -> Result<u64, StoreError> {
        if keys.is_empty() {
            return Ok(0);
        }
        let Some(found) = self.schema.table(&self.client, table, targets).await? else {
            return Ok(0);
        };
        let deleted = self.client.execute(&found.delete, &[&keys]).await;
        deleted.map_err(|error| match keys {
            [key] => failure(&row_subject(table, key), &error).about_row(table, key),
            _ => failure(&format!("table {table}"), &error),
        })
    }

    /// Makes a table, if there is none.
    pub(super) async fn make(&mut self, table: &str, targets: &Targets) -> Result<(), StoreError> {
        self.existing(table, targets).await.map(drop)
    }

    /// Deletes all rows of a table.
    pub(super) async fn clear(&mut self, table: &str, targets: &Targets) -> Result<(), StoreError> {
        let Some(found) = self.schema.table(&self.client, table, targets).await? else {
            return Ok(());
        };
        self.run_on(table, &format!("DELETE FROM {}", found.quoted)).await
    }

    /// Drops a table in the form that the agent gives them; any other one is emptied.
    async fn drop(&mut self, table: &str, targets: &Targets) -> Result<(), StoreError> {
        let Some(found) = self.schema.table(&self.client, table, targets).await? else {
            return Ok(());
        };
        match found.form {
            Form::Document => {
                self.schema.forget(table);
                self.run_on(table, &format!("DROP TABLE {}", found.quoted)).await
            }
            Form::Columns { .. } => self.clear(table, targets).await,
        }
    }

    async fn run_on(&self, table: &str, statement: &str) -> Result<(), StoreError> {
        let run = self.client.batch_execute(statement).await;
        run.map_err(|error| failure(&format!("table {table}"), &error))
    }

    /// The target of a table, made if there is none.
    async fn existing(&mut self, table: &str, targets: &Targets) -> Result<Arc<Table>, StoreError> {
        if let Some(found) = self.schema.table(&self.client, table, targets).await? {
            return Ok(found);
        }
        let target = quoted(targets.table(table));
        let make = format!("CREATE TABLE {target} (key text PRIMARY KEY, \"row\" json NOT NULL)");
        self.run_on(table, &make).await?;
        self.schema.forget(table);
        let made = self.schema.table(&self.client, table, targets).await?;
        let missing =
            || StoreError::record(&format!("table {table}"), "it was made, and is not there");
        made.ok_or_else(missing)
    }
}

/// A change on its way.
struct Sent<'a> {
    found: Arc<Table>,
    table: &'a str,
    key: &'a str,
    /// None: the row is deleted.
    row: Option<&'a RawValue>,
}

impl Sent<'_> {
    /// Runs the change. Returns the rows that were not there to be deleted.
    async fn run(&self, client: &Client) -> Result<u64, StoreError> {
        let keys = [self.key];
        let subject = row_subject(self.table, self.key);
        let about = |error: StoreError| error.about_row(self.table, self.key);
        let told = |error| about(failure(&subject, &error));
        match self.row {
            Some(row) => {
                let rows = [row.get()];
                let written = client.execute(&self.found.upsert, &[&&keys[..], &&rows[..]]).await;
                if written.map_err(told)? == 1 { Ok(0) } else { Err(about(unfit(&subject))) }
            }
            None => {
                let deleted = client.execute(&self.found.delete, &[&&keys[..]]).await;
                Ok(1_u64.saturating_sub(deleted.map_err(told)?))
            }
        }
    }
}

fn unfit(subject: &str) -> StoreError {
    let text = "the schema differs: a key is no value of the primary key's type, as it is \
                written, or equal to another one there";
    StoreError::record(subject, text)
}

/// Checks that a table has a column for each field of a row.
fn check(table: &Table, name: &str, key: &str, row: &RawValue) -> Result<(), StoreError> {
    let Form::Columns { key: key_column, fields } = &table.form else { return Ok(()) };
    let refused =
        |text: String| Err(StoreError::record(&row_subject(name, key), text).about_row(name, key));
    let given: BTreeMap<Cow<'_, str>, &RawValue> = match serde_json::from_str(row.get()) {
        Ok(given) => given,
        Err(error) => return refused(error.to_string()),
    };
    for (field, value) in given {
        if field == *key_column && !is_key(key, value) {
            return refused(format!("field {field:?} differs from the key"));
        }
        if field != *key_column && !fields.contains(&*field) {
            return refused(format!("the schema differs: there is no column for field {field:?}"));
        }
    }
    Ok(())
}
