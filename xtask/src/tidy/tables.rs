//! Lists in the code against tables in the documents, both ways.

use std::collections::BTreeSet;

use super::Violation;
use crate::Fallible;
use crate::workspace::Workspace;

/// A constant `pub const NAME: &[&str]` and the page whose tables list the same words.
struct Reference {
    what: &'static str,
    source: &'static str,
    constant: &'static str,
    page: &'static str,
}

const REFERENCES: &[Reference] = &[
    Reference {
        what: "error code",
        source: "crates/instep/src/problem.rs",
        constant: "CODES",
        page: "docs/reference/errors.md",
    },
    Reference {
        what: "config key",
        source: "crates/instep/src/config.rs",
        constant: "KEYS",
        page: "docs/reference/configuration.md",
    },
];

const REASONS: &str = "docs/decisions/dependencies.md";
const REASON_LINES: &[&str] = &["- Context: ", "- Choice: ", "- Price: "];
const NPM: &str = "web/tests/package.json";

/// Each registered word has a row, and each row is registered. Asleep until the constant exists.
pub(crate) fn check_reference(workspace: &Workspace) -> Fallible<Vec<Violation>> {
    let mut violations = Vec::new();
    for Reference { what, source, constant, page } in REFERENCES {
        let Some(words) = workspace.text(source).and_then(|text| constant_of(&text, constant))
        else {
            continue;
        };
        let rows = first_cells(&workspace.text(page).unwrap_or_default());
        for word in words.difference(&rows) {
            violations.push(format!("{page}: {what} `{word}` of {source} has no row"));
        }
        for row in rows.difference(&words) {
            violations.push(format!("{page}: `{row}` is no {what} of {source}"));
        }
    }
    Ok(violations)
}

/// Each direct dependency has a heading and three lines: context, choice, price.
pub(crate) fn check_dependencies(workspace: &Workspace) -> Fallible<Vec<Violation>> {
    let text = workspace.text(REASONS).ok_or_else(|| format!("{REASONS} is missing"))?;
    let mut wanted: BTreeSet<String> = workspace
        .packages
        .iter()
        .flat_map(|package| &package.dependencies)
        .filter(|dependency| dependency.source.is_some())
        .map(|dependency| dependency.name.clone())
        .collect();
    wanted.extend(npm_packages(workspace)?);
    let violations = wanted
        .iter()
        .filter(|name| !has_reason(&text, name))
        .map(|name| format!("{REASONS}: `### {name}` with the lines {}", REASON_LINES.join("…, ")));
    Ok(violations.collect())
}

fn npm_packages(workspace: &Workspace) -> Fallible<Vec<String>> {
    let Some(text) = workspace.text(NPM) else {
        return Ok(Vec::new());
    };
    let manifest: serde_json::Value = serde_json::from_str(&text)?;
    let names = ["dependencies", "devDependencies"]
        .into_iter()
        .filter_map(|key| manifest.get(key)?.as_object())
        .flat_map(|packages| packages.keys())
        // Aliases of one package (`phoenix-16`) share its reason.
        .map(|name| if name.starts_with("phoenix-") { "phoenix".into() } else { name.clone() });
    Ok(names.collect())
}

fn has_reason(text: &str, name: &str) -> bool {
    let heading = format!("### {name}");
    let mut lines = text.lines().skip_while(|line| line.trim_end() != heading);
    let section: Vec<&str> = match lines.next() {
        Some(_) => lines.take_while(|line| !line.starts_with('#')).collect(),
        None => return false,
    };
    REASON_LINES.iter().all(|start| section.iter().any(|line| line.starts_with(start)))
}

/// The string literals of `const NAME: … = &[ … ];`.
fn constant_of(source: &str, name: &str) -> Option<BTreeSet<String>> {
    let declaration = source.find(&format!("const {name}: "))?;
    let value = source[declaration..].split_once('=')?.1;
    let list = value.split_once("];")?.0;
    Some(list.split('"').skip(1).step_by(2).map(str::to_owned).collect())
}

/// The words in backticks that open a row of a table.
fn first_cells(page: &str) -> BTreeSet<String> {
    page.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(word, _)| word.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_and_a_table_are_read_alike() {
        let source =
            "/// All.\npub const CODES: &[&str] = &[\n    \"bad_name\",\n    \"gone\",\n];\n";
        let page = "| code | meaning |\n| --- | --- |\n| `bad_name` | … |\n| `gone` | `x` |\n";
        assert_eq!(constant_of(source, "CODES").unwrap(), first_cells(page));
        assert_eq!(constant_of(source, "KEYS"), None);
    }

    #[test]
    fn a_reason_has_all_three_lines() {
        let text = "### a\n- Context: x\n- Choice: y\n- Price: z\n### b\n- Context: x\n";
        assert!(has_reason(text, "a"));
        assert!(!has_reason(text, "b"));
        assert!(!has_reason(text, "c"));
    }
}
