//! Row of the site: whose database it is, and up to where everything is applied.

use std::collections::BTreeMap;

use instep_model::position::Position;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::failure::failure;
use crate::batch::Batch;
use crate::site_row::{Columns, SiteRow, Skipped, skipped, stored_generation};
use crate::store::{Identity, StoreError};

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS instep_site (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        dataset TEXT NOT NULL,
        site TEXT NOT NULL,
        state TEXT NOT NULL,
        position TEXT,
        generation INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS instep_site_journals (
        journal TEXT PRIMARY KEY,
        ordinal INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS instep_site_skipped (
        position TEXT NOT NULL,
        record INTEGER NOT NULL,
        content TEXT NOT NULL,
        reason TEXT NOT NULL,
        skipped_at TEXT NOT NULL DEFAULT (datetime('now')),
        PRIMARY KEY (position, record)
    );
";

/// Makes the tables of the agent.
pub(super) fn make(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(TABLES)
}

/// Reads the row, and checks that it is this site's.
pub(super) fn read(connection: &Connection, identity: &Identity) -> Result<SiteRow, StoreError> {
    let query = "SELECT dataset, site, state, position, generation FROM instep_site";
    let columns = |row: &rusqlite::Row<'_>| {
        Ok(Columns {
            dataset: row.get(0)?,
            site: row.get(1)?,
            state: row.get(2)?,
            position: row.get(3)?,
            generation: row.get(4)?,
        })
    };
    let row = connection
        .query_row(query, [], columns)
        .optional()
        .map_err(|error| failure("the row of the site", &error))?;
    Ok(row.map_or(Ok(SiteRow::NONE), |columns| SiteRow::read(columns, identity))?)
}

/// Writes the row, whatever it was.
pub(super) fn write(
    connection: &Connection,
    identity: &Identity,
    row: &SiteRow,
) -> rusqlite::Result<()> {
    let Some(columns) = row.columns(identity) else { return Ok(()) };
    let Columns { dataset, site, state, position, generation } = columns;
    connection.execute(
        "INSERT OR REPLACE INTO instep_site (id, dataset, site, state, position, generation)
         VALUES (1, ?, ?, ?, ?, ?)",
        params![dataset, site, state, position, generation],
    )?;
    Ok(())
}

/// Moves the row on, if it is still where this agent has left it.
pub(super) fn advance(
    connection: &Connection,
    generation: u64,
    expected: Option<Position>,
    position: Position,
) -> Result<(), StoreError> {
    let told = |error| failure("the row of the site", &error);
    let generation = stored_generation(generation);
    let mut update = connection
        .prepare_cached(
            "UPDATE instep_site SET position = ?
             WHERE id = 1 AND state = 'applied' AND generation = ? AND position = ?",
        )
        .map_err(told)?;
    let expected = expected.map(|position| position.to_string());
    match update.execute(params![position.to_string(), generation, expected]).map_err(told)? {
        1 => Ok(()),
        _ => Err(StoreError::Passing("the row of the site was changed by another agent".into())),
    }
}

/// Last ordinals of the journals.
pub(super) fn ordinals(connection: &Connection) -> rusqlite::Result<BTreeMap<String, u64>> {
    let mut query = connection.prepare("SELECT journal, ordinal FROM instep_site_journals")?;
    let row = |row: &rusqlite::Row<'_>| {
        let ordinal: i64 = row.get(1)?;
        Ok((row.get(0)?, u64::try_from(ordinal).unwrap_or_default()))
    };
    query.query_map([], row)?.collect()
}

/// Forgets the last ordinals, and what was left out: a restore begins anew.
pub(super) fn forget_account(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("DELETE FROM instep_site_journals; DELETE FROM instep_site_skipped")
}

/// Forgets the last ordinals, and what was left out behind a position.
pub(super) fn forget_behind(connection: &Connection, position: Position) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM instep_site_journals", [])?;
    let forget = "DELETE FROM instep_site_skipped WHERE position > ?";
    connection.execute(forget, [position.to_string()]).map(drop)
}

/// Writes the account of records that a batch leaves out.
pub(super) fn write_skipped(connection: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    let insert = "INSERT INTO instep_site_skipped (position, record, content, reason)
        VALUES (?, ?, ?, ?)";
    for Skipped { position, record, content, reason } in skipped(batch) {
        connection.execute(insert, params![position, record, content, reason])?;
    }
    Ok(())
}

/// Number of records that the content leaves out.
pub(super) fn count_skipped(connection: &Connection) -> rusqlite::Result<u64> {
    let query = "SELECT count(*) FROM instep_site_skipped";
    let count: i64 = connection.query_row(query, [], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// Writes last ordinals of journals.
pub(super) fn write_ordinals(
    connection: &Connection,
    ordinals: &BTreeMap<&str, u64>,
) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT OR REPLACE INTO instep_site_journals (journal, ordinal) VALUES (?, ?)",
    )?;
    for (journal, ordinal) in ordinals {
        insert.execute(params![journal, i64::try_from(*ordinal).unwrap_or(i64::MAX)])?;
    }
    Ok(())
}

/// Checks the references between rows that were written without.
pub(super) fn check_foreign_keys(connection: &Connection) -> Result<(), StoreError> {
    let told = |error| failure("the references between rows", &error);
    let broken: Option<(String, String)> = connection
        .query_row("SELECT \"table\", parent FROM pragma_foreign_key_check LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()
        .map_err(told)?;
    match broken {
        None => Ok(()),
        Some((table, parent)) => Err(StoreError::record(
            &format!("table {table}"),
            format!("a row of the dump refers to a row of {parent} that is not there"),
        )),
    }
}
