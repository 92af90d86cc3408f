//! docs/requirements.md: every row is there, and a row that is done names a test that exists.
//!
//! A row is `| id | capability | check | state | test |`. The test column of a done row holds test
//! names in backticks: a Rust function, or the title of a JavaScript test. A named test counts
//! when a file of the tree holds both its name and the row's id (`SNK-01` or `snk_01`).

use std::collections::{BTreeMap, BTreeSet};

use crate::workspace::Workspace;
use crate::{Fallible, markdown};

const TABLE: &str = "docs/requirements.md";
const STATES: &[&str] = &["done", "planned", "later"];

/// The families of rows and how many each has: a capability may wait, but not vanish.
const FAMILIES: &[(&str, u32)] = &[
    ("INS-", 26),
    ("INS-R", 5),
    ("INS-U", 3),
    ("SMQ-", 27),
    ("SMQ-R", 5),
    ("SMQ-U", 3),
    ("SNK-", 23),
    ("SNK-R", 8),
    ("SNK-U", 8),
    ("POL-", 25),
    ("POL-R", 13),
    ("POL-U", 8),
    ("JAN-", 18),
    ("JAN-R", 11),
    ("JAN-U", 7),
];

/// A row of the table.
pub(crate) struct Row {
    /// The id, such as `SNK-R1`.
    pub(crate) id: String,
    /// The capability, in a line.
    pub(crate) capability: String,
    /// One of [`STATES`].
    pub(crate) state: String,
    /// Names of tests.
    pub(crate) tests: Vec<String>,
}

/// Prints how far the project is, then the faults of the table.
pub(crate) fn run(workspace: &Workspace, _args: &[String]) -> Fallible<()> {
    let mut counts: BTreeMap<String, BTreeMap<String, u32>> = BTreeMap::new();
    for row in read(workspace)? {
        let family = row.id.split('-').next().unwrap_or_default().to_owned();
        *counts.entry(family).or_default().entry(row.state).or_default() += 1;
    }
    for (family, states) in &counts {
        let states: Vec<String> = states.iter().map(|(s, n)| format!("{n} {s}")).collect();
        println!("{family}: {}", states.join(", "));
    }
    let violations = check(workspace)?;
    for violation in &violations {
        println!("  {violation}");
    }
    if violations.is_empty() { Ok(()) } else { Err(format!("{TABLE} is not true").into()) }
}

/// Checks the table, as a rule of tidy.
pub(crate) fn check(workspace: &Workspace) -> Fallible<Vec<String>> {
    let rows = read(workspace)?;
    let mut violations = missing_rows(&rows);
    let sources = test_sources(workspace);
    for row in &rows {
        if !STATES.contains(&row.state.as_str()) {
            violations.push(format!("{}: `{}` is no state", row.id, row.state));
        }
        if row.state != "done" {
            continue;
        }
        if row.tests.is_empty() {
            violations.push(format!("{}: done, but names no test", row.id));
        }
        for test in row.tests.iter().filter(|test| !proves(&sources, test, &row.id)) {
            violations.push(format!(
                "{}: no file of the tree holds both the test `{test}` and the id",
                row.id
            ));
        }
    }
    Ok(violations)
}

/// Reads the rows.
pub(crate) fn read(workspace: &Workspace) -> Fallible<Vec<Row>> {
    let text = workspace.text(TABLE).ok_or_else(|| format!("{TABLE} is missing"))?;
    Ok(text.lines().filter_map(row).collect())
}

fn row(line: &str) -> Option<Row> {
    let inner = line.strip_prefix("| ")?.strip_suffix(" |").or(line.strip_prefix("| "))?;
    let cells: Vec<&str> = inner.split(" | ").map(|cell| cell.trim().trim_matches('|')).collect();
    let id = cells.first()?.trim();
    let (family, number) = id.split_once('-')?;
    let known = family.len() == 3 && number.chars().any(|c| c.is_ascii_digit());
    if !known {
        return None;
    }
    let tests = cells.get(4).copied().unwrap_or_default();
    Some(Row {
        id: id.to_owned(),
        capability: cells.get(1).copied().unwrap_or_default().to_owned(),
        state: cells.get(3).copied().unwrap_or_default().trim().to_owned(),
        tests: markdown::code(tests).map(str::to_owned).collect(),
    })
}

fn missing_rows(rows: &[Row]) -> Vec<String> {
    let expected: BTreeSet<String> = FAMILIES
        .iter()
        .flat_map(|&(family, count)| (1..=count).map(move |n| id_of(family, n)))
        .collect();
    let mut found = BTreeSet::new();
    let mut violations = Vec::new();
    for row in rows {
        if !found.insert(row.id.clone()) {
            violations.push(format!("{TABLE}: {} has two rows", row.id));
        }
    }
    violations.extend(expected.difference(&found).map(|id| format!("{TABLE}: {id} is missing")));
    violations.extend(
        found.difference(&expected).map(|id| format!("{id}: raise its family in FAMILIES (xtask)")),
    );
    violations
}

/// Plain rows have two digits (`SNK-01`), troubles and extras none to spare (`SNK-R1`).
fn id_of(family: &str, number: u32) -> String {
    if family.ends_with('-') { format!("{family}{number:02}") } else { format!("{family}{number}") }
}

/// Texts of all Rust and JavaScript files: tests are among them.
fn test_sources(workspace: &Workspace) -> Vec<String> {
    ["rs", "mjs", "js"]
        .into_iter()
        .flat_map(|extension| workspace.files_with(extension))
        .filter_map(|path| workspace.text(path))
        .collect()
}

fn proves(sources: &[String], test: &str, id: &str) -> bool {
    let name = test.rsplit("::").next().unwrap_or(test);
    let in_names = id.to_lowercase().replace('-', "_");
    sources.iter().any(|text| {
        let function = text.contains(&format!("fn {name}("));
        let title = ["\"", "'", "`"].iter().any(|q| text.contains(&format!("{q}{name}")));
        (function || title) && (text.contains(id) || text.contains(&in_names))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_from_its_cells() {
        let row = row("| SNK-01 | a page | H → 200 | done | `a::one_page`, `two` |").unwrap();
        assert_eq!((row.id.as_str(), row.state.as_str()), ("SNK-01", "done"));
        assert_eq!(row.tests, ["a::one_page", "two"]);
    }

    #[test]
    fn headings_and_rules_are_no_rows() {
        assert!(row("| id | capability | check | state | test |").is_none());
        assert!(row("| --- | --- | --- | --- | --- |").is_none());
    }

    #[test]
    fn an_empty_test_column_is_no_test() {
        let row = row("| SNK-R1 | a | b | later | |").unwrap();
        assert_eq!(row.state, "later");
        assert!(row.tests.is_empty());
    }

    #[test]
    fn a_test_proves_a_row_only_where_the_id_stands_too() {
        let sources = ["/// XXX-01\nfn one_page() {}".to_owned(), "fn two() {}".to_owned()];
        assert!(proves(&sources, "shop::one_page", "XXX-01"));
        assert!(!proves(&sources, "two", "XXX-01"));
    }
}
