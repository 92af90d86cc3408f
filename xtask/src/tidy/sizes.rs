//! Length limits of lines, files and functions.

use std::collections::BTreeMap;

use super::Violation;
use super::ratchet::{self, Exceptions};
use crate::workspace::Workspace;
use crate::{Fallible, source};

const COLUMNS: usize = 100;
const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

/// Measures every Rust file.
pub(crate) fn check(workspace: &Workspace) -> Fallible<Vec<Violation>> {
    let exceptions = Exceptions::read(workspace)?;
    let mut violations = Vec::new();
    let (mut files, mut functions) = (BTreeMap::new(), BTreeMap::new());
    for path in workspace.files_with("rs") {
        let text = workspace.text(path).ok_or_else(|| format!("{path} is not text"))?;
        for (index, line) in text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS {
                violations.push(format!("{path}:{}: {columns} columns of {COLUMNS}", index + 1));
            }
        }
        let masked = source::masked(&text);
        if !is_test(path) {
            files.insert(path.to_owned(), source::production_lines(&masked));
        }
        for function in source::functions(&masked) {
            // Two functions of one name share an entry, and the longer one is measured.
            let longest = functions.entry(format!("{path}::{}", function.name)).or_insert(0);
            *longest = function.lines.max(*longest);
        }
    }
    violations.extend(ratchet::hold(FILE_LINES, &files, &exceptions.files));
    violations.extend(ratchet::hold(FUNCTION_LINES, &functions, &exceptions.functions));
    Ok(violations)
}

/// Test files have no line limit: a specification is as long as what it specifies.
fn is_test(path: &str) -> bool {
    path.split('/').any(|part| matches!(part, "tests" | "tests.rs" | "benches"))
}
