//! Conditions on the row that a command changes: the words of a `require`, as options.

use instep_client::Uuid;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::input;

/// Conditions on the row for the change to happen. All that is given must hold.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Conditions")]
pub(super) struct Conditions {
    /// The row exists.
    #[arg(long)]
    if_exists: bool,
    /// There is no such row.
    #[arg(long, conflicts_with = "if_exists")]
    if_absent: bool,
    /// The row has these fields with exactly these values, a JSON object; it may have others.
    #[arg(long, value_name = "FIELDS")]
    if_equals: Option<String>,
    /// This expression (CEL) over `row` and `key` is true, such as 'row.count > 0'.
    #[arg(long, value_name = "EXPRESSION")]
    if_where: Option<String>,
    /// The row has not changed after this position.
    #[arg(long, value_name = "POSITION")]
    if_unchanged_since: Option<String>,
    /// A UUIDv7: repeating the change with the same id takes effect at most once.
    #[arg(long, value_name = "UUID", help_heading = "Options")]
    pub(super) id: Option<Uuid>,
}

impl Conditions {
    /// The conditions as an operation; none when nothing is asked.
    pub(super) fn operation(self, table: &str, key: &str) -> Result<Option<Value>, Failure> {
        let Self { if_exists, if_absent, if_equals, if_where, if_unchanged_since, id: _ } = self;
        let equals = if_equals.map(|fields| input::object("--if-equals", &fields)).transpose()?;
        let exists = (if_exists || if_absent).then_some(if_exists);
        let wanted = [
            ("exists", exists.map(Value::from)),
            ("equals", equals),
            ("where", if_where.map(Value::from)),
            ("unchanged_since", if_unchanged_since.map(Value::from)),
        ];
        if wanted.iter().all(|(_, value)| value.is_none()) {
            return Ok(None);
        }
        let mut operation = json!({"op": "require", "table": table, "key": key});
        for (word, value) in wanted {
            if let Some(value) = value {
                operation[word] = value;
            }
        }
        Ok(Some(operation))
    }
}
