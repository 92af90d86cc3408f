//! Directory of datasets: which there are, and how one comes and goes.
//!
//! Making and removing are decided by one rename each. Whatever a kill or a full disk leaves has a
//! name with a dot, which no dataset has, and is removed at the next start:
//!
//! ```text
//! .creating-NAME  filled, synced    ── rename ──▶  NAME
//! NAME            ── rename ──▶     .removed-NAME-NUMBER  emptied
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use instep_model::disk::Disk;
use instep_model::name::Name;

const CREATING: &str = ".creating-";
const REMOVED: &str = ".removed-";

/// The datasets in one directory.
#[derive(Clone)]
pub struct Datasets {
    disk: Arc<dyn Disk>,
    root: PathBuf,
}

/// Kind of a dataset's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing at all.
    Nothing,
    /// An empty directory: a disk may be missing that should be mounted there.
    Empty,
    /// A dataset, which may be damaged.
    Dataset,
    /// Begun by a version that made datasets in place, and never finished: nothing was ever in it.
    Unfinished,
    /// Directory that Instep did not make.
    Foreign,
}

/// Files of no dataset that could not be removed; the next start tries again.
#[derive(Debug)]
pub struct Leftover {
    /// Path of the files.
    pub path: PathBuf,
    /// Error that kept them from being removed.
    pub error: io::Error,
}

/// Names in a directory of datasets. Entries that have one may lie on a disk that does not answer,
/// and are not looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Entries with the name of a dataset: [`Datasets::settle`] says whether they are one.
    pub named: Vec<Name>,
    /// Paths that cannot be datasets, and are left alone.
    pub foreign: Vec<PathBuf>,
}

impl Datasets {
    /// Opens a directory, and makes it where it is missing: datasets left half-made or half-removed
    /// are removed. Those with a final name are not looked at.
    ///
    /// # Errors
    /// When the directory cannot be made or listed.
    pub fn open(disk: Arc<dyn Disk>, root: &Path) -> io::Result<(Self, Vec<Leftover>)> {
        disk.create_directory(root)?;
        let datasets = Self { disk, root: root.to_owned() };
        let mut left = Vec::new();
        for name in datasets.disk.directories(root)? {
            let path = root.join(&name);
            if name.starts_with(CREATING) || name.starts_with(REMOVED) {
                left.extend(datasets.empty(&path).err().map(|error| Leftover { path, error }));
            }
        }
        Ok((datasets, left))
    }

    /// Determines what lies where a dataset would be, and removes one that was never finished, with
    /// the files of it that stay for now.
    ///
    /// # Errors
    /// When it cannot be looked at, or not be removed.
    pub fn settle(&self, name: &Name) -> io::Result<(Found, Option<Leftover>)> {
        match self.find(name)? {
            Found::Unfinished => {
                Ok((Found::Nothing, self.discard(&self.path(name), name.as_str())?))
            }
            found => Ok((found, None)),
        }
    }

    /// Returns the directory of the datasets.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the path of a dataset.
    #[must_use]
    pub fn path(&self, name: &Name) -> PathBuf {
        self.root.join(name.as_str())
    }

