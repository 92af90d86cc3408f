//! CEL expressions over rows: filters, projections, conditions.
//!
//! JSON integers become CEL `int` wherever they fit, so that `row.count - 1 > 0` works as it reads.

mod scope;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::objects::{Key as CelKey, Map as CelMap};
use cel::{Context, Env, Program};
use serde_json::{Number, Value};

use self::scope::Problem;
use crate::limits;
use crate::row::Fields;

pub use cel::Value as CelValue;

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A compiled expression.
#[derive(Clone)]
pub struct Expression {
    source: Arc<str>,
    program: Arc<Program>,
}

/// Why an expression was refused. Line and column count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ExpressionError {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
}

/// An expression failed on one row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the expression {source_text:?} failed: {message}")]
pub struct EvaluationError {
    /// The expression.
    pub source_text: String,
    /// What happened.
    pub message: String,
}

/// The values that an expression may name.
pub type Variables<'a> = &'a [(&'static str, &'a CelValue)];

impl Expression {
    /// Compiles an expression that may name only `variables`.
    ///
    /// # Errors
    /// [`ExpressionError`] with the line and column of what does not compile.
    pub fn compile(source: &str, variables: &[&str]) -> Result<Self, ExpressionError> {
        let refuse = |(line, column), message| Err(ExpressionError { line, column, message });
        if source.len() > limits::EXPRESSION_BYTES {
            let limit = limits::EXPRESSION_BYTES;
            let bytes = source.len();
            return refuse((1, 1), format!("{bytes} bytes long, the limit is {limit}"));
        }
        if let Some(at) = too_deep(source) {
            let limit = limits::EXPRESSION_DEPTH;
            let operators = limits::EXPRESSION_OPERATORS;
            let message = format!("more than {limit} brackets deep or {operators} operators long");
            return refuse(place_of(source, at), message);
        }
        let program = match ENVIRONMENT.compile(source) {
            Ok(program) => program,
            Err(errors) => {
                let first = errors.errors.first();
                let (line, column) = first.map_or((1, 1), |error| error.pos);
                let message = first.map_or("does not parse".into(), |error| error.msg.clone());
                // The parser counts columns from 0 in some errors and from 1 in others.
                return refuse((line.max(1) as usize, column.max(1) as usize), message);
            }
        };
        match scope::check(program.expression(), variables) {
            Ok(()) => {}
            Err(Problem::Unknown(name)) => {
                let at = place_of(source, source.find(name).unwrap_or(0));
                let known = variables.join(", ");
                return refuse(at, format!("unknown name {name:?}; known are {known}"));
            }
            Err(Problem::NestedLoop) => {
                let message = "all, exists, map and filter must not stand within one another";
                return refuse((1, 1), message.to_owned());
            }
        }
        Ok(Self { source: source.into(), program: Arc::new(program) })
    }

    /// Evaluates to a JSON value.
    ///
    /// # Errors
    /// [`EvaluationError`] when a field is missing, types do not fit, or the result is no JSON.
    pub fn evaluate(&self, variables: Variables<'_>) -> Result<Value, EvaluationError> {
        let result = self.run(variables)?;
        let mut room = limits::EXPRESSION_RESULT_BYTES;
        to_json(&result, &mut room).map_err(|NotJson(why)| self.error(why))
    }

    /// Evaluates to a truth value.
    ///
    /// # Errors
    /// [`EvaluationError`] as in [`Expression::evaluate`], and when the result is no boolean.
    pub fn is_true(&self, variables: Variables<'_>) -> Result<bool, EvaluationError> {
        match self.run(variables)? {
            CelValue::Bool(truth) => Ok(truth),
            other => Err(self.error(format!("{:?} where a boolean is needed", other.type_of()))),
        }
    }

