//! Names that say nothing, doc comments that begin with a question, pronouns where a noun exists,
//! leftovers of work, and traces of the machine it was done on.

use std::collections::BTreeMap;

use super::Violation;
use super::ratchet::{self, Exceptions};
use crate::workspace::Workspace;
use crate::{Fallible, source};

/// Whole names of source files that have no subject.
const EMPTY_FILE_NAMES: &[&str] = &[
    "util",
    "utils",
    "helper",
    "helpers",
    "common",
    "misc",
    "manager",
    "handler",
    "handlers",
    "processor",
    "service",
    "info",
    "data",
];

/// Last words of type names that have no subject.
const EMPTY_TYPE_WORDS: &[&str] = &[
    "Util",
    "Utils",
    "Helper",
    "Helpers",
    "Common",
    "Misc",
    "Manager",
    "Handler",
    "Processor",
    "Service",
];

/// Code that is not finished. Spelled in halves, so that this file passes its own rule.
const UNFINISHED: &[&str] = &["todo!", "unimplemented!", "dbg!", "#[ignore"];
const NOTE_TO_SELF: &str = concat!("FIX", "ME");

/// Places that exist on one machine only, and addresses of package registries.
const MACHINE: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/tm", "p/bash"),
    concat!("registry.npm", "js.org"),
    concat!("static.crates", ".io"),
    concat!("index.crates", ".io"),
];

/// First words of doc comments that name nothing a reader would search for.
const QUESTIONS: &[&str] = &[
    "What", "Whatever", "Who", "Whose", "Which", "How", "When", "Where", "Whether", "Why", "That",
    "Those", "Anyone",
];

/// Pronouns that stand where a noun exists: client, caller, subscriber, operator, process.
/// Spelled in halves, so that this file passes its own rule.
const PRONOUNS: &[&str] = &[
    concat!("some", "body"),
    concat!("some", "one"),
    concat!("any", "body"),
    concat!("every", "body"),
    concat!("every", "one"),
    concat!("no", "body"),
    concat!("who", "ever"),
    concat!("who", "m"),
    concat!("those ", "who"),
];

/// Files that may say them: the rule with its examples, and texts of others.
const QUOTES: &[&str] = &["STYLE.md", "LICENSE"];

/// Reads every text file once.
pub(crate) fn check(workspace: &Workspace) -> Fallible<Vec<Violation>> {
    let mut violations = Vec::new();
    let Exceptions { openings: excused, .. } = Exceptions::read(workspace)?;
    let mut openings = BTreeMap::new();
    for path in &workspace.files {
        violations.extend(check_name(path));
        let Some(text) = workspace.text(path) else {
            continue;
        };
        for found in MACHINE.iter().filter(|trace| text.contains(**trace)) {
            violations.push(format!("{path}: `{found}` is of one machine or registry only"));
        }
        if is_code(path) && text.contains(NOTE_TO_SELF) {
            violations.push(format!("{path}: {NOTE_TO_SELF}: mend it or write a requirement row"));
        }
        if is_prose(path) {
            violations.extend(check_pronouns(path, &text));
        }
        if path.ends_with(".rs") {
            violations.extend(check_rust(path, &source::masked(&text)));
            let found = check_docs(path, &text);
            openings.insert(path.clone(), found.len());
            if !excused.contains_key(path) {
                violations.extend(found);
            }
        }
    }
    openings.retain(|path, _| excused.contains_key(path));
    violations.extend(ratchet::hold("openings of doc comments", 0, &openings, &excused));
    Ok(violations)
}

fn is_prose(path: &str) -> bool {
    let is_quote = QUOTES.iter().any(|quote| path.contains(quote));
    !is_quote && [".rs", ".md"].iter().any(|end| path.ends_with(end))
}

