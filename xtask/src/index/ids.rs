//! Ids of laws, rows and invariants, in names and in text.

use std::fmt;

const FAMILIES: &[&str] = &["INS", "JAN", "POL", "SMQ", "SNK"];

/// An id. Laws come before invariants, and invariants before rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    rank: u8,
    family: String,
    kind: String,
    number: u32,
}

impl Id {
    /// A law of ARCHITECTURE.md.
    pub(crate) fn law(number: u32) -> Self {
        Self { rank: 0, family: "law".into(), kind: String::new(), number }
    }

    /// An invariant of docs/internals/invariants.md.
    pub(crate) fn invariant(number: u32) -> Self {
        Self { rank: 1, family: "I".into(), kind: String::new(), number }
    }

    /// `SNK` and `R1` of `SNK-R1`.
    fn row(family: &str, number: &str) -> Option<Self> {
        let family = family.to_ascii_uppercase();
        let digits = number.trim_start_matches(['R', 'U', 'r', 'u']);
        let kind = number[..number.len() - digits.len()].to_ascii_uppercase();
        let known = FAMILIES.contains(&family.as_str()) && kind.len() <= 1;
        let number = known.then(|| digits.parse().ok())??;
        Some(Self { rank: 2, family, kind, number })
    }

    /// `law`, `I` or the family of the row.
    pub(crate) fn family(&self) -> &str {
        &self.family
    }

    /// Returns true for rows of docs/requirements.md.
    pub(crate) fn is_row(&self) -> bool {
        self.rank == 2
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rank, family, kind, number } = self;
        let text = match (rank, kind.as_str()) {
            (0, _) => format!("law {number}"),
            (1, _) => format!("I{number}"),
            (_, "") => format!("{family}-{number:02}"),
            _ => format!("{family}-{kind}{number}"),
        };
        f.pad(&text)
    }
}

/// Ids at the start of a function's name: `law_5_…`, `i41_i43_…`, `smq_19_and_23_…`.
///
/// Only there: further on, `i8` is a type.
pub(crate) fn in_name(name: &str) -> Vec<Id> {
    let name = name.strip_prefix("crash_").unwrap_or(name);
    let words: Vec<&str> = name.split('_').collect();
    let (mut found, mut at) = (Vec::<Id>::new(), 0);
    while let Some(&word) = words.get(at) {
        let next = words.get(at + 1).copied().unwrap_or_default();
        let (id, length) = if word == "law" {
            (next.parse().ok().map(Id::law), 2)
        } else if word == "and" {
            (found.last().and_then(|last| Id::row(&last.family, next)), 2)
        } else if let Some(number) = word.strip_prefix('i').and_then(|n| n.parse().ok()) {
            (Some(Id::invariant(number)), 1)
        } else {
            (Id::row(word, next), 2)
        };
        let Some(id) = id else {
            break;
        };
        found.push(id);
        at += length;
    }
    found
}

/// Ids anywhere in a comment or in a list: `Law 5, I45`, `SNK-R1`.
pub(crate) fn in_text(text: &str) -> Vec<Id> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let law = word.strip_prefix("law").or_else(|| word.strip_prefix("Law"));
        let id = match law {
            Some("") => words.get(at + 1).and_then(|n| n.parse().ok()).map(Id::law),
            Some(number) => number.parse().ok().map(Id::law),
            None => match (word.strip_prefix('I'), word.split_once('-')) {
                (_, Some((family, number))) => Id::row(family, number),
                (Some(number), None) => number.parse().ok().map(Id::invariant),
                (None, None) => None,
            },
        };
        found.extend(id);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(ids: Vec<Id>) -> Vec<String> {
        ids.iter().map(Id::to_string).collect()
    }

    #[test]
    fn a_name_begins_with_its_ids() {
        assert_eq!(texts(in_name("law_5_an_id_is_used_once")), ["law 5"]);
        assert_eq!(texts(in_name("i41_i43_a_move_fences")), ["I41", "I43"]);
        assert_eq!(texts(in_name("smq_19_and_23_a_server")), ["SMQ-19", "SMQ-23"]);
        assert_eq!(texts(in_name("jan_10_jan_r1_a_session")), ["JAN-10", "JAN-R1"]);
        assert_eq!(texts(in_name("a_number_is_an_i8_at_most")), [""; 0]);
    }

    #[test]
    fn a_comment_holds_ids_anywhere() {
        assert_eq!(texts(in_text("Law 5, I45: an id")), ["law 5", "I45"]);
        assert_eq!(texts(in_text("SMQ-19 and SNK-R1, law5")), ["SMQ-19", "SNK-R1", "law 5"]);
        assert_eq!(texts(in_text("In a law, UTF-8, I and 7")), [""; 0]);
    }
}
