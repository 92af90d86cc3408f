//! CEL expressions over rows: filters, projections, conditions.
//!
//! JSON integers become CEL `int` wherever they fit, so that `row.count - 1 > 0` works as it reads.
//!
//! Every client that may commit may send an expression, so its cost is bounded by the work done:
//! the depth of the tree that was parsed, and the steps that it takes ([`Meter`]).

mod functions;
mod metered;
mod pattern;
mod scope;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::thread;

use cel::objects::{Key as CelKey, Map as CelMap};
use cel::{Context, IdedExpr};
use serde_json::{Number, Value};

use self::functions::Form;
use self::metered::ENVIRONMENT;
use self::scope::Problem;
use crate::limits;
use crate::row::Fields;

pub use self::metered::Meter;
pub use cel::Value as CelValue;

/// A compiled expression.
#[derive(Clone)]
pub struct Expression {
    source: Arc<str>,
    tree: Arc<IdedExpr>,
    /// Nodes of the tree: the least cost of a run.
    nodes: u64,
    /// The interpreter recurses for each level.
    is_deep: bool,
}

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

/// Error in compiling an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{spot}: {message}")]
pub struct ExpressionError {
    /// Position in the expression.
    pub spot: Spot,
    /// Description of the error.
    pub message: String,
}

/// An expression failed on one row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the expression {source_text:?} failed: {message}")]
pub struct EvaluationError {
    /// The expression.
    pub source_text: String,
    /// Description of the failure.
    pub message: String,
    /// It would have taken more steps than it may.
    pub is_too_costly: bool,
}

/// The values that an expression may name.
pub type Variables<'a> = &'a [(&'static str, &'a CelValue)];

impl Expression {
    /// Compiles an expression that may name only `variables`.
    ///
    /// # Errors
    /// [`ExpressionError`] with the line and column of what does not compile.
    pub fn compile(source: &str, variables: &[&str]) -> Result<Self, ExpressionError> {
        if source.len() > limits::EXPRESSION_BYTES {
            let (bytes, limit) = (source.len(), limits::EXPRESSION_BYTES);
            return refuse(Spot::START, format!("{bytes} bytes long, the limit is {limit}"));
        }
        let (tree, nodes) = if is_flat(source) {
            read(source, variables)?
        } else {
            on_a_large_stack(|| read(source, variables)).unwrap_or_else(no_stack)?
        };
        let is_deep = scope::is_deeper_than(&tree, limits::EXPRESSION_SHALLOW);
        Ok(Self { source: source.into(), tree: Arc::new(tree), nodes, is_deep })
    }

    /// Evaluates to a JSON value.
    ///
    /// # Errors
    /// [`EvaluationError`] when a field is missing, types do not fit, the result is no JSON, or it
    /// takes more steps than the meter has left.
    pub fn evaluate(
        &self,
        variables: Variables<'_>,
        meter: &mut Meter,
    ) -> Result<Value, EvaluationError> {
        let result = self.run(variables, meter)?;
        let mut room = limits::EXPRESSION_RESULT_BYTES;
        to_json(&result, &mut room).map_err(|NotJson(why)| self.error(why))
    }

    /// Evaluates to a truth value.
    ///
    /// # Errors
    /// [`EvaluationError`] as in [`Expression::evaluate`], and when the result is no boolean.
    pub fn is_true(
        &self,
        variables: Variables<'_>,
        meter: &mut Meter,
    ) -> Result<bool, EvaluationError> {
        match self.run(variables, meter)? {
            CelValue::Bool(truth) => Ok(truth),
            other => Err(self.error(format!("{:?} where a boolean is needed", other.type_of()))),
        }
    }

    /// The expression as it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    fn run(
        &self,
        variables: Variables<'_>,
        meter: &mut Meter,
    ) -> Result<CelValue, EvaluationError> {
        if self.is_deep {
            on_a_large_stack(|| self.run_here(variables, meter))
                .unwrap_or_else(|| Err(self.error("there is no memory for it; try again".into())))
        } else {
            self.run_here(variables, meter)
        }
    }

    fn run_here(
        &self,
        variables: Variables<'_>,
        meter: &mut Meter,
    ) -> Result<CelValue, EvaluationError> {
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        for (name, value) in variables {
            context.add_variable_from_value(*name, (*value).clone());
        }
        let result = meter.run(self.nodes, || {
            let value = CelValue::resolve_val(&self.tree, &context)?;
            // It is copied on its way out.
            metered::charge_for(value.as_ref())?;
            CelValue::try_from(value.as_ref())
        });
        match result {
            Some(result) => result.map_err(|error| self.error(error.to_string())),
            None => Err(EvaluationError {
                is_too_costly: true,
                ..self.error(format!("it takes more than {} steps", limits::EXPRESSION_STEPS))
            }),
        }
    }

    fn error(&self, message: String) -> EvaluationError {
        let source_text = self.source.to_string();
        EvaluationError { source_text, message, is_too_costly: false }
    }
}

impl Spot {
    /// Beginning of a text.
    pub const START: Self = Self { line: 1, column: 1 };

    /// The place of a byte of a text.
    #[must_use]
    pub fn of(text: &str, at: usize) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self {
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: line.chars().count() + 1,
        }
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

/// A row's fields as CEL sees them.
#[must_use]
pub fn from_fields(fields: &Fields) -> CelValue {
    let map: HashMap<CelKey, CelValue> = fields
        .iter()
        .map(|(name, value)| (CelKey::from(name.as_str()), from_json(value)))
        .collect();
    CelValue::Map(CelMap { map: Arc::new(map) })
}

fn from_json(value: &Value) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(truth) => CelValue::Bool(*truth),
        Value::Number(number) => from_number(number),
        Value::String(text) => CelValue::String(Arc::new(text.clone())),
        Value::Array(items) => CelValue::List(Arc::new(items.iter().map(from_json).collect())),
        Value::Object(fields) => from_fields(fields),
    }
}

