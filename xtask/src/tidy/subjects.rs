//! Subjects of commits: short enough to be read in a list.

use std::process::Command;

use super::Violation;
use crate::workspace::Workspace;
use crate::{Fallible, process};

const COLUMNS: usize = 72;
/// This file: commits from before it are not asked.
const SINCE: &str = "xtask/src/tidy/subjects.rs";

/// Reads the subjects of all commits since this rule, without those of merges. Where there is no
/// history (a tarball, a shallow clone) there is nothing to hold.
pub(crate) fn check(workspace: &Workspace) -> Fallible<Vec<Violation>> {
    let git =
        |args: &[&str]| process::read(Command::new("git").current_dir(&workspace.root).args(args));
    let Ok(added) = git(&["log", "--diff-filter=A", "--format=%H", "--", SINCE]) else {
        return Ok(Vec::new());
    };
    let Some(first) = added.lines().last() else {
        return Ok(Vec::new());
    };
    let subjects = git(&["log", "--no-merges", "--format=%h %s", &format!("{first}..HEAD")])?;
    Ok(subjects.lines().filter_map(too_long).collect())
}

/// `1234567 Say what changed`
fn too_long(line: &str) -> Option<Violation> {
    let (commit, subject) = line.split_once(' ')?;
    let columns = subject.chars().count();
    (columns > COLUMNS).then(|| format!("{commit}: a subject of {columns} columns of {COLUMNS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_has_72_columns_at_most() {
        assert_eq!(too_long(&format!("1234567 {}", "é".repeat(72))), None);
        assert!(too_long(&format!("1234567 {}", "x".repeat(73))).is_some());
    }
}
