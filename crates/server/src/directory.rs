//! Directory of the datasets: which there are, and how one comes and goes.
//!
//! Making and removing are decided by one rename each. Whatever a kill or a full disk leaves has a
//! name with a dot, which no dataset has, and is removed at the next start:
//!
//! ```text
//! .creating-NAME  filled, synced    ── rename ──▶  NAME
//! NAME            ── rename ──▶     .removed-NAME-ID  emptied
//! ```

use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use instep_embedded::real::{DIRECTORY_MODE, FILE_MODE};
use instep_model::name::Name;
use uuid::Uuid;

/// Where datasets are kept in the data directory.
const DATASETS: &str = "datasets";
const CREATING: &str = ".creating-";
const REMOVED: &str = ".removed-";
/// Bits of a mode that are for others than the owner.
const OTHERS: u32 = 0o077;

/// The datasets of a data directory, as directories.
#[derive(Debug, Clone)]
pub(crate) struct Datasets {
    root: PathBuf,
    /// Stands before every step that changes something.
    step: Step,
}

/// What lies where a dataset would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    Dataset,
    /// Begun by a version that made datasets in place, and never finished: nothing was ever in it.
    Unfinished,
    /// Somebody else's.
    Foreign,
}

/// Lets a test stop between any two steps, with an error or by looking.
type Step = fn(&Path, &'static str) -> io::Result<()>;

/// Makes a directory that only its owner may enter, with those above it.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
}

impl Datasets {
    /// Takes the directory in hand: what was left half-made or half-removed is removed, and what an
    /// older version made for everybody to read is closed to others.
    ///
    /// # Errors
    /// When the directory cannot be made or listed.
    pub(crate) fn open(data: &Path) -> io::Result<Self> {
        let root = data.join(DATASETS);
        make_private(&root)?;
        let datasets = Self { root, step: |_, _| Ok(()) };
        let left = |error: &io::Error, path: &Path| {
            tracing::warn!(%error, path = %path.display(), "what was left half-made stays for now");
        };
        for entry in std::fs::read_dir(&datasets.root)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let leaving = if name.starts_with(CREATING) || name.starts_with(REMOVED) {
                std::fs::remove_dir_all(&path)
            } else if Name::new(&name).is_ok() && look(&path)? == Found::Unfinished {
                datasets.discard(&path, &name)
            } else {
                Ok(())
            };
            leaving.unwrap_or_else(|error| left(&error, &path));
        }
        if let Err(error) = close_to_others(&datasets.root, 3) {
            let path = datasets.root.display();
            tracing::warn!(%error, %path, "other users of this machine may be able to read data");
        }
        Ok(datasets)
    }

    /// Where a dataset is.
    pub(crate) fn path(&self, name: &Name) -> PathBuf {
        self.root.join(name.as_str())
    }

    /// The names of the datasets that lie there. What is none is named in the log.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub(crate) fn names(&self) -> io::Result<Vec<Name>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.root)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| Name::new(name.to_str()?).ok());
            match name {
                // What cannot be looked at is said when it is opened.
                Some(name) if matches!(look(&path), Ok(Found::Dataset) | Err(_)) => {
                    names.push(name);
                }
                _ => tracing::warn!(path = %path.display(), "this is no dataset and is left alone"),
            }
        }
        names.sort();
        Ok(names)
    }

    /// What lies where a dataset would be.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub(crate) fn find(&self, name: &Name) -> io::Result<Found> {
        look(&self.path(name))
    }

    /// Makes a dataset, whole or not at all: `fill` fills a directory, which then gets its name.
    ///
    /// # Errors
    /// What `fill` or the system answers; nothing is left then.
    pub(crate) fn make<E: From<io::Error>>(
        &self,
        name: &Name,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        let (path, unnamed) = (self.path(name), self.root.join(format!("{CREATING}{name}")));
        if look(&path)? == Found::Unfinished {
            self.discard(&path, name.as_str())?;
        }
        remove_whole(&unnamed)?;
        let made = self.fill(&unnamed, fill).and_then(|()| {
            self.step("name")?;
            std::fs::rename(&unnamed, &path)?;
            Ok(())
        });
        if made.is_err() {
            // Best effort: what stays is removed at the next start.
            let _ = remove_whole(&unnamed);
        }
        made?;
        let synced = self.step("sync the name").and_then(|()| sync(&self.root));
        if synced.is_err() {
            // Whoever is told that it failed must not find it there later.
            let _ = self.remove(name);
        }
        Ok(synced?)
    }

    fn fill<E: From<io::Error>>(
        &self,
        unnamed: &Path,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        self.step("make")?;
        make_private(unnamed)?;
        self.step("fill")?;
        fill(unnamed)?;
        self.step("sync")?;
        Ok(sync(unnamed)?)
    }

    /// Removes a dataset: it is gone with the first step, whatever becomes of its files.
    ///
    /// # Errors
    /// When it cannot be renamed; it is there then.
    pub(crate) fn remove(&self, name: &Name) -> io::Result<()> {
        match self.discard(&self.path(name), name.as_str()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            discarded => discarded,
        }
    }

    fn discard(&self, path: &Path, name: &str) -> io::Result<()> {
        let aside = self.root.join(format!("{REMOVED}{name}-{}", Uuid::new_v4().simple()));
        self.step("rename aside")?;
        std::fs::rename(path, &aside)?;
        self.step("sync the removal")?;
        sync(&self.root)?;
        let emptied = self.step("remove files").and_then(|()| std::fs::remove_dir_all(&aside));
        if let Err(error) = emptied {
            let path = aside.display();
            tracing::warn!(%error, %path, "files of a removed dataset stay until the next start");
        }
        Ok(())
    }

    fn step(&self, what: &'static str) -> io::Result<()> {
        (self.step)(&self.root, what)
    }
}

/// What lies at a path.
fn look(path: &Path) -> io::Result<Found> {
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(Found::Foreign),
        entries => entries?,
    };
    let mut found = Found::Nothing;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let unfinished = name == "lock"
            || has_ending(&name, "tmp")
            || (name == "snapshots" && std::fs::read_dir(entry.path())?.next().is_none());
        let ours = ["identity", "repairing", "damaged", "snapshots", "bodies.db"];
        if ours.contains(&name.as_str()) && !unfinished || is_segment(&name) {
            return Ok(Found::Dataset);
        }
        found = match (unfinished, found) {
            (true, Found::Nothing | Found::Unfinished) => Found::Unfinished,
            _ => Found::Foreign,
        };
    }
    Ok(found)
}

fn is_segment(name: &str) -> bool {
    let digits = name.strip_suffix(".segment");
    digits.is_some_and(|digits| digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))
}

fn has_ending(name: &str, ending: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found == ending)
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn remove_whole(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Takes from others what an older version, or a copy, let them do.
fn close_to_others(path: &Path, depth: usize) -> io::Result<()> {
    let metadata = path.symlink_metadata()?;
    if metadata.is_symlink() {
        return Ok(());
    }
    if metadata.mode() & OTHERS != 0 {
        let mode = if metadata.is_dir() { DIRECTORY_MODE } else { FILE_MODE };
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    if metadata.is_dir() && depth > 0 {
        for entry in std::fs::read_dir(path)? {
            close_to_others(&entry?.path(), depth - 1)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
