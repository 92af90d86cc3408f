//! Conditions of a `require`: expressions over one row.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::expression::{Expression, ExpressionError};

/// A CEL condition over `row` and `key`. One that comes as JSON is compiled when it is read, at the
/// door; one that comes in bytes travels as its source, and is compiled where it is decided.
#[derive(Clone)]
pub struct Condition(Form);

#[derive(Clone)]
enum Form {
    Source(String),
    Compiled(Expression),
}

impl Condition {
    /// Compiles a condition.
    ///
    /// # Errors
    /// [`ExpressionError`] with the line and column of what does not compile.
    pub fn compile(source: &str) -> Result<Self, ExpressionError> {
        Expression::compile(source, &["row", "key"]).map(Form::Compiled).map(Self)
    }

    /// The condition as it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        match &self.0 {
            Form::Source(source) => source,
            Form::Compiled(expression) => expression.source(),
        }
    }

    /// The expression, which is compiled now if it was not before.
    pub(crate) fn expression(self) -> Result<Expression, ExpressionError> {
        match self.0 {
            Form::Compiled(expression) => Ok(expression),
            Form::Source(source) => Self::compile(&source)?.expression(),
        }
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.source(), f)
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.source())
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let is_at_a_door = deserializer.is_human_readable();
        let source = String::deserialize(deserializer)?;
        if is_at_a_door {
            Self::compile(&source).map_err(D::Error::custom)
        } else {
            Ok(Self(Form::Source(source)))
        }
    }
}
