//! A disk between the engine and the simulated one that makes the mistakes of a bad engine.

use std::io;
use std::path::Path;
use std::sync::Arc;

use instep_model::disk::simulated::SimulatedDisk;
use instep_model::disk::{Access, Disk, DiskFile, DiskLock, Sharing};

use crate::fault::Fault;

/// Disk for the engine: the simulated one, or one that handles its syncs wrongly.
#[must_use]
pub(crate) fn disk_with(disk: &SimulatedDisk, fault: Option<Fault>) -> Arc<dyn Disk> {
    let sync = match fault {
        Some(Fault::AckBeforeSync) => Sync::Skipped,
        Some(Fault::RetryFailedSync) => Sync::Retried,
        _ => return Arc::new(disk.clone()),
    };
    Arc::new(FaultyDisk { disk: disk.clone(), sync })
}

#[derive(Clone, Copy)]
enum Sync {
    Skipped,
    Retried,
}

struct FaultyDisk {
    disk: SimulatedDisk,
    sync: Sync,
}

struct FaultyFile {
    file: Box<dyn DiskFile>,
    sync: Sync,
}

impl FaultyDisk {
    fn wrap(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        let sync = self.sync;
        Box::new(FaultyFile { file, sync })
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.create(path).map(|file| self.wrap(file))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(path, access).map(|file| self.wrap(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.disk.create_directory(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_directory(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_directory(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn directories(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.disk.directories(directory)
    }

    fn modified_ms(&self, path: &Path) -> io::Result<u64> {
        self.disk.modified_ms(path)
    }

    fn lock(&self, path: &Path, sharing: Sharing) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path, sharing)
    }
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.sync {
            Sync::Skipped => Ok(()),
            Sync::Retried => self.file.sync_data().or_else(|_| self.file.sync_data()),
        }
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}
