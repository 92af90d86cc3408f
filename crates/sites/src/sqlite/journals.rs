//! Journals: records as rows, or as SQL that cannot leave its transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use instep_client::SiteAppend;
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::types::Value;
use rusqlite::{Batch as Statements, Connection, params};

use super::Open;
use super::failure::failure;
use super::schema::quoted;
use crate::store::{StoreError, append_subject};
use crate::targets::is_reserved;

/// Guards a connection: while the flag is true, statements that would leave the transaction, change
/// the connection or touch the row of the site are refused.
pub(super) fn guard(connection: &mut Connection) -> rusqlite::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let is_guarded = Arc::clone(&flag);
    connection.authorizer(Some(move |context: AuthContext<'_>| {
        if is_guarded.load(Ordering::Relaxed) && is_refused(&context.action) {
            Authorization::Deny
        } else {
            Authorization::Allow
        }
    }))?;
    Ok(flag)
}

fn is_refused(action: &AuthAction<'_>) -> bool {
    match action {
        AuthAction::Transaction { .. }
        | AuthAction::Savepoint { .. }
        | AuthAction::Attach { .. }
        | AuthAction::Detach { .. }
        | AuthAction::Pragma { .. }
        | AuthAction::CreateTempIndex { .. }
        | AuthAction::CreateTempTable { .. }
        | AuthAction::CreateTempTrigger { .. }
        | AuthAction::CreateTempView { .. }
        | AuthAction::Unknown { .. } => true,
        AuthAction::Insert { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::Delete { table_name }
        | AuthAction::DropTable { table_name }
        | AuthAction::AlterTable { table_name, .. }
        | AuthAction::CreateIndex { table_name, .. }
        | AuthAction::CreateTrigger { table_name, .. } => is_reserved(table_name),
        _ => false,
    }
}

impl Open {
    /// Writes records of a journal as rows of the table of its name.
    pub(super) fn write_appends(
        &mut self,
        journal: &str,
        appends: &[&SiteAppend],
    ) -> Result<(), StoreError> {
        let told = |error| failure(&format!("journal {journal}"), &error);
        if is_reserved(journal) {
            let text = "its name is of the agent";
            return Err(StoreError::record(&format!("journal {journal}"), text));
        }
        let table = quoted(journal);
        let make = format!(
            "CREATE TABLE IF NOT EXISTS {table} (ordinal INTEGER PRIMARY KEY, record NOT NULL)"
        );
        self.connection.prepare_cached(&make).map_err(told)?.execute([]).map_err(told)?;
        let insert = format!("INSERT INTO {table} (ordinal, record) VALUES (?, ?)");
        for append in appends {
            let record = match std::str::from_utf8(&append.bytes) {
                Ok(text) => Value::Text(text.to_owned()),
                Err(_) => Value::Blob(append.bytes.clone()),
            };
            let ordinal = i64::try_from(append.ordinal).unwrap_or(i64::MAX);
            let mut insert = self.connection.prepare_cached(&insert).map_err(told)?;
            let inserted = insert.execute(params![ordinal, record]);
            let told = |error| failure(&append_subject(append), &error).about_append(append);
            inserted.map_err(told)?;
        }
        Ok(())
    }

    /// Executes the SQL that a record is.
    pub(super) fn execute(&mut self, append: &SiteAppend) -> Result<(), StoreError> {
        let subject = append_subject(append);
        let refused = |text: &str| Err(StoreError::record(&subject, text));
        let Ok(text) = std::str::from_utf8(&append.bytes) else {
            return refused("it is no SQL: it is not UTF-8");
        };
        if text.contains('\0') {
            return refused("it is no SQL: it holds a zero byte");
        }
        self.is_guarded.store(true, Ordering::Relaxed);
        let executed = run(&self.connection, text);
        self.is_guarded.store(false, Ordering::Relaxed);
        self.schema.forget_all();
        match executed {
            // A conflict clause or a trigger may roll everything back.
            Ok(_) | Err(_) if self.connection.is_autocommit() => {
                let text = executed.err().map_or(String::new(), |error| format!(": {error}"));
                refused(&format!("it ended the transaction{text}"))
            }
            Ok(None) => Ok(()),
            Ok(Some(text)) => refused(text),
            Err(error) => Err(failure(&subject, &error)),
        }
    }
}

/// Runs all statements of a text; a text about what keeps them from being run.
fn run(connection: &Connection, text: &str) -> rusqlite::Result<Option<&'static str>> {
    let mut statements = Statements::new(connection, text);
    while let Some(mut statement) = statements.next()? {
        if statement.parameter_count() > 0 {
            return Ok(Some("it has parameters, and there is nothing to set them to"));
        }
        let mut rows = statement.raw_query();
        while rows.next()?.is_some() {}
    }
    Ok(None)
}
