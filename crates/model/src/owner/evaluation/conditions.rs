//! Conditions of a `require` on one row.

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
