//! Formats of a dataset's files: a dataset that a newer program has written is refused before
//! anything in its directory is changed.
//!
//! The engine looks at the headers of its own files when it opens a log. Here is the rest: what
//! snapshots and `views.json` contain, the bodies of messages, and the identity.

use std::path::Path;
use std::sync::Arc;

use instep_embedded::definitions::{self, DefinitionFile};
use instep_embedded::error::OpenError;
use instep_embedded::real::RealDisk;
use instep_embedded::{bodies, identity, snapshot};
use instep_model::commit::ENTRY_FORMAT;
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
    identity::look(directory)?;
    let definitions = DefinitionFile::in_directory(Arc::new(RealDisk), directory);
    // What cannot be read counts as not there, as when the dataset is opened.
    let stored = definitions.read().ok().flatten();
    refuse_newer(
        &directory.join(definitions::FILE),
        stored.and_then(|stored| definition::format_of(&stored)),
        definition::FORMAT,
    )?;
    for (file, beginning) in snapshot::beginnings(&RealDisk, directory)? {
        let found = contents::format_of(&beginning).map(u32::from);
        refuse_newer(&file, found, contents::NEWEST_FORMAT.into())?;
    }
    bodies::refuse_newer(directory)
}

fn refuse_newer(file: &Path, found: Option<u32>, known: u32) -> Result<(), OpenError> {
    match found {
        Some(found) if found > known => {
            Err(OpenError::NewerFormat { file: file.to_owned(), found, known })
        }
        Some(_) | None => Ok(()),
    }
}
