//! Directory of the datasets in the data directory, for their owner alone.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use instep_embedded::datasets::{Datasets, Found, Leftover};
use instep_embedded::real::{DIRECTORY_MODE, FILE_MODE, RealDisk};
use instep_model::disk::Shortage;
use instep_model::name::Name;

/// Directory of the datasets in the data directory.
const DATASETS: &str = "datasets";
/// Bits of a mode that are for others than the owner.
const OTHERS: u32 = 0o077;

/// Makes a directory that only its owner may enter, with those above it.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
}

/// Takes the directory in hand: what was left half-made or half-removed is removed.
///
/// # Errors
/// When the directory cannot be made or listed.
pub(crate) fn open(data: &Path) -> io::Result<Datasets> {
    let (datasets, left) = Datasets::open(Arc::new(RealDisk), &data.join(DATASETS))?;
    left.iter().for_each(note);
    close_to_others(datasets.root(), 0)?;
    Ok(datasets)
}

/// Says what lies where a dataset would be. One that was never finished is removed, what an older
/// version made for all users to read is closed to others, and what is none is left alone.
///
/// # Errors
/// When it cannot be looked at.
pub(crate) fn settle(datasets: &Datasets, name: &Name) -> io::Result<Found> {
    let (found, left) = datasets.settle(name)?;
    left.iter().for_each(note);
    if found == Found::Dataset {
        close_to_others(&datasets.path(name), 2)?;
    }
    Ok(found)
}

/// Names of what may be datasets there. What cannot be one is named in the log.
///
/// # Errors
/// When the directory cannot be listed.
pub(crate) fn names(datasets: &Datasets) -> io::Result<Vec<Name>> {
    let listing = datasets.list()?;
    listing.foreign.iter().for_each(|path| leave_alone(path));
    Ok(listing.named)
}

/// Says in the log that there is something that no server has made.
pub(crate) fn leave_alone(path: &Path) {
    tracing::warn!(path = %path.display(), "this is no dataset and is left alone");
}

/// Says in the log which files stay for now.
pub(crate) fn note(Leftover { path, error }: &Leftover) {
    tracing::warn!(%error, path = %path.display(), "files of no dataset stay until the next start");
}

/// Takes from others what an older version, or a copy, let them do; down to some depth.
///
/// # Errors
/// A shortage: it says nothing about who may read the data, and passes.
fn close_to_others(path: &Path, depth: usize) -> io::Result<()> {
    match close(path, depth) {
        Err(error) if Shortage::of(&error) == Some(Shortage::Resources) => Err(error),
        Err(error) => {
            let path = path.display();
            tracing::warn!(%error, %path, "other users of this machine may be able to read data");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

fn close(path: &Path, depth: usize) -> io::Result<()> {
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
            close(&entry?.path(), depth - 1)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_could_read_is_closed_to_them() {
        let data = tempfile::tempdir().unwrap();
        let old = open(data.path()).unwrap().path(&Name::new("old").unwrap());
        std::fs::create_dir_all(old.join("snapshots")).unwrap();
        let file = old.join("identity");
        std::fs::write(&file, "").unwrap();
        let set = |path: &Path, mode| {
            std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        };
        let directories = [data.path().join(DATASETS), old.clone(), old.join("snapshots")];
        directories.iter().for_each(|path| set(path, 0o755));
        set(&file, 0o666);

        let datasets = open(data.path()).unwrap();
        assert_eq!(settle(&datasets, &Name::new("old").unwrap()).unwrap(), Found::Dataset);

        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
        assert_eq!(directories.each_ref().map(|path| mode(path)), [0o700; 3]);
        assert_eq!(mode(&file), 0o600);
    }
}
