//! Row of the site in PostgreSQL, and last ordinals of journals.

use std::collections::BTreeMap;

use instep_model::position::Position;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::failure::failure;
use crate::batch::Batch;
use crate::site_row::{Columns, SiteRow, Skipped, skipped, stored_generation};
use crate::store::{Fatal, Identity, StoreError};

/// Parameter of a statement, and its type.
pub(super) type Typed<'a> = (&'a (dyn ToSql + Sync), Type);

const ROW: &str = "SELECT dataset, site, state, position, generation FROM instep_site";
const SUBJECT: &str = "the row of the site";

/// Tables and the function of the agent. A function runs SQL of journals: inside of one, the server
/// itself refuses to end the transaction or to leave SQL. What a record sets, makes for its session
/// or holds ends behind it; the lock of the agent, which may have gone with it, is taken again.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS instep_site (
        id integer PRIMARY KEY CHECK (id = 1),
        dataset text NOT NULL,
        site text NOT NULL,
        state text NOT NULL,
        position text,
        generation bigint NOT NULL
    );
    CREATE TABLE IF NOT EXISTS instep_site_journals (
        journal text PRIMARY KEY,
        ordinal bigint NOT NULL
    );
    CREATE TABLE IF NOT EXISTS instep_site_skipped (
        position text NOT NULL,
        record integer NOT NULL,
        content text NOT NULL,
        reason text NOT NULL,
        skipped_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (position, record)
    );
    CREATE OR REPLACE FUNCTION instep_site_execute(statements text, lock bigint)
    RETURNS void
    LANGUAGE plpgsql AS $function$
    BEGIN
        EXECUTE statements || E'\\n;SELECT';
        RESET SESSION AUTHORIZATION;
        RESET ROLE;
        RESET ALL;
        SET CONSTRAINTS ALL DEFERRED;
        DISCARD TEMP;
        DEALLOCATE ALL;
        UNLISTEN *;
        PERFORM pg_advisory_unlock_all();
        PERFORM pg_advisory_lock(lock);
    END
    $function$;
";

/// Makes the tables and the function of the agent, if they are not there.
pub(super) async fn make(client: &Client) -> Result<(), StoreError> {
    let told = |error| failure("the tables of the agent", &error);
    let are_there = "SELECT to_regclass('instep_site') IS NOT NULL
        AND to_regclass('instep_site_journals') IS NOT NULL
        AND to_regclass('instep_site_skipped') IS NOT NULL
        AND to_regprocedure('instep_site_execute(text, bigint)') IS NOT NULL";
    let are_there: bool = client.query_one(are_there, &[]).await.map_err(told)?.get(0);
    if are_there {
        return Ok(());
    }
    match client.batch_execute(TABLES).await.map_err(told) {
        // Another agent may make them in the same moment.
        Err(StoreError::Record(refusal)) if refusal.text.contains("duplicate") => {
            Err(StoreError::Passing(refusal.text))
        }
        Err(StoreError::Record(refusal)) => Err(Fatal::Unusable(refusal.text).into()),
        made => made,
    }
}

/// Reads the row, and checks that it is this site's. In a transaction it is held until its end.
pub(super) async fn read(client: &Client, identity: &Identity) -> Result<SiteRow, StoreError> {
    let row = format!("{ROW} FOR UPDATE");
    read_by(client, &row, identity).await
}

/// Reads the row as a snapshot has it.
pub(super) async fn look(client: &Client, identity: &Identity) -> Result<SiteRow, StoreError> {
    read_by(client, ROW, identity).await
}

async fn read_by(client: &Client, query: &str, identity: &Identity) -> Result<SiteRow, StoreError> {
    let row = client.query_opt(query, &[]).await.map_err(|error| failure(SUBJECT, &error))?;
    let Some(row) = row else { return Ok(SiteRow::NONE) };
    let columns = Columns {
        dataset: row.get(0),
        site: row.get(1),
        state: row.get(2),
        position: row.get(3),
        generation: row.get(4),
    };
    Ok(SiteRow::read(columns, identity)?)
}

/// Writes the row, whatever it was.
pub(super) async fn write(
    client: &Client,
    identity: &Identity,
    row: &SiteRow,
) -> Result<(), StoreError> {
    let Some(columns) = row.columns(identity) else { return Ok(()) };
    let Columns { dataset, site, state, position, generation } = columns;
    let written = client
        .execute(
            "INSERT INTO instep_site (id, dataset, site, state, position, generation)
         VALUES (1, $1, $2, $3, $4, $5) ON CONFLICT (id) DO UPDATE SET
         dataset = EXCLUDED.dataset, site = EXCLUDED.site, state = EXCLUDED.state,
         position = EXCLUDED.position, generation = EXCLUDED.generation",
            &[&dataset, &site, &state, &position, &generation],
        )
        .await;
    written.map(drop).map_err(|error| failure(SUBJECT, &error))
}

