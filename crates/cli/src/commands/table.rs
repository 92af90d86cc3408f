//! `instep table`: tables and their rows.

mod conditions;

use clap::Subcommand;
use instep_client::{PageQuery, TableStatus};
use serde_json::{Value, json};

use self::conditions::Conditions;
use crate::access::Access;
use crate::commands::commit;
use crate::failure::Failure;
use crate::{input, output};

/// Bytes of a snapshot that are written at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// List, create and drop tables; read and change rows.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the tables of a dataset.
    List {
        /// The dataset.
        dataset: String,
        #[command(flatten)]
        access: Access,
    },
    /// Create a table, or set whether an existing one is public.
    Create {
        #[command(flatten)]
        table: Table,
        /// Let every client read it, and join its topic table:DATASET/TABLE.
        #[arg(long)]
        public: bool,
    },
    /// Drop a table with all its rows. There is no way back.
    Drop {
        #[command(flatten)]
        table: Table,
    },
    /// Print one row.
    Get {
        #[command(flatten)]
        row: Row,
    },
    /// Print a page of rows in key order.
    Rows(Rows),
    /// Print a whole table as it is at one position, as NDJSON.
    Snapshot {
        #[command(flatten)]
        table: Table,
    },
    /// Write a row.
    Put {
        #[command(flatten)]
        row: Row,
        /// The row, a JSON object.
        #[arg(value_name = "ROW")]
        fields: String,
        #[command(flatten)]
        conditions: Conditions,
    },
    /// Merge fields into a row that exists; null removes a field.
    Patch {
        #[command(flatten)]
        row: Row,
        /// The fields, a JSON object.
        fields: String,
        #[command(flatten)]
        conditions: Conditions,
    },
    /// Delete a row; no error when there is none.
    Delete {
        #[command(flatten)]
        row: Row,
        #[command(flatten)]
        conditions: Conditions,
    },
    /// Add to an integer field of a row that exists.
    Add(Add),
}

#[derive(Debug, clap::Args)]
struct Table {
    /// The dataset.
    dataset: String,
    /// The table.
    table: String,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, clap::Args)]
struct Row {
    /// The dataset.
    dataset: String,
    /// The table.
    table: String,
    /// The row's key.
    key: String,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, clap::Args)]
struct Rows {
    #[command(flatten)]
    table: Table,
    /// Keys after this one.
    #[arg(long, value_name = "KEY")]
    after: Option<String>,
    /// Keys that begin with this.
    #[arg(long)]
    prefix: Option<String>,
    /// Rows on the page: 1 to 1000.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// At least as fresh as this position.
    #[arg(long, value_name = "POSITION")]
    at_least: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Add {
    #[command(flatten)]
    row: Row,
    /// The field.
    field: String,
    /// Amount to add.
    #[arg(allow_negative_numbers = true)]
    by: i64,
    /// The result may not be smaller.
    #[arg(long, allow_negative_numbers = true)]
    min: Option<i64>,
    /// The result may not be larger.
    #[arg(long, allow_negative_numbers = true)]
    max: Option<i64>,
    #[command(flatten)]
    conditions: Conditions,
}

pub(crate) async fn run(arguments: Arguments, json: bool) -> Result<(), Failure> {
    match arguments.action {
        Action::List { dataset, access } => list(&access.client()?.tables(&dataset).await?, json),
        Action::Create { table: Table { dataset, table, access }, public } => {
            let made = access.client()?.create_table(&dataset, &table, public).await?;
            if json { output::json(&made) } else { list(&[made], json) }
        }
        Action::Drop { table: Table { dataset, table, access } } => {
            access.client()?.drop_table(&dataset, &table).await?;
            if json {
                output::json(&json!({"dropped": table}))
            } else {
                output::line(&format!("table {table} dropped"))
            }
        }
        Action::Get { row: Row { dataset, table, key, access } } => {
            let row = access.client()?.row(&dataset, &table, &key).await?;
            if json { output::json(&row) } else { output::line(&row.row.to_string()) }
        }
        Action::Rows(rows) => page(rows, json).await,
        Action::Snapshot { table } => snapshot(table).await,
        Action::Put { row, fields, conditions } => {
            let op = json!({"op": "put", "row": input::object("ROW", &fields)?});
            change(row, op, conditions, json).await
        }
        Action::Patch { row, fields, conditions } => {
            let op = json!({"op": "patch", "fields": input::object("FIELDS", &fields)?});
            change(row, op, conditions, json).await
        }
        Action::Delete { row, conditions } => {
            change(row, json!({"op": "delete"}), conditions, json).await
        }
        Action::Add(Add { row, field, by, min, max, conditions }) => {
            let op = json!({"op": "add", "field": field, "by": by, "min": min, "max": max});
            change(row, op, conditions, json).await
        }
    }
}

/// Commits one operation on one row, if the row is as it must be.
async fn change(
    row: Row,
    mut op: Value,
    conditions: Conditions,
    json: bool,
) -> Result<(), Failure> {
    let Row { dataset, table, key, access } = row;
    let id = conditions.id;
    let require = conditions.operation(&table, &key)?;
    op["table"] = table.into();
    op["key"] = key.into();
    let before = require.iter().count();
    let ops: Vec<Value> = require.into_iter().chain([op]).collect();
    let mut receipt = access.client()?.commit(&dataset, &ops, id).await?;
    // A condition computes nothing: the one result is that of the change.
    receipt.results.drain(..before.min(receipt.results.len()));
    commit::print(&receipt, json)
}

fn list(tables: &[TableStatus], json: bool) -> Result<(), Failure> {
    if json {
        return output::json(&tables);
    }
    let rows = tables.iter().map(|table| {
        let public = if table.public { "yes" } else { "no" };
        let size = output::bytes(table.bytes);
        vec![table.name.clone(), public.to_owned(), table.rows.to_string(), size]
    });
    output::table(&["TABLE", "PUBLIC", "ROWS", "SIZE"], rows, "no tables")
}

async fn page(rows: Rows, json: bool) -> Result<(), Failure> {
    let Rows { table: Table { dataset, table, access }, after, prefix, limit, at_least } = rows;
    let query = PageQuery { after, prefix, limit: Some(limit), at_least };
    let page = access.client()?.page(&dataset, &table, &query).await?;
    if json {
        return output::json(&page);
    }
    let rows = page.rows.iter().map(|row| vec![row.key.clone(), row.row.to_string()]);
    output::table(&["KEY", "ROW"], rows, "no rows")?;
    match page.next {
        Some(next) => output::line(&format!("more: --after {}", Value::from(next))),
        None => Ok(()),
    }
}

async fn snapshot(table: Table) -> Result<(), Failure> {
    let Table { dataset, table, access } = table;
    let mut snapshot = access.client()?.snapshot(&dataset, &table).await?;
    let bar = output::bar(snapshot.rows, "{wide_bar} {human_pos} of {human_len} rows {eta}");
    let mut text = line_of(&json!({"position": snapshot.position, "rows": snapshot.rows}));
    while let Some(row) = snapshot.next().await? {
        text.push_str(&line_of(&json!({"key": row.key, "row": row.row})));
        bar.inc(1);
        if text.len() >= CHUNK_BYTES {
            output::lines(std::mem::take(&mut text).as_bytes())?;
        }
    }
    bar.finish_and_clear();
    text.push_str(&line_of(&json!({"bookmark": snapshot.position})));
    output::lines(text.as_bytes())
}

fn line_of(value: &Value) -> String {
    format!("{value}\n")
}
