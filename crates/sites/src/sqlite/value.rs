//! Values of columns: exactly those of the row, or refused.

use rusqlite::types::Value;
use serde_json::value::RawValue;

use super::schema::{Affinity, Column};

/// Largest integer up to which each has a floating-point number of its own.
const EXACT: u64 = 1 << 53;

/// The value of a field in its column.
pub(super) fn of_field(column: &Column, field: &RawValue) -> Result<Value, String> {
    let text = field.get();
    let differs = |what: &str| {
        Err(format!("field {:?}: the column cannot hold {what} as it is", column.name))
    };
    match text.as_bytes().first() {
        Some(b'n') => Ok(Value::Null),
        Some(b't' | b'f') if column.affinity == Affinity::Text => Ok(Value::Text(text.into())),
        Some(b't') => Ok(Value::Integer(1)),
        Some(b'f') => Ok(Value::Integer(0)),
        Some(b'{' | b'[') => match column.affinity {
            Affinity::Text | Affinity::Blob => Ok(Value::Text(text.into())),
            Affinity::Numeric | Affinity::Real => differs("a JSON list or object"),
        },
        Some(b'"') => match column.affinity {
            Affinity::Text | Affinity::Blob => {
                let string = serde_json::from_str(text).map_err(|error| error.to_string())?;
                Ok(Value::Text(string))
            }
            Affinity::Numeric | Affinity::Real => differs("a text"),
        },
        _ if column.affinity == Affinity::Text => Ok(Value::Text(text.into())),
        _ => match number(text) {
            Some(Value::Integer(n)) if column.affinity == Affinity::Real => {
                if n.unsigned_abs() <= EXACT { Ok(Value::Integer(n)) } else { differs(text) }
            }
            Some(number) => Ok(number),
            None => differs(text),
        },
    }
}

/// The value of a key in its column.
pub(super) fn of_key(column: &Column, key: &str) -> Result<Value, String> {
    match column.affinity {
        Affinity::Text | Affinity::Blob => Ok(Value::Text(key.into())),
        Affinity::Numeric | Affinity::Real => match key.parse::<i64>() {
            // Another text of the same number would be another key.
            Ok(number) if number.to_string() == key => Ok(Value::Integer(number)),
            Ok(_) | Err(_) => {
                Err(format!("the schema differs: the key is no integer, {:?} is", column.name))
            }
        },
    }
}

fn number(text: &str) -> Option<Value> {
    let is_integer = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    if is_integer {
        text.parse().ok().map(Value::Integer)
    } else {
        // The nearest double of a text: rows of a dataset hold no others (they are exact).
        text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::Real)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(affinity: Affinity, json: &str) -> Result<Value, String> {
        let column = Column { name: "c".into(), affinity };
        of_field(&column, &RawValue::from_string(json.into()).unwrap())
    }

    #[test]
    fn a_value_is_kept_exactly_or_refused() {
        assert_eq!(told(Affinity::Numeric, "9007199254740993"), Ok(Value::Integer(1 << 53 | 1)));
        assert_eq!(told(Affinity::Text, "1.50"), Ok(Value::Text("1.50".into())));
        assert_eq!(told(Affinity::Blob, "\"007\""), Ok(Value::Text("007".into())));
        assert_eq!(told(Affinity::Real, "null"), Ok(Value::Null));
        for (affinity, json) in [
            (Affinity::Numeric, "18446744073709551615"),
            (Affinity::Numeric, "\"007\""),
            (Affinity::Real, "9007199254740993"),
            (Affinity::Numeric, "[1]"),
        ] {
            assert!(told(affinity, json).is_err(), "{json}");
        }
    }
}
