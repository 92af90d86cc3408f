//! Commits of a history, written short.

use instep_client::SiteCommit;
use instep_model::position::{Incarnation, Place, Position, Revision};
use instep_sites::{Batch, Identity};
use serde_json::{Value, json};

/// A position of the history `n`.
pub(crate) fn position(n: u128, revision: u64) -> Position {
    let incarnation = Incarnation(instep_client::Uuid::from_u128(n));
    Position { incarnation, place: Place { revision: Revision(revision), index: 0 } }
}

/// A position of the history of all commits here.
pub(crate) fn at(revision: u64) -> Position {
    position(7, revision)
}

pub(crate) fn identity() -> Identity {
    Identity { dataset: "shop".into(), site: "node1".into() }
}

pub(crate) fn commit(revision: u64, records: &[Value]) -> SiteCommit {
    let records = Value::from(records.to_vec()).to_string();
    let records = serde_json::from_str(&records).unwrap();
    SiteCommit { position: at(revision), time_ms: revision, records }
}

/// A batch of commits, one for each list of records, from `first` on.
pub(crate) fn batch(first: u64, commits: &[&[Value]]) -> Batch {
    let commits: Vec<_> =
        (first..).zip(commits).map(|(revision, records)| commit(revision, records)).collect();
    let through = commits.last().map_or(at(first), |commit| commit.position);
    Batch::new(commits, through)
}

pub(crate) fn put(table: &str, key: &str, row: Value) -> Value {
    json!({"put": {"table": table, "key": key, "row": row}})
}

pub(crate) fn delete(table: &str, key: &str) -> Value {
    json!({"delete": {"table": table, "key": key}})
}

pub(crate) fn append(journal: &str, ordinal: u64, text: &str) -> Value {
    json!({"append": {"journal": journal, "ordinal": format!("{ordinal:020}"), "text": text}})
}
