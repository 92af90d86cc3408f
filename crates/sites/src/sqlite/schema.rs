//! Schema: the form of each table in the database, and whether the order of changes matters to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::Connection;

use super::failure::failure;
use crate::store::StoreError;
use crate::targets::Targets;

/// Forms of tables that were looked at, until the schema changes.
#[derive(Debug, Default)]
pub(super) struct Schema {
    version: Option<i64>,
    tables: BTreeMap<String, Option<Arc<Table>>>,
}

/// A table of the database.
#[derive(Debug)]
pub(super) struct Table {
    /// Its name, as SQL has it.
    pub(super) quoted: String,
    /// Form of its rows.
    pub(super) form: Form,
    /// A reference or a trigger: the order of changes matters.
    pub(super) is_ordered: bool,
    /// Another unique index: rows may exchange values, so those that change are removed first.
    pub(super) is_exclusive: bool,
    /// Statement that writes a row.
    pub(super) upsert: String,
    /// Statement that deletes a row.
    pub(super) delete: String,
}

/// Form of the rows of a table.
#[derive(Debug)]
pub(super) enum Form {
    /// `key` and `row`, the whole row as JSON: the form of tables that the agent makes.
    Document,
    /// The key, and a column for each field.
    Columns {
        /// The primary key.
        key: Column,
        /// The columns that a row can have.
        fields: Vec<Column>,
    },
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    /// Its name.
    pub(super) name: String,
    /// Affinity of its values.
    pub(super) affinity: Affinity,
}

/// Affinity of a column: how SQLite would convert values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Affinity {
    /// Texts; numbers become texts.
    Text,
    /// Integers, and what else there is.
    Numeric,
    /// Floating-point numbers; integers become such.
    Real,
    /// Nothing is converted.
    Blob,
}

impl Affinity {
    /// The affinity of a declared type, by the rules of SQLite.
    fn of(declared: &str) -> Self {
        let declared = declared.to_ascii_uppercase();
        let has = |word: &str| declared.contains(word);
        if has("INT") {
            Self::Numeric
        } else if has("CHAR") || has("CLOB") || has("TEXT") {
            Self::Text
        } else if has("BLOB") || declared.is_empty() || declared == "ANY" {
            Self::Blob
        } else if has("REAL") || has("FLOA") || has("DOUB") {
            Self::Real
        } else {
            Self::Numeric
        }
    }
}

impl Schema {
    /// Forgets what was looked at before the schema changed.
    pub(super) fn look(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let version = connection.query_row("PRAGMA schema_version", [], |row| row.get(0));
        let version = version.map_err(|error| failure("the schema", &error))?;
        if self.version != Some(version) {
            *self = Self { version: Some(version), tables: BTreeMap::new() };
        }
        Ok(())
    }

    /// Forgets a table that the agent itself has changed.
    pub(super) fn forget(&mut self, table: &str) {
        self.tables.remove(table);
    }

    /// Forgets everything: SQL of a journal may have changed anything.
    pub(super) fn forget_all(&mut self) {
        self.tables.clear();
    }

    /// Returns true if the order of a table's changes matters.
    pub(super) fn is_ordered(
        &mut self,
        connection: &Connection,
        table: &str,
        targets: &Targets,
    ) -> Result<bool, StoreError> {
        Ok(self.table(connection, table, targets)?.is_some_and(|table| table.is_ordered))
    }

    /// The target of a table, if it exists.
    pub(super) fn table(
        &mut self,
        connection: &Connection,
        table: &str,
        targets: &Targets,
    ) -> Result<Option<Arc<Table>>, StoreError> {
        if let Some(known) = self.tables.get(table) {
            return Ok(known.clone());
        }
        let subject = format!("table {table}");
        if let Some(text) = targets.refusal(table) {
            return Err(StoreError::record(&subject, text));
        }
        let found = read(connection, targets.table(table), &subject)?.map(Arc::new);
        self.tables.insert(table.to_owned(), found.clone());
        Ok(found)
    }
}

