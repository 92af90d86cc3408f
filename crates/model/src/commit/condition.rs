//! Conditions of a `require`: expressions over one row.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::expression::Expression;

/// A CEL condition over `row` and `key`, compiled when it is read: at the door, not by the owner.
#[derive(Debug, Clone)]
pub struct Condition(pub Expression);

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.0.source() == other.0.source()
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let source = String::deserialize(deserializer)?;
        Expression::compile(&source, &["row", "key"]).map(Self).map_err(D::Error::custom)
    }
}
