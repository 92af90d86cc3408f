//! Conditions of a `require` on one row.

use serde_json::Value;

use super::Refusal;
use crate::expression::Expression;
use crate::position::Position;
use crate::row::Fields;

pub(super) struct Conditions {
    pub(super) exists: Option<bool>,
    pub(super) equals: Option<Fields>,
    pub(super) r#where: Option<Expression>,
    pub(super) unchanged_since: Option<Position>,
}

impl Conditions {
    /// Of a row that must not exist nothing else can be wanted, and nothing asked is ignored.
    pub(super) fn check_sense(&self, operation: usize) -> Result<(), Refusal> {
        let others =
            self.equals.is_some() || self.r#where.is_some() || self.unchanged_since.is_some();
        if self.exists != Some(false) || !others {
            return Ok(());
        }
        let detail = "exists: a row that must not exist can have no other condition".into();
        Err(Refusal::BadOperation { operation, detail })
    }
}

/// Reason why a condition does not hold.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unmet {
    #[error("the row exists")]
    Exists,
    #[error("the row does not exist")]
    Missing,
    #[error("field {name:?} is {held}, not {wanted}")]
    Field { name: String, held: Value, wanted: Value },
    #[error("{0:?} is false")]
    False(String),
    /// The expression could not be evaluated over the row.
    #[error("{0}")]
    Failed(String),
    #[error("the position is of another history")]
    OtherHistory,
    #[error("the position lies ahead of this history")]
    Ahead,
    #[error("the row has changed since")]
    Changed,
}

impl Unmet {
    pub(super) fn field(name: &str, held: &Value, wanted: &Value) -> Self {
        Self::Field { name: name.to_owned(), held: held.clone(), wanted: wanted.clone() }
    }
}
