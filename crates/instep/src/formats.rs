//! Formats of a dataset's files: a dataset that a newer program has written is refused before
//! anything in its directory is changed.
//!
//! The engine looks at the headers of its own files when it opens a log. Here is the rest: what
//! snapshots and `views.json` contain, the bodies of messages, and the identity.

use std::io;
use std::path::Path;
use std::sync::Arc;

use instep_embedded::definitions::{self, DefinitionFile};
use instep_embedded::error::OpenError;
use instep_embedded::identity::Identity;
use instep_embedded::real::RealDisk;
use instep_embedded::{bodies, identity, snapshot};
use instep_model::commit::ENTRY_FORMAT;
use instep_model::disk::{Disk, Shortage};
use instep_model::store::DefinitionStore as _;
use instep_model::{definition, snapshot as contents};

/// Newest format of an entry of the log that this program reads.
pub const NEWEST_ENTRY: Option<u8> = Some(ENTRY_FORMAT);

/// Refuses the directory of a dataset of which a file says that a newer Instep wrote it. Headers
/// and entries are looked at when the log is opened or checked.
///
/// # Errors
/// [`OpenError::NewerFormat`], and what keeps a file from being looked at.
pub fn check_formats(directory: &Path) -> Result<(), OpenError> {
    look(directory).map(drop)
}

/// [`check_formats`], with the identity that it has seen.
pub(crate) fn look(directory: &Path) -> Result<Identity, OpenError> {
    let identity = identity::look(directory)?;
    let file = directory.join(definitions::FILE);
    let found = format_of_definitions(Arc::new(RealDisk), directory);
    refuse_newer(&file, found.map_err(OpenError::of(&file))?, definition::FORMAT)?;
    for (file, beginning) in snapshot::beginnings(&RealDisk, directory)? {
        let found = contents::format_of(&beginning).map(u32::from);
        refuse_newer(&file, found, contents::NEWEST_FORMAT.into())?;
    }
    bodies::refuse_newer(directory)?;
    Ok(identity)
}

/// Format of `views.json`. What cannot be read for good counts as not there, as when the dataset is
/// opened. A shortage of the system is an error: the file may be a newer one, and be replaced.
fn format_of_definitions(disk: Arc<dyn Disk>, directory: &Path) -> io::Result<Option<u32>> {
    match DefinitionFile::in_directory(disk, directory).read() {
        Ok(stored) => Ok(stored.and_then(|stored| definition::format_of(&stored))),
        Err(error) if Shortage::of(&error).is_some() => Err(error),
        Err(_) => Ok(None),
    }
}

fn refuse_newer(file: &Path, found: Option<u32>, known: u32) -> Result<(), OpenError> {
    match found {
        Some(found) if found > known => {
            Err(OpenError::NewerFormat { file: file.to_owned(), found, known })
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use instep_model::disk::simulated::{Fault, SimulatedDisk};

    use super::*;

    #[test]
    fn a_shortage_is_not_taken_for_views_that_are_not_newer() {
        let (disk, directory) = (SimulatedDisk::new(1), Path::new("/d"));
        disk.create_directory(directory).unwrap();
        let file = DefinitionFile::in_directory(Arc::new(disk.clone()), directory);
        file.write(br#"{"format": 2}"#).unwrap();
        let found = || format_of_definitions(Arc::new(disk.clone()), directory);

        disk.inject(Fault::NoDescriptor, 0);
        let error = found().unwrap_err();

        assert_eq!(Shortage::of(&error), Some(Shortage::Resources));
        assert_eq!(found().unwrap(), Some(2));
    }
}
