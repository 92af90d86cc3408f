//! Data directory: what a start finds in it besides datasets.

use std::io::ErrorKind;
use std::path::Path;

use instep_model::disk::Sharing;

use crate::admin::AdminKey;
use crate::server::take;
use crate::start_error::StartError;
use crate::{keys, tables};

/// Looks at what a data directory holds besides datasets, as a start does, and changes nothing.
/// Answers everything that keeps a server from its start.
#[must_use]
pub fn check_data(directory: &Path) -> Vec<StartError> {
    let data = |error| StartError::Data { path: directory.to_owned(), error };
    let lock = match take(directory, Sharing::Shared) {
        // No server has ever had it.
        Err(StartError::Data { error, .. }) if error.kind() == ErrorKind::NotFound => None,
        taken => taken.err(),
    };
    let key = AdminKey::read(directory).map_err(data).err();
    let keys = keys::check(directory).map_err(StartError::from).err();
    let publics = tables::check(directory).map_err(data).err();
    [lock, key, keys, publics].into_iter().flatten().collect()
}
