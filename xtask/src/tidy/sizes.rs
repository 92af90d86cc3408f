//! Length limits of lines and files. That of functions is clippy's (`too_many_lines`).

use std::collections::BTreeMap;

use super::Violation;
use super::ratchet::{self, Exceptions};
use crate::workspace::Workspace;
use crate::{Fallible, source};

const COLUMNS: usize = 100;
const FILE_LINES: usize = 500;

/// Measures every Rust file.
pub(crate) fn check(workspace: &Workspace) -> Fallible<Vec<Violation>> {
    let exceptions = Exceptions::read(workspace)?;
    let mut violations = Vec::new();
    let mut files = BTreeMap::new();
    for path in workspace.files_with("rs") {
        let text = workspace.text(path).ok_or_else(|| format!("{path} is not text"))?;
        for (index, line) in text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS {
                violations.push(format!("{path}:{}: {columns} columns of {COLUMNS}", index + 1));
            }
        }
        if !is_test(path) {
            files.insert(path.to_owned(), source::production_lines(&source::masked(&text)));
        }
    }
    violations.extend(ratchet::hold("lines", FILE_LINES, &files, &exceptions.files));
    Ok(violations)
}

/// Test files have no line limit: a specification is as long as what it specifies.
pub(super) fn is_test(path: &str) -> bool {
    path.split('/').any(|part| matches!(part, "tests" | "tests.rs" | "benches"))
}
