//! The map names every crate and every law, and folders have the names of their packages.

use super::Violation;
use crate::Fallible;
use crate::workspace::Workspace;

const MAP: &str = "ARCHITECTURE.md";
const LAWS: u32 = 10;

/// Looks for each crate's package name or directory, and for `Law 1` … `Law 10` or a numbered
/// list under a heading that says "Laws".
pub(crate) fn check(workspace: &Workspace) -> Fallible<Vec<Violation>> {
    let Some(map) = workspace.text(MAP) else {
        return Ok(Vec::new());
    };
    let mut violations = Vec::new();
    for package in &workspace.packages {
        let directory = workspace.directory_of(package).unwrap_or(&package.name);
        if !map.contains(&format!("`{}`", package.name)) && !map.contains(directory) {
            violations.push(format!("{MAP}: say what `{}` is for", package.name));
        }
        if !is_named_after(directory, &package.name) {
            violations.push(format!("{directory}: not the name of its package, {}", package.name));
        }
    }
    violations.extend(
        (1..=LAWS)
            .filter(|&law| !names_law(&map, law))
            .map(|law| format!("{MAP}: law {law} is not named")),
    );
    Ok(violations)
}

/// `crates/cli` is the folder of `instep-cli`, and `crates/instep` that of `instep`.
fn is_named_after(directory: &str, package: &str) -> bool {
    let folder = directory.rsplit('/').next().unwrap_or(directory);
    folder == package.strip_prefix("instep-").unwrap_or(package)
}

fn names_law(map: &str, law: u32) -> bool {
    let mut under_laws = false;
    map.lines().any(|line| {
        if line.starts_with('#') {
            under_laws = line.contains("Laws") || line.contains("laws");
        }
        let numbered = under_laws && line.trim_start().starts_with(&format!("{law}. "));
        numbered || mentions(line, &format!("Law {law}"))
    })
}

/// `Law 1` is not mentioned by `Law 10`.
fn mentions(line: &str, phrase: &str) -> bool {
    line.match_indices(phrase)
        .any(|(at, _)| !line[at + phrase.len()..].starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_after_their_packages() {
        assert!(is_named_after("crates/cli", "instep-cli"));
        assert!(is_named_after("xtask", "xtask"));
        assert!(!is_named_after("crates/instep", "instep-cli"));
    }

    #[test]
    fn a_law_is_named_in_a_list_or_in_a_sentence() {
        let map = "# Map\n1. not a law\n## Laws\n 2. durable first\n## More\nSee Law 10.\n";

        assert!(names_law(map, 2));
        assert!(names_law(map, 10));
        assert!(!names_law(map, 1));
        assert!(!names_law(map, 3));
    }
}
