//! Fold of a batch: the last state of each key where order does not matter, the order of the log
//! where it does.

use std::collections::BTreeMap;

use instep_client::{SiteAppend, SiteRecord};
use serde_json::value::RawValue;

use crate::batch::Batch;

/// Part of a batch that ends with a record that is SQL, or with the batch.
#[derive(Debug, Default)]
pub(crate) struct Step<'a> {
    /// Tables without further constraints.
    pub(crate) tables: BTreeMap<&'a str, Fold<'a>>,
    /// Changes of all other tables, in the order of the log.
    pub(crate) ordered: Vec<Change<'a>>,
    /// Records of journals that become rows.
    pub(crate) appends: BTreeMap<&'a str, Vec<&'a SiteAppend>>,
    /// The record that is executed behind all of it.
    pub(crate) sql: Option<&'a SiteAppend>,
}

/// Changes of one table.
#[derive(Debug, Default)]
pub(crate) struct Fold<'a> {
    /// It was dropped; what follows came later.
    pub(crate) is_dropped: bool,
    /// It exists behind these changes.
    pub(crate) is_made: bool,
    /// Last states by key.
    pub(crate) rows: BTreeMap<&'a str, State<'a>>,
}

/// Last state of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct State<'a> {
    /// The row; none: it is gone.
    pub(crate) row: Option<&'a RawValue>,
    /// The first change was a delete: the row should have been there.
    pub(crate) is_expected: bool,
}

/// A change in its order.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change<'a> {
    /// A row has this value now.
    Put(&'a str, &'a str, &'a RawValue),
    /// A row is gone.
    Delete(&'a str, &'a str),
    /// A table exists.
    Make(&'a str),
    /// A table is gone.
    Drop(&'a str),
}

impl Step<'_> {
    /// True if there is anything to write before the record that is executed.
    pub(crate) fn has_rows(&self) -> bool {
        !self.tables.is_empty() || !self.ordered.is_empty() || !self.appends.is_empty()
    }
}

impl<'a> Change<'a> {
    /// The change of a table that a record is, if it is one.
    fn of(record: &'a SiteRecord) -> Option<Self> {
        match record {
            SiteRecord::Put { table, key, row } => Some(Self::Put(table, key, row)),
            SiteRecord::Delete { table, key } => Some(Self::Delete(table, key)),
            SiteRecord::CreateTable { table, .. } => Some(Self::Make(table)),
            SiteRecord::DropTable { table } => Some(Self::Drop(table)),
            SiteRecord::Append(_) | SiteRecord::CreateJournal { .. } => None,
        }
    }

    /// The table.
    pub(crate) fn table(&self) -> &'a str {
        match self {
            Self::Put(table, ..)
            | Self::Delete(table, _)
            | Self::Make(table)
            | Self::Drop(table) => table,
        }
    }
}

impl<'a> Fold<'a> {
    fn take(&mut self, change: Change<'a>) {
        match change {
            Change::Put(_, key, row) => {
                self.is_made = true;
                let state = State { row: Some(row), is_expected: false };
                self.rows.entry(key).and_modify(|old| old.row = Some(row)).or_insert(state);
            }
            Change::Delete(_, key) => {
                let state = State { row: None, is_expected: true };
                self.rows.entry(key).and_modify(|old| old.row = None).or_insert(state);
            }
            Change::Make(_) => self.is_made = true,
            Change::Drop(_) => {
                *self = Self { is_dropped: true, is_made: false, rows: BTreeMap::new() };
            }
        }
    }
}

/// The table that a record changes, if it changes one.
pub(crate) fn table_of(record: &SiteRecord) -> Option<&str> {
    Change::of(record).map(|change| change.table())
}

