//! The oracle: the expected state of a dataset, computed the slow and obvious way.
//!
//! It shares no code with the machines it judges: rows are JSON values, tables are ordered maps,
//! views are plain functions that are run over the whole table each time.

use std::collections::BTreeMap;
use std::rc::Rc;

use instep_model::position::{Incarnation, Place, Position};
use serde_json::{Map, Value};

use crate::history::{Change, Rows, StoredCommit};

/// A dataset at one place. Cloning shares the rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Oracle {
    tables: BTreeMap<String, Table>,
    /// Ordinal of the newest record of each journal.
    pub journals: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Table {
    public: bool,
    rows: BTreeMap<String, Written>,
}

#[derive(Debug, Clone, PartialEq)]
struct Written {
    place: Place,
    row: Rc<Value>,
}

/// Projection of a row on a topic: a view, written by hand.
#[derive(Clone, Copy)]
pub struct Lens {
    /// The table that it looks at.
    pub table: &'static str,
    /// The topic on which a row is visible, and as what.
    pub see: fn(&str, &Value) -> Option<(String, Value)>,
}

/// The dataset's name and its views: what turns a topic into a query.
#[derive(Clone)]
pub struct Topics {
    /// The dataset.
    pub dataset: &'static str,
    /// The sets of views that may be declared.
    pub declared: Vec<Vec<Lens>>,
}

/// A naive answer to a proposal: the state after it and the results, or the code of the refusal.
pub type Judgement = Result<(Oracle, Vec<Option<i64>>), &'static str>;

impl Oracle {
    /// Folds a commit.
    ///
    /// # Errors
    /// A sentence, when a record makes no sense where it is.
    pub fn apply(&mut self, place: Place, commit: &StoredCommit) -> Result<(), String> {
        for change in &commit.changes {
            match change {
                Change::Put { table, key, row } => {
                    let row = Rc::new(row.clone());
                    let rows = &mut self.known(table)?.rows;
                    rows.insert(key.clone(), Written { place, row });
                }
                Change::Delete { table, key } => {
                    let gone = self.known(table)?.rows.remove(key);
                    gone.ok_or(format!("{key} is deleted from {table}, where it is not"))?;
                }
                Change::Append { journal, ordinal, .. } => {
                    let last = self.journals.get_mut(journal);
                    let last = last.ok_or(format!("there is no journal {journal}"))?;
                    if *ordinal != *last + 1 {
                        return Err(format!("{journal} goes from {last} to {ordinal}"));
                    }
                    *last = *ordinal;
                }
                Change::CreateTable { table, public } => {
                    self.tables.entry(table.clone()).or_default().public = *public;
                }
                Change::DropTable { table } => {
                    let dropped = self.tables.remove(table);
                    dropped.ok_or(format!("{table} is dropped, but does not exist"))?;
                }
                // The shop sends no mail.
                Change::Mail { .. } => {}
                Change::CreateJournal { journal } => {
                    self.journals.entry(journal.clone()).or_default();
                }
            }
        }
        Ok(())
    }

    fn known(&mut self, table: &str) -> Result<&mut Table, String> {
        let found = self.tables.get_mut(table);
        found.ok_or(format!("there is no table {table}"))
    }

    /// All rows of all tables.
    #[must_use]
    pub fn tables(&self) -> BTreeMap<String, Rows> {
        let tables = self.tables.iter().map(|(name, table)| {
            let rows = table.rows.iter();
            let rows = rows.map(|(key, written)| (key.clone(), (*written.row).clone()));
            (name.clone(), rows.collect())
        });
        tables.collect()
    }

    /// A field of a row, if it is an integer.
    #[must_use]
    pub fn integer(&self, table: &str, key: &str, field: &str) -> Option<i64> {
        let written = self.tables.get(table)?.rows.get(key)?;
        written.row.get(field)?.as_i64()
    }

    /// Rows visible on a topic by a set of views; none when there is no such topic.
    #[must_use]
    pub fn rows_on(&self, topic: &str, topics: &Topics, declared: usize) -> Option<Rows> {
        if let Some(rest) = topic.strip_prefix("table:") {
            let name = rest.strip_prefix(topics.dataset)?.strip_prefix('/')?;
            let table = self.tables.get(name).filter(|table| table.public)?;
            let rows = table.rows.iter();
            let rows = rows.map(|(key, written)| (key.clone(), (*written.row).clone()));
            return Some(rows.collect());
        }
        let mut seen = Rows::new();
        for lens in topics.declared.get(declared).into_iter().flatten() {
            let Some(table) = self.tables.get(lens.table) else {
                continue;
            };
            for (key, written) in &table.rows {
                if let Some((on, visible)) = (lens.see)(key, &written.row)
                    && on == topic
                {
                    seen.insert(key.clone(), visible);
                }
            }
        }
        Some(seen)
    }

