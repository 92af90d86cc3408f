//! The rules a machine can hold, so that people need not.
//!
//! Each rule is a file below `tidy/` with one `check`, which returns faults as sentences that say
//! how to mend it. The tests at the end are the rules by name.

mod architecture;
mod circles;
mod glossary;
mod layers;
mod links;
mod lints;
mod ratchet;
mod sizes;
mod subjects;
mod tables;
mod walks;
mod words;

use crate::workspace::Workspace;
use crate::{Fallible, index, requirements};

/// One sentence: where, what, and how to mend it.
type Violation = String;

type Rule = fn(&Workspace) -> Fallible<Vec<Violation>>;

const RULES: &[(&str, Rule)] = &[
    ("layers", layers::check),
    ("runtime-free crates", layers::check_runtime),
    ("circles", circles::check),
    ("floors", circles::check_floors),
    ("words", words::check),
    ("sizes", sizes::check),
    ("lints", lints::check),
    ("subjects of commits", subjects::check),
    ("architecture", architecture::check),
    ("walks", walks::check),
    ("links", links::check),
    ("glossary", glossary::check),
    ("reference tables", tables::check_reference),
    ("dependency reasons", tables::check_dependencies),
    ("requirements", requirements::check),
    ("index of tests", index::check),
];

/// Runs every rule and prints what each found.
pub(crate) fn run(workspace: &Workspace, _args: &[String]) -> Fallible<()> {
    let mut broken = 0;
    for (name, rule) in RULES {
        let violations = rule(workspace)?;
        println!("tidy: {name}: {}", if violations.is_empty() { "ok" } else { "broken" });
        for violation in &violations {
            println!("  {violation}");
        }
        broken += violations.len();
    }
    if broken == 0 { Ok(()) } else { Err(format!("{broken} violations").into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(rule: Rule) {
        let violations = rule(&Workspace::open().unwrap()).unwrap();
        assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
    }

    /// SNK-23: the pure crates and the shop know nothing of what lies above them.
    #[test]
    fn crates_depend_downwards_only() {
        holds(layers::check);
    }

    #[test]
    fn pure_crates_have_no_runtime_in_their_tree() {
        holds(layers::check_runtime);
    }

    #[test]
    fn no_circle_has_more_than_three_files() {
        holds(circles::check);
    }

    #[test]
    fn the_floors_of_a_crate_know_those_below_only() {
        holds(circles::check_floors);
    }

    #[test]
    fn names_and_text_keep_to_the_words_of_the_house() {
        holds(words::check);
    }

    #[test]
    fn files_stay_short() {
        holds(sizes::check);
    }

    #[test]
    fn subjects_of_commits_are_short() {
        holds(subjects::check);
    }

    #[test]
    fn a_crates_own_lints_repeat_those_of_the_workspace() {
        holds(lints::check);
    }

    #[test]
    fn the_architecture_names_every_crate_and_every_law() {
        holds(architecture::check);
    }

    #[test]
    fn the_walks_name_functions_that_exist() {
        holds(walks::check);
    }

    #[test]
    fn relative_links_and_paths_of_code_resolve() {
        holds(links::check);
    }

    #[test]
    fn the_glossary_names_types_that_exist() {
        holds(glossary::check);
    }

    #[test]
    fn error_codes_and_config_keys_are_documented() {
        holds(tables::check_reference);
    }

    #[test]
    fn every_direct_dependency_has_its_reason() {
        holds(tables::check_dependencies);
    }

    #[test]
    fn laws_and_invariants_that_are_held_are_carried_by_tests() {
        holds(index::check);
    }

    #[test]
    fn requirements_that_are_done_name_their_test() {
        holds(requirements::check);
    }
}