fn from_number(number: &Number) -> CelValue {
    match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(int), _, _) => CelValue::Int(int),
        (None, Some(uint), _) => CelValue::UInt(uint),
        (None, None, float) => CelValue::Float(float.unwrap_or(f64::NAN)),
    }
}

/// Error of a value that cannot be handed on as JSON.
struct NotJson(String);

/// A list may hold one value many times over, so what looks small is counted while it is copied.
fn to_json(value: &CelValue, room: &mut usize) -> Result<Value, NotJson> {
    take(room, 1)?;
    Ok(match value {
        CelValue::Null => Value::Null,
        CelValue::Bool(truth) => Value::Bool(*truth),
        CelValue::Int(int) => Value::from(*int),
        CelValue::UInt(uint) => Value::from(*uint),
        CelValue::Float(float) => {
            let number = Number::from_f64(*float);
            Value::Number(number.ok_or_else(|| NotJson(format!("{float} is no JSON value")))?)
        }
        CelValue::String(text) => {
            take(room, text.len())?;
            Value::String(text.to_string())
        }
        CelValue::List(items) => {
            Value::Array(items.iter().map(|item| to_json(item, room)).collect::<Result<_, _>>()?)
        }
        #[expect(clippy::disallowed_methods, reason = "collected into a sorted map")]
        CelValue::Map(map) => Value::Object(
            map.map
                .iter()
                .map(|(key, item)| {
                    let key = key.to_string();
                    take(room, key.len())?;
                    Ok((key, to_json(item, room)?))
                })
                .collect::<Result<_, _>>()?,
        ),
        CelValue::Function(..) | CelValue::Bytes(_) | CelValue::Opaque(_) | CelValue::Struct(_) => {
            return Err(NotJson(format!("{:?} is no JSON value", value.type_of())));
        }
    })
}

fn take(room: &mut usize, bytes: usize) -> Result<(), NotJson> {
    let limit = limits::EXPRESSION_RESULT_BYTES;
    let too_large = || NotJson(format!("the result is larger than {limit} bytes"));
    *room = room.checked_sub(bytes).ok_or_else(too_large)?;
    Ok(())
}

fn refuse<T>(spot: Spot, message: String) -> Result<T, ExpressionError> {
    Err(ExpressionError { spot, message })
}

/// Parses, and checks the tree; then the tree is made to ask the meter. Takes as much stack as the
/// text makes it.
fn read(source: &str, variables: &[&str]) -> Result<(IdedExpr, u64), ExpressionError> {
    let (mut tree, places) = match ENVIRONMENT.parser().parse_with_source_info(source) {
        Ok(read) => read,
        Err(errors) => {
            let first = errors.errors.first();
            let (line, column) = first.map_or((1, 1), |error| error.pos);
            let message = first.map_or("does not parse".into(), |error| error.msg.clone());
            // Where it gives up it says 0.
            let spot = Spot { line: line.max(1) as usize, column: column.max(1) as usize };
            return refuse(spot, message);
        }
    };
    let limit = limits::EXPRESSION_DEPTH;
    if scope::is_deeper_than(&tree, limit) {
        let message = format!("nested deeper than {limit} levels; each operator of a chain is one");
        return refuse(Spot::START, message);
    }
    let spot_of = |id| {
        let start = places.offset_for(id).map_or(0, |(start, _)| start);
        Spot::of(source, start as usize)
    };
    match scope::check(&tree, variables) {
        Ok(()) => {}
        Err(Problem::Unknown(name, id)) => {
            let known = variables.join(", ");
            return refuse(spot_of(id), format!("unknown name {name:?}; known are {known}"));
        }
        Err(Problem::NoFunction(name, form, id)) => {
            let message = match form {
                Form::Free if functions::is_known(name, Form::OfValue) => {
                    format!("{name:?} is called of a value: x.{name}(…)")
                }
                Form::OfValue if functions::is_known(name, Form::Free) => {
                    format!("{name:?} is called with its value: {name}(x)")
                }
                Form::Free | Form::OfValue => format!("unknown function {name:?}"),
            };
            return refuse(spot_of(id), message);
        }
        Err(Problem::NestedLoop(id)) => {
            let message = "all, exists, map and filter must not stand within one another";
            return refuse(spot_of(id), message.to_owned());
        }
    }
    if let Err(why) = pattern::check(&mut tree) {
        return refuse(Spot::of(source, source.find("matches").unwrap_or(0)), why.to_string());
    }
    let nodes = metered::meter(&mut tree);
    Ok((tree, nodes))
}

/// Returns true if a text cannot nest far, however it is read: what could nest is counted wherever
/// it stands, in quotes and comments too.
fn is_flat(source: &str) -> bool {
    let nests = |byte: &&u8| b"([{+-*/%<>=!&|?.".contains(byte);
    let words = source.as_bytes().windows(2).filter(|pair| *pair == b"in").count();
    source.as_bytes().iter().filter(nests).count() + words <= limits::EXPRESSION_FLAT
}

/// Does something on a thread with enough stack for whatever a text can nest; none when the system
/// gives no thread.
fn on_a_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("expression".into());
        let worker = builder.stack_size(limits::EXPRESSION_STACK_BYTES).spawn_scoped(scope, work);
        worker.ok()?.join().ok()
    })
}

fn no_stack<T>() -> Result<T, ExpressionError> {
    refuse(Spot::START, "there is no memory to read it; try again".into())
}

#[cfg(test)]
mod tests;
