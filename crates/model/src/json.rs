//! JSON from clients: objects, and nothing that could be taken for one; values that come back as
//! they were sent, and nothing else.

mod exact;
mod fields;

use serde::Deserialize;
use serde_json::Value;

pub use self::exact::{Fault, INEXACT, Inexact, check_exact};
pub use self::fields::{ExactObject, FieldError};

/// Reads a JSON object of exact values.
///
/// # Errors
/// [`FieldError`]: the fault of the JSON ([`Inexact`]), or of a field, which is named.
pub fn read_object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, FieldError> {
    ExactObject::check(text)?.read()
}

/// Reads a value that is carried by something else, as the parameters of a join are.
///
/// # Errors
/// [`Inexact`].
pub fn read_value(text: &[u8], levels: usize) -> Result<Value, Inexact> {
    let syntax = || Inexact { fault: Fault::Syntax, line: 1, column: 1 };
    let text = std::str::from_utf8(text).map_err(|_| syntax())?;
    check_exact(text, levels)?;
    serde_json::from_str(text).map_err(|_| syntax())
}

/// Checks an object that is passed on as it is.
///
/// # Errors
/// [`Inexact`].
pub fn check_object(text: &[u8], levels: usize) -> Result<(), Inexact> {
    let syntax = Inexact { fault: Fault::Syntax, line: 1, column: 1 };
    match std::str::from_utf8(text) {
        Ok(text) if text.trim_ascii_start().starts_with('{') => check_exact(text, levels),
        Ok(_) | Err(_) => Err(syntax),
    }
}

/// True when lists and objects stand deeper within one another than `levels`.
#[must_use]
pub fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| is_deeper(item, levels - 1)),
        Value::Object(fields) => {
            levels == 0 || fields.values().any(|item| is_deeper(item, levels - 1))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_is_no_object_and_bad_json_is_named_as_such() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct One {
            a: u8,
        }
        let read =
            |text: &str| read_object::<One>(text.as_bytes()).map_err(|error| error.to_string());

        assert_eq!(read(" {\"a\":1}"), Ok(One { a: 1 }));
        assert_eq!(read("[1]").unwrap_err(), "not a JSON object");
        assert!(read("[1").unwrap_err().contains("EOF"));
        assert!(read("").unwrap_err().contains("EOF"));
        assert!(read("{}").unwrap_err().contains("missing field `a`"));
    }

    #[test]
    fn inexact_values_are_named_with_their_place() {
        let read = |text: &[u8]| read_object::<Value>(text).map_err(|error| error.to_string());

        let twice = read(b"{\"a\":1,\n\"a\":1}").unwrap_err();
        assert_eq!(twice, "the field \"a\" for the second time at line 2 column 6");
        assert!(read(b"{\"a\":\n\"\xff\"}").unwrap_err().starts_with("not UTF-8 at line 2"));
    }

    #[test]
    fn depth_is_counted_in_values_as_in_texts() {
        let value = json!({"a": [[1], {}]});

        assert!(!is_deeper(&value, 3) && is_deeper(&value, 2));
        assert!(check_object(value.to_string().as_bytes(), 3).is_ok());
        assert!(check_object(value.to_string().as_bytes(), 2).is_err());
        assert!(!is_deeper(&json!(1), 0) && is_deeper(&json!([]), 0));
    }
}