/// Finds pronouns in comments, messages and names, where `_` parts words as a space does.
fn check_pronouns(path: &str, text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let parted = line.replace(|c: char| !c.is_alphanumeric(), " ").to_lowercase();
        let padded = format!(" {parted} ");
        for word in PRONOUNS.iter().filter(|word| padded.contains(&format!(" {word} "))) {
            violations.push(format!("{path}:{}: write a noun instead of `{word}`", index + 1));
        }
    }
    violations
}

fn check_name(path: &str) -> Option<Violation> {
    let file = path.rsplit('/').next()?;
    if file == "mod.rs" {
        return Some(format!("{path}: write foo.rs beside foo/ instead of a mod.rs"));
    }
    let stem = file.split('.').next()?;
    (is_code(path) && EMPTY_FILE_NAMES.contains(&stem))
        .then(|| format!("{path}: `{stem}` has no subject: name what it does"))
}

fn check_rust(path: &str, masked: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (index, line) in masked.lines().enumerate() {
        let at = format!("{path}:{}", index + 1);
        for word in UNFINISHED.iter().filter(|word| line.contains(**word)) {
            violations.push(format!("{at}: `{word}` does not belong on main"));
        }
        if let Some(name) = declared_type(line)
            && EMPTY_TYPE_WORDS.iter().any(|word| name.ends_with(word))
        {
            violations.push(format!("{at}: `{name}` has no subject: name what it does"));
        }
    }
    violations
}

fn check_docs(path: &str, text: &str) -> Vec<Violation> {
    let (mut violations, mut within) = (Vec::new(), false);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let doc = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"));
        let first = doc.filter(|_| !within).and_then(|doc| doc.split_whitespace().next());
        if let Some(word) = first.filter(|word| QUESTIONS.contains(word)) {
            let at = format!("{path}:{}", index + 1);
            let wanted = "begin with the noun that the field would search for";
            violations.push(format!("{at}: {wanted}, not with `{word}`"));
        }
        within = doc.is_some();
    }
    violations
}

fn declared_type(line: &str) -> Option<&str> {
    let mut words =
        line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty());
    words.find(|word| matches!(*word, "struct" | "enum" | "trait" | "union"))?;
    words.next()
}

fn is_code(path: &str) -> bool {
    [".rs", ".js", ".mjs", ".ts", ".svelte", ".sh"].iter().any(|end| path.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_a_subject_are_found() {
        assert!(check_name("crates/x/src/utils.rs").is_some());
        assert!(check_name("crates/x/src/x/mod.rs").is_some());
        assert!(check_name("web/tests/helper.mjs").is_some());
        assert!(check_name("crates/x/src/database.rs").is_none());
        assert!(check_name("docs/data.md").is_none());
    }

    #[test]
    fn types_without_a_subject_and_unfinished_code_are_found() {
        assert_eq!(check_rust("x.rs", "pub(crate) struct TopicManager<T> {").len(), 1);
        assert_eq!(check_rust("x.rs", "    todo!()\n    dbg!(a);\n").len(), 2);
        assert!(check_rust("x.rs", "struct Ring;\nuse tower::Service;\n").is_empty());
    }

    #[test]
    fn pronouns_are_found_in_comments_messages_and_names() {
        let found = |line: &str| check_pronouns("x.rs", line).len();
        assert_eq!(found(concat!("// No", "body reads it.")), 1);
        assert_eq!(found(concat!("fn a_log_that_no", "body_reads() {}")), 1);
        assert_eq!(found(concat!("error(\"those ", "who wait\")")), 1);
        assert_eq!(found("// A bodyguard of anyone, by whose right?"), 0);
    }

    #[test]
    fn doc_comments_that_begin_with_a_question_are_found() {
        assert_eq!(check_docs("x.rs", "/// What a client may not any more.\nstruct A;").len(), 1);
        assert_eq!(check_docs("x.rs", "    /// How long it waits.\n    a: u64,").len(), 1);
        let fine = "/// Revocation: closes channels\n/// Whose right was lost.\n// What it is.\n";
        assert!(check_docs("x.rs", fine).is_empty());
    }
}
