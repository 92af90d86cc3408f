//! From operations to records: reads through the batch before it, writes into an overlay.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::Value;

mod conditions;
mod mail;
mod mail_overlay;
mod overlay;
mod site;

use super::{Excess, JsonType, Refusal};
use crate::commit::{Commit, Condition, Operation, Record, TableOptions};
use crate::expression::{CelValue, Expression, Meter, from_fields};
use crate::limits;
use crate::mail::MailRules;
use crate::name::{Key, Name};
use crate::position::{Incarnation, Position};
use crate::reserved;
use crate::row::{Fields, Row, merge};
use crate::state::State;
use conditions::{Conditions, Unmet};
pub(super) use overlay::Overlay;

/// Context of an evaluation: its inputs besides what it reads.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) incarnation: Incarnation,
    pub(super) rules: &'a MailRules,
    pub(super) now_ms: u64,
    /// The commit may be given up after it was evaluated.
    pub(super) may_be_undone: bool,
}

/// Turns operations into a commit and the overlay of what it changes, or says why not. The overlay
/// goes on top of the batch ([`Overlay::merge`]) or is given up ([`Overlay::undo`]).
pub(super) fn evaluate(
    state: &State,
    context: Context<'_>,
    batch: &mut Overlay,
    operations: Vec<Operation>,
    meter: &mut Meter,
) -> Result<(Commit, Overlay), Refusal> {
    let found = operations.len();
    if found == 0 {
        return Err(Refusal::Empty);
    }
    if found > limits::COMMIT_PROPOSALS {
        return Err(Refusal::TooManyOperations { found, limit: limits::COMMIT_PROPOSALS });
    }
    let Context { incarnation, rules, now_ms, may_be_undone } = context;
    let mut letters = std::mem::take(&mut batch.letters);
    letters.begin(found > 1 || may_be_undone);
    let mut evaluation = Evaluation {
        state,
        incarnation,
        rules,
        now_ms,
        batch,
        own: Overlay { letters, ..Overlay::default() },
        operation: 0,
        records: Vec::with_capacity(found),
        is_alone: found == 1,
        written: BTreeMap::new(),
        bytes: 0,
        work: 0,
        moves: 0,
        meter,
    };
    let evaluated = evaluation.apply_all(operations);
    let Evaluation { own, records, .. } = evaluation;
    match evaluated {
        Ok(results) => Ok((Commit { commit_id: None, results, records }, own)),
        Err(refusal) => {
            debug_assert!(
                found > 1 || !records.iter().any(|record| matches!(record, Record::Mail(_))),
                "a refused operation has changed the mail"
            );
            batch.undo(own);
            Err(refusal)
        }
    }
}

/// About how many bytes a record takes in an entry.
fn size_of_record(record: &Record) -> usize {
    match record {
        Record::Put { table, key, row } => {
            table.as_str().len() + key.as_str().len() + row.as_bytes().len()
        }
        Record::Append { bytes, .. } => bytes.len() + limits::NAME_BYTES,
        Record::Mail(record) => mail::size_of(record),
        _ => limits::NAME_BYTES + limits::KEY_BYTES,
    }
}

struct Evaluation<'a> {
    state: &'a State,
    incarnation: Incarnation,
    rules: &'a MailRules,
    now_ms: u64,
    batch: &'a Overlay,
    own: Overlay,
    operation: usize,
    records: Vec<Record>,
    /// True for the only operation of a commit: nothing writes over what it has written.
    is_alone: bool,
    /// Index of a row, or of a table's options, in `records`: a second write goes there.
    written: BTreeMap<(Name, Option<Key>), usize>,
    /// Bytes of the records so far.
    bytes: usize,
    /// Bytes of rows that were read and written so far.
    work: usize,
    /// Messages and endpoints that moves have looked at so far.
    moves: u64,
    /// Steps that conditions may still take.
    meter: &'a mut Meter,
}

