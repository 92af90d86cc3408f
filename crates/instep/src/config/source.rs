//! The text of a configuration, and where its keys stand in it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use instep_model::expression::Spot;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{KeyPath, Step};

/// The file that a configuration was read from.
#[derive(Debug, Clone)]
pub struct Source(Arc<File>);

#[derive(Debug)]
struct File {
    path: PathBuf,
    text: String,
}

impl Source {
    pub(crate) fn new(path: &Path, text: String) -> Self {
        Self(Arc::new(File { path: path.to_owned(), text }))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    pub(crate) fn text(&self) -> &str {
        &self.0.text
    }

    /// Returns the text of a value without its quotes; escapes are not resolved.
    pub(super) fn text_at(&self, key: &KeyPath) -> Option<&str> {
        let (span, is_whole) = self.span_of(key)?;
        let token = self.text().get(span)?;
        is_whole.then(|| token.trim_matches(['\'', '"']))
    }

    /// Spot of a key's value, or of a place in the expression that it is. If the key is missing,
    /// the section in which it is; none if that is missing, too.
    pub(super) fn spot_of(&self, key: &KeyPath, within: Option<Spot>) -> Option<Spot> {
        let (span, is_whole) = self.span_of(key)?;
        let inside = within.filter(|_| is_whole).zip(self.text().get(span.clone()));
        let inside = inside.map_or(0, |(spot, token)| offset_in(token, spot));
        Some(Spot::of(self.text(), span.start + inside))
    }

    /// The bytes of a value, or of the innermost section around it that there is.
    fn span_of(&self, key: &KeyPath) -> Option<(Range<usize>, bool)> {
        let table = DeTable::parse(self.text()).ok()?;
        let mut steps = key.0.iter();
        let Step::Key(first) = steps.next()? else { return None };
        let mut found = table.get_ref().get(first.as_str())?;
        for step in steps {
            match inner(found, step) {
                Some(inner) => found = inner,
                None => return Some((found.span(), false)),
            }
        }
        Some((found.span(), true))
    }
}

fn inner<'a, 'i>(value: &'a Spanned<DeValue<'i>>, step: &Step) -> Option<&'a Spanned<DeValue<'i>>> {
    match step {
        Step::Key(key) => value.get_ref().as_table()?.get(key.as_str()),
        Step::At(number) => value.get_ref().as_array()?.get(*number),
    }
}

/// Offset in a quoted string of the character at a spot of its value.
fn offset_in(token: &str, spot: Spot) -> usize {
    let is_basic = token.starts_with('"');
    let is_long = token.starts_with("'''") || token.starts_with("\"\"\"");
    let mut at = if is_long { 3 } else { 1 };
    if is_long {
        // A line break right behind the quotes says nothing.
        let rest = &token[at..];
        at += if rest.starts_with("\r\n") { 2 } else { usize::from(rest.starts_with('\n')) };
    }
    let mut here = Spot::START;
    while let Some(first) = token[at..].chars().next() {
        let (bytes, said) = match first {
            '\\' if is_basic => escape(&token[at + 1..]),
            other => (other.len_utf8(), Some(other)),
        };
        if here >= spot && said.is_some() {
            break;
        }
        match said {
            Some('\n') => here = Spot { line: here.line + 1, column: 1 },
            Some(_) => here.column += 1,
            None => {}
        }
        at += bytes;
    }
    at
}

/// The bytes of an escape whose backslash stands before `rest`, and what it says, as far as that
/// matters: a line break or something else; nothing at all at the end of a line.
fn escape(rest: &str) -> (usize, Option<char>) {
    match rest.chars().next() {
        Some('n') => (2, Some('\n')),
        Some('x') => (4, Some('x')),
        Some('u') => (6, Some('u')),
        Some('U') => (10, Some('U')),
        Some(blank) if blank.is_whitespace() => (1 + rest.len() - rest.trim_start().len(), None),
        Some(other) => (1 + other.len_utf8(), Some(other)),
        None => (1, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every character of what a string says, with the one that stands at its place in the file.
    fn pairs(token: &str) -> Vec<(char, char)> {
        let text = format!("a = {token}");
        let source = Source::new(Path::new("f"), text.clone());
        let table = DeTable::parse(&text).unwrap();
        let said = table.get_ref()["a"].get_ref().as_str().unwrap();
        let places = said.char_indices().map(|(at, said)| {
            let spot = source.spot_of(&"a".into(), Some(Spot::of(said_until(&table), at))).unwrap();
            let line = text.split('\n').nth(spot.line - 1).unwrap();
            (said, line.chars().chain(['\n']).nth(spot.column - 1).unwrap())
        });
        places.collect()
    }

    fn said_until<'a>(table: &'a Spanned<DeTable<'_>>) -> &'a str {
        table.get_ref()["a"].get_ref().as_str().unwrap()
    }

    #[test]
    fn a_spot_in_a_string_is_found_in_the_file_whatever_the_quotes_and_escapes() {
        for token in [
            "'row.a'",
            "\"row.é == 'ü'\"",
            "'''\nrow.a &&\n  rwo.b'''",
            "'''row.a &&\n  rwo.b'''",
            "\"\"\"\nrow.a && \\\n   rwo.b\"\"\"",
        ] {
            assert!(pairs(token).iter().all(|(said, there)| said == there), "{token}");
        }
        let escapes = pairs(r#""a\tb\n\"c\" \u00e9 \x41 \U0001F600 d""#);
        let odd: Vec<_> = escapes.into_iter().filter(|(said, there)| said != there).collect();
        assert!(odd.iter().all(|(_, there)| *there == '\\') && odd.len() == 7, "{odd:?}");
    }
}
