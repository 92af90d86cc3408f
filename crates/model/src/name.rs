//! Names that people give: datasets, tables, journals, views, and the keys of rows.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use crate::limits;

/// The name of a dataset, table, journal or view: 1 to 64 of `a-z 0-9 _ -`, a letter first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Name(Arc<str>);

/// The key of a row: 1 to 256 bytes of UTF-8 without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Key(Arc<str>);

/// Error in a name or a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("is empty")]
    Empty,
    /// The text is longer than its limit.
    #[error("is {bytes} bytes long, the limit is {limit}")]
    TooLong {
        /// Bytes of the text.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The text holds a character that is not allowed there.
    #[error("holds {found:?} at byte {at}; {allowed}")]
    Character {
        /// The offending character.
        found: char,
        /// Its byte offset.
        at: usize,
        /// Description of allowed names.
        allowed: &'static str,
    },
}

impl Name {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`NameError`] when the text is empty, too long or holds a character outside the set.
    pub fn new(text: &str) -> Result<Self, NameError> {
        check_length(text, limits::NAME_BYTES)?;
        let allowed = "allowed are a-z, 0-9, '_' and '-', beginning with a letter";
        let fits = |at: usize, found: u8| match found {
            b'a'..=b'z' => true,
            b'0'..=b'9' | b'_' | b'-' => at > 0,
            _ => false,
        };
        // By bytes: this is on the way of every record. What is allowed is ASCII.
        let Some(at) = text.bytes().enumerate().position(|(at, found)| !fits(at, found)) else {
            return Ok(Self(Arc::from(text)));
        };
        let found = text[at..].chars().next().unwrap_or_default();
        Err(NameError::Character { found, at, allowed })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Key {
    /// Checks and takes a key.
    ///
    /// # Errors
    /// [`NameError`] when the text is empty, too long or holds a control character.
    pub fn new(text: &str) -> Result<Self, NameError> {
        check_length(text, limits::KEY_BYTES)?;
        let allowed = "control characters are not allowed";
        // Nearly every key is plain ASCII, and this is on the way of every record.
        if text.bytes().fold(true, |all, byte| all & matches!(byte, b' '..=b'~')) {
            return Ok(Self(Arc::from(text)));
        }
        match text.char_indices().find(|(_, found)| found.is_control()) {
            Some((at, found)) => Err(NameError::Character { found, at, allowed }),
            None => Ok(Self(Arc::from(text))),
        }
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_length(text: &str, limit: usize) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty),
        bytes if bytes > limit => Err(NameError::TooLong { bytes, limit }),
        _ => Ok(()),
    }
}

macro_rules! text_type {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl serde::de::Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(stringify!($type))
                    }

                    // Checked here as well: what a disk or a client says is outside.
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        $type::new(text).map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    };
}

text_type!(Name);
text_type!(Key);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_lower_case_and_begins_with_a_letter() {
        assert!(Name::new("order_items-2").is_ok());
        assert_eq!(Name::new("").unwrap_err(), NameError::Empty);
        assert!(matches!(Name::new("2nd").unwrap_err(), NameError::Character { at: 0, .. }));
        assert!(matches!(Name::new("a/b").unwrap_err(), NameError::Character { found: '/', .. }));
        assert_eq!(
            Name::new(&"a".repeat(65)).unwrap_err(),
            NameError::TooLong { bytes: 65, limit: 64 }
        );
    }

    #[test]
    fn a_key_takes_any_printable_text_up_to_its_limit() {
        assert_eq!(Key::new("größe 42/ö").unwrap().as_str(), "größe 42/ö");
        assert!(matches!(Key::new("a\nb").unwrap_err(), NameError::Character { at: 1, .. }));
        assert!(Key::new(&"k".repeat(256)).is_ok());
        assert!(Key::new(&"k".repeat(257)).is_err());
    }
}
