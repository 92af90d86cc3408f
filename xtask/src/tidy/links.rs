//! Relative links in documents lead to something, and so do the paths of code that they name.

use super::Violation;
use crate::workspace::Workspace;
use crate::{Fallible, markdown};

/// Endings by which a text in backticks is a path of this tree.
const CODE: &[&str] = &[".rs", ".mjs", ".md"];
/// Folders of this tree, which are named with a `/` at their end.
const FOLDERS: &[&str] =
    &["apps/", "conformance/", "crates/", "docs/", "fuzz/", "sim/", "web/", "xtask/"];
/// Documents of the past: what they name may be gone.
const PAST: &[&str] = &["CHANGELOG.md"];

/// Follows every relative link of every Markdown file, and looks for every path in backticks.
pub(crate) fn check(workspace: &Workspace) -> Fallible<Vec<Violation>> {
    let mut violations = Vec::new();
    for path in workspace.files_with("md") {
        let text = workspace.text(path).ok_or_else(|| format!("{path} is not text"))?;
        let directory = workspace.root.join(path);
        let directory = directory.parent().unwrap_or(&workspace.root);
        for target in targets(&text) {
            let file = target.split(['#', '?']).next().unwrap_or_default();
            if !file.is_empty() && !directory.join(file).exists() {
                violations.push(format!("{path}: `{target}` leads nowhere"));
            }
        }
        let named = if PAST.contains(&path) { Vec::new() } else { paths(&text) };
        for named in named.into_iter().filter(|named| !is_there(workspace, named)) {
            violations.push(format!("{path}: there is no `{named}`"));
        }
    }
    Ok(violations)
}

/// A path may be cut at the front: `model/src/owner.rs`.
fn is_there(workspace: &Workspace, named: &str) -> bool {
    if named.ends_with('/') {
        return workspace.files.iter().any(|file| file.starts_with(named));
    }
    let end = format!("/{named}");
    workspace.files.iter().any(|file| file == named || file.ends_with(&end))
}

/// Words in backticks, outside fenced code, that are paths of source files or documents.
fn paths(text: &str) -> Vec<&str> {
    let spans = markdown::prose(text).flat_map(markdown::code);
    spans.filter(|span| span.contains('/') && is_path(span)).collect()
}

fn is_path(span: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    let folder = span.ends_with('/') && FOLDERS.iter().any(|folder| span.starts_with(folder));
    (folder || CODE.iter().any(|end| span.ends_with(end))) && span.chars().all(plain)
}

/// Targets of links, `](…)` or `]: …`, outside code, that are no addresses of the web.
fn targets(text: &str) -> Vec<&str> {
    markdown::prose(text).flat_map(targets_of_line).collect()
}

fn targets_of_line(line: &str) -> Vec<&str> {
    let inline = line.match_indices("](").filter_map(|(at, _)| {
        let in_code = line[..at].matches('`').count() % 2 == 1;
        let end = line[at + 2..].find(')')?;
        (!in_code).then(|| &line[at + 2..at + 2 + end])
    });
    let reference = line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("]: "))
        .map(|(_, target)| target.trim());
    inline
        .chain(reference)
        .map(|target| target.split_whitespace().next().unwrap_or_default())
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_code_are_found_in_backticks_alone() {
        let text = "`model/src/owner.rs` `Owner` `a/*.rs` b/c.rs `d.rs`\n```\n`e/f.rs`\n```\n";
        assert_eq!(paths(text), ["model/src/owner.rs"]);
    }

    #[test]
    fn relative_targets_are_found_and_addresses_and_code_are_not() {
        let text = "[a](docs/a.md#x \"title\") [b](https://b.example) `[c](c.md)`\n\
                    ```\n[d](d.md)\n```\n[e]: e.md\n";
        assert_eq!(targets(text), ["docs/a.md#x", "e.md"]);
    }
}
