//! Dumps of tables: NDJSON of the server, a row a line, at one exact position.

use std::collections::BTreeMap;

use instep_model::position::Position;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::download::Download;
use crate::limits::{DUMP_LINE_BYTES, RESTORE_BYTES};
use crate::store::{DumpHead, DumpRow, Store, StoreError};

/// Form of the dumps of the server.
pub(super) const KIND: &str = "tables";

/// A line: the head, a row, or the end.
#[derive(Deserialize)]
struct Line {
    position: Option<Position>,
    tables: Option<Vec<TableHead>>,
    journals: Option<Vec<JournalHead>>,
    table: Option<String>,
    key: Option<String>,
    row: Option<Box<RawValue>>,
    complete: Option<u64>,
}

#[derive(Deserialize)]
struct TableHead {
    table: String,
}

#[derive(Deserialize)]
struct JournalHead {
    journal: String,
    last: String,
}

/// Lines of a download.
struct Lines<'a> {
    download: &'a mut Download,
    buffer: Vec<u8>,
    taken: usize,
}

/// Replaces the content of the store's tables by the dump (I12). Returns its position.
pub(super) fn restore(
    store: &mut dyn Store,
    generation: u64,
    download: &mut Download,
) -> Result<Position, StoreError> {
    let mut lines = Lines { download, buffer: Vec::new(), taken: 0 };
    let head = lines.next()?.ok_or_else(|| unreadable("it is empty"))?;
    let (Some(position), Some(tables), Some(journals)) =
        (head.position, head.tables, head.journals)
    else {
        return Err(unreadable("it does not begin with its position, tables and journals"));
    };
    let tables = tables.into_iter().map(|head| head.table).collect();
    let mut head = DumpHead { position, tables, journals: BTreeMap::new() };
    for JournalHead { journal, last } in journals {
        let last = last.parse().map_err(|_| unreadable("a journal has no ordinal"))?;
        head.journals.insert(journal, last);
    }
    store.begin_tables(generation, &head)?;
    let (mut rows, mut bytes, mut count) = (Vec::new(), 0, 0_u64);
    let told = loop {
        let line = lines.next()?.ok_or_else(|| unreadable("it has no end"))?;
        match line {
            Line { table: Some(table), key: Some(key), row: Some(row), .. } => {
                bytes += key.len() + row.get().len();
                count += 1;
                rows.push(DumpRow { table, key, row });
            }
            Line { complete: Some(told), .. } => break told,
            _ => return Err(unreadable("it has a line that is no row")),
        }
        if bytes >= RESTORE_BYTES {
            store.put_rows(&rows)?;
            rows.clear();
            bytes = 0;
        }
    };
    store.put_rows(&rows)?;
    if told != count {
        return Err(unreadable(&format!("{count} rows came, {told} are told")));
    }
    // The bytes as a whole are right, too, before the content counts.
    if lines.next()?.is_some() {
        return Err(unreadable("it goes on behind its end"));
    }
    store.end_tables(position)?;
    Ok(position)
}

impl Lines<'_> {
    fn next(&mut self) -> Result<Option<Line>, StoreError> {
        let mut searched = self.taken;
        loop {
            if let Some(length) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.taken..searched + length;
                self.taken = line.end + 1;
                let line = serde_json::from_slice(&self.buffer[line]);
                return line.map(Some).map_err(|error| unreadable(&error.to_string()));
            }
            self.buffer.drain(..self.taken);
            self.taken = 0;
            searched = self.buffer.len();
            if searched > DUMP_LINE_BYTES {
                return Err(unreadable("a line is too long"));
            }
            match self.download.next()? {
                Some(content) => self.buffer.extend_from_slice(&content),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(unreadable("it ends in the middle of a line")),
            }
        }
    }
}

fn unreadable(reason: &str) -> StoreError {
    StoreError::Passing(format!("the dump of tables cannot be read: {reason}"))
}
