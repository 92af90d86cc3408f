//! A disk in memory that loses, tears and refuses, reproducibly from a seed.
//!
//! Every file exists twice: as the running processes see it, and as the platter keeps it. A
//! `sync_data` moves the first to the second; [`SimulatedDisk::crash`] lets the dice decide what
//! of the rest survives: every unsynced write is cut at random bytes and each piece survives or
//! not on its own, which covers vanished, torn and reordered writes. Names do the same.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Access, Disk, DiskFile, DiskLock, Sharing};
use names::Change;
use state::State;

mod names;
mod state;

/// Fault at a chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A write takes only some of its bytes, and says so.
    ShortWrite,
    /// A write fails; some of its bytes may have been taken.
    WriteError,
    /// A sync of a file fails, and what was unsynced may be dropped silently, as Linux does:
    /// readers still see it, the next sync succeeds, a power cut takes it away.
    SyncError,
    /// A sync of a directory fails in the same way.
    DirectorySyncError,
    /// A write finds no space.
    Full,
    /// A sync of a file finds no space, and drops what [`Fault::SyncError`] drops.
    FullAtSync,
    /// A write finds no memory; some of its bytes may have been taken.
    NoMemory,
    /// No descriptor is left for a file that is created or opened.
    NoDescriptor,
    /// No descriptor is left for the sync of a directory.
    NoDescriptorAtSync,
}

/// A deterministic disk. Clones are handles of the same disk.
#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

impl SimulatedDisk {
    /// An empty disk whose dice start at `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(seed))) }
    }

    /// A copy of the disk, power and dice included, that lives on by itself.
    #[must_use]
    pub fn fork(&self, seed: u64) -> Self {
        let state = self.state().fork(seed);
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Cuts the power, lets the dice decide what survives, and turns the power on again.
    /// Handles and locks from before are dead.
    pub fn crash(&self) {
        self.state().crash();
    }

    /// Kills the processes but not the machine: handles and locks from before are dead, the page
    /// cache stays as it was.
    pub fn kill(&self) {
        self.state().kill();
    }

    /// Lets `operations` more changing operations happen, then the power is off until
    /// [`SimulatedDisk::crash`]. The operation that meets the cut fails; it may have happened.
    pub fn power_off_after(&self, operations: u64) {
        self.state().power = Some(operations);
    }

    /// Changing operations so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Lets `fault` happen once, after `skip` operations of its kind went well.
    pub fn inject(&self, fault: Fault, skip: u64) {
        self.state().faults.push((fault, skip));
    }

    /// Bounds the bytes of all files together; beyond it writes answer `StorageFull`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Writes elsewhere, as file systems do that copy on write: what was written before reserves
    /// nothing, and no write finds space until this is set to `false` again.
    pub fn set_full_for_overwrites(&self, full: bool) {
        self.state().full = full;
    }

    /// Refuses every change with `ReadOnlyFilesystem`, or stops doing so.
    pub fn set_read_only(&self, read_only: bool) {
        self.state().read_only = read_only;
    }

    /// The bytes of a file as processes see them.
    ///
    /// # Errors
    /// `NotFound` when there is no such file.
    pub fn contents(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state();
        let file = state.file_at(path)?;
        Ok(state.contents(file)?.seen.clone())
    }

    /// Replaces the bytes of a file durably, without the program's knowledge: how a test damages
    /// one.
    ///
    /// # Errors
    /// `NotFound` when there is no such file.
    pub fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let file = state.file_at(path)?;
        let contents = state.contents_mut(file)?;
        contents.seen = bytes.to_vec();
        contents.kept = bytes.to_vec();
        contents.unsynced.clear();
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, state: &State, file: u64, access: Access) -> Box<dyn DiskFile> {
        Box::new(SimulatedFile { disk: self.clone(), file, life: state.life, access })
    }
}

impl Disk for SimulatedDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        let name = state.name(path)?;
        if state.names.file_at(path).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.take_descriptor(Fault::NoDescriptor)?;
        let file = state.new_file();
        state.change(Change::Put { name, file })?;
        Ok(self.handle(&state, file, Access::Write))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.check_power()?;
        state.take_descriptor(Fault::NoDescriptor)?;
        let file = state.file_at(path)?;
        if access == Access::Write && state.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(self.handle(&state, file, access))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        if let Some(directory) = state.names.directory(from) {
            state.name(to)?;
            if !state.names.is_empty(to) {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            let (from, to) = (from.to_owned(), to.to_owned());
            return state.change(Change::Move { from, to, directory });
        }
        let file = state.file_at(from)?;
        let (from, to) = (state.name(from)?, state.name(to)?);
        state.change(Change::Rename { from, to, file })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.file_at(path)?;
        let name = state.name(path)?;
        state.change(Change::Remove { name })
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        match state.names.directory(path) {
            Some(_) => state.check_power(),
            None => state.create_directory(path),
        }
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let directory = state.names.directory(path);
        let directory = directory.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        if !state.names.is_empty(path) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        state.change(Change::RemoveDirectory { path: path.to_owned(), directory })
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.state().sync_directory(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        state.check_power()?;
        let number = state.names.directory(directory);
        let number = number.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let names = state.names.files_in(number);
        Ok(names.filter_map(|name| name.to_str().map(str::to_owned)).collect())
    }

    fn directories(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        state.check_power()?;
        if state.names.directory(directory).is_none() {
            let is_file = state.names.file_at(directory).is_some();
            let kind =
                [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory][usize::from(is_file)];
            return Err(kind.into());
        }
        let names = state.names.directories_in(directory);
        Ok(names.filter_map(|name| name.into_string().ok()).collect())
    }

    fn modified_ms(&self, path: &Path) -> io::Result<u64> {
        let state = self.state();
        state.check_power()?;
        state.file_at(path).map(|_| 0)
    }

    fn lock(&self, path: &Path, sharing: Sharing) -> io::Result<Box<dyn DiskLock>> {
        let mut state = self.state();
        state.check_power()?;
        if sharing == Sharing::Exclusive && state.names.file_at(path).is_none() {
            let (name, file) = (state.name(path)?, state.new_file());
            state.change(Change::Put { name, file })?;
        }
        state.file_at(path)?;
        state.lock(path, sharing)?;
        let life = state.life;
        Ok(Box::new(SimulatedLock { disk: self.clone(), path: path.to_owned(), sharing, life }))
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    file: u64,
    life: u64,
    access: Access,
}

impl SimulatedFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.life != self.life {
            return Err(io::Error::other("the process that held this file is dead"));
        }
        state.check_power()?;
        Ok(state)
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.state()?;
        let seen = &state.contents(self.file)?.seen;
        let start = usize::try_from(offset).map_or(seen.len(), |start| start.min(seen.len()));
        let length = buffer.len().min(seen.len() - start);
        buffer[..length].copy_from_slice(&seen[start..start + length]);
        Ok(length)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if self.access == Access::Read {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.state()?.write(self.file, bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.state()?.sync_data(self.file)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.state()?.contents(self.file)?.seen.len() as u64)
    }
}

struct SimulatedLock {
    disk: SimulatedDisk,
    path: std::path::PathBuf,
    sharing: Sharing,
    life: u64,
}

impl DiskLock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.life == self.life {
            state.unlock(&self.path, self.sharing);
        }
    }
}

#[cfg(test)]
mod tests;
