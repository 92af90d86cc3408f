//! Patterns of names: the one reader of their language, and an index of many of them.
//!
//! | user | placeholders | `*` at the end |
//! | --- | --- | --- |
//! | [views](crate::view), rules of applications | `{field}`, any text but an empty one | a text |
//! | [live topics](crate::live) | a text | anything, but not nothing |
//! | rights | `{name}`, up to the next `:` or `/` | anything, but not nothing |

mod index;

pub use self::index::PrefixIndex;

/// Part of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// Text that stands for itself.
    Text(&'a str),
    /// The name between `{` and `}`.
    Placeholder(&'a str),
}

/// Error of a pattern: a `{` without its `}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a '{{' is not closed")]
pub struct Unclosed;

/// Reader of the parts of a pattern, from left to right.
#[derive(Debug, Clone)]
pub struct Parts<'a> {
    rest: &'a str,
}

impl<'a> Parts<'a> {
    /// Reads a pattern, without a `*` that ends it.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// The text that is not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a str {
        self.rest
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<Part<'a>, Unclosed>;

    fn next(&mut self) -> Option<Self::Item> {
        let part = match self.rest.find('{') {
            _ if self.rest.is_empty() => return None,
            Some(0) => {
                let Some((name, behind)) = self.rest[1..].split_once('}') else {
                    self.rest = "";
                    return Some(Err(Unclosed));
                };
                self.rest = behind;
                Part::Placeholder(name)
            }
            found => {
                let (text, behind) = self.rest.split_at(found.unwrap_or(self.rest.len()));
                self.rest = behind;
                Part::Text(text)
            }
        };
        Some(Ok(part))
    }
}

/// Names that are one text, or with a `*` at the end all that begin with it and go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names<'a> {
    /// The text in front of the `*`.
    pub text: &'a str,
    /// True when a `*` follows.
    pub is_open: bool,
}

impl<'a> Names<'a> {
    /// Takes the `*` off the end of a pattern.
    #[must_use]
    pub fn of(pattern: &'a str) -> Self {
        match pattern.strip_suffix('*') {
            Some(text) => Self { text, is_open: true },
            None => Self { text: pattern, is_open: false },
        }
    }

    /// True when a name is one of them.
    #[must_use]
    pub fn contains(self, name: &str) -> bool {
        name.strip_prefix(self.text).is_some_and(|behind| self.is_open != behind.is_empty())
    }

    /// True when all of `others` are among them.
    #[must_use]
    pub fn contain_all(self, others: Names<'_>) -> bool {
        if others.is_open {
            self.is_open && others.text.starts_with(self.text)
        } else {
            self.contains(others.text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_read_as_texts_and_placeholders() {
        let read = |text| Parts::of(text).collect::<Result<Vec<_>, _>>();

        assert_eq!(read(""), Ok(vec![]));
        assert_eq!(read("a}*"), Ok(vec![Part::Text("a}*")]));
        let parts = [Part::Text("a:"), Part::Placeholder("b"), Part::Placeholder("")];
        assert_eq!(read("a:{b}{}"), Ok(parts.to_vec()));
        assert_eq!(read("a{b}c{"), Err(Unclosed));
    }

    #[test]
    fn a_star_stands_for_something_and_no_star_for_nothing_more() {
        let contains = |pattern, name| Names::of(pattern).contains(name);

        assert!(contains("room:*", "room:1") && !contains("room:*", "room:"));
        assert!(contains("room:1", "room:1") && !contains("room:1", "room:12"));
        let all = |one, other| Names::of(one).contain_all(Names::of(other));
        assert!(all("a:*", "a:b") && all("a:*", "a:*") && all("a:*", "a:b*") && all("a", "a"));
        assert!(!all("a:*", "a:") && !all("a:b*", "a:*") && !all("a", "a*") && !all("a:*", "b"));
    }
}
