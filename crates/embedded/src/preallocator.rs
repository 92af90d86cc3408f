//! Prepares the next segment beside the appender, so that an append never waits for zeros.
//!
//! The engine starts no thread: the owner of the log asks [`Preallocator::is_wanted`] behind an
//! append, and runs [`Preallocator::prepare`] on another thread. Without it the appender prepares
//! its segments itself.

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
    /// A segment of so many bytes is wanted.
    Wanted(u64),
    Preparing,
    Ready(Prepared),
    /// The appender is giving the file its name.
    Taken,
    /// The last attempt failed; the next segment that begins asks again.
    Failed,
    Closed,
}

/// A file of zeros that becomes a segment.
pub(crate) struct Prepared {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) bytes: u64,
}

impl Preallocator {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        directory: &Path,
        spare: Arc<Spare>,
        lock: Arc<dyn DiskLock>,
    ) -> Self {
        Self { disk, path: directory.join(PREPARED), spare, _lock: lock }
    }

    /// Returns true if a segment is wanted, and none is being prepared.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        matches!(*self.spare.stock(), Stock::Wanted(_))
    }

    /// Prepares a segment if one is wanted, and says whether it did.
    ///
    /// # Errors
    /// [`OpenError::StorageFull`] and other errors of the disk. Harmless: the appender tries for
    /// itself when it needs the segment, and asks here again after that.
    pub fn prepare(&self) -> Result<bool, OpenError> {
        let mut stock = self.spare.stock();
        let Stock::Wanted(bytes) = *stock else { return Ok(false) };
        *stock = Stock::Preparing;
        drop(stock);
        let made = segment::make_zeroed(&*self.disk, &self.path, bytes);
        let mut stock = self.spare.stock();
        let closed = matches!(*stock, Stock::Closed);
        match made {
            Ok(file) if !closed => *stock = Stock::Ready(Prepared { file, bytes }),
            // Best effort: the next open removes leftovers.
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
    /// Takes the prepared segment, if there is one of at least so many bytes, with the path it has
    /// until it is renamed.
    pub(crate) fn take(&self, directory: &Path, needed: u64) -> Option<(PathBuf, Prepared)> {
        let mut stock = self.stock();
        if !matches!(&*stock, Stock::Ready(prepared) if prepared.bytes >= needed) {
            return None;
        }
        match std::mem::replace(&mut *stock, Stock::Taken) {
            Stock::Ready(prepared) => Some((directory.join(PREPARED), prepared)),
            _ => None,
        }
    }

    /// Asks for the next segment, once for each that begins.
    pub(crate) fn want(&self, bytes: u64) {
        let mut stock = self.stock();
        if matches!(*stock, Stock::Unasked) {
            *stock = Stock::Wanted(bytes);
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
        if let Some((path, prepared)) = self.take(directory, 0) {
            drop(prepared);
            // Best effort: the next open removes leftovers.
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
