//! What people send: JSON objects, and nothing that could be taken for one.

use serde::Deserialize;
use serde::de::{Error, IgnoredAny};

/// Reads a JSON object.
///
/// # Errors
/// What is wrong with the JSON, or with a field. Serde alone would take a list of values for a
/// struct as well.
pub fn read_object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> serde_json::Result<T> {
    match text.trim_ascii_start().first() {
        Some(b'{') | None => serde_json::from_slice(text),
        Some(_) => {
            serde_json::from_slice::<IgnoredAny>(text)?;
            Err(serde_json::Error::custom("not a JSON object"))
        }
    }
}

#[cfg(test)]
mod tests {
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
}