/// Holds the row until the end of the transaction, if it is where this agent has left it.
///
/// As everything that each batch sends, its types are given: it is one message, and needs no
/// statement that SQL of a journal could have deallocated.
pub(super) async fn hold(
    client: &Client,
    generation: u64,
    expected: Option<Position>,
) -> Result<(), StoreError> {
    let query = "SELECT FROM instep_site WHERE id = 1 AND state = 'applied' AND generation = $1
        AND position = $2 FOR UPDATE";
    let expected = expected.map(|position| position.to_string());
    let generation = stored_generation(generation);
    let parameters: [Typed<'_>; 2] = [(&generation, Type::INT8), (&expected, Type::TEXT)];
    let held = client.query_typed_opt(query, &parameters).await;
    match held.map_err(|error| failure(SUBJECT, &error))? {
        Some(_) => Ok(()),
        None => Err(StoreError::Passing("the row of the site was changed by another agent".into())),
    }
}

/// Moves the row on, which is held.
pub(super) async fn advance(
    client: &Client,
    generation: u64,
    expected: Option<Position>,
    position: Position,
) -> Result<(), StoreError> {
    let update = "UPDATE instep_site SET position = $1
        WHERE id = 1 AND state = 'applied' AND generation = $2 AND position = $3";
    let expected = expected.map(|position| position.to_string());
    let (position, generation) = (position.to_string(), stored_generation(generation));
    let parameters: [Typed<'_>; 3] =
        [(&position, Type::TEXT), (&generation, Type::INT8), (&expected, Type::TEXT)];
    let moved = client.execute_typed(update, &parameters).await;
    match moved.map_err(|error| failure(SUBJECT, &error))? {
        1 => Ok(()),
        _ => Err(StoreError::record(SUBJECT, "SQL of a journal has changed it")),
    }
}

/// Last ordinals of the journals.
pub(super) async fn ordinals(client: &Client) -> Result<BTreeMap<String, u64>, StoreError> {
    let query = "SELECT journal, ordinal FROM instep_site_journals";
    let rows = client.query(query, &[]).await.map_err(|error| failure("the journals", &error))?;
    let last = |row: &tokio_postgres::Row| {
        (row.get(0), u64::try_from(row.get::<_, i64>(1)).unwrap_or_default())
    };
    Ok(rows.iter().map(last).collect())
}

/// Forgets the last ordinals, and what was left out: a restore begins anew.
pub(super) async fn forget_account(client: &Client) -> Result<(), StoreError> {
    let forget = "DELETE FROM instep_site_journals; DELETE FROM instep_site_skipped";
    let forgotten = client.batch_execute(forget).await;
    forgotten.map_err(|error| failure("the account of the site", &error))
}

/// Writes last ordinals of journals.
pub(super) async fn write_ordinals(
    client: &Client,
    ordinals: &BTreeMap<&str, u64>,
) -> Result<(), StoreError> {
    if ordinals.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = ordinals.keys().copied().collect();
    let last: Vec<i64> = ordinals.values().map(|last| stored_generation(*last)).collect();
    let insert = "INSERT INTO instep_site_journals (journal, ordinal)
        SELECT * FROM unnest($1::text[], $2::bigint[])
        ON CONFLICT (journal) DO UPDATE SET ordinal = EXCLUDED.ordinal";
    let parameters: [Typed<'_>; 2] = [(&names, Type::TEXT_ARRAY), (&last, Type::INT8_ARRAY)];
    let written = client.execute_typed(insert, &parameters).await;
    written.map(drop).map_err(|error| failure("the journals", &error))
}

/// Forgets the last ordinals, and what was left out behind a position.
pub(super) async fn forget_behind(client: &Client, position: Position) -> Result<(), StoreError> {
    let told = |error| failure("the account of the site", &error);
    client.execute("DELETE FROM instep_site_journals", &[]).await.map_err(told)?;
    let forget = "DELETE FROM instep_site_skipped WHERE position COLLATE \"C\" > $1";
    client.execute(forget, &[&position.to_string()]).await.map(drop).map_err(told)
}

/// Writes the account of records that a batch leaves out.
pub(super) async fn write_skipped(client: &Client, batch: &Batch) -> Result<(), StoreError> {
    let insert = "INSERT INTO instep_site_skipped (position, record, content, reason)
        VALUES ($1, $2, $3, $4)";
    for Skipped { position, record, content, reason } in skipped(batch) {
        let written = client.execute(insert, &[&position, &record, &content, &reason]).await;
        written.map_err(|error| failure("the account of skipped records", &error))?;
    }
    Ok(())
}

/// Number of records that the content leaves out.
pub(super) async fn count_skipped(client: &Client) -> Result<u64, StoreError> {
    let query = "SELECT count(*) FROM instep_site_skipped";
    let row = client.query_one(query, &[]).await;
    let count: i64 = row.map_err(|error| failure("the account of skipped records", &error))?.get(0);
    Ok(u64::try_from(count).unwrap_or_default())
}
