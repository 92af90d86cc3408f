//! The clients that write: random commits, and every way of trying one again.

use std::sync::Arc;

use instep_model::commit::{CommitId, Operation, Proposal, digest};
use instep_model::limits::{ID_AHEAD_MS, ID_MEMORY_MS};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::dice::Dice;
use crate::fault::Fault;
use crate::history::{Answer, Event};
use crate::shop::{GROUPS, JOURNAL, KEYS, TABLES};

const PRINCIPALS: [&str; 3] = ["anna", "ben", "cleo"];
/// Attempts that writers may come back to.
const REMEMBERED: usize = 40;

/// Several writers, and what they tried.
pub(crate) struct Writers {
    attempts: Vec<Attempt>,
    next_ticket: u64,
    /// Positions that were answered: for `unchanged_since`.
    positions: Vec<String>,
}

#[derive(Clone)]
struct Attempt {
    principal: &'static str,
    id: Option<Uuid>,
    operations: Arc<Vec<Value>>,
}

impl Writers {
    pub(crate) fn new() -> Self {
        Self { attempts: Vec::new(), next_ticket: 1, positions: Vec::new() }
    }

    /// The first commit of every history: the tables, except the last.
    pub(crate) fn opening(&mut self, dice: &mut Dice, now_ms: u64) -> Attempted {
        let operations = vec![
            json!({"op": "create_table", "table": "items", "public": true}),
            json!({"op": "create_table", "table": "orders"}),
            json!({"op": "create_journal", "journal": JOURNAL}),
            json!({"op": "put", "table": "items", "key": "k1", "row": {"n": 6, "group": "a"}}),
        ];
        let attempt = Attempt {
            principal: PRINCIPALS[0],
            id: Some(dice.id_at(now_ms)),
            operations: Arc::new(operations),
        };
        self.attempt(attempt)
    }

    /// A proposal: a new one, or one that was made before.
    pub(crate) fn next(&mut self, dice: &mut Dice, now_ms: u64) -> Attempted {
        let again =
            if self.attempts.is_empty() { None } else { Some(dice.pick(&self.attempts).clone()) };
        let attempt = match (dice.below(100), again) {
            (0..20, Some(again)) => again,
            (20..25, Some(again)) => {
                Attempt { operations: Arc::new(self.operations(dice)), ..again }
            }
            (25..28, Some(again)) => {
                Attempt { principal: PRINCIPALS[dice.below(PRINCIPALS.len())], ..again }
            }
            (kind, _) => {
                let edge = dice.below(5) as u64;
                let id_ms = match kind {
                    28..32 => (now_ms + edge).saturating_sub(ID_MEMORY_MS + 2),
                    32..34 => now_ms + ID_AHEAD_MS + edge - 2,
                    _ => now_ms,
                };
                Attempt {
                    principal: PRINCIPALS[dice.below(PRINCIPALS.len())],
                    id: dice.chance(80).then(|| dice.id_at(id_ms)),
                    operations: Arc::new(self.operations(dice)),
                }
            }
        };
        self.attempt(attempt)
    }

    fn attempt(&mut self, attempt: Attempt) -> Attempted {
        if attempt.id.is_some() {
            if self.attempts.len() == REMEMBERED {
                self.attempts.remove(0);
            }
            self.attempts.push(attempt.clone());
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        Attempted { ticket, attempt }
    }

    /// Writers read their answers.
    pub(crate) fn learn(&mut self, event: &Event) {
        if let Event::Answered { answer: Answer::Committed { position, .. }, .. } = event {
            if self.positions.len() == REMEMBERED {
                self.positions.remove(0);
            }
            self.positions.push(position.to_string());
        }
    }

    fn operations(&self, dice: &mut Dice) -> Vec<Value> {
        let count = 1 + dice.below(3);
        (0..count).map(|_| self.operation(dice)).collect()
    }

    fn operation(&self, dice: &mut Dice) -> Value {
        let table = *dice.pick(&TABLES);
        let key = *dice.pick(&KEYS);
        match dice.below(100) {
            0..34 => json!({"op": "put", "table": table, "key": key, "row": row(dice)}),
            34..46 => {
                let fields = match dice.below(4) {
                    0 => json!({"group": dice.pick(&GROUPS)}),
                    1 => json!({"open": null, "deep": {"a": dice.below(3), "b": null}}),
                    2 => json!({"n": dice.below(9)}),
                    _ => json!({"open": dice.chance(50), "deep": {"a": null}}),
                };
                json!({"op": "patch", "table": table, "key": key, "fields": fields})
            }
            46..56 => json!({"op": "delete", "table": table, "key": key}),
            56..74 => json!({
                "op": "add", "table": "items", "key": key, "field": "n",
                "by": dice.below(7) as i64 - 4, "min": 0
            }),
            74..84 => self.require(dice, table, key),
            84..92 => {
                let text = "x".repeat(1 + dice.below(200));
                json!({"op": "append", "journal": JOURNAL, "text": text})
            }
            92..95 => {
                json!({"op": "create_table", "table": table, "public": table != "orders"})
            }
            95..97 => json!({"op": "drop_table", "table": table}),
            97..99 => json!({"op": "create_table", "table": table, "public": dice.chance(50)}),
            _ => json!({"op": "create_journal", "journal": JOURNAL}),
        }
    }

    fn require(&self, dice: &mut Dice, table: &str, key: &str) -> Value {
        let mut wanted = json!({"op": "require", "table": table, "key": key});
        match dice.below(4) {
            0 => wanted["exists"] = dice.chance(50).into(),
            1 => wanted["equals"] = json!({"group": dice.pick(&GROUPS)}),
            2 => wanted["where"] = format!("row.n >= {}", dice.below(6)).into(),
            _ if self.positions.is_empty() => wanted["exists"] = true.into(),
            _ => wanted["unchanged_since"] = dice.pick(&self.positions).as_str().into(),
        }
        wanted
    }
}

fn row(dice: &mut Dice) -> Value {
    let mut row = json!({"n": dice.below(9), "group": dice.pick(&GROUPS)});
    match dice.below(6) {
        0 => row["open"] = true.into(),
        1 => row["open"] = false.into(),
        2 => row["deep"] = json!({"a": 1, "b": {"c": [1, 2]}}),
        3 => row["n"] = "many".into(),
        4 => row = json!({"open": true, "n": dice.below(9), "text": "ü\"\n"}),
        _ => {}
    }
    row
}

/// A proposal on its way.
pub(crate) struct Attempted {
    pub(crate) ticket: u64,
    attempt: Attempt,
}

impl Attempted {
    /// Event that records it.
    pub(crate) fn event(&self) -> Event {
        Event::Proposed {
            ticket: self.ticket,
            principal: self.attempt.principal.to_owned(),
            id: self.attempt.id,
            operations: self.attempt.operations.to_vec(),
        }
    }

    /// Proposal that the door makes of it.
    pub(crate) fn proposal(&self, fault: Option<Fault>) -> Proposal {
        let body = Value::Array(self.attempt.operations.to_vec()).to_string();
        let read = |operation: &Value| {
            let mut operation = operation.clone();
            if fault == Some(Fault::IgnoreMinimum)
                && let Some(fields) = operation.as_object_mut()
            {
                fields.remove("min");
            }
            serde_json::from_value::<Operation>(operation).expect("writers know the operations")
        };
        let commit_id = self.attempt.id.map(|id| CommitId {
            principal: self.attempt.principal.to_owned(),
            id,
            digest: digest(body.as_bytes()),
            earlier: None,
        });
        Proposal { commit_id, operations: self.attempt.operations.iter().map(read).collect() }
    }
}
