//! Tests, checkers and broken variants of the tree, by the ids that they carry.

use std::collections::BTreeMap;

use super::ids::{self, Id};
use crate::workspace::Workspace;

/// Tables of the simulator's checkers, with what each guards.
const CHECKERS: &[&str] = &["sim/src/checker.rs", "sim/src/mail/checker.rs"];
/// Table of broken variants: `| law | fault | caught by |`.
const FAULTS: &str = "docs/internals/simulator.md";

/// Lists of broken variants: a variant, its name, the checker that must catch it.
const FAULT_LISTS: &[&str] = &["sim/src/fault.rs", "sim/src/mail.rs"];

/// Broken variants without a row in the table.
pub(super) fn undocumented_faults(workspace: &Workspace) -> Vec<String> {
    let table = workspace.text(FAULTS).unwrap_or_default();
    let lists = FAULT_LISTS.iter().filter_map(|path| workspace.text(path));
    let names: Vec<String> = lists.flat_map(|text| fault_names(&text)).collect();
    let missing = names.into_iter().filter(|name| !table.contains(&format!("`{name}`")));
    missing.map(|name| format!("{FAULTS}: the broken variant `{name}` has no row")).collect()
}

fn fault_names(text: &str) -> Vec<String> {
    let literals = text.split('"').skip(1).step_by(2);
    let plain = |c: char| c.is_ascii_lowercase() || c == '-';
    let names = literals.filter(|name| name.contains('-') && name.chars().all(plain));
    names.map(str::to_owned).collect()
}

/// Everything that carries an id: `path::name`, in the order of the files.
pub(super) fn carriers(workspace: &Workspace) -> BTreeMap<Id, Vec<String>> {
    let mut carriers: BTreeMap<Id, Vec<String>> = BTreeMap::new();
    for path in &workspace.files {
        let is_script = path.ends_with(".mjs") || path.ends_with(".js");
        if !is_script && !path.ends_with(".rs") && path != FAULTS {
            continue;
        }
        let Some(text) = workspace.text(path) else {
            continue;
        };
        let found = match path.as_str() {
            FAULTS => faults(&text),
            path if CHECKERS.contains(&path) => checkers(&text),
            _ if is_script => titles(&text),
            path => functions(&text, path.ends_with("conformance.rs")),
        };
        for (name, ids) in found {
            for id in ids {
                let tests = carriers.entry(id).or_default();
                let test = format!("{path}::{name}");
                if !tests.contains(&test) {
                    tests.push(test);
                }
            }
        }
    }
    carriers
}

/// Rust tests. The functions of a suite are tests without the attribute.
fn functions(text: &str, is_suite: bool) -> Vec<(String, Vec<Id>)> {
    let (mut found, mut comment, mut is_test) = (Vec::new(), String::new(), false);
    for line in text.lines().map(str::trim_start) {
        if let Some(words) = line.strip_prefix("//") {
            comment.push_str(words);
            comment.push(' ');
        } else if line.starts_with("#[") {
            is_test |= line.contains("test");
        } else {
            let name = function_name(line).filter(|_| is_test || is_suite);
            if let Some(name) = name {
                let mut ids = ids::in_name(name);
                ids.extend(ids::in_text(&comment));
                found.push((name.to_owned(), ids));
            }
            (comment, is_test) = (String::new(), false);
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let start =
        line.strip_prefix("fn ").or_else(|| line.split_once(" fn ").map(|(_, name)| name))?;
    start.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

/// JavaScript tests: `test("SNK-01, SNK-R3: one page …"`.
fn titles(text: &str) -> Vec<(String, Vec<Id>)> {
    let quoted = text.lines().filter_map(|line| {
        let line = line.trim_start();
        let call = line.strip_prefix("test(").or_else(|| line.strip_prefix("it("))?;
        let quote = call.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
        call[1..].split(quote).next()
    });
    let with_ids = quoted.filter_map(|title| {
        let (ids, _) = title.split_once(": ")?;
        Some((title.to_owned(), ids::in_text(ids)))
    });
    with_ids.collect()
}

/// Rows of a table of checkers: a name, then a literal of nothing but ids.
fn checkers(text: &str) -> Vec<(String, Vec<Id>)> {
    let (mut found, mut name) = (Vec::new(), String::new());
    for (at, piece) in text.split('"').enumerate() {
        let is_literal = at % 2 == 1;
        let ids = if is_literal { ids::in_text(piece) } else { Vec::new() };
        if !ids.is_empty() {
            found.push((name.clone(), ids));
            continue;
        }
        let words = piece.split(|c: char| !c.is_alphanumeric() && c != '_');
        if let Some(last) = words.rev().find(|word| word.contains('_')) {
            name = last.to_owned();
        }
    }
    found
}

/// Rows of the table of broken variants: ``| 3, I10 | `position-before-rows` | …``.
fn faults(text: &str) -> Vec<(String, Vec<Id>)> {
    let rows = text.lines().filter_map(|line| {
        let (guarded, rest) = line.strip_prefix("| ")?.split_once(" | `")?;
        let faults = rest.split(" | ").next()?.replace('`', "");
        let ids: Vec<Id> = guarded
            .split(", ")
            .flat_map(|id| match id.parse() {
                Ok(law) => vec![Id::law(law)],
                Err(_) => ids::in_text(id),
            })
            .collect();
        Some((format!("broken {faults}"), ids))
    });
    rows.collect()
}

#[cfg(test)]
mod carried {
    use super::*;

    fn shown(found: Vec<(String, Vec<Id>)>) -> Vec<String> {
        let lines = found.iter().filter(|(_, ids)| !ids.is_empty()).map(|(name, ids)| {
            let ids: Vec<String> = ids.iter().map(Id::to_string).collect();
            format!("{name}: {}", ids.join(" "))
        });
        lines.collect()
    }

    #[test]
    fn rust_tests_carry_ids_in_their_names_and_above_them() {
        let text = "/// I24: no test.\nfn product() {}\n\n/// I24: revoked.\n#[test]\n\
                    fn law_9_slow() {}\n\n#[tokio::test(flavor = \"x\")]\nasync fn i7_ahead() {}\n";

        assert_eq!(shown(functions(text, false)), ["law_9_slow: law 9 I24", "i7_ahead: I7"]);
        assert_eq!(shown(functions("fn i7_suite(mut log: L) {\n", true)), ["i7_suite: I7"]);
    }

    #[test]
    fn a_broken_variant_is_known_by_its_name() {
        let list = "(AckEarly, \"ack-early\", \"a_rule\"),\n\"a sentence - of words\"";
        assert_eq!(fault_names(list), ["ack-early"]);
    }

    #[test]
    fn titles_checkers_and_broken_variants_carry_ids() {
        let script = "  test(\"SNK-03, SNK-R3: pages\", async () => {});\n  it(`Law: x`);\n";
        let list = "    (\"a_rule\", \"law 1, I37\", a_rule),\n    m::an_other, \"I3\";\n";
        let page = "| law | fault | by |\n| 3, I10 | `early` | `x` |\n| 6 | `a`, `b` | `y` |\n";

        assert_eq!(shown(titles(script)), ["SNK-03, SNK-R3: pages: SNK-03 SNK-R3"]);
        assert_eq!(shown(checkers(list)), ["a_rule: law 1 I37", "an_other: I3"]);
        assert_eq!(shown(faults(page)), ["broken early: law 3 I10", "broken a, b: law 6"]);
    }
}
