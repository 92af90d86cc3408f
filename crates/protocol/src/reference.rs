//! Refs: the names that a client gives to its requests and joins.

use std::borrow::Cow;
use std::fmt;

use serde_json::value::RawValue;

use crate::encode;

/// A ref or join_ref as the client sent it.
///
/// It comes back as the same JSON value: clients compare with `===`, so the string `"3"` and the
/// number `3`, which some third-party clients send, are two different refs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ref<'a> {
    text: Cow<'a, str>,
    is_number: bool,
}

impl<'a> Ref<'a> {
    /// A ref that is a string, given without its quotes.
    pub fn string(text: impl Into<Cow<'a, str>>) -> Self {
        Self { text: text.into(), is_number: false }
    }

    /// Reads a ref: a string, or a number, whose token is kept, so that `3`, `3.0` and `3e0`
    /// differ. Nothing else is a ref.
    #[must_use]
    pub fn from_json(json: &'a RawValue) -> Option<Self> {
        match json.get().as_bytes().first()? {
            b'"' => string_of(json).map(Self::string),
            b'-' | b'0'..=b'9' => Some(Self { text: Cow::Borrowed(json.get()), is_number: true }),
            _ => None,
        }
    }

    /// The text of the string, or the token of the number.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same ref, free of the frame it came in.
    #[must_use]
    pub fn into_owned(self) -> Ref<'static> {
        Ref { text: Cow::Owned(self.text.into_owned()), is_number: self.is_number }
    }

    /// Appends the ref as JSON.
    pub(crate) fn write_json(&self, out: &mut Vec<u8>) {
        if self.is_number {
            out.extend_from_slice(self.text.as_bytes());
        } else {
            encode::write_string(out, &self.text);
        }
    }
}

impl fmt::Debug for Ref<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_number { f.write_str(&self.text) } else { write!(f, "{:?}", self.text) }
    }
}

/// The text of a JSON string, borrowed when nothing in it is escaped.
pub(crate) fn string_of(json: &RawValue) -> Option<Cow<'_, str>> {
    let inside = json.get().strip_prefix('"')?.strip_suffix('"')?;
    if inside.contains('\\') {
        serde_json::from_str(json.get()).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inside))
    }
}
