//! Glossary: the types that it names exist, and its terms stand in order.

use std::collections::BTreeSet;

use super::Violation;
use crate::workspace::Workspace;
use crate::{Fallible, markdown, source};

const PAGE: &str = "docs/glossary.md";

/// Looks for each type in backticks of the last column.
pub(crate) fn check(workspace: &Workspace) -> Fallible<Vec<Violation>> {
    let page = workspace.text(PAGE).ok_or_else(|| format!("{PAGE} is missing"))?;
    let rows: Vec<(&str, Vec<&str>)> = page.lines().filter_map(row).collect();
    let declared: BTreeSet<String> = workspace
        .files_with("rs")
        .filter_map(|path| workspace.text(path))
        .flat_map(|text| types(&source::masked(&text)))
        .collect();
    let mut violations = Vec::new();
    for (term, names) in &rows {
        for name in names.iter().filter(|name| !declared.contains(**name)) {
            violations.push(format!("{PAGE}: {term}: there is no type `{name}`"));
        }
    }
    for pair in rows.windows(2).filter(|pair| pair[0].0.to_lowercase() >= pair[1].0.to_lowercase())
    {
        violations.push(format!("{PAGE}: `{}` stands before `{}`", pair[1].0, pair[0].0));
    }
    Ok(violations)
}

/// Term and types of `| term | here | in the code |`.
fn row(line: &str) -> Option<(&str, Vec<&str>)> {
    let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
    let [term, _, code] = cells[..] else {
        return None;
    };
    let is_head = term == "term" || term.starts_with("--");
    (!is_head).then(|| (term, markdown::code(code).collect()))
}

/// Names behind `struct`, `enum`, `trait` and `type`.
fn types(masked: &str) -> Vec<String> {
    let words: Vec<&str> = masked
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .collect();
    let pairs = words.windows(2);
    let declared = pairs.filter(|pair| matches!(pair[0], "struct" | "enum" | "trait" | "type"));
    declared.map(|pair| pair[1].to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_and_types_are_read_from_rows_and_from_code() {
        assert_eq!(
            row("| ring | last frames | `Ring`, `Cursor` |"),
            Some(("ring", vec!["Ring", "Cursor"]))
        );
        assert_eq!(row("| term | here | in the code |"), None);
        assert_eq!(types("pub struct Ring<T>;\nenum Read { A }\n"), ["Ring", "Read"]);
    }
}