    /// Lists the directory, by name.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn list(&self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        // A link to a directory counts as a file of its own, and leads to one.
        let mut all = [self.disk.directories(&self.root)?, self.disk.list(&self.root)?].concat();
        all.sort_unstable();
        for text in all {
            match Name::new(&text) {
                Ok(name) => listing.named.push(name),
                Err(_) => listing.foreign.push(self.root.join(&text)),
            }
        }
        Ok(listing)
    }

    /// Looks up the kind of a dataset's path.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn find(&self, name: &Name) -> io::Result<Found> {
        self.look(&self.path(name))
    }

    /// Makes a dataset, whole or not at all: `fill` fills a directory, which then gets its name.
    ///
    /// # Errors
    /// Error of `fill` or of the system; nothing is left then.
    pub fn make<E: From<io::Error>>(
        &self,
        name: &Name,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        let (path, unnamed) = (self.path(name), self.root.join(format!("{CREATING}{name}")));
        if self.look(&path)? == Found::Unfinished {
            self.discard(&path, name.as_str())?;
        }
        self.empty(&unnamed)?;
        let made = self.fill(&unnamed, fill).and_then(|()| {
            self.disk.rename(&unnamed, &path)?;
            Ok(())
        });
        if made.is_err() {
            // Best effort: leftovers are removed at the next start.
            let _ = self.empty(&unnamed);
        }
        made?;
        let synced = self.disk.sync_directory(&self.root);
        if synced.is_err() {
            // A caller that was told of the failure must not find it there later; if that fails
            // too, the dataset is there, whole and empty.
            let _ = self.remove(name);
        }
        Ok(synced?)
    }

    fn fill<E: From<io::Error>>(
        &self,
        unnamed: &Path,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        self.disk.create_directory(unnamed)?;
        fill(unnamed)?;
        Ok(self.disk.sync_directory(unnamed)?)
    }

    /// Removes a dataset: it is gone with the first step, whatever becomes of its files. Answers
    /// which of them stay for now.
    ///
    /// # Errors
    /// When it cannot be renamed; it is there then.
    pub fn remove(&self, name: &Name) -> io::Result<Option<Leftover>> {
        match self.discard(&self.path(name), name.as_str()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            discarded => discarded,
        }
    }

    fn discard(&self, path: &Path, name: &str) -> io::Result<Option<Leftover>> {
        let taken = self.disk.directories(&self.root)?;
        let free = (1_u64..).map(|number| format!("{REMOVED}{name}-{number}"));
        let aside = free.into_iter().find(|aside| !taken.contains(aside)).unwrap_or_default();
        let aside = self.root.join(aside);
        self.disk.rename(path, &aside)?;
        if let Err(error) = self.disk.sync_directory(&self.root) {
            // A caller that was told of the failure finds it there; if that fails too, it is gone.
            let _ = self.disk.rename(&aside, path);
            return Err(error);
        }
        Ok(self.empty(&aside).err().map(|error| Leftover { path: aside, error }))
    }

    /// Removes a directory with all that is in it, if it is there. Targets of links stay.
    fn empty(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default());
        if self.disk.list(parent)?.iter().any(|file| file.as_str() == name) {
            return self.disk.remove(path);
        }
        let inner = match self.disk.directories(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            inner => inner?,
        };
        inner.iter().try_for_each(|name| self.empty(&path.join(name)))?;
        self.disk.list(path)?.iter().try_for_each(|name| self.disk.remove(&path.join(name)))?;
        self.disk.remove_directory(path)
    }

    /// Looks up the kind of a path.
    fn look(&self, path: &Path) -> io::Result<Found> {
        let directories = match self.disk.directories(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Ok(Found::Foreign);
            }
            directories => directories?,
        };
        let files = self.disk.list(path)?;
        let mut found = Found::Empty;
        for name in directories.iter().chain(&files) {
            let unfinished = name == "lock"
                || has_ending(name, "tmp")
                || (name == "snapshots" && self.is_empty(&path.join(name))?);
            if OURS.contains(&name.as_str()) && !unfinished || is_segment(name) {
                return Ok(Found::Dataset);
            }
            found = match (unfinished, found) {
                (true, Found::Empty | Found::Unfinished) => Found::Unfinished,
                _ => Found::Foreign,
            };
        }
        Ok(found)
    }

    fn is_empty(&self, path: &Path) -> io::Result<bool> {
        Ok(self.disk.directories(path)?.is_empty() && self.disk.list(path)?.is_empty())
    }
}

/// Names of files and directories that only a dataset has.
const OURS: [&str; 5] =
    [crate::identity::FILE, "repairing", crate::repair::ASIDE, "snapshots", crate::bodies::FILE];

fn is_segment(name: &str) -> bool {
    let digits = name.strip_suffix(".segment");
    digits.is_some_and(|digits| digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))
}

fn has_ending(name: &str, ending: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found == ending)
}

#[cfg(test)]
mod tests;