impl Evaluation<'_> {
    /// The numbers that the operations compute.
    fn apply_all(&mut self, operations: Vec<Operation>) -> Result<Vec<Option<i64>>, Refusal> {
        let numbered = operations.into_iter().enumerate();
        let apply = |(operation, proposed)| {
            self.operation = operation;
            self.apply(proposed)
        };
        numbered.map(apply).collect()
    }

    fn apply(&mut self, proposed: Operation) -> Result<Option<i64>, Refusal> {
        if let Some(name) = proposed.written().filter(|name| reserved::is_name(name.as_str())) {
            return Err(Refusal::ReservedName { operation: self.operation, name: name.clone() });
        }
        match proposed {
            Operation::Put { table, key, row } => self.put(table, key, &row)?,
            Operation::Patch { table, key, fields } => {
                let row = self.existing(&table, &key)?;
                let mut row = self.read(&row)?;
                merge(&mut row, &fields);
                self.put(table, key, &row)?;
            }
            Operation::Delete { table, key } => {
                if self.row(&table, &key)?.is_some() {
                    self.own.rows.insert((table.clone(), key.clone()), None);
                    let place = (table.clone(), Some(key.clone()));
                    if self.was_there(&table, &key) {
                        self.write_over(place, Record::Delete { table, key })?
                    } else {
                        // It came and went with this commit: no reader is told of it.
                        self.unwrite(&place)
                    }
                }
            }
            Operation::Add { table, key, field, by, min, max } => {
                let bounds = (min.unwrap_or(i64::MIN), max.unwrap_or(i64::MAX));
                return self.add(table, key, field, by, bounds).map(Some);
            }
            Operation::Require { table, key, exists, equals, r#where, unchanged_since } => {
                let r#where = self.compiled(r#where)?;
                let row = self.row(&table, &key)?;
                let conditions = Conditions { exists, equals, r#where, unchanged_since };
                conditions.check_sense(self.operation)?;
                if let Err(unmet) = self.check(&table, &key, row.as_ref(), conditions)? {
                    let operation = self.operation;
                    let detail = unmet.to_string();
                    return Err(Refusal::ConditionFailed { operation, table, key, detail });
                }
            }
            Operation::Append { journal, text, base64 } => {
                return self.append(journal, text, base64).map(Some);
            }
            Operation::CreateTable { table, public } => {
                self.create_table(table, TableOptions { public })?;
            }
            Operation::DropTable { table } => {
                self.options(&table)?;
                self.own.tables.insert(table.clone(), None);
                self.own.cleared.insert(table.clone());
                self.own.rows.retain(|(of, _), _| *of != table);
                // What comes behind it must stay behind it.
                self.written.retain(|(of, _), _| *of != table);
                self.push(Record::DropTable { table })?;
            }
            Operation::CreateJournal { journal } => {
                if self.journal(&journal).is_none() {
                    self.check_room()?;
                    self.own.journals.insert(journal.clone(), 0);
                    self.push(Record::CreateJournal { journal })?;
                }
            }
            Operation::CreateQueue { queue } => self.create_queue(queue)?,
            Operation::Send(letter) => return self.send(letter, true).map(Some),
            Operation::Import(letter) => return self.send(letter, false).map(Some),
            Operation::Move { endpoint, to, generation } => {
                return self.move_endpoint(&endpoint, &to, generation).map(Some);
            }
            Operation::Readdress { endpoint } => return self.readdress(&endpoint).map(Some),
            Operation::Retry { seq } => return self.retry(seq).map(Some),
            Operation::Mail(wanted) => return self.do_mail(wanted).map(Some),
            Operation::Site(wanted) => return self.do_site(wanted),
        }
        Ok(None)
    }

    fn put(&mut self, table: Name, key: Key, fields: &Fields) -> Result<(), Refusal> {
        self.options(&table)?;
        let operation = self.operation;
        let row = Row::new(fields).map_err(|error| Refusal::Row { operation, error })?;
        self.works(row.as_bytes().len())?;
        self.own.rows.insert((table.clone(), key.clone()), Some(row.clone()));
        let place = (table.clone(), Some(key.clone()));
        self.write_over(place, Record::Put { table, key, row })
    }

    /// Adds a record.
    fn push(&mut self, record: Record) -> Result<(), Refusal> {
        self.becomes(size_of_record(&record), 0)?;
        self.records.push(record);
        Ok(())
    }

    /// Adds a record, in the place of one that it makes pointless: what a commit does is seen
    /// together, so a row is written once, however many operations change it.
    fn write_over(&mut self, place: (Name, Option<Key>), record: Record) -> Result<(), Refusal> {
        let size = size_of_record(&record);
        if let Some(at) = self.written.get(&place).copied() {
            self.becomes(size, size_of_record(&self.records[at]))?;
            self.records[at] = record;
            return Ok(());
        }
        self.becomes(size, 0)?;
        if !self.is_alone {
            self.written.insert(place, self.records.len());
        }
        self.records.push(record);
        Ok(())
    }

    /// Takes a record back.
    fn unwrite(&mut self, place: &(Name, Option<Key>)) {
        let Some(at) = self.written.remove(place) else { return };
        self.bytes -= size_of_record(&self.records.remove(at));
        self.written.values_mut().filter(|other| **other > at).for_each(|other| *other -= 1);
    }

    /// Returns true if there was a row before this commit, which has not dropped the table.
    fn was_there(&self, table: &Name, key: &Key) -> bool {
        if self.own.cleared.contains(table) {
            return false;
        }
        match self.batch.rows.get(&(table.clone(), key.clone())) {
            Some(row) => row.is_some(),
            None if self.batch.cleared.contains(table) => false,
            None => {
                let table = self.state.tables.get(table);
                table.is_some_and(|table| table.rows.contains_key(key.as_str()))
            }
        }
    }

    fn becomes(&mut self, more: usize, less: usize) -> Result<(), Refusal> {
        let (bytes, limit) = (self.bytes + more - less, limits::COMMIT_RESULT_BYTES);
        if bytes > limit {
            return Err(Refusal::CommitTooLarge { excess: Excess::Records, bytes, limit });
        }
        self.bytes = bytes;
        Ok(())
    }

    fn works(&mut self, more: usize) -> Result<(), Refusal> {
        let (bytes, limit) = (self.work + more, limits::COMMIT_WORK_BYTES);
        if bytes > limit {
            return Err(Refusal::CommitTooLarge { excess: Excess::Work, bytes, limit });
        }
        self.work = bytes;
        Ok(())
    }

    fn read(&mut self, row: &Row) -> Result<Fields, Refusal> {
        self.works(row.as_bytes().len())?;
        Ok(row.fields())
    }

    fn add(
        &mut self,
        table: Name,
        key: Key,
        field: String,
        by: i64,
        (min, max): (i64, i64),
    ) -> Result<i64, Refusal> {
        let operation = self.operation;
        let row = self.existing(&table, &key)?;
        let mut row = self.read(&row)?;
        let held = row.get(&field);
        let Some(before) = held.and_then(Value::as_i64) else {
            let found = JsonType::of(held);
            return Err(Refusal::WrongType { operation, table, key, field, found });
        };
        let value = i128::from(before) + i128::from(by);
        let Some(after) = i64::try_from(value).ok().filter(|after| (min..=max).contains(after))
        else {
            return Err(Refusal::OutOfBounds { operation, table, key, field, value, min, max });
        };
        row.insert(field, Value::from(after));
        self.put(table, key, &row)?;
        Ok(after)
    }

    fn append(
        &mut self,
        journal: Name,
        text: Option<String>,
        base64: Option<String>,
    ) -> Result<i64, Refusal> {
        let operation = self.operation;
        let refuse = |detail: String| Refusal::BadOperation { operation, detail };
        let bytes = match (text, base64) {
            (Some(text), None) => Bytes::from(text),
            (None, Some(text)) => BASE64
                .decode(text)
                .map(Bytes::from)
                .map_err(|error| refuse(format!("base64: {error}")))?,
            _ => return Err(refuse("an append has either text or base64".into())),
        };
        if bytes.len() > limits::JOURNAL_RECORD_BYTES {
            let (found, limit) = (bytes.len(), limits::JOURNAL_RECORD_BYTES);
            return Err(refuse(format!("the record is {found} bytes, the limit is {limit}")));
        }
        let Some(last) = self.journal(&journal) else {
            return Err(Refusal::UnknownJournal { operation, journal });
        };
        let ordinal = last + 1;
        self.own.journals.insert(journal.clone(), ordinal);
        self.push(Record::Append { journal, ordinal, bytes })?;
        Ok(i64::try_from(ordinal).unwrap_or(i64::MAX))
    }

    fn create_table(&mut self, table: Name, options: TableOptions) -> Result<(), Refusal> {
        match self.options(&table) {
            Ok(known) if known == options => return Ok(()),
            Ok(_) => {}
            Err(_) => self.check_room()?,
        }
        self.own.tables.insert(table.clone(), Some(options));
        self.write_over((table.clone(), None), Record::CreateTable { table, options })
    }

    fn check_room(&self) -> Result<(), Refusal> {
        let limit = limits::DATASET_TABLES;
        let created = self.own.tables.len() + self.own.journals.len();
        let before = self.batch.tables.len() + self.batch.journals.len();
        if self.state.tables.len() + self.state.journals.len() + before + created >= limit {
            Err(Refusal::TooManyTables { operation: self.operation, limit })
        } else {
            Ok(())
        }
    }

    /// Checks conditions; the inner error says why they do not hold.
    fn check(
        &mut self,
        table: &Name,
        key: &Key,
        row: Option<&Row>,
        Conditions { exists, equals, r#where, unchanged_since }: Conditions,
    ) -> Result<Result<(), Unmet>, Refusal> {
        if exists == Some(false) {
            return Ok(row.map_or(Ok(()), |_| Err(Unmet::Exists)));
        }
        let Some(row) = row else {
            return Ok(Err(Unmet::Missing));
        };
        if equals.is_some() || r#where.is_some() {
            let fields = self.read(row)?;
            for (name, wanted) in equals.iter().flatten() {
                // As in a patch, null and nothing are the same; numbers are what is written.
                let held = fields.get(name).unwrap_or(&Value::Null);
                if held != wanted {
                    return Ok(Err(Unmet::field(name, held, wanted)));
                }
            }
            if let Some(expression) = r#where {
                let (row, key) = (from_fields(&fields), CelValue::from(key.as_str()));
                match expression.is_true(&[("row", &row), ("key", &key)], self.meter) {
                    Ok(true) => {}
                    Ok(false) => return Ok(Err(Unmet::False(expression.source().to_owned()))),
                    Err(error) if error.is_too_costly => {
                        let (operation, limit) = (self.operation, limits::EXPRESSION_STEPS);
                        return Err(Refusal::ExpressionTooCostly { operation, limit });
                    }
                    Err(error) => return Ok(Err(Unmet::Failed(error.to_string()))),
                }
            }
        }
        Ok(match unchanged_since {
            Some(position) => self.check_unchanged(table, key, position),
            None => Ok(()),
        })
    }

    fn compiled(&self, condition: Option<Condition>) -> Result<Option<Expression>, Refusal> {
        condition.map(Condition::expression).transpose().map_err(|error| {
            let detail = format!("where: {error}");
            Refusal::BadOperation { operation: self.operation, detail }
        })
    }

    fn check_unchanged(&self, table: &Name, key: &Key, since: Position) -> Result<(), Unmet> {
        let Some(place) = since.place_in(self.incarnation) else {
            return Err(Unmet::OtherHistory);
        };
        if place > self.state.applied {
            // No reader has it from here: the changes since are not known.
            return Err(Unmet::Ahead);
        }
        let touched = [&self.own, self.batch].into_iter().any(|overlay| {
            overlay.cleared.contains(table)
                || overlay.rows.contains_key(&(table.clone(), key.clone()))
        });
        let stored = self.state.tables.get(table).and_then(|table| table.rows.get(key));
        match stored {
            Some(stored) if !touched && stored.place <= place => Ok(()),
            _ => Err(Unmet::Changed),
        }
    }

    fn options(&self, table: &Name) -> Result<TableOptions, Refusal> {
        let over =
            [&self.own, self.batch].into_iter().find_map(|overlay| overlay.tables.get(table));
        let options = match over {
            Some(decided) => *decided,
            None => self.state.tables.get(table).map(|table| table.options),
        };
        let operation = self.operation;
        options.ok_or_else(|| Refusal::UnknownTable { operation, table: table.clone() })
    }

    fn row(&self, table: &Name, key: &Key) -> Result<Option<Row>, Refusal> {
        self.options(table)?;
        let named = (table.clone(), key.clone());
        for overlay in [&self.own, self.batch] {
            if let Some(row) = overlay.rows.get(&named) {
                return Ok(row.clone());
            }
            if overlay.cleared.contains(table) {
                return Ok(None);
            }
        }
        let table = self.state.tables.get(table);
        Ok(table.and_then(|table| table.rows.get(key)).map(|stored| stored.row.clone()))
    }

    fn existing(&self, table: &Name, key: &Key) -> Result<Row, Refusal> {
        self.row(table, key)?.ok_or_else(|| Refusal::RowNotFound {
            operation: self.operation,
            table: table.clone(),
            key: key.clone(),
        })
    }

    fn journal(&self, journal: &Name) -> Option<u64> {
        [&self.own, self.batch]
            .into_iter()
            .find_map(|overlay| overlay.journals.get(journal).copied())
            .or_else(|| self.state.journals.get(journal).map(|journal| journal.last))
    }
}
