//! Patterns of topics, datasets and tables, with placeholders for what a token says.
//!
//! Read from left to right, without ever going back: what a placeholder stands for ends at the
//! next `:` or `/`, so a value can never reach over the end of its place.

use std::collections::BTreeMap;

use instep_model::limits;
use instep_model::pattern::{self, Names, Parts};
use instep_model::row::Fields;
use serde_json::Value;

/// Separators of the parts of a name. No placeholder stands for text that holds one.
const SEPARATORS: [char; 2] = [':', '/'];
/// Prefix of a placeholder that stands for a claim of the token.
const CLAIM_PREFIX: &str = "claims.";

/// A pattern such as `cart:{sub}`, `room:{room}:*` or `shop/*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<Part>,
    /// Ends in `*`: anything may follow, but not nothing.
    open: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The text of this claim, and no other.
    Claim(String),
    /// Any text but an empty one, captured under this name.
    Capture(String),
}

/// Error in a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// No text.
    #[error("is empty")]
    Empty,
    /// Over the limit.
    #[error("is {bytes} bytes long, the limit is {limit}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A `*` before the end.
    #[error("'*' stands only at the end")]
    Star,
    /// A `}` without a `{`.
    #[error("a '}}' closes nothing")]
    Unopened,
    /// A `{` without a `}`.
    #[error("a '{{' is not closed")]
    Unclosed,
    /// A placeholder followed by text that belongs to no other part.
    #[error("{{{name}}} ends the pattern, or ':' or '/' follows it")]
    NoSeparator {
        /// Name of the placeholder.
        name: String,
    },
    /// A placeholder with other characters than a name has.
    #[error("the placeholder {{{name}}} is not made of letters, digits and '_'")]
    Placeholder {
        /// Its name.
        name: String,
    },
}

/// Captures: the texts that the placeholders of a pattern stood for, by name.
pub type Captures = BTreeMap<String, String>;

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > limits::PATTERN_BYTES {
            return Err(PatternError::TooLong { bytes: text.len(), limit: limits::PATTERN_BYTES });
        }
        let Names { text, is_open } = Names::of(text);
        if text.contains('*') {
            return Err(PatternError::Star);
        }
        let (mut parts, mut read) = (Vec::new(), Parts::of(text));
        while let Some(part) = read.next() {
            let name = match part.map_err(|_| PatternError::Unclosed)? {
                pattern::Part::Text(text) if text.contains('}') => {
                    return Err(PatternError::Unopened);
                }
                pattern::Part::Text(text) => {
                    parts.push(Part::Text(text.to_owned()));
                    continue;
                }
                pattern::Part::Placeholder(name) => name,
            };
            parts.push(placeholder(name)?);
            let is_last = read.rest().is_empty() && !is_open;
            if !is_last && !read.rest().starts_with(SEPARATORS) {
                return Err(PatternError::NoSeparator { name: name.to_owned() });
            }
        }
        Ok(Self { parts, open: is_open })
    }

    /// Matches `text` for a principal with these claims: returns the captures, or none when it does
    /// not fit.
    #[must_use]
    pub fn captures(&self, text: &str, claims: &Fields) -> Option<Captures> {
        let mut captures = Captures::new();
        let mut rest = text;
        for part in &self.parts {
            match part {
                Part::Text(text) => rest = rest.strip_prefix(text.as_str())?,
                Part::Claim(name) => {
                    let (found, behind) = segment(rest);
                    if found.is_empty() || claim_text(claims, name)? != found {
                        return None;
                    }
                    rest = behind;
                }
                Part::Capture(name) => {
                    let (found, behind) = segment(rest);
                    if found.is_empty() {
                        return None;
                    }
                    captures.insert(name.clone(), found.to_owned());
                    rest = behind;
                }
            }
        }
        (self.open != rest.is_empty()).then_some(captures)
    }

    /// True for `*` alone.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.open && self.parts.is_empty()
    }
}

