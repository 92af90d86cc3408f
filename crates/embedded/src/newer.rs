//! Newer formats: a directory that a newer program has written is refused before anything in it
//! is changed.
//!
//! Every header keeps its length and the place of its version, so an older program can tell a
//! newer file from a damaged one. All files are looked at, also those that no data would be read
//! from: a repair must not move aside a file that only looks useless to a program that cannot read
//! it. The contents of a file have formats of their own; a caller that knows them looks with
//! [`snapshot::beginnings`].
//!
//! [`snapshot::beginnings`]: crate::snapshot::beginnings

use std::io;
use std::path::Path;

use instep_model::disk::{Access, Disk};

use crate::error::OpenError;
use crate::format::{HEADER_BYTES, Header, HeaderFault, SEGMENT_MAGIC, SNAPSHOT_MAGIC, VERSION};
use crate::repair::MARKERS;
use crate::{segment, snapshot};

/// Refuses a directory in which the header of any file is of a newer version.
///
/// # Errors
/// [`OpenError::NewerFormat`], and errors of the disk.
pub(crate) fn refuse(disk: &dyn Disk, directory: &Path) -> Result<(), OpenError> {
    let names = match disk.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        names => names.map_err(OpenError::of(directory))?,
    };
    for first in segment::firsts(&names) {
        refuse_file(disk, &segment::path(directory, first), SEGMENT_MAGIC)?;
    }
    for (name, magic) in MARKERS {
        if names.iter().any(|found| found == name) {
            refuse_file(disk, &directory.join(name), magic)?;
        }
    }
    let snapshots = directory.join(segment::SNAPSHOTS);
    for revision in snapshot::revisions(disk, &snapshots).map_err(OpenError::of(&snapshots))? {
        refuse_file(disk, &snapshot::path(&snapshots, revision), SNAPSHOT_MAGIC)?;
    }
    Ok(())
}

fn refuse_file(disk: &dyn Disk, path: &Path, magic: [u8; 8]) -> Result<(), OpenError> {
    let file = match disk.open(path, Access::Read) {
        // It was trimmed meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file.map_err(OpenError::of(path))?,
    };
    let mut bytes = [0; HEADER_BYTES];
    let length = file.read_full_at(&mut bytes, 0).map_err(OpenError::of(path))?;
    match Header::decode(&bytes[..length], magic) {
        Err(HeaderFault::Newer(found)) => {
            Err(OpenError::NewerFormat { file: path.to_owned(), found, known: VERSION })
        }
        // Damage is found, and told with its place, when the rest is read.
        Ok(_) | Err(HeaderFault::Damaged(_)) => Ok(()),
    }
}
