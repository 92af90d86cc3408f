//! Prepares the next segment beside the appender, so that an append never waits for zeros.
//!
//! The engine starts no thread: whoever owns the log asks [`Preallocator::is_wanted`] behind an
//! append, and runs [`Preallocator::prepare`] on another thread. Without it the appender prepares its
//! segments itself.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use instep_model::disk::{Disk, DiskFile, DiskLock};

use crate::error::OpenError;
use crate::segment;

const PREPARED: &str = "prepared.tmp";

/// Prepares one segment ahead. It keeps the directory locked until it is dropped.
pub struct Preallocator {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    bytes: u64,
    spare: Arc<Spare>,
    _lock: Arc<dyn DiskLock>,
}

/// The segment ahead, shared by the appender and the preallocator.
#[derive(Default)]
pub(crate) struct Spare {
    stock: Mutex<Stock>,
}

#[derive(Default)]
enum Stock {
    /// The active segment is less than half full: a quiet log prepares nothing.
    #[default]
    Unasked,
    Wanted,
    Preparing,
    Ready(Arc<dyn DiskFile>),
    /// The appender is giving the file its name.
    Taken,
    /// The last attempt failed; the next segment that begins asks again.
    Failed,
    Closed,
}

impl Preallocator {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        directory: &Path,
        bytes: u64,
        spare: Arc<Spare>,
        lock: Arc<dyn DiskLock>,
    ) -> Self {
        Self { disk, path: directory.join(PREPARED), bytes, spare, _lock: lock }
    }

    /// Returns true if a segment is wanted, and nobody prepares it yet.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        matches!(*self.spare.stock(), Stock::Wanted)
    }

    /// Prepares a segment if one is wanted, and says whether it did.
    ///
    /// # Errors
    /// [`OpenError::StorageFull`] and what else the disk refuses. Harmless: the appender tries for
    /// itself when it needs the segment, and asks here again after that.
    pub fn prepare(&self) -> Result<bool, OpenError> {
        {
            let mut stock = self.spare.stock();
            if !matches!(*stock, Stock::Wanted) {
                return Ok(false);
            }
            *stock = Stock::Preparing;
        }
        let made = segment::make_zeroed(&*self.disk, &self.path, self.bytes);
        let mut stock = self.spare.stock();
        let closed = matches!(*stock, Stock::Closed);
        match made {
            Ok(file) if !closed => *stock = Stock::Ready(file),
            // Best effort: the next open removes what stays.
            Ok(_) => drop(self.disk.remove(&self.path)),
            Err(_) if closed => {}
            Err(error) => {
                *stock = Stock::Failed;
                return Err(OpenError::of(&self.path)(error));
            }
        }
        Ok(true)
    }
}

impl Spare {
    /// Takes the prepared segment, if there is one, with the path it has until it is renamed.
    pub(crate) fn take(&self, directory: &Path) -> Option<(PathBuf, Arc<dyn DiskFile>)> {
        let mut stock = self.stock();
        if !matches!(*stock, Stock::Ready(_)) {
            return None;
        }
        match std::mem::replace(&mut *stock, Stock::Taken) {
            Stock::Ready(file) => Some((directory.join(PREPARED), file)),
            _ => None,
        }
    }

    /// Asks for the next segment, once for each that begins.
    pub(crate) fn want(&self) {
        let mut stock = self.stock();
        if matches!(*stock, Stock::Unasked) {
            *stock = Stock::Wanted;
        }
    }

    /// A new segment has begun; the next one may be asked for in time.
    pub(crate) fn begun(&self) {
        let mut stock = self.stock();
        if matches!(*stock, Stock::Taken | Stock::Failed) {
            *stock = Stock::Unasked;
        }
    }

    /// Removes the prepared segment: its room is wanted. The appender makes its next one itself.
    pub(crate) fn give_up(&self, disk: &dyn Disk, directory: &Path) {
        if let Some((path, file)) = self.take(directory) {
            drop(file);
            // Best effort: the next open removes what stays.
            let _ = disk.remove(&path);
            *self.stock() = Stock::Failed;
        }
    }

    pub(crate) fn close(&self) {
        *self.stock() = Stock::Closed;
    }

    // Each change of the stock is one assignment, so a poisoned lock is whole.
    fn stock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
