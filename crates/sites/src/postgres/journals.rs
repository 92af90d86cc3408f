//! Journals: records as rows, or as SQL that cannot leave its transaction.

use instep_client::SiteAppend;
use tokio_postgres::Statement;
use tokio_postgres::types::Type;

use super::connection::{LOCK, Open};
use super::failure::failure;
use super::pipeline::pipelined;
use super::position::Typed;
use super::schema::{quoted, unfit};
use crate::limits::PIPELINED;
use crate::store::{StoreError, append_subject};
use crate::targets::is_reserved;

/// Types of the column of records, and the record as a value of it.
const RECORDS: [(&str, &str); 4] = [
    ("bytea", "r"),
    ("text", "convert_from(r, 'UTF8')"),
    ("json", "convert_from(r, 'UTF8')::json"),
    ("jsonb", "convert_from(r, 'UTF8')::jsonb"),
];

impl Open {
    /// Writes records of a journal as rows of the table of its name.
    pub(super) async fn write_appends(
        &mut self,
        journal: &str,
        appends: &[&SiteAppend],
    ) -> Result<(), StoreError> {
        let insert = self.journal(journal).await?;
        if appends.is_empty() {
            return Ok(());
        }
        let ordinal = |append: &&SiteAppend| i64::try_from(append.ordinal).unwrap_or(i64::MAX);
        let ordinals: Vec<i64> = appends.iter().map(ordinal).collect();
        let records: Vec<&[u8]> = appends.iter().map(|append| &append.bytes[..]).collect();
        let inserted = self.client.execute(&insert, &[&ordinals, &records]).await;
        inserted.map(drop).map_err(|error| match appends {
            [append] => failure(&append_subject(append), &error).about_append(append),
            _ => failure(&format!("journal {journal}"), &error),
        })
    }

    /// The statement that inserts into the table of a journal, which is made if there is none.
    async fn journal(&mut self, journal: &str) -> Result<Statement, StoreError> {
        if let Some(known) = self.schema.journals.get(journal) {
            return Ok(known.clone());
        }
        let subject = format!("journal {journal}");
        let told = |error| failure(&subject, &error);
        if is_reserved(journal) {
            return Err(StoreError::record(&subject, "its name is of the agent"));
        }
        if let Some(text) = unfit(journal) {
            return Err(StoreError::record(&subject, text));
        }
        let target = quoted(journal);
        let make = format!(
            "CREATE TABLE IF NOT EXISTS {target}
             (ordinal bigint PRIMARY KEY, record bytea NOT NULL)"
        );
        self.client.batch_execute(&make).await.map_err(told)?;
        let query = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute
            WHERE attrelid = to_regclass($1) AND attname = 'record' AND NOT attisdropped";
        let found = self.client.query_opt(query, &[&target]).await.map_err(told)?;
        let found = found.map(|row| row.get::<_, String>(0)).unwrap_or_default();
        let Some((_, record)) = RECORDS.iter().find(|(data_type, _)| *data_type == found) else {
            let text = "the schema differs: its table has no column \"record\" of type bytea, \
                        text, json or jsonb";
            return Err(StoreError::record(&subject, text));
        };
        let insert = format!(
            "INSERT INTO {target} (ordinal, record) SELECT o, {record}
             FROM unnest($1::bigint[], $2::bytea[]) AS given (o, r)"
        );
        let insert = self.client.prepare(&insert).await.map_err(told)?;
        self.schema.journals.insert(journal.to_owned(), insert.clone());
        Ok(insert)
    }

    /// Executes records that are SQL, one after the other, many of them on their way at a time, and
    /// takes them from the queue.
    pub(super) async fn execute(
        &mut self,
        queued: &mut Vec<&SiteAppend>,
    ) -> Result<(), StoreError> {
        if !queued.is_empty() {
            self.schema.forget_all();
        }
        for some in queued.chunks(PIPELINED) {
            let executed = pipelined(some.iter().map(|append| self.execute_one(append))).await;
            // The first error is the reason of all behind it.
            executed.into_iter().collect::<Result<(), _>>()?;
        }
        queued.clear();
        Ok(())
    }

    async fn execute_one(&self, append: &SiteAppend) -> Result<(), StoreError> {
        let subject = append_subject(append);
        let Ok(text) = std::str::from_utf8(&append.bytes) else {
            return Err(
                StoreError::record(&subject, "it is no SQL: it is not UTF-8").about_append(append)
            );
        };
        if text.contains('\0') {
            return Err(StoreError::record(&subject, "it is no SQL: it holds a zero byte")
                .about_append(append));
        }
        let parameters: [Typed<'_>; 2] = [(&text, Type::TEXT), (&LOCK, Type::INT8)];
        let execute = "SELECT instep_site_execute($1, $2)";
        let executed = self.client.execute_typed(execute, &parameters).await;
        executed.map(drop).map_err(|error| failure(&subject, &error).about_append(append))
    }
}
