//! The contract of a disk: the few file operations the embedded log needs, real or simulated.
//!
//! What a power cut may take away is part of the contract: bytes that no [`DiskFile::sync_data`]
//! covered and names that no [`Disk::sync_directory`] covered may survive wholly, partly or not.
//! [`simulated`] takes them away on purpose; [`conformance`] is the suite that every disk passes.

use std::io;
use std::path::Path;

pub mod conformance;
pub mod simulated;

/// Access for which a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    Write,
}

/// Shortage: why an operation failed that may succeed a little later, and did not break anything.
/// Every other error of a disk is final: what it holds is not known any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// No room: of the disk, of a quota, or of what one file may take.
    Space,
    /// No descriptor, no memory, or a call that was interrupted or would have had to wait.
    Resources,
}

/// "Too many open files", in the system and in the process; the same on every Unix, and without a
/// kind of their own.
const NO_DESCRIPTORS: [i32; 2] = [23, 24];

impl Shortage {
    /// Sorts an error of the operating system; none when it is final.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Some(Self::Space),
            io::ErrorKind::OutOfMemory | io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => {
                Some(Self::Resources)
            }
            _ => Self::is_of_descriptors(error).then_some(Self::Resources),
        }
    }

    /// Returns true if the process or the system has no descriptor left.
    #[must_use]
    pub fn is_of_descriptors(error: &io::Error) -> bool {
        error.raw_os_error().is_some_and(|code| NO_DESCRIPTORS.contains(&code))
    }

    /// The error of a process that has no descriptor left.
    #[must_use]
    pub fn no_descriptors() -> io::Error {
        io::Error::from_raw_os_error(NO_DESCRIPTORS[1])
    }
}

/// Sharing of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// One holder. The file of the lock is created when it is missing.
    Exclusive,
    /// Any number of holders, none of them exclusive. The file must exist.
    Shared,
}

/// A disk, real or simulated. Errors are those of the operating system, told apart by
/// [`io::ErrorKind`]: `NotFound`, `AlreadyExists`, `StorageFull`, `ReadOnlyFilesystem`,
/// `PermissionDenied`, `WouldBlock`.
pub trait Disk: Send + Sync {
    /// Creates an empty file; `AlreadyExists` when the name is taken.
    ///
    /// # Errors
    /// The operating system's.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file; `NotFound` when there is none.
    ///
    /// # Errors
    /// The operating system's.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file another name, replacing the file that had it, or a directory with all that is
    /// in it, replacing an empty one. Open handles stay valid.
    ///
    /// # Errors
    /// The operating system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes a file's name away. Open handles stay valid.
    ///
    /// # Errors
    /// The operating system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Creates a directory and its missing ancestors, durably; an existing one is no error.
    ///
    /// # Errors
    /// The operating system's.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory that is empty; `DirectoryNotEmpty` when it is not.
    ///
    /// # Errors
    /// The operating system's.
    fn remove_directory(&self, path: &Path) -> io::Result<()>;

    /// Makes the creations, renames and removals of names in a directory durable.
    ///
    /// # Errors
    /// The operating system's.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// The names of the files in a directory, sorted; directories in it are left out.
    ///
    /// # Errors
    /// The operating system's.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// The names of the directories in a directory, sorted; `NotADirectory` for a file.
    ///
    /// # Errors
    /// The operating system's.
    fn directories(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Returns the time of a file's last write, in milliseconds since 1970; zero if there is none.
    ///
    /// # Errors
    /// The operating system's.
    fn modified_ms(&self, path: &Path) -> io::Result<u64>;

    /// Takes a lock that ends with its holder, also when the holder is killed; `WouldBlock` when it
    /// is held elsewhere.
    ///
    /// # Errors
    /// The operating system's.
    fn lock(&self, path: &Path, sharing: Sharing) -> io::Result<Box<dyn DiskLock>>;
}

/// A lock that is held until it is dropped.
pub trait DiskLock: Send + Sync {}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Reads some bytes at an offset; zero only at the end of the file.
    ///
    /// # Errors
    /// The operating system's.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes some bytes at an offset, growing the file as needed, and says how many.
    ///
    /// # Errors
    /// The operating system's. Some of the bytes may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes everything written so far durable, the file's length included, but not its name.
    ///
    /// # Errors
    /// The operating system's. The bytes may be lost even if a later call succeeds: never retry.
    fn sync_data(&self) -> io::Result<()>;

    /// Bytes in the file.
    ///
    /// # Errors
    /// The operating system's.
    fn length(&self) -> io::Result<u64>;

    /// Writes all bytes at an offset.
    ///
    /// # Errors
    /// The operating system's. Some of the bytes may have been written.
    fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written..];
                    offset += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads until the buffer is full or the file ends, and says how many bytes there were.
    ///
    /// # Errors
    /// The operating system's.
    fn read_full_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}
