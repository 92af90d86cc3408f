//! Fields of an object that a client sends: the error of one that does not read names it.

use std::fmt;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_path_to_error::{Path, Segment};

use super::{Fault, check_exact};

/// Error of a JSON object that does not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Field at fault, as `messages[1]: priority`; none when it is the object as a whole.
    pub field: Option<String>,
    /// Fault, with its line and column.
    pub fault: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "{field}: {}", self.fault),
            None => f.write_str(&self.fault),
        }
    }
}

impl std::error::Error for FieldError {}

impl FieldError {
    fn of_object(fault: impl Into<String>) -> Self {
        Self { field: None, fault: fault.into() }
    }
}

/// Text of a JSON object whose values are exact; its fields are not read yet.
#[derive(Debug, Clone, Copy)]
pub struct ExactObject<'a>(&'a str);

impl<'a> ExactObject<'a> {
    /// Checks a text. Serde alone would take a list of values for a struct as well.
    ///
    /// # Errors
    /// [`FieldError`].
    pub fn check(text: &'a [u8]) -> Result<Self, FieldError> {
        let text = as_text(text)?;
        if let Err(inexact) = check_exact(text, usize::MAX) {
            // The reader's own words for a text that is no JSON.
            let syntax = (inexact.fault == Fault::Syntax)
                .then(|| serde_json::from_str::<IgnoredAny>(text).err());
            let fault = syntax.flatten().map_or(inexact.to_string(), |error| error.to_string());
            return Err(FieldError::of_object(fault));
        }
        match text.trim_ascii_start().as_bytes().first() {
            Some(b'{') | None => Ok(Self(text)),
            Some(_) => Err(FieldError::of_object("not a JSON object")),
        }
    }

    /// Reads its fields.
    ///
    /// # Errors
    /// [`FieldError`].
    pub fn read<T: Deserialize<'a>>(self) -> Result<T, FieldError> {
        serde_json::from_str(self.0).map_err(|error| {
            // Read again, with the place of each value noted: only a refusal pays for that.
            let json = &mut serde_json::Deserializer::from_str(self.0);
            let noted = serde_path_to_error::deserialize::<_, T>(json).err();
            let field = noted.and_then(|noted| name_of(noted.path()));
            FieldError { field, fault: error.to_string() }
        })
    }
}

/// The name of a field by its place: each object and each element of a list has its own part.
fn name_of(path: &Path) -> Option<String> {
    let mut name = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => name.push_str(&format!("[{index}]")),
            Segment::Map { key } | Segment::Enum { variant: key } if name.is_empty() => {
                name.push_str(key);
            }
            Segment::Map { key } | Segment::Enum { variant: key } => {
                name.push_str(": ");
                name.push_str(key);
            }
            Segment::Unknown => {}
        }
    }
    (!name.is_empty()).then_some(name)
}

fn as_text(text: &[u8]) -> Result<&str, FieldError> {
    std::str::from_utf8(text).map_err(|error| {
        let lines = text[..error.valid_up_to()].split(|byte| *byte == b'\n');
        let (line, column) = lines.enumerate().last().map_or((0, 0), |(at, line)| (at, line.len()));
        let (line, column) = (line + 1, column + 1);
        FieldError::of_object(format!("not UTF-8 at line {line} column {column}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::read_object;

    #[test]
    fn the_field_at_fault_is_named_wherever_it_stands() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(dead_code, reason = "only its faults matter")]
        struct Whole {
            n: u8,
            #[serde(default)]
            parts: Vec<Part>,
            #[serde(default)]
            pairs: Vec<(u64, u64)>,
        }
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(dead_code, reason = "only its faults matter")]
        struct Part {
            id: Option<uuid::Uuid>,
            seq: u64,
        }
        let fault = |text: &str| read_object::<Whole>(text.as_bytes()).unwrap_err().to_string();

        let wrong = "invalid type: string \"x\", expected u8 at line 1 column 8";
        assert_eq!(fault(r#"{"n":"x"}"#), format!("n: {wrong}"));
        assert!(fault(r#"{"n":1,"parts":[{"seq":1},{"seq":-1}]}"#).starts_with("parts[1]: seq: "));
        assert!(fault(r#"{"n":1,"parts":[{"seq":1,"id":"z"}]}"#).starts_with("parts[0]: id: "));
        assert!(fault(r#"{"n":1,"pairs":[[1,2],[3,"4"]]}"#).starts_with("pairs[1][1]: "));
        let missing = fault(r#"{"n":1,"parts":[{}]}"#);
        assert!(missing.starts_with("parts[0]: missing field `seq`"), "{missing}");
        let unknown = fault(r#"{"n":1,"parts":[{"seq":1,"sec":1}]}"#);
        assert!(unknown.starts_with("parts[0]: sec: unknown field `sec`"), "{unknown}");
        assert!(fault("{}").starts_with("missing field `n`"));
    }
}
