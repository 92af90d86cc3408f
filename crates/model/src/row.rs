//! Rows: JSON objects in one canonical form.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::json::is_deeper;
use crate::limits;

/// The fields of a row, parsed.
pub type Fields = Map<String, Value>;

/// A row: a JSON object as compact bytes with sorted fields, so that equal rows have equal bytes.
///
/// Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Row(Arc<[u8]>);

/// Error of a row that is over a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum RowError {
    /// The row is over its size limit.
    #[error("the row is {bytes} bytes of JSON, the limit is {limit}")]
    TooLarge {
        /// Bytes of the canonical form.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The row is nested too deeply.
    #[error("the row is nested deeper than {limit} levels")]
    TooDeep {
        /// Levels allowed.
        limit: usize,
    },
}

impl Row {
    /// Brings fields into canonical form.
    ///
    /// # Errors
    /// [`RowError`] when the row is over [`limits::ROW_BYTES`] or [`limits::VALUE_DEPTH`].
    pub fn new(fields: &Fields) -> Result<Self, RowError> {
        if fields.values().any(|value| is_deeper(value, limits::VALUE_DEPTH - 1)) {
            return Err(RowError::TooDeep { limit: limits::VALUE_DEPTH });
        }
        let bytes = serde_json::to_vec(fields).expect("a JSON map with text keys always encodes");
        if bytes.len() > limits::ROW_BYTES {
            return Err(RowError::TooLarge { bytes: bytes.len(), limit: limits::ROW_BYTES });
        }
        Ok(Self(bytes.into()))
    }

    /// Takes canonical bytes back from the log; they were checked when the row was made.
    #[must_use]
    pub fn from_canonical(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The canonical JSON.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The canonical JSON as text.
    #[must_use]
    pub fn as_json(&self) -> &str {
        std::str::from_utf8(&self.0).expect("canonical JSON is UTF-8")
    }

    /// The fields, parsed. Empty when the bytes are no JSON object, which only damage that passed
    /// every checksum could cause.
    #[must_use]
    pub fn fields(&self) -> Fields {
        serde_json::from_slice(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Row;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Row, E> {
                std::str::from_utf8(bytes).map_err(E::custom)?;
                Ok(Row(bytes.into()))
            }
        }
        deserializer.deserialize_bytes(Bytes).map_err(D::Error::custom)
    }
}

/// Merges `patch` into `fields` as RFC 7386 says: null removes, objects merge, the rest replaces.
pub fn merge(fields: &mut Fields, patch: &Fields) {
    for (name, change) in patch {
        match (change, fields.get_mut(name)) {
            (Value::Null, _) => {
                fields.remove(name);
            }
            (Value::Object(inner), Some(Value::Object(target))) => merge(target, inner),
            (Value::Object(inner), _) => {
                let mut fresh = Fields::new();
                merge(&mut fresh, inner);
                fields.insert(name.clone(), Value::Object(fresh));
            }
            (other, _) => {
                fields.insert(name.clone(), other.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::json::read_object;

    fn fields(value: Value) -> Fields {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn equal_rows_have_equal_bytes_whatever_the_order_of_fields() {
        let a: Fields = serde_json::from_str(r#"{"b":1,"a":{"d":2,"c":3}}"#).unwrap();
        let b: Fields = serde_json::from_str(r#"{ "a":{"c":3,"d":2}, "b":1 }"#).unwrap();

        assert_eq!(Row::new(&a).unwrap(), Row::new(&b).unwrap());
        assert_eq!(Row::new(&a).unwrap().as_json(), r#"{"a":{"c":3,"d":2},"b":1}"#);
    }

    #[test]
    fn a_patch_merges_as_rfc_7386_says() {
        let mut row = fields(json!({"a": 1, "b": {"c": 2, "d": 3}, "e": [1]}));

        merge(
            &mut row,
            &fields(json!({"a": null, "b": {"c": null, "x": 1}, "e": [2], "n": {"y": null}})),
        );

        assert_eq!(Value::Object(row), json!({"b": {"d": 3, "x": 1}, "e": [2], "n": {}}));
    }

    #[test]
    fn a_row_over_a_limit_is_refused_and_the_limit_named() {
        let large = fields(json!({"text": "x".repeat(limits::ROW_BYTES)}));
        let mut deep = json!(1);
        for _ in 0..limits::VALUE_DEPTH {
            deep = json!([deep]);
        }

        let bytes = limits::ROW_BYTES + r#"{"text":""}"#.len();
        let too_large = RowError::TooLarge { bytes, limit: limits::ROW_BYTES };
        assert_eq!(Row::new(&large), Err(too_large));
        assert!(matches!(Row::new(&fields(json!({"deep": deep}))), Err(RowError::TooDeep { .. })));
    }

    #[test]
    fn a_double_comes_back_as_the_double_that_was_sent() {
        for text in ["0.9215686321258545", "5e-324", "1.7976931348623157e308", "0.1", "-0.0"] {
            let wanted: f64 = text.parse().unwrap();
            let sent: Fields = serde_json::from_str(&format!("{{\"x\":{text}}}")).unwrap();

            let row = Row::new(&sent).unwrap().fields();

            assert_eq!(row["x"].as_f64().map(f64::to_bits), Some(wanted.to_bits()), "{text}");
        }
    }

    #[test]
    fn exact_values_come_back_as_they_were_sent() {
        for text in ["18446744073709551615", "-9223372036854775808", "9007199254740993"] {
            let sent: Fields = read_object(format!("{{\"x\":{text}}}").as_bytes()).unwrap();

            assert_eq!(Row::new(&sent).unwrap().fields()["x"].to_string(), text);
        }
        for refused in ["1e999", r#""\ud800""#, "NaN", "01", "18446744073709551616", "1,\"x\":2"] {
            let read = read_object::<Fields>(format!("{{\"x\":{refused}}}").as_bytes());
            assert!(read.is_err(), "{refused}");
        }
    }
}
