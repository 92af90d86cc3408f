//! Topic patterns: names of topics with placeholders for fields of a row.

use std::fmt;

use serde_json::Value;

use crate::name::Key;
use crate::pattern::{self, Parts};
use crate::row::Fields;
use crate::{limits, reserved};

/// Pattern of topics with placeholders, such as `product:{product_id}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPattern {
    pub(super) parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Field(String),
}

/// Error in the topic pattern of a view or of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicPatternError {
    /// A `{` without a `}`.
    #[error("a '{{' is not closed")]
    Unclosed,
    /// Two placeholders without text between them.
    #[error("two placeholders need text between them")]
    Adjacent,
    /// A placeholder without a name.
    #[error("a placeholder is empty")]
    EmptyPlaceholder,
    /// A prefix of the server's own topics.
    #[error("the prefix is reserved")]
    Reserved,
    /// No text at the beginning.
    #[error("begins with no text")]
    NoText,
}

impl TopicPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`TopicPatternError`].
    pub fn parse(text: &str) -> Result<Self, TopicPatternError> {
        let mut parts: Vec<Part> = Vec::new();
        for part in Parts::of(text) {
            parts.push(match part.map_err(|_| TopicPatternError::Unclosed)? {
                pattern::Part::Text(text) => Part::Text(text.to_owned()),
                pattern::Part::Placeholder(_) if matches!(parts.last(), Some(Part::Field(_))) => {
                    return Err(TopicPatternError::Adjacent);
                }
                pattern::Part::Placeholder("") => return Err(TopicPatternError::EmptyPlaceholder),
                pattern::Part::Placeholder(field) => Part::Field(field.to_owned()),
            });
        }
        match parts.first() {
            Some(Part::Text(text)) if reserved::is_topic(text) => Err(TopicPatternError::Reserved),
            Some(Part::Text(_)) => Ok(Self { parts }),
            _ => Err(TopicPatternError::NoText),
        }
    }

    /// The topic of a row; none when a field is missing, no text or integer, or when the topic
    /// would be too long or one of the server's own.
    pub(super) fn fill(&self, key: &Key, fields: &Fields) -> Option<String> {
        let mut topic = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => topic.push_str(text),
                Part::Field(name) if name == "key" => topic.push_str(key.as_str()),
                Part::Field(name) => match fields.get(name)? {
                    Value::String(text) => topic.push_str(text),
                    Value::Number(number) if !number.is_f64() => {
                        topic.push_str(&number.to_string());
                    }
                    _ => return None,
                },
            }
        }
        (topic.len() <= limits::TOPIC_BYTES && !reserved::is_topic(&topic)).then_some(topic)
    }

    /// True when the pattern could produce `topic`.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        let mut rest = topic;
        let mut open = false;
        let last = self.parts.len().saturating_sub(1);
        for (at, part) in self.parts.iter().enumerate() {
            let text = match part {
                Part::Field(_) => {
                    open = true;
                    continue;
                }
                Part::Text(text) => text.as_str(),
            };
            // The first place is the best one, but the last text stands at the end.
            let behind = if !open {
                rest.strip_prefix(text)
            } else if at == last {
                rest.strip_suffix(text).filter(|value| !value.is_empty()).map(|_| "")
            } else {
                let value = rest.chars().next().map_or(0, char::len_utf8);
                rest[value..].split_once(text).map(|(_, behind)| behind)
            };
            match behind {
                Some(behind) => (rest, open) = (behind, false),
                None => return false,
            }
        }
        open != rest.is_empty() && !reserved::is_topic(topic)
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Field(field) => write!(f, "{{{field}}}"),
        })
    }
}
