//! Exceptions that may only shrink.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Violation;
use crate::Fallible;
use crate::workspace::Workspace;

/// File of the exceptions.
pub(crate) const FILE: &str = "xtask/exceptions.toml";

/// Exceptions of today, and their limits.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exceptions {
    /// `path` to production lines.
    pub(crate) files: BTreeMap<String, usize>,
    /// `path` to doc comments that begin with a word that names nothing.
    pub(crate) openings: BTreeMap<String, usize>,
    /// First file to its circle of files.
    pub(crate) circles: BTreeMap<String, Circle>,
    /// Package to the runtime crates in its tree.
    pub(crate) runtime: BTreeMap<String, Vec<String>>,
}

/// Files that need each other in a ring, and why they are one thing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Circle {
    /// Number of the files.
    pub(crate) files: usize,
    /// Reason.
    pub(crate) reason: String,
}

impl Exceptions {
    /// Reads the list.
    pub(crate) fn read(workspace: &Workspace) -> Fallible<Self> {
        let text = workspace.text(FILE).ok_or_else(|| format!("{FILE} is missing"))?;
        Ok(toml::from_str(&text)?)
    }
}

/// Holds measured sizes, in lines or in whatever else, against a limit and the exceptions from it.
pub(crate) fn hold(
    unit: &str,
    limit: usize,
    sizes: &BTreeMap<String, usize>,
    excused: &BTreeMap<String, usize>,
) -> Vec<Violation> {
    let too_long = sizes.iter().filter(|&(_, &size)| size > limit);
    let mut violations: Vec<Violation> = too_long
        .filter_map(|(name, &size)| match excused.get(name) {
            None => Some(format!("{name}: {size} {unit}, the limit is {limit}: cut it")),
            Some(&was) if size > was => Some(format!("{name}: grew from {was} to {size} {unit}")),
            Some(&was) if size < was => {
                Some(format!("{name}: shrank to {size} {unit}: lower the {was} in {FILE}"))
            }
            Some(_) => None,
        })
        .collect();
    let settled = excused.keys().filter(|name| sizes.get(*name).is_none_or(|&size| size <= limit));
    violations.extend(settled.map(|name| format!("{name}: settled: strike it from {FILE}")));
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(list: &[(&str, usize)]) -> BTreeMap<String, usize> {
        list.iter().map(|&(name, size)| (name.to_owned(), size)).collect()
    }

    #[test]
    fn an_exception_covers_exactly_its_size() {
        assert!(
            hold("lines", 70, &sizes(&[("a", 70), ("b", 90)]), &sizes(&[("b", 90)])).is_empty()
        );
    }

    #[test]
    fn growth_shrinking_and_settled_debts_are_all_reported() {
        let measured = sizes(&[("new", 71), ("grown", 91), ("shrunk", 80), ("settled", 70)]);
        let excused = sizes(&[("grown", 90), ("shrunk", 90), ("settled", 90), ("gone", 90)]);

        let violations = hold("lines", 70, &measured, &excused);

        for name in ["new", "grown", "shrunk", "settled", "gone"] {
            assert!(violations.iter().any(|v| v.starts_with(name)), "{name}: {violations:?}");
        }
        assert_eq!(violations.len(), 5);
    }
}
