//! Index of tests: each law, row and invariant, and where it is held.
//!
//! A test carries the ids of what it holds at the start of its name (`law_5_…`,
//! `smq_19_and_23_…`), in the comment above it, or, in JavaScript, at the start of its title. A
//! checker of the simulator carries them in its table, a broken variant in
//! docs/internals/simulator.md.

mod ids;
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::workspace::Workspace;
use crate::{Fallible, requirements};
use ids::Id;

const LAWS: &str = "ARCHITECTURE.md";
const INVARIANTS: &str = "docs/internals/invariants.md";
const LAST_INVARIANT: u32 = 53;

/// States of an invariant, and whether tests hold it.
const STATES: &[(&str, bool)] = &[("held", true), ("part", true), ("gap", false), ("later", false)];

/// One line of the table.
struct Entry {
    id: Id,
    text: String,
    /// `held`, `part`, `gap` or `later` for laws and invariants, the state of the row for rows.
    state: String,
    /// Tests and checkers that carry the id: `path::name`.
    tests: Vec<String>,
}

/// Prints the table, or of it the ids named, such as `I8`, `law5` or `SMQ-17`.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Fallible<()> {
    let wanted: Vec<Id> = args.iter().flat_map(|arg| ids::in_text(arg)).collect();
    if wanted.len() != args.len() {
        return Err("usage: cargo xtask index [I8 | law5 | SMQ-17 …]".into());
    }
    let mut sums: BTreeMap<String, usize> = BTreeMap::new();
    for Entry { id, text, state, tests } in entries(workspace)? {
        *sums.entry(format!("{} {state}", id.family())).or_default() += 1;
        if !wanted.is_empty() && !wanted.contains(&id) {
            continue;
        }
        println!("{id:<7} {state:<8} {text}");
        for test in tests {
            println!("{:16} {test}", "");
        }
    }
    if wanted.is_empty() {
        let sums: Vec<String> = sums.iter().map(|(what, n)| format!("{what}: {n}")).collect();
        println!("\n{}", sums.join(", "));
    }
    Ok(())
}

/// Checks the states of laws and invariants, and that no test carries an id that nothing has.
pub(crate) fn check(workspace: &Workspace) -> Fallible<Vec<String>> {
    let entries = entries(workspace)?;
    let mut violations = Vec::new();
    for entry in entries.iter().filter(|entry| !entry.id.is_row()) {
        let Entry { id, state, tests, .. } = entry;
        match STATES.iter().find(|(name, _)| name == state) {
            None => violations.push(format!("{INVARIANTS}: {id}: `{state}` is no state")),
            Some((_, true)) if tests.is_empty() => violations.push(format!(
                "{id} is `{state}`, but no test carries it: name one after it, or say `gap`"
            )),
            Some((_, false)) if !tests.is_empty() => {
                violations.push(format!("{id} is `{state}`, but {} carries it", tests[0]));
            }
            Some(_) => {}
        }
    }
    let known: BTreeSet<&Id> = entries.iter().map(|entry| &entry.id).collect();
    let numbers = known.iter().filter(|id| id.family() == "I").count();
    if numbers != LAST_INVARIANT as usize {
        violations
            .push(format!("{INVARIANTS}: {numbers} of {LAST_INVARIANT} invariants have a row"));
    }
    for (id, tests) in tests::carriers(workspace).iter().filter(|(id, _)| !known.contains(id)) {
        violations.push(format!("{}: there is no {id}", tests[0]));
    }
    violations.extend(tests::undocumented_faults(workspace));
    Ok(violations)
}

fn entries(workspace: &Workspace) -> Fallible<Vec<Entry>> {
    let carriers = tests::carriers(workspace);
    let of = |id: &Id| carriers.get(id).cloned().unwrap_or_default();
    let text = |path| workspace.text(path).ok_or_else(|| format!("{path} is missing"));
    let mut entries: Vec<Entry> = laws(&text(LAWS)?)
        .into_iter()
        .map(|(id, text)| Entry { tests: of(&id), id, text, state: "held".into() })
        .collect();
    entries.extend(invariants(&text(INVARIANTS)?).map(|(id, text, state)| Entry {
        tests: of(&id),
        id,
        text,
        state,
    }));
    for row in requirements::read(workspace)? {
        let Some(id) = ids::in_text(&row.id).pop() else {
            continue;
        };
        let mut tests = of(&id);
        let named = row.tests.into_iter().filter(|name| !tests.iter().any(|t| t.ends_with(name)));
        tests.extend(named.collect::<Vec<_>>());
        entries.push(Entry { id, text: row.capability, state: row.state, tests });
    }
    Ok(entries)
}

/// `1. Law 1: An acknowledged …`, over as many lines as are indented.
fn laws(map: &str) -> Vec<(Id, String)> {
    let mut laws: Vec<(Id, String)> = Vec::new();
    let mut within = false;
    for line in map.lines() {
        let law = line.split_once(". Law ").and_then(|(_, law)| law.split_once(": "));
        let law = law.and_then(|(number, text)| Some((Id::law(number.parse().ok()?), text)));
        within = law.is_some() || within && line.starts_with("  ");
        match (law, laws.last_mut()) {
            (Some((id, text)), _) => laws.push((id, text.to_owned())),
            (None, Some((_, text))) if within => *text = format!("{text} {}", line.trim()),
            (None, _) => {}
        }
    }
    laws
}

/// `| I1 | A position is … | held | |`
fn invariants(page: &str) -> impl Iterator<Item = (Id, String, String)> {
    page.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| I")?.split('|').map(str::trim).collect();
        let number = cells.first()?.parse().ok()?;
        Some((Id::invariant(number), (*cells.get(1)?).to_owned(), (*cells.get(2)?).to_owned()))
    })
}

#[cfg(test)]
mod table {
    use super::*;

    #[test]
    fn laws_and_invariants_are_read_from_their_pages() {
        let map = "1. Law 1: Durable first\n   and visible then.\n\n  2. no law\n";
        let page = "| id | text |\n| --- | --- |\n| I7 | Unknown is a reset. | part | no |\n";

        assert_eq!(laws(map), [(Id::law(1), "Durable first and visible then.".into())]);
        let expected = (Id::invariant(7), "Unknown is a reset.".into(), "part".into());
        assert_eq!(invariants(page).collect::<Vec<_>>(), [expected]);
    }
}