    /// The expression as it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    fn run(&self, variables: Variables<'_>) -> Result<CelValue, EvaluationError> {
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        for (name, value) in variables {
            context.add_variable_from_value(*name, (*value).clone());
        }
        self.program.execute(&context).map_err(|error| self.error(error.to_string()))
    }

    fn error(&self, message: String) -> EvaluationError {
        EvaluationError { source_text: self.source.to_string(), message }
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

/// Why a value cannot be handed on.
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

/// The byte at which an expression nests too deeply: the parser and the interpreter recurse for
/// every bracket and for every operator of a chain, so both are counted, outside of quotes.
fn too_deep(source: &str) -> Option<usize> {
    let (mut depth, mut operators, mut quote) = (0_usize, 0_usize, None);
    for (at, byte) in source.bytes().enumerate() {
        match (quote, byte) {
            (Some(open), _) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'(' | b'[' | b'{') => depth += 1,
            (None, b')' | b']' | b'}') => depth = depth.saturating_sub(1),
            (None, b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' | b'!') => operators += 1,
            (None, b'&' | b'|' | b'?' | b'.' | b',') => operators += 1,
            (None, _) => {}
        }
        if depth > limits::EXPRESSION_DEPTH || operators > limits::EXPRESSION_OPERATORS {
            return Some(at);
        }
    }
    None
}

fn place_of(source: &str, at: usize) -> (usize, usize) {
    let before = &source.as_bytes()[..at];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |found| found + 1);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    (line, at - line_start + 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn evaluate(source: &str, row: Value) -> Result<Value, EvaluationError> {
        let row = from_fields(row.as_object().unwrap());
        Expression::compile(source, &["row"]).unwrap().evaluate(&[("row", &row)])
    }

    #[test]
    fn arithmetic_works_on_json_numbers() {
        let row = json!({"count": 3, "price": 1.5, "big": u64::MAX, "name": "a"});

        assert_eq!(evaluate("row.count - 1 > 1", row.clone()), Ok(json!(true)));
        assert_eq!(evaluate("row.count + 1", row.clone()), Ok(json!(4)));
        assert_eq!(evaluate("row.price * 2.0", row.clone()), Ok(json!(3.0)));
        assert_eq!(evaluate("row.big", row.clone()), Ok(json!(u64::MAX)));
        assert_eq!(
            evaluate("{'n': row.name, 'l': [row.count]}", row),
            Ok(json!({"n": "a", "l": [3]}))
        );
    }

    #[test]
    fn what_does_not_compile_is_refused_with_line_and_column() {
        let error = |source: &str| Expression::compile(source, &["row", "key"]).unwrap_err();

        assert_eq!((error("row.a ==\n && 1").line, error("row.a ==\n && 1").column > 0), (2, true));
        assert!(error("row.a == 1 && rwo.b").message.contains("unknown name \"rwo\""));
        assert_eq!(
            error("row.a == 1 &&\n rwo.b"),
            ExpressionError {
                line: 2,
                column: 2,
                message: "unknown name \"rwo\"; known are row, key".into(),
            }
        );
        assert!(error(&"x".repeat(limits::EXPRESSION_BYTES + 1)).message.contains("limit"));
    }

    #[test]
    fn deep_nesting_is_refused_before_the_parser_sees_it() {
        for open in ["(", "[", "{", "!", "-", "! ", "f("] {
            let source = open.repeat(limits::EXPRESSION_BYTES / open.len());
            assert!(Expression::compile(&source, &[]).is_err(), "{open}");
        }
    }

    #[test]
    fn the_longest_chains_that_pass_the_limits_do_not_overflow_a_thread_of_2_mib() {
        let row = from_fields(&Fields::new());
        for (item, operators) in [("1+", 1), ("true||", 2), ("false?1:", 1), ("!", 1), ("-", 1)] {
            let source = item.repeat(limits::EXPRESSION_OPERATORS / operators) + "1";
            if let Ok(expression) = Expression::compile(&source, &["row"]) {
                let _ = expression.evaluate(&[("row", &row)]);
            }
            let source = item.repeat(limits::EXPRESSION_OPERATORS / operators + 1) + "1";
            assert!(Expression::compile(&source, &["row"]).is_err(), "{item}");
        }
    }

    #[test]
    fn a_loop_knows_its_variable_and_only_inside() {
        let row = json!({"tags": ["a", "b"], "n": 2});

        assert_eq!(evaluate("row.tags.exists(t, t == 'b')", row.clone()), Ok(json!(true)));
        assert_eq!(evaluate("row.tags.map(t, t + '!')", row.clone()), Ok(json!(["a!", "b!"])));
        assert_eq!(
            evaluate("row.tags.filter(t, t != 'a').size() == 1 && row.tags.all(t, t < 'c')", row),
            Ok(json!(true))
        );
        let error = |source: &str| Expression::compile(source, &["row"]).unwrap_err().message;
        assert!(error("row.tags.all(t, u == t)").starts_with("unknown name \"u\""));
        assert!(error("row.tags.all(t, true) && t").starts_with("unknown name \"t\""));
        assert!(error("row.tags.all(t, b == a)").starts_with("unknown name \"b\""));
    }

    #[test]
    fn loops_that_multiply_or_double_are_refused() {
        let ten = "[1,1,1,1,1,1,1,1,1,1]";
        let nested = (0..12).fold("true".to_owned(), |body, _| format!("{ten}.all(v, {body})"));
        let doubling = "['x']".to_owned() + &".map(a, a + a)".repeat(40);

        for source in [&*nested, &*doubling, "[[1].map(a, a)].all(b, true)"] {
            let error = Expression::compile(source, &["row"]).unwrap_err();
            assert!(error.message.contains("within one another"), "{error}");
        }
    }

    #[test]
    fn a_result_that_repeats_itself_beyond_the_limit_is_an_error() {
        let tags: Vec<u32> = (0..2_000).collect();

        let error = evaluate("row.tags.map(t, row.tags)", json!({ "tags": tags })).unwrap_err();

        assert!(error.message.contains("larger than"), "{error}");
    }

    #[test]
    fn a_missing_field_is_an_error_of_that_row() {
        let error = evaluate("row.count > 1", json!({})).unwrap_err();

        assert!(error.message.contains("count"), "{error}");
    }
}
