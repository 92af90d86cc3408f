//! Verification: compares the tables of a site with those of the server, at one position.
//!
//! The store is read in one snapshot, at its position. Each table of the server is read at a later
//! one, both in the order of their keys, so that one row of each is in memory at a time. Rows that
//! differ and were written between the two positions may differ: the log says which these are, and
//! the site is to write them anyway. What is left differs.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use instep_client::{Change, Client, Error as ClientError, KeyedRow};
use instep_model::position::Position;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::limits::{DIFFERING_KEYS, ROWS_WAITING};
use crate::store::{Dumper, Kept, StoreError};

/// Outcome of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Position of the store.
    pub position: Position,
    /// The tables, by name.
    pub tables: BTreeMap<String, Table>,
}

/// Outcome of a verification, of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Table {
    /// False: its rows are in columns of their own, which are not compared.
    pub compared: bool,
    /// Rows of the server.
    pub rows: u64,
    /// Rows that are to be written anyway: they have changed since.
    pub changed_since: u64,
    /// Rows that differ, beyond those whose keys are named.
    pub more: u64,
    /// Keys whose rows differ.
    pub differs: BTreeSet<String>,
    /// Keys that only the server has.
    pub missing: BTreeSet<String>,
    /// Keys that only the site has.
    pub extra: BTreeSet<String>,
}

/// Error of a verification.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The server cannot be asked, or refuses.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row of the store is no JSON, or a position of the server is none.
    #[error("{0}")]
    Unreadable(String),
}

impl Verification {
    /// True when every row that was compared is the same.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.tables.values().all(Table::is_equal)
    }
}

impl Table {
    /// True when every row that was compared is the same.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.more == 0
            && [&self.differs, &self.missing, &self.extra].iter().all(|keys| keys.is_empty())
    }

    fn note(&mut self, side: Side, key: String) {
        if self.differs.len() + self.missing.len() + self.extra.len() >= DIFFERING_KEYS {
            self.more += 1;
            return;
        }
        let keys = match side {
            Side::Both => &mut self.differs,
            Side::Server => &mut self.missing,
            Side::Site => &mut self.extra,
        };
        keys.insert(key);
    }

    /// Takes a row out that is to be written anyway.
    fn forgive(&mut self, key: &str) {
        let keys = [&mut self.differs, &mut self.missing, &mut self.extra];
        self.changed_since += keys.into_iter().map(|keys| u64::from(keys.remove(key))).sum::<u64>();
    }
}

/// Side that has a row.
#[derive(Debug, Clone, Copy)]
enum Side {
    Both,
    Server,
    Site,
}

/// Compares tables of a dataset with those of a site.
///
/// # Errors
/// [`VerifyError`]; [`ClientError::Refused`] with `position_trimmed` when the history behind the
/// store's position is not kept.
pub async fn verify(
    client: &Client,
    dataset: &str,
    dumper: Arc<dyn Dumper>,
    tables: Vec<String>,
) -> Result<Verification, VerifyError> {
    let (items, kept) = mpsc::channel(ROWS_WAITING);
    let asked = tables.clone();
    let reading = tokio::task::spawn_blocking(move || {
        dumper.read(&asked, &mut |kept| items.blocking_send(kept).is_ok())
    });
    let compared = compare(client, dataset, &tables, kept).await;
    // What the store says goes before: without it there is nothing to compare.
    reading.await.map_err(|error| VerifyError::Unreadable(error.to_string()))??;
    let (mut verification, read_at) = compared?;
    if !verification.is_equal() {
        forgive_what_changed(client, dataset, &mut verification, &read_at).await?;
    }
    Ok(verification)
}

