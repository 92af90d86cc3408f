//! A crate's own clippy.toml replaces the workspace's: keys that it does not repeat are lost.

use super::Violation;
use crate::Fallible;
use crate::workspace::Workspace;

const SHARED: &str = "clippy.toml";

/// Every key of the root file is in every other one, with the same value.
pub(crate) fn check(workspace: &Workspace) -> Fallible<Vec<Violation>> {
    let shared = table(workspace, SHARED)?;
    let mut violations = Vec::new();
    let own = workspace.files_with("toml").filter(|path| path.ends_with("/clippy.toml"));
    for path in own {
        let table = table(workspace, path)?;
        for (key, value) in &shared {
            if table.get(key) != Some(value) {
                violations.push(format!("{path}: repeat `{key} = {value}` of {SHARED}"));
            }
        }
    }
    Ok(violations)
}

fn table(workspace: &Workspace, path: &str) -> Fallible<toml::Table> {
    let text = workspace.text(path).ok_or_else(|| format!("{path} is missing"))?;
    Ok(text.parse()?)
}
