//! Names on the simulated disk: directories by path, files by their directory and name, so that a
//! directory that gets another name takes along its files, also those that are not durable yet.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A file's name: the number of its directory, and the last part of its path.
pub(super) type Name = (u64, OsString);

/// Names as they stand.
#[derive(Clone)]
pub(super) struct Names {
    directories: BTreeMap<PathBuf, u64>,
    files: BTreeMap<Name, u64>,
}

/// A change of names.
#[derive(Clone)]
pub(super) enum Change {
    Put { name: Name, file: u64 },
    Rename { from: Name, to: Name, file: u64 },
    Remove { name: Name },
    Move { from: PathBuf, to: PathBuf, directory: u64 },
    RemoveDirectory { path: PathBuf, directory: u64 },
}

impl Default for Names {
    fn default() -> Self {
        let directories = BTreeMap::from([(PathBuf::from("/"), 1), (PathBuf::new(), 2)]);
        Self { directories, files: BTreeMap::new() }
    }
}

impl Names {
    /// The first number that no directory has from the beginning.
    pub(super) const FREE: u64 = 3;

    pub(super) fn directory(&self, path: &Path) -> Option<u64> {
        self.directories.get(path).copied()
    }

    pub(super) fn put_directory(&mut self, path: &Path, directory: u64) {
        self.directories.insert(path.to_owned(), directory);
    }

    /// The name of a file at a path; none without its directory.
    pub(super) fn name(&self, path: &Path) -> Option<Name> {
        Some((self.directory(path.parent()?)?, path.file_name()?.to_owned()))
    }

    pub(super) fn file_at(&self, path: &Path) -> Option<u64> {
        self.files.get(&self.name(path)?).copied()
    }

    /// All files that have a name.
    pub(super) fn files(&self) -> impl Iterator<Item = u64> {
        self.files.values().copied()
    }

    /// The names of the files in a directory, sorted.
    pub(super) fn files_in(&self, directory: u64) -> impl Iterator<Item = &OsString> {
        let inside =
            self.files.range((directory, OsString::new())..(directory + 1, OsString::new()));
        inside.map(|((_, name), _)| name)
    }

    /// The names of the directories in a directory, sorted.
    pub(super) fn directories_in(&self, path: &Path) -> impl Iterator<Item = OsString> {
        let inside = self.directories.keys().filter(move |inner| inner.parent() == Some(path));
        inside.filter_map(|inner| Some(inner.file_name()?.to_owned()))
    }

    pub(super) fn is_empty(&self, path: &Path) -> bool {
        let directory = self.directory(path);
        self.directories_in(path).next().is_none()
            && directory.is_none_or(|directory| self.files_in(directory).next().is_none())
    }

    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Put { name, file } => {
                self.files.insert(name.clone(), *file);
            }
            Change::Rename { from, to, file } => {
                if self.files.get(from) == Some(file) {
                    self.files.remove(from);
                }
                self.files.insert(to.clone(), *file);
            }
            Change::Remove { name } => {
                self.files.remove(name);
            }
            Change::Move { from, to, directory } => {
                if self.directory(from) == Some(*directory) {
                    self.move_directory(from, to);
                }
            }
            Change::RemoveDirectory { path, directory } => {
                if self.directory(path) == Some(*directory) {
                    self.directories.remove(path);
                }
            }
        }
    }

    fn move_directory(&mut self, from: &Path, to: &Path) {
        let moved: Vec<PathBuf> =
            self.directories.keys().filter(|path| path.starts_with(from)).cloned().collect();
        for path in moved {
            let rest = path.strip_prefix(from).map(Path::to_owned).unwrap_or_default();
            let place = if rest == Path::new("") { to.to_owned() } else { to.join(rest) };
            if let Some(directory) = self.directories.remove(&path) {
                self.directories.insert(place, directory);
            }
        }
    }

    /// Forgets directories whose own directory is gone, and files in them.
    pub(super) fn forget_unsynced_names(&mut self) {
        let known: BTreeSet<PathBuf> = self.directories.keys().cloned().collect();
        let stands = |path: &Path| path.ancestors().all(|ancestor| known.contains(ancestor));
        self.directories.retain(|path, _| stands(path));
        let numbers: BTreeSet<u64> = self.directories.values().copied().collect();
        self.files.retain(|(directory, _), _| numbers.contains(directory));
    }
}

impl Change {
    /// Returns true if a sync of a directory covers it.
    pub(super) fn touches(&self, directory: &Path, number: u64) -> bool {
        let inside = |path: &Path| path.parent() == Some(directory);
        match self {
            Self::Put { name, .. } | Self::Remove { name } => name.0 == number,
            Self::Rename { from, to, .. } => from.0 == number || to.0 == number,
            Self::Move { from, to, .. } => inside(from) || inside(to),
            Self::RemoveDirectory { path, .. } => inside(path),
        }
    }

    pub(super) fn is_of_a_directory(&self) -> bool {
        match self {
            Self::Put { .. } | Self::Rename { .. } | Self::Remove { .. } => false,
            Self::Move { .. } | Self::RemoveDirectory { .. } => true,
        }
    }
}
