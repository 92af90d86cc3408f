//! Lock of a log's directory: one process has it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use instep_model::disk::{Disk, DiskLock, Sharing};

use crate::error::OpenError;
use crate::segment;

/// Takes the directory for this process alone.
pub(crate) fn take_lock(disk: &dyn Disk, directory: &Path) -> Result<Arc<dyn DiskLock>, OpenError> {
    let path = directory.join(segment::LOCK);
    match disk.lock(&path, Sharing::Exclusive) {
        Ok(lock) => Ok(Arc::from(lock)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(OpenError::Locked { directory: directory.to_owned() })
        }
        Err(error) => Err(OpenError::of(&path)(error)),
    }
}
