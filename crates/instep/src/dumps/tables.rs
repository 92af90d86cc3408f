//! Dump of the server itself: the tables of a dataset at one position, as lines of JSON.

use instep_model::limits;
use instep_model::name::Name;
use instep_model::position::Position;
use instep_model::site::Scope;
use instep_model::state::State;
use serde_json::json;
use uuid::Uuid;

use super::spool::{Tally, sha256};
use super::{DumpError, Dumps, End, Sent};

/// Kind of a dump of tables.
const KIND: &str = "tables";

/// Chunks of lines on their way into a dump.
struct Lines<'a> {
    dumps: &'a Dumps,
    dataset: &'a Name,
    id: Uuid,
    buffer: Vec<u8>,
    tally: Tally,
}

/// Writes the tables of a state to a dump, and ends it; blocks. A first line says the position and
/// what follows, a line each row, and a last one that it is complete.
///
/// # Errors
/// [`DumpError`]; the dump has failed then.
pub(crate) fn write_tables(
    dumps: &Dumps,
    (dataset, id): (&Name, Uuid),
    (state, position): (&State, Position),
    scope: &Scope,
) -> Result<(), DumpError> {
    let mut lines = Lines { dumps, dataset, id, buffer: Vec::new(), tally: Tally::default() };
    let tables: Vec<_> = state.tables.iter().filter(|(name, _)| scope.has_table(name)).collect();
    let listed: Vec<_> = tables
        .iter()
        .map(|(name, table)| {
            json!({"table": name, "public": table.options.public, "rows": table.rows.len()})
        })
        .collect();
    let journals: Vec<_> = state
        .journals
        .iter()
        .filter(|(name, _)| scope.has_journal(name))
        .map(|(name, journal)| json!({"journal": name, "last": format!("{:020}", journal.last)}))
        .collect();
    let head = json!({"position": position, "tables": listed, "journals": journals});
    lines.push(&head.to_string())?;
    let mut rows = 0_u64;
    for (name, table) in tables {
        let name = json!(name).to_string();
        for (key, stored) in &table.rows {
            let (key, row) = (json!(key), stored.row.as_json());
            lines.push(&format!("{{\"table\":{name},\"key\":{key},\"row\":{row}}}"))?;
            rows += 1;
        }
    }
    lines.push(&json!({"complete": rows}).to_string())?;
    lines.end(position)
}

impl Lines<'_> {
    fn push(&mut self, line: &str) -> Result<(), DumpError> {
        self.buffer.extend_from_slice(line.as_bytes());
        self.buffer.push(b'\n');
        while self.buffer.len() >= limits::DUMP_CHUNK_BYTES {
            let rest = self.buffer.split_off(limits::DUMP_CHUNK_BYTES);
            let chunk = std::mem::replace(&mut self.buffer, rest);
            self.put(&chunk)?;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), DumpError> {
        let at = self.tally.chunks.len();
        let digest = sha256(bytes);
        let sent = Sent { at, digest, kind: Some(KIND) };
        self.dumps.put(self.dataset, self.id, sent, bytes)?;
        let chunk = self.tally.next(bytes, digest);
        self.tally.add(chunk, bytes);
        Ok(())
    }

    fn end(mut self, position: Position) -> Result<(), DumpError> {
        let rest = std::mem::take(&mut self.buffer);
        if !rest.is_empty() {
            self.put(&rest)?;
        }
        let Tally { chunks, bytes, .. } = &self.tally;
        let (chunks, bytes) = (chunks.len(), *bytes);
        let end = End { position, chunks, bytes, digest: self.tally.digest() };
        self.dumps.complete(self.dataset, self.id, end)
    }
}