fn placeholder(name: &str) -> Result<Part, PatternError> {
    if name == "sub" {
        return Ok(Part::Claim(name.to_owned()));
    }
    let (name, claim) = match name.strip_prefix(CLAIM_PREFIX) {
        Some(name) => (name, true),
        None => (name, false),
    };
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(word) {
        return Err(PatternError::Placeholder { name: name.to_owned() });
    }
    Ok(if claim { Part::Claim(name.to_owned()) } else { Part::Capture(name.to_owned()) })
}

/// The text up to the next separator, and the rest.
fn segment(text: &str) -> (&str, &str) {
    text.split_at(text.find(SEPARATORS).unwrap_or(text.len()))
}

/// A claim as text: a text or an integer.
fn claim_text(claims: &Fields, name: &str) -> Option<String> {
    match claims.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn fits(pattern: &str, text: &str) -> bool {
        let claims = json!({"sub": "ann", "tenant": 7, "list": ["a"], "odd": "a:b"});
        Pattern::parse(pattern).unwrap().captures(text, claims.as_object().unwrap()).is_some()
    }

    #[test]
    fn a_pattern_is_exact_unless_it_ends_in_a_star() {
        assert!(fits("room:1", "room:1") && !fits("room:1", "room:12") && !fits("room:1", "room:"));
        assert!(fits("room:*", "room:1:x") && !fits("room:*", "room:") && !fits("room:*", "rooms"));
        assert!(fits("*", "anything") && !fits("*", ""));
    }

    #[test]
    fn a_claim_matches_its_own_value_and_nothing_else() {
        assert!(fits("cart:{sub}", "cart:ann"));
        for other in ["cart:anna", "cart:an", "cart:", "cart:ann:x", "cart:{sub}", "cart:bob"] {
            assert!(!fits("cart:{sub}", other), "{other}");
        }
        assert!(fits("t{claims.tenant}/orders", "t7/orders"));
        assert!(!fits("{claims.list}", "a") && !fits("{claims.missing}", "null"));
    }

    #[test]
    fn a_value_with_a_separator_reaches_into_no_other_place() {
        assert!(!fits("x:{claims.odd}", "x:a:b") && !fits("x:{claims.odd}:*", "x:a:b:c"));
    }

    #[test]
    fn a_placeholder_captures_one_segment() {
        let pattern = Pattern::parse("room:{room}:{seat}").unwrap();

        let captures = pattern.captures("room:blue:4", &Fields::new()).unwrap();

        assert_eq!((captures["room"].as_str(), captures["seat"].as_str()), ("blue", "4"));
        assert!(!fits("room:{room}", "room:a:b") && !fits("room:{room}", "room:"));
        assert!(fits("room:{room}:*", "room:a:b:c") && !fits("room:{room}:*", "room:a"));
    }

    #[test]
    fn ambiguous_json_is_refused() {
        for bad in ["", "a*b", "**", "{", "}", "{}", "a}", "{a}{b}", "{sub}*", "{a}x", "{a b}"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
        assert!(Pattern::parse(&"x".repeat(limits::PATTERN_BYTES + 1)).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_a_pattern_panic(
            pattern in "[a-c{}:*/.é]{0,12}",
            text in "[a-c:/é{}]{0,12}",
        ) {
            if let Ok(pattern) = Pattern::parse(&pattern) {
                let _ = pattern.captures(&text, &Fields::new());
            }
        }

        #[test]
        fn no_topic_is_the_place_of_two_subjects(
            one in "[a:/]{1,4}",
            two in "[a:/]{1,4}",
            rest in "[a:/]{0,4}",
        ) {
            prop_assume!(one != two);
            let pattern = Pattern::parse("cart:{sub}:*").unwrap();
            let topic = format!("cart:{one}:{rest}");
            let fits = |sub: &str| {
                let claims = json!({"sub": sub});
                pattern.captures(&topic, claims.as_object().unwrap()).is_some()
            };

            prop_assert!(!(fits(&one) && fits(&two)), "{topic}");
        }

        #[test]
        fn a_text_without_braces_and_stars_matches_itself_only(
            text in "[a-z:/]{1,20}",
            other in "[a-z:/]{1,20}",
        ) {
            let pattern = Pattern::parse(&text).unwrap();

            prop_assert_eq!(pattern.captures(&other, &Fields::new()).is_some(), text == other);
        }
    }
}
