//! Rows: upserts and deletes in tables of either form.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::params_from_iter;
use rusqlite::types::Value;
use serde_json::value::RawValue;

use super::Open;
use super::failure::failure;
use super::schema::{Column, Form, Table, quoted};
use super::value;
use crate::store::{StoreError, is_key, row_subject};
use crate::targets::Targets;

impl Open {
    /// Makes a table, if there is none.
    pub(super) fn make(&mut self, table: &str, targets: &Targets) -> Result<(), StoreError> {
        self.existing(table, targets).map(drop)
    }

    /// Deletes all rows of a table.
    pub(super) fn clear(&mut self, table: &str, targets: &Targets) -> Result<(), StoreError> {
        let Some(found) = self.schema.table(&self.connection, table, targets)? else {
            return Ok(());
        };
        let cleared = self.connection.execute(&format!("DELETE FROM {}", found.quoted), []);
        cleared.map(drop).map_err(|error| failure(&format!("table {table}"), &error))
    }

    /// Drops a table in the form that the agent gives them; any other one is emptied.
    pub(super) fn drop(&mut self, table: &str, targets: &Targets) -> Result<(), StoreError> {
        let Some(found) = self.schema.table(&self.connection, table, targets)? else {
            return Ok(());
        };
        match found.form {
            Form::Document => {
                let dropped = self.connection.execute(&format!("DROP TABLE {}", found.quoted), []);
                self.schema.forget(table);
                dropped.map(drop).map_err(|error| failure(&format!("table {table}"), &error))
            }
            Form::Columns { .. } => self.clear(table, targets),
        }
    }

    /// Writes a row. A refusal names it.
    pub(super) fn put(
        &mut self,
        table: &str,
        key: &str,
        row: &RawValue,
        targets: &Targets,
    ) -> Result<(), StoreError> {
        self.upsert(table, key, row, targets).map_err(|error| error.about_row(table, key))
    }

    fn upsert(
        &mut self,
        table: &str,
        key: &str,
        row: &RawValue,
        targets: &Targets,
    ) -> Result<(), StoreError> {
        let found = self.existing(table, targets)?;
        let subject = || row_subject(table, key);
        let values = match &found.form {
            Form::Document => vec![Value::Text(key.into()), Value::Text(row.get().into())],
            Form::Columns { key: column, fields } => {
                let values = values(column, fields, key, row);
                values.map_err(|text| StoreError::record(&subject(), text))?
            }
        };
        let mut upsert = self.connection.prepare_cached(&found.upsert);
        let upsert = upsert.as_mut().map_err(|error| failure(&subject(), error))?;
        let written = upsert.execute(params_from_iter(values));
        written.map(drop).map_err(|error| failure(&subject(), &error))
    }

    /// Deletes a row, and returns true if it was there. A refusal names it.
    pub(super) fn delete(
        &mut self,
        table: &str,
        key: &str,
        targets: &Targets,
    ) -> Result<bool, StoreError> {
        self.remove(table, key, targets).map_err(|error| error.about_row(table, key))
    }

    fn remove(&mut self, table: &str, key: &str, targets: &Targets) -> Result<bool, StoreError> {
        let Some(found) = self.schema.table(&self.connection, table, targets)? else {
            return Ok(false);
        };
        let subject = || row_subject(table, key);
        let value = match &found.form {
            Form::Document => Value::Text(key.into()),
            Form::Columns { key: column, .. } => {
                value::of_key(column, key).map_err(|text| StoreError::record(&subject(), text))?
            }
        };
        let mut delete = self.connection.prepare_cached(&found.delete);
        let delete = delete.as_mut().map_err(|error| failure(&subject(), error))?;
        let deleted = delete.execute([value]).map_err(|error| failure(&subject(), &error))?;
        Ok(deleted > 0)
    }

    /// The target of a table, made if there is none.
    fn existing(&mut self, table: &str, targets: &Targets) -> Result<Arc<Table>, StoreError> {
        if let Some(found) = self.schema.table(&self.connection, table, targets)? {
            return Ok(found);
        }
        let subject = format!("table {table}");
        let make = format!(
            "CREATE TABLE {} (key TEXT PRIMARY KEY, row TEXT NOT NULL)",
            quoted(targets.table(table))
        );
        self.connection.execute(&make, []).map_err(|error| failure(&subject, &error))?;
        self.schema.forget(table);
        let made = self.schema.table(&self.connection, table, targets)?;
        made.ok_or_else(|| StoreError::record(&subject, "it was made, and is not there"))
    }
}

/// Values of a row, the key first; columns without a field are null.
fn values(
    key_column: &Column,
    columns: &[Column],
    key: &str,
    row: &RawValue,
) -> Result<Vec<Value>, String> {
    let mut fields: BTreeMap<Cow<'_, str>, &RawValue> =
        serde_json::from_str(row.get()).map_err(|error| error.to_string())?;
    if let Some(field) = fields.remove(key_column.name.as_str())
        && !is_key(key, field)
    {
        return Err(format!("field {:?} differs from the key", key_column.name));
    }
    let mut values = vec![value::of_key(key_column, key)?];
    for column in columns {
        values.push(match fields.remove(column.name.as_str()) {
            Some(field) => value::of_field(column, field)?,
            None => Value::Null,
        });
    }
    match fields.keys().next() {
        None => Ok(values),
        Some(field) => Err(format!("the schema differs: there is no column for field {field:?}")),
    }
}
