//! The tree as the checks see it: its packages, its files, their text.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::{Fallible, process};

/// The project: where it is, what it is made of.
pub(crate) struct Workspace {
    /// The directory of the root manifest.
    pub(crate) root: PathBuf,
    /// The members.
    pub(crate) packages: Vec<Package>,
    /// Every file that is, or could be, committed: relative, sorted, with `/`.
    pub(crate) files: Vec<String>,
    /// Directory that Cargo builds in.
    pub(crate) target: PathBuf,
}

/// A member, as `cargo metadata` tells it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Package {
    /// The package's name, such as `instep-model`.
    pub(crate) name: String,
    /// Path of its manifest.
    pub(crate) manifest_path: PathBuf,
    /// Dependencies in its manifest, own members included.
    pub(crate) dependencies: Vec<Dependency>,
    /// Targets that it builds.
    pub(crate) targets: Vec<Target>,
}

/// One line of a manifest's dependencies.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Dependency {
    /// The package asked for.
    pub(crate) name: String,
    /// Absent for a normal dependency, else `dev` or `build`.
    pub(crate) kind: Option<String>,
    /// Absent for a member of the workspace.
    pub(crate) source: Option<String>,
}

/// Something a package builds.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Target {
    /// `bin`, `lib`, `test`, `example` …
    pub(crate) kind: Vec<String>,
    /// The name it is called by.
    pub(crate) name: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

impl Workspace {
    /// Reads the manifests and lists the files.
    pub(crate) fn open() -> Fallible<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .ok_or("xtask lies in the root of the project")?
            .to_path_buf();
        let json = process::read(
            process::cargo(&["metadata", "--no-deps", "--format-version", "1"]).current_dir(&root),
        )?;
        let metadata: Metadata = serde_json::from_str(&json)?;
        let files = files_of(&root)?;
        let Metadata { packages, target_directory: target } = metadata;
        Ok(Self { root, packages, files, target })
    }

    /// A cargo command in the root of the project.
    pub(crate) fn cargo(&self, args: &[&str]) -> Command {
        let mut command = process::cargo(args);
        command.current_dir(&self.root);
        command
    }

    /// The package of that name.
    pub(crate) fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// Returns true if the package builds a target of this kind and name.
    pub(crate) fn has_target(&self, package: &str, kind: &str, name: &str) -> bool {
        self.package(package).is_some_and(|package| {
            package.targets.iter().any(|t| t.name == name && t.kind.iter().any(|k| k == kind))
        })
    }

    /// The package's directory, relative to the root.
    pub(crate) fn directory_of<'a>(&self, package: &'a Package) -> Option<&'a str> {
        package.manifest_path.parent()?.strip_prefix(&self.root).ok()?.to_str()
    }

    /// The files whose name ends in `.extension`.
    pub(crate) fn files_with(&self, extension: &str) -> impl Iterator<Item = &str> {
        let suffix = format!(".{extension}");
        self.files.iter().map(String::as_str).filter(move |file| file.ends_with(&suffix))
    }

    /// The text of a file; `None` when it is not there or not text.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }
}

/// Asks git, new files included, so that a check fails before the commit and not after.
/// Without git (a tarball, a foreign owner) the directories are walked.
fn files_of(root: &Path) -> Fallible<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "-z", "-co", "--exclude-standard"]);
    let mut files = match process::read(&mut git) {
        Ok(list) => list.split_terminator('\0').map(str::to_owned).collect(),
        Err(_) => walk(root)?,
    };
    files.retain(|file| root.join(file).is_file());
    files.sort();
    files.dedup();
    Ok(files)
}

fn walk(root: &Path) -> Fallible<Vec<String>> {
    let mut files = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let ignored = ["target", "node_modules", ".git", ".venv", "artifacts"];
            if ignored.iter().any(|ignored| name == *ignored) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else if let Some(path) = entry.path().strip_prefix(root)?.to_str() {
                files.push(path.to_owned());
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walk_finds_what_git_lists() {
        let workspace = Workspace::open().unwrap();
        let walked = walk(&workspace.root).unwrap();

        for file in ["Cargo.toml", "xtask/src/workspace.rs"] {
            assert!(workspace.files.iter().any(|listed| listed == file), "git: {file}");
            assert!(walked.iter().any(|found| found == file), "walk: {file}");
        }
        assert!(!walked.iter().any(|found| found.starts_with("target/")));
    }
}
