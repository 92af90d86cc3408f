//! Relative links in documents lead to something.

use super::Violation;
use crate::Fallible;
use crate::workspace::Workspace;

/// Follows every relative link of every Markdown file.
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
    }
    Ok(violations)
}

/// Targets of links, `](…)` or `]: …`, outside code, that are no addresses of the web.
fn targets(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            found.extend(targets_of_line(line));
        }
    }
    found
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
    fn relative_targets_are_found_and_addresses_and_code_are_not() {
        let text = "[a](docs/a.md#x \"title\") [b](https://b.example) `[c](c.md)`\n\
                    ```\n[d](d.md)\n```\n[e]: e.md\n";
        assert_eq!(targets(text), ["docs/a.md#x", "e.md"]);
    }
}
