//! Schema: the form of each table in the database, and whether the order of changes matters to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio_postgres::{Client, Statement};

use super::failure::failure;
use crate::store::StoreError;
use crate::targets::Targets;

/// Bytes of a name; PostgreSQL cuts longer ones off.
const NAME_BYTES: usize = 63;

/// Tables that were looked at, until something fails.
#[derive(Default)]
pub(super) struct Schema {
    tables: BTreeMap<String, Option<Arc<Table>>>,
    pub(super) journals: BTreeMap<String, Statement>,
}

/// A table of the database.
pub(super) struct Table {
    /// Its name, as SQL has it.
    pub(super) quoted: String,
    /// Form of its rows.
    pub(super) form: Form,
    /// A reference, a trigger or a rule: the order of changes matters.
    pub(super) is_ordered: bool,
    /// Another unique index or an exclusion: rows may exchange values, so those that change are
    /// removed first.
    pub(super) is_exclusive: bool,
    /// Statement that writes rows: keys and rows.
    pub(super) upsert: Statement,
    /// Statement that deletes rows: keys.
    pub(super) delete: Statement,
}

/// Form of the rows of a table.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `key` and `row`, the whole row as JSON: the form of tables that the agent makes.
    Document,
    /// The key, and a column for each field.
    Columns {
        /// Name of the primary key.
        key: String,
        /// Names of the columns that a row can have.
        fields: BTreeSet<String>,
    },
}

/// A column, as the catalogue has it.
struct Column {
    name: String,
    data_type: String,
    is_key: bool,
    is_generated: bool,
}

impl Schema {
    /// Forgets a table that the agent itself has changed.
    pub(super) fn forget(&mut self, table: &str) {
        self.tables.remove(table);
    }

    /// Forgets everything: SQL of a journal may have changed anything.
    pub(super) fn forget_all(&mut self) {
        self.tables.clear();
        self.journals.clear();
    }

    /// Returns what is known of a table: nothing, that it does not exist, or what it is.
    pub(super) fn known(&self, table: &str) -> Option<Option<Arc<Table>>> {
        self.tables.get(table).cloned()
    }

    /// The target of a table, if it exists.
    pub(super) async fn table(
        &mut self,
        client: &Client,
        table: &str,
        targets: &Targets,
    ) -> Result<Option<Arc<Table>>, StoreError> {
        if let Some(known) = self.known(table) {
            return Ok(known);
        }
        let subject = format!("table {table}");
        if let Some(text) = targets.refusal(table).or_else(|| unfit(targets.table(table))) {
            return Err(StoreError::record(&subject, text));
        }
        let found = read(client, &quoted(targets.table(table)), &subject).await?.map(Arc::new);
        self.tables.insert(table.to_owned(), found.clone());
        Ok(found)
    }
}

/// Reason why a name cannot be that of a table, if there is one.
pub(super) fn unfit(name: &str) -> Option<String> {
    let is_cut = |part: &str| part.len() > NAME_BYTES;
    // Two names that are cut off could become one.
    name.split('.')
        .any(is_cut)
        .then(|| format!("names of PostgreSQL have up to {NAME_BYTES} bytes, {name} has more"))
}

/// A name as SQL has it; one with a dot has the schema before it.
pub(super) fn quoted(name: &str) -> String {
    let part = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    match name.split_once('.') {
        Some((schema, name)) => format!("{}.{}", part(schema), part(name)),
        None => part(name),
    }
}