/// Cuts a batch into steps. `is_ordered` says whether the order of a table's changes matters, and
/// `is_sql` whether a journal's records are SQL.
pub(crate) fn steps<'a, E>(
    batch: &'a Batch,
    mut is_ordered: impl FnMut(&str) -> Result<bool, E>,
    is_sql: impl Fn(&str) -> bool,
) -> Result<Vec<Step<'a>>, E> {
    let mut steps = Vec::new();
    let mut step = Step::default();
    for record in batch.records() {
        match (record, Change::of(record)) {
            (_, Some(change)) if is_ordered(change.table())? => step.ordered.push(change),
            (_, Some(change)) => step.tables.entry(change.table()).or_default().take(change),
            (SiteRecord::Append(append), None) if is_sql(&append.journal) => {
                steps.push(Step { sql: Some(append), ..std::mem::take(&mut step) });
            }
            (SiteRecord::Append(append), None) => {
                step.appends.entry(&append.journal).or_default().push(append);
            }
            (SiteRecord::CreateJournal { journal }, None) if !is_sql(journal) => {
                step.appends.entry(journal).or_default();
            }
            (_, None) => {}
        }
    }
    steps.push(step);
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use instep_client::SiteCommit;

    use super::*;

    fn batch(records: &str) -> Batch {
        let position: instep_model::position::Position =
            "00000000000000000000000000000007-00000000000000000042-00003".parse().unwrap();
        let records = serde_json::from_str(records).unwrap();
        Batch::new(vec![SiteCommit { position, time_ms: 0, records }], position)
    }

    fn folded<'a>(batch: &'a Batch, ordered: &str) -> Vec<Step<'a>> {
        let is_ordered = |table: &str| Ok::<_, Infallible>(table == ordered);
        steps(batch, is_ordered, |journal| journal == "sql").unwrap_or_else(|never| match never {})
    }

    #[test]
    fn only_the_last_state_of_a_key_is_written() {
        let batch = batch(
            r#"[{"put":{"table":"t","key":"a","row":{"n":1}}},
                {"put":{"table":"t","key":"a","row":{"n":2}}},
                {"put":{"table":"t","key":"b","row":{"n":1}}},
                {"delete":{"table":"t","key":"b"}},
                {"delete":{"table":"t","key":"c"}}]"#,
        );

        let steps = folded(&batch, "");

        let rows = &steps[0].tables["t"].rows;
        let told = |key: &str| (rows[key].row.map(RawValue::get), rows[key].is_expected);
        assert_eq!(told("a"), (Some(r#"{"n":2}"#), false));
        assert_eq!((told("b"), told("c")), ((None, false), (None, true)));
    }

    #[test]
    fn a_table_that_is_dropped_has_nothing_of_before() {
        let batch = batch(
            r#"[{"put":{"table":"t","key":"a","row":{"n":1}}},{"drop_table":{"table":"t"}},
                {"create_table":{"table":"t","public":false}},
                {"put":{"table":"t","key":"b","row":{}}}]"#,
        );

        let steps = folded(&batch, "");

        let fold = &steps[0].tables["t"];
        assert!(fold.is_dropped && fold.is_made);
        assert_eq!(fold.rows.keys().collect::<Vec<_>>(), [&"b"]);
    }

    #[test]
    fn tables_with_further_constraints_keep_the_order_and_sql_cuts_it() {
        let batch = batch(
            r#"[{"put":{"table":"o","key":"a","row":{"n":1}}},
                {"put":{"table":"t","key":"a","row":{"n":1}}},
                {"delete":{"table":"o","key":"a"}},
                {"append":{"journal":"sql","ordinal":"1","text":"x"}},
                {"put":{"table":"t","key":"a","row":{"n":2}}},
                {"append":{"journal":"j","ordinal":"1","text":"y"}}]"#,
        );

        let steps = folded(&batch, "o");

        assert_eq!(steps.len(), 2);
        assert!(matches!(
            steps[0].ordered[..],
            [Change::Put("o", "a", _), Change::Delete("o", "a")]
        ));
        assert_eq!(steps[0].sql.map(|append| &append.bytes[..]), Some(&b"x"[..]));
        assert_eq!(steps[1].tables["t"].rows.len(), 1);
        assert_eq!(steps[1].appends["j"].len(), 1);
    }
}
