//! Walks through the code: each `file.rs:function` of the architecture page exists.

use super::Violation;
use crate::workspace::Workspace;
use crate::{Fallible, markdown, source};

const MAP: &str = "ARCHITECTURE.md";

/// Looks for each file, below `crates` or from the root, and in it for the function that is named.
pub(crate) fn check(workspace: &Workspace) -> Fallible<Vec<Violation>> {
    let map = workspace.text(MAP).ok_or_else(|| format!("{MAP} is missing"))?;
    let mut violations = Vec::new();
    for (file, function) in stops(&map) {
        let paths = [format!("crates/{file}"), file.to_owned()];
        let Some(text) = paths.iter().find_map(|path| workspace.text(path)) else {
            violations.push(format!("{MAP}: there is no {file}"));
            continue;
        };
        let is_there = function.is_none_or(|name| has_function(&source::masked(&text), name));
        if let Some(name) = function.filter(|_| !is_there) {
            violations.push(format!("{MAP}: {file} has no function {name}"));
        }
    }
    Ok(violations)
}

/// Files between back-ticks, with the function that follows behind a colon.
fn stops(map: &str) -> Vec<(&str, Option<&str>)> {
    let code = map.lines().flat_map(markdown::code);
    code.filter_map(|code| match code.split_once(".rs:") {
        Some((file, function)) => Some((&code[..file.len() + 3], Some(function))),
        None => code.ends_with(".rs").then_some((code, None)),
    })
    .collect()
}

/// `Type::name` is a function of a file that has an `impl` of the type.
fn has_function(masked: &str, name: &str) -> bool {
    let (of, name) = match name.split_once("::") {
        Some((of, name)) => (Some(of), name),
        None => (None, name),
    };
    let is_of = |of: &str| {
        masked.lines().any(|line| line.trim_start().starts_with("impl") && mentions(line, of))
    };
    let is_named =
        |rest: &str| rest.strip_prefix(name).is_some_and(|after| after.starts_with(['(', '<']));
    of.is_none_or(is_of) && masked.split("fn ").skip(1).any(is_named)
}

fn mentions(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|one| one == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_a_file_and_mostly_a_function_of_it() {
        let map = "see `a/src/b.rs:f`, `a/src/c.rs`, `f`\n`a/src/b.rs:T::g`\n";

        let expected =
            [("a/src/b.rs", Some("f")), ("a/src/c.rs", None), ("a/src/b.rs", Some("T::g"))];
        assert_eq!(stops(map), expected);
    }

    #[test]
    fn a_function_that_was_renamed_is_missed() {
        let text = "impl<T> Part<T> {\n    fn give(&self) {}\n}\nfn free() {}\n";

        assert!(has_function(text, "Part::give") && has_function(text, "free"));
        assert!(!has_function(text, "Other::give") && !has_function(text, "Part::gave"));
    }
}