/// Compares row by row; the outcome, and the position at which each table of the server was read.
async fn compare(
    client: &Client,
    dataset: &str,
    tables: &[String],
    mut kept: mpsc::Receiver<Kept>,
) -> Result<(Verification, BTreeMap<String, Position>), VerifyError> {
    let Some(Kept::Position(position)) = kept.recv().await else {
        return Err(VerifyError::Unreadable("the store has told nothing".into()));
    };
    let mut verification = Verification { position, tables: BTreeMap::new() };
    let mut read_at = BTreeMap::new();
    let mut next = kept.recv().await;
    for (index, name) in tables.iter().enumerate() {
        let mut table = Table { compared: true, ..Table::default() };
        if next == Some(Kept::Columns { table: index }) {
            table.compared = false;
            next = kept.recv().await;
            verification.tables.insert(name.clone(), table);
            continue;
        }
        let mut snapshot = client.snapshot(dataset, name).await?;
        let at = snapshot.position.parse();
        let at = at.map_err(|_| VerifyError::Unreadable(snapshot.position.clone()))?;
        read_at.insert(name.clone(), at);
        let mut theirs = snapshot.next().await?;
        loop {
            let ours = match &next {
                Some(Kept::Row { table, key, row }) if *table == index => Some((key, row)),
                _ => None,
            };
            let order = match (&theirs, ours) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(theirs), Some((key, _))) => theirs.key.as_str().cmp(key),
            };
            let (is_same, key) = match (order, &theirs, ours) {
                (Ordering::Greater, _, Some((key, _))) => (false, key.clone()),
                (Ordering::Equal, Some(theirs), Some((key, row))) => {
                    (is_same(theirs, row)?, key.clone())
                }
                (_, theirs, _) => (false, theirs.as_ref().map_or_else(String::new, key_of)),
            };
            match order {
                Ordering::Less => table.note(Side::Server, key),
                Ordering::Greater => table.note(Side::Site, key),
                Ordering::Equal if !is_same => table.note(Side::Both, key),
                Ordering::Equal => {}
            }
            if order != Ordering::Greater {
                table.rows += 1;
                theirs = snapshot.next().await?;
            }
            if order != Ordering::Less {
                next = kept.recv().await;
            }
        }
        verification.tables.insert(name.clone(), table);
    }
    Ok((verification, read_at))
}

fn key_of(row: &KeyedRow) -> String {
    row.key.clone()
}

fn is_same(theirs: &KeyedRow, row: &str) -> Result<bool, VerifyError> {
    let ours: Value = serde_json::from_str(row)
        .map_err(|error| VerifyError::Unreadable(format!("row {:?}: {error}", theirs.key)))?;
    Ok(ours == theirs.row)
}

/// Takes out what was written between the position of the store and those of the server's tables.
async fn forgive_what_changed(
    client: &Client,
    dataset: &str,
    verification: &mut Verification,
    read_at: &BTreeMap<String, Position>,
) -> Result<(), VerifyError> {
    let since = Some(verification.position.to_string());
    let mut changes = client.changes(dataset, since, false);
    while let Some(change) = changes.next().await? {
        let Change::Commit(commit) = change else { continue };
        let at: Position = commit
            .position
            .parse()
            .map_err(|_| VerifyError::Unreadable(commit.position.clone()))?;
        for record in &commit.records {
            let of = |kind: &str, field: &str| record.get(kind)?.get(field)?.as_str();
            let (name, key) = match ["put", "delete"]
                .iter()
                .find_map(|kind| of(kind, "table").zip(of(kind, "key")))
            {
                Some((name, key)) => (name, Some(key)),
                None => match of("drop_table", "table") {
                    Some(name) => (name, None),
                    None => continue,
                },
            };
            let is_read_behind = read_at.get(name).is_some_and(|read| at.place <= read.place);
            let Some(table) = verification.tables.get_mut(name).filter(|_| is_read_behind) else {
                continue;
            };
            match key {
                Some(key) => table.forgive(key),
                // All of its rows are of later.
                None => *table = Table { compared: true, rows: table.rows, ..Table::default() },
            }
        }
    }
    Ok(())
}
