//! Restores of a database: `psql` in one transaction, committed when all of the dump has come.

use std::io::Write as _;
use std::process::{Child, Stdio};

use super::connection::Database;
use super::programs::{Programs, last_words};
use crate::site_row::SiteRow;
use crate::store::{Chunks, Fatal, Identity, StoreError};

/// Words of the exception that a store raises which has been taken over.
const FENCED: &str = "instep: another agent has taken the site over";

/// Begin of the transaction: tables in the form that the agent gives them are gone, also those
/// that the source of the dump does not have any more. All others are the operator's.
const BEGIN: &str = "BEGIN;
DO $begin$
DECLARE made regclass;
BEGIN
    FOR made IN SELECT t.oid FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
        WHERE t.relkind = 'r' AND n.nspname = ANY (current_schemas(false)) AND (
            SELECT string_agg(concat_ws(' ', a.attname, format_type(a.atttypid, NULL)), ', '
                ORDER BY a.attnum)
            FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
        ) IN ('key text, row json', 'ordinal bigint, record bytea')
    LOOP
        BEGIN
            EXECUTE format('DROP TABLE %s', made);
        EXCEPTION WHEN dependent_objects_still_exist THEN
            EXECUTE format('DELETE FROM %s', made);
        END;
    END LOOP;
END
$begin$;
";

/// Restores a dump. Cut off, it leaves the content as it was: the transaction is committed by the
/// very last line only.
pub(super) fn restore(
    (programs, database): (&Programs, &Database),
    own: &SiteRow,
    (identity, generation): (&Identity, u64),
    chunks: &mut Chunks<'_>,
) -> Result<(), StoreError> {
    let mut command = programs.command("psql", database)?;
    command.args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--file", "-"]);
    let spawned =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| StoreError::Passing(format!("psql: {error}")))?;
    let stderr = child.stderr.take();
    let told = std::thread::spawn(move || stderr.map(last_words).unwrap_or_default());
    let end = end(own, identity, generation);
    if let Err(error) = write_all(&mut child, chunks, &end) {
        let _ = child.kill();
        let _ = child.wait();
        return Err(error);
    }
    let status = child.wait().map_err(|error| StoreError::Passing(format!("psql: {error}")))?;
    let told = told.join().unwrap_or_default();
    if status.success() {
        Ok(())
    } else if told.contains(FENCED) {
        Err(Fatal::Fenced { generation: own.generation }.into())
    } else {
        Err(StoreError::Passing(format!("the dump was not restored ({status}): {told}")))
    }
}

fn write_all(child: &mut Child, chunks: &mut Chunks<'_>, end: &str) -> Result<(), StoreError> {
    let Some(mut stdin) = child.stdin.take() else { return Ok(()) };
    let mut is_heard = stdin.write_all(BEGIN.as_bytes()).is_ok();
    while let Some(chunk) = chunks()? {
        // A program that hears nothing any more has failed, and its words say why.
        is_heard = is_heard && stdin.write_all(&chunk).is_ok();
        if !is_heard {
            return Ok(());
        }
    }
    let _ = stdin.write_all(end.as_bytes());
    Ok(())
}

/// The end of the transaction: the row in the dump is checked, and becomes that of this site.
fn end(own: &SiteRow, identity: &Identity, generation: u64) -> String {
    let Identity { dataset, site } = identity;
    let (dataset, site) = (literal(dataset), literal(site));
    // Generations of one history are compared, and of two nothing is (law 4).
    let is_fenced = match own.stored {
        Some(position) if own.generation > generation => {
            format!("left(given.position, 32) = {}", literal(&position.incarnation.to_string()))
        }
        Some(_) | None => "false".to_owned(),
    };
    format!(
        "
RESET ALL;
DO $check$
DECLARE given instep_site%ROWTYPE;
BEGIN
    SELECT * INTO STRICT given FROM instep_site;
    IF given.dataset <> {dataset} OR given.state <> 'applied' THEN
        RAISE EXCEPTION 'instep: the dump is of dataset %, %', given.dataset, given.state;
    END IF;
    IF {is_fenced} THEN
        RAISE EXCEPTION '{FENCED}';
    END IF;
END
$check$;
UPDATE instep_site SET site = {site}, generation = {generation};
COMMIT;
"
    )
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