/// A name as SQL has it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn read(connection: &Connection, target: &str, subject: &str) -> Result<Option<Table>, StoreError> {
    let told = |error| failure(subject, &error);
    let is_known = "SELECT type FROM sqlite_schema WHERE lower(name) = lower(?) AND type <> 'index'
        AND type <> 'trigger'";
    let mut kinds = connection.prepare_cached(is_known).map_err(told)?;
    let kinds = kinds.query_map([target], |row| row.get::<_, String>(0)).map_err(told)?;
    match kinds.collect::<rusqlite::Result<Vec<_>>>().map_err(told)?.first().map(String::as_str) {
        None => return Ok(None),
        Some("table") => {}
        Some(other) => {
            let text = format!("the schema differs: {target} is a {other} there");
            return Err(StoreError::record(subject, text));
        }
    }
    let (keys, fields) = columns(connection, target).map_err(told)?;
    let [key] = &keys[..] else {
        let text = format!(
            "the schema differs: {target} has a primary key of {} columns there, it must be one",
            keys.len()
        );
        return Err(StoreError::record(subject, text));
    };
    let form = match &fields[..] {
        [row] if (key.name.as_str(), row.name.as_str()) == ("key", "row") => Form::Document,
        _ => Form::Columns { key: key.clone(), fields: fields.clone() },
    };
    let is_ordered = is_ordered(connection, target).map_err(told)?;
    let is_exclusive = is_exclusive(connection, target).map_err(told)?;
    let (quoted_table, key) = (quoted(target), quoted(&key.name));
    let upsert = upsert(&quoted_table, &key, &fields);
    let delete = format!("DELETE FROM {quoted_table} WHERE {key} = ?");
    Ok(Some(Table { quoted: quoted_table, form, is_ordered, is_exclusive, upsert, delete }))
}

/// Columns of the primary key, and the others that can be written.
fn columns(connection: &Connection, target: &str) -> rusqlite::Result<(Vec<Column>, Vec<Column>)> {
    let mut query = connection
        .prepare_cached("SELECT name, type, pk FROM pragma_table_xinfo(?) WHERE hidden = 0")?;
    let (mut keys, mut fields) = (Vec::new(), Vec::new());
    let mut rows = query.query([target])?;
    while let Some(row) = rows.next()? {
        let affinity = Affinity::of(&row.get::<_, String>(1)?);
        let column = Column { name: row.get(0)?, affinity };
        if row.get::<_, i64>(2)? > 0 { keys.push(column) } else { fields.push(column) }
    }
    Ok((keys, fields))
}

fn is_ordered(connection: &Connection, target: &str) -> rusqlite::Result<bool> {
    let mut query = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM pragma_foreign_key_list(?1))
            OR EXISTS (SELECT 1 FROM sqlite_schema
                WHERE type = 'trigger' AND lower(tbl_name) = lower(?1))
            OR EXISTS (SELECT 1 FROM sqlite_schema AS other, pragma_foreign_key_list(other.name)
                AS reference WHERE other.type = 'table'
                AND lower(reference.\"table\") = lower(?1))",
    )?;
    query.query_row([target], |row| row.get(0))
}

fn is_exclusive(connection: &Connection, target: &str) -> rusqlite::Result<bool> {
    let mut query = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM pragma_index_list(?1) WHERE \"unique\" AND origin <> 'pk')",
    )?;
    query.query_row([target], |row| row.get(0))
}

fn upsert(table: &str, key: &str, fields: &[Column]) -> String {
    let names: Vec<String> = fields.iter().map(|column| quoted(&column.name)).collect();
    let columns = names.iter().map(|name| format!(", {name}")).collect::<String>();
    let places = ", ?".repeat(names.len());
    let sets: Vec<_> = names.iter().map(|name| format!("{name} = excluded.{name}")).collect();
    let action = if sets.is_empty() {
        "NOTHING".to_owned()
    } else {
        format!("UPDATE SET {}", sets.join(", "))
    };
    format!(
        "INSERT INTO {table} ({key}{columns}) VALUES (?{places}) ON CONFLICT ({key}) DO {action}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn affinities_are_those_of_sqlite() {
        let told = [
            ("INTEGER", Affinity::Numeric),
            ("varchar(10)", Affinity::Text),
            ("", Affinity::Blob),
            ("DOUBLE PRECISION", Affinity::Real),
            ("DECIMAL(10,2)", Affinity::Numeric),
            ("POINT", Affinity::Numeric),
        ];

        for (declared, affinity) in told {
            assert_eq!(Affinity::of(declared), affinity, "{declared}");
        }
    }
}