    /// Expected effect of a proposal at the commit after this state, in the history `incarnation`.
    pub fn judge(&self, operations: &[Value], place: Place, incarnation: Incarnation) -> Judgement {
        let mut after = Attempt { oracle: self.clone(), place, incarnation };
        let mut results = Vec::with_capacity(operations.len());
        for operation in operations {
            results.push(after.operate(operation)?);
        }
        Ok((after.oracle, results))
    }
}

struct Attempt {
    oracle: Oracle,
    place: Place,
    incarnation: Incarnation,
}

impl Attempt {
    fn operate(&mut self, operation: &Value) -> Result<Option<i64>, &'static str> {
        let text = |name: &str| operation[name].as_str().unwrap_or_default();
        let (table, key) = (text("table"), text("key"));
        match text("op") {
            "put" => self.put(table, key, operation["row"].clone())?,
            "patch" => {
                let mut row = self.existing(table, key)?;
                patch(&mut row, &operation["fields"]);
                self.put(table, key, row)?;
            }
            "delete" => {
                self.rows(table)?.remove(key);
            }
            "add" => return self.add(table, key, operation).map(Some),
            "require" => self.require(table, key, operation)?,
            "append" => {
                let journal = self.oracle.journals.get_mut(text("journal"));
                let last = journal.ok_or("unknown_journal")?;
                *last += 1;
                return Ok(i64::try_from(*last).ok());
            }
            "create_table" => {
                let public = operation["public"].as_bool().unwrap_or(false);
                let tables = &mut self.oracle.tables;
                tables.entry(table.to_owned()).or_default().public = public;
            }
            "drop_table" => {
                self.oracle.tables.remove(table).ok_or("unknown_table")?;
            }
            "create_journal" => {
                let journals = &mut self.oracle.journals;
                journals.entry(text("journal").to_owned()).or_default();
            }
            _ => return Err("malformed"),
        }
        Ok(None)
    }

    fn rows(&mut self, table: &str) -> Result<&mut BTreeMap<String, Written>, &'static str> {
        let known = self.oracle.tables.get_mut(table).ok_or("unknown_table")?;
        Ok(&mut known.rows)
    }

    fn existing(&mut self, table: &str, key: &str) -> Result<Value, &'static str> {
        let written = self.rows(table)?.get(key).ok_or("row_not_found")?;
        Ok((*written.row).clone())
    }

    fn put(&mut self, table: &str, key: &str, row: Value) -> Result<(), &'static str> {
        let (place, row) = (self.place, Rc::new(row));
        let rows = self.rows(table)?;
        rows.insert(key.to_owned(), Written { place, row });
        Ok(())
    }

    fn add(&mut self, table: &str, key: &str, operation: &Value) -> Result<i64, &'static str> {
        let mut row = self.existing(table, key)?;
        let field = operation["field"].as_str().unwrap_or_default();
        let before = row[field].as_i64().ok_or("wrong_type")?;
        let by = operation["by"].as_i64().unwrap_or_default();
        let least = operation["min"].as_i64().unwrap_or(i64::MIN);
        let most = operation["max"].as_i64().unwrap_or(i64::MAX);
        let after = before.checked_add(by).ok_or("out_of_bounds")?;
        if after < least || after > most {
            return Err("out_of_bounds");
        }
        row[field] = after.into();
        self.put(table, key, row)?;
        Ok(after)
    }

    fn require(&mut self, table: &str, key: &str, wanted: &Value) -> Result<(), &'static str> {
        let failed = Err("condition_failed");
        let written = self.rows(table)?.get(key).cloned();
        if wanted["exists"] == Value::Bool(false) {
            return if written.is_some() { failed } else { Ok(()) };
        }
        let Some(Written { place, row }) = written else {
            return failed;
        };
        for (name, value) in wanted["equals"].as_object().unwrap_or(&Map::new()) {
            if row.get(name).unwrap_or(&Value::Null) != value {
                return failed;
            }
        }
        if let Some(expression) = wanted["where"].as_str()
            && !holds(expression, &row)
        {
            return failed;
        }
        if let Some(since) = wanted["unchanged_since"].as_str() {
            let since = since.parse::<Position>().ok();
            let since = since.and_then(|since| since.place_in(self.incarnation));
            if since.is_none_or(|since| place > since) {
                return failed;
            }
        }
        Ok(())
    }
}

/// The only form of condition that writers use: `row.<field> >= <number>`.
fn holds(expression: &str, row: &Value) -> bool {
    let Some((field, least)) = expression.split_once(" >= ") else {
        return false;
    };
    let held = row.get(field.trim_start_matches("row."));
    let (held, least) = (held.and_then(Value::as_i64), least.parse::<i64>().ok());
    held.is_some() && held >= least
}

/// RFC 7386, from its text: a non-object replaces, null removes, the rest merges.
fn patch(target: &mut Value, change: &Value) {
    let Value::Object(change) = change else {
        *target = change.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else {
        return;
    };
    for (name, value) in change {
        if value.is_null() {
            fields.remove(name);
        } else {
            patch(fields.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}