async fn read(client: &Client, target: &str, subject: &str) -> Result<Option<Table>, StoreError> {
    let told = |error| failure(subject, &error);
    let query = "SELECT relkind::text, oid FROM pg_class WHERE oid = to_regclass($1)";
    let Some(found) = client.query_opt(query, &[&target]).await.map_err(told)? else {
        return Ok(None);
    };
    let (kind, oid): (String, u32) = (found.get(0), found.get(1));
    if !["r", "p"].contains(&&*kind) {
        let text = format!("the schema differs: {target} is no table there");
        return Err(StoreError::record(subject, text));
    }
    let columns = columns(client, oid).await.map_err(told)?;
    let keys: Vec<&Column> = columns.iter().filter(|column| column.is_key).collect();
    let [key] = &keys[..] else {
        let text = format!(
            "the schema differs: {target} has a primary key of {} columns there, it must be one",
            keys.len()
        );
        return Err(StoreError::record(subject, text));
    };
    let fields: Vec<&Column> =
        columns.iter().filter(|column| !column.is_key && !column.is_generated).collect();
    let is_document = matches!(&fields[..], [row]
        if (key.name.as_str(), row.name.as_str()) == ("key", "row")
            && ["json", "jsonb", "text"].contains(&row.data_type.as_str()));
    let (form, upsert) = match (is_document, &fields[..]) {
        (true, [row]) => (Form::Document, upsert_documents(target, &row.data_type)),
        _ => {
            let names = fields.iter().map(|field| field.name.clone()).collect();
            let form = Form::Columns { key: key.name.clone(), fields: names };
            (form, upsert_columns(target, &key.name, &fields))
        }
    };
    let name = quoted_column(&key.name);
    let delete = format!(
        "DELETE FROM {target} WHERE {name} = ANY ($1::text[]::{}[])
         AND {name}::text COLLATE \"C\" = ANY ($1)",
        key.data_type
    );
    Ok(Some(Table {
        quoted: target.to_owned(),
        form,
        is_ordered: is_ordered(client, oid).await.map_err(told)?,
        is_exclusive: is_exclusive(client, oid).await.map_err(told)?,
        upsert: client.prepare(&upsert).await.map_err(told)?,
        delete: client.prepare(&delete).await.map_err(told)?,
    }))
}

async fn columns(client: &Client, oid: u32) -> Result<Vec<Column>, tokio_postgres::Error> {
    let query = "SELECT attname::text, format_type(atttypid, atttypmod), attgenerated <> '',
        EXISTS (SELECT FROM pg_index WHERE indrelid = attrelid AND indisprimary
            AND attnum = ANY (indkey::smallint[]))
        FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
        ORDER BY attnum";
    let column = |row: &tokio_postgres::Row| Column {
        name: row.get(0),
        data_type: row.get(1),
        is_generated: row.get(2),
        is_key: row.get(3),
    };
    Ok(client.query(query, &[&oid]).await?.iter().map(column).collect())
}

async fn is_ordered(client: &Client, oid: u32) -> Result<bool, tokio_postgres::Error> {
    let query = "SELECT EXISTS (SELECT FROM pg_constraint
            WHERE contype = 'f' AND (conrelid = $1 OR confrelid = $1))
        OR EXISTS (SELECT FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal)
        OR EXISTS (SELECT FROM pg_rewrite WHERE ev_class = $1)";
    Ok(client.query_one(query, &[&oid]).await?.get(0))
}

async fn is_exclusive(client: &Client, oid: u32) -> Result<bool, tokio_postgres::Error> {
    let query = "SELECT EXISTS (SELECT FROM pg_index WHERE indrelid = $1
        AND (indisunique OR indisexclusion) AND NOT indisprimary)";
    Ok(client.query_one(query, &[&oid]).await?.get(0))
}

fn upsert_documents(target: &str, data_type: &str) -> String {
    format!(
        "INSERT INTO {target} AS old (key, \"row\")
         SELECT k, r::{data_type} FROM unnest($1::text[], $2::text[]) AS given (k, r)
         ON CONFLICT (key) DO UPDATE SET \"row\" = EXCLUDED.\"row\"
         WHERE old.key::text COLLATE \"C\" = EXCLUDED.key::text"
    )
}

/// The key goes through the input of its type as every field does; one whose text is another by
/// then is not written, and neither is one over another text that is equal for the database. The
/// number of rows tells.
fn upsert_columns(target: &str, key: &str, fields: &[&Column]) -> String {
    let key_literal = key.replace('\'', "''");
    let key = quoted_column(key);
    let names: Vec<String> = fields.iter().map(|field| quoted_column(&field.name)).collect();
    let columns = names.iter().map(|name| format!(", {name}")).collect::<String>();
    let values = names.iter().map(|name| format!(", p.{name}")).collect::<String>();
    let sets: Vec<_> = names.iter().map(|name| format!("{name} = EXCLUDED.{name}")).collect();
    // Something must be set, or a row that is there would not be counted.
    let sets = if sets.is_empty() { format!("{key} = EXCLUDED.{key}") } else { sets.join(", ") };
    format!(
        "INSERT INTO {target} AS old ({key}{columns}) OVERRIDING SYSTEM VALUE
         SELECT p.{key}{values} FROM unnest($1::text[], $2::text[]) AS given (k, r),
         jsonb_populate_record(NULL::{target},
             r::jsonb || jsonb_build_object('{key_literal}', k)) AS p
         WHERE p.{key}::text COLLATE \"C\" = k
         ON CONFLICT ({key}) DO UPDATE SET {sets}
         WHERE old.{key}::text COLLATE \"C\" = EXCLUDED.{key}::text"
    )
}

fn quoted_column(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
