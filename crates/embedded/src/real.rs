//! The real disk: `std::fs`, with the syncs that the contract asks for.
//!
//! Files are readable by their owner alone, whatever the umask: rows are not for every local user.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

use instep_model::disk::{Access, Disk, DiskFile, DiskLock, Sharing};

mod open_files;
mod reserve;

pub(crate) use self::open_files::Counted;
pub use self::open_files::descriptors;

/// Mode of a file: its owner reads and writes it.
pub const FILE_MODE: u32 = 0o600;
/// Mode of a directory: its owner enters it.
pub const DIRECTORY_MODE: u32 = 0o700;

/// The disk of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(FILE_MODE);
        let file = reserve::with(|| options.open(path))?;
        Ok(Box::new(RealFile::new(file)))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        regular(path)?;
        let write = access == Access::Write;
        let mut options = OpenOptions::new();
        options.read(true).write(write);
        // Readers wait for descriptors like all other threads: the reserve is for writes.
        let file = match access {
            Access::Read => options.open(path),
            Access::Write => reserve::with(|| options.open(path)),
        }?;
        Ok(Box::new(RealFile::new(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let missing: Vec<&Path> =
            path.ancestors().take_while(|ancestor| !is_directory(ancestor)).collect();
        for directory in missing.into_iter().rev() {
            match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            if let Some(parent) = directory.parent() {
                self.sync_directory(parent)?;
            }
        }
        Ok(())
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let directory = reserve::with(|| File::open(or_current(path)))?;
        let synced = directory.sync_all();
        drop(directory);
        reserve::fill();
        synced
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        names(directory, false)
    }

    fn directories(&self, directory: &Path) -> io::Result<Vec<String>> {
        names(directory, true)
    }

    fn modified_ms(&self, path: &Path) -> io::Result<u64> {
        let modified = std::fs::metadata(path)?.modified()?;
        let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Locks the directory of the file as well: the file can be deleted under its holder, and the
    /// next process would lock another one of that name.
    fn lock(&self, path: &Path, sharing: Sharing) -> io::Result<Box<dyn DiskLock>> {
        let directory = lock_directory(path.parent().unwrap_or(Path::new("")), sharing)?;
        regular_or_none(path)?;
        // It would lock a file of another directory, or make one there.
        if path.is_symlink() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            return Err(io::Error::other(format!("{name} is a link")));
        }
        let file = match sharing {
            Sharing::Exclusive => {
                // A process that takes a directory exclusively is going to write to it.
                reserve::fill();
                let mut options = OpenOptions::new();
                options.write(true).create(true).truncate(false).mode(FILE_MODE).open(path)?
            }
            Sharing::Shared => File::open(path)?,
        };
        locked(&file, sharing)?;
        let counted = Counted::new(1 + usize::from(directory.is_some()));
        Ok(Box::new(RealLock { _file: file, _directory: directory, _counted: counted }))
    }
}

/// Regular file: refuses everything else at a path without opening it. Opening a pipe waits for a
/// process at its other end, and opening a device may do anything.
///
/// # Errors
/// The operating system's; the kind of file found instead.
pub fn regular(path: &Path) -> io::Result<()> {
    let kind = std::fs::metadata(path)?.file_type();
    let found = match kind {
        _ if kind.is_file() => return Ok(()),
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a named pipe",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    };
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    Err(io::Error::other(format!("{name} is {found} and no regular file")))
}

/// [`regular`], of a file that need not be there.
///
/// # Errors
/// As of [`regular`], but for `NotFound`.
pub fn regular_or_none(path: &Path) -> io::Result<()> {
    match regular(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        found => found,
    }
}

/// The names of directories, or of all else, in a directory.
fn names(directory: &Path, of_directories: bool) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(or_current(directory))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() == of_directories
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Lock of a directory itself; none where the file system has no such lock (NFS), and the lock of
/// a file in it must do.
fn lock_directory(path: &Path, sharing: Sharing) -> io::Result<Option<File>> {
    let directory = File::open(or_current(path))?;
    match locked(&directory, sharing) {
        Ok(()) => Ok(Some(directory)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
        Err(_) => Ok(None),
    }
}

fn locked(file: &File, sharing: Sharing) -> io::Result<()> {
    let outcome = match sharing {
        Sharing::Exclusive => file.try_lock(),
        Sharing::Shared => file.try_lock_shared(),
    };
    outcome.map_err(|error| match error {
        TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
        TryLockError::Error(error) => error,
    })
}

struct RealFile {
    file: File,
    /// Dropped behind the file.
    _refill: Refill,
    _counted: Counted,
}

impl RealFile {
    fn new(file: File) -> Self {
        Self { file, _refill: Refill, _counted: Counted::new(1) }
    }
}

/// Puts the descriptor that was just closed back into the reserve, if that has given one.
struct Refill;

impl Drop for Refill {
    fn drop(&mut self) {
        reserve::fill();
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

/// The operating system gives the lock back when the file is closed, also by a kill.
struct RealLock {
    _file: File,
    _directory: Option<File>,
    _counted: Counted,
}

impl DiskLock for RealLock {}

fn is_directory(path: &Path) -> bool {
    or_current(path).is_dir()
}

/// The parent of a bare name is the empty path.
fn or_current(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::Arc;

    use instep_model::disk::conformance;

    use super::*;

    #[test]
    fn it_passes_the_conformance_suite() {
        let root = tempfile::tempdir().unwrap();
        let mut runs = 0;
        conformance::run(|| {
            runs += 1;
            (Arc::new(RealDisk), root.path().join(format!("{runs}/data")))
        });
    }

    #[test]
    fn a_lock_outlives_its_file() {
        let root = tempfile::tempdir().unwrap();
        let lock = root.path().join("lock");
        let held = RealDisk.lock(&lock, Sharing::Exclusive).unwrap();

        std::fs::remove_file(&lock).unwrap();

        for sharing in [Sharing::Exclusive, Sharing::Shared] {
            let second = RealDisk.lock(&lock, sharing).map(drop);
            assert_eq!(second.map_err(|error| error.kind()), Err(io::ErrorKind::WouldBlock));
        }
        drop(held);
        assert!(RealDisk.lock(&lock, Sharing::Exclusive).is_ok());
    }

    #[test]
    fn irregular_files_are_refused_without_being_opened() {
        let root = tempfile::tempdir().unwrap();
        let pipe = root.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
        symlink(&pipe, root.path().join("link")).unwrap();
        std::fs::create_dir(root.path().join("directory")).unwrap();

        for (name, found) in [
            ("pipe", "a named pipe"),
            ("link", "a named pipe"),
            ("socket", "a socket"),
            ("directory", "a directory"),
        ] {
            let path = root.path().join(name);
            let refusals = [
                RealDisk.open(&path, Access::Read).err(),
                RealDisk.open(&path, Access::Write).err(),
                RealDisk.lock(&path, Sharing::Exclusive).err(),
                RealDisk.lock(&path, Sharing::Shared).err(),
            ];
            for refused in refusals {
                let said = refused.expect(name).to_string();
                assert_eq!(said, format!("{name} is {found} and no regular file"));
            }
        }
        assert!(RealDisk.open(Path::new("/dev/null"), Access::Read).is_err());
        let lock = root.path().join("lock");
        symlink(root.path().join("elsewhere"), &lock).unwrap();
        assert!(RealDisk.lock(&lock, Sharing::Exclusive).is_err());
        assert!(!root.path().join("elsewhere").exists(), "nothing is made elsewhere");
    }

    #[test]
    fn files_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        let directory = root.path().join("one/two");
        RealDisk.create_directory(&directory).unwrap();
        drop(RealDisk.create(&directory.join("file")).unwrap());
        drop(RealDisk.lock(&directory.join("lock"), Sharing::Exclusive).unwrap());

        let made = ["one", "one/two", "one/two/file", "one/two/lock"];
        let modes = made.map(|path| mode(&root.path().join(path)));
        assert_eq!(modes, [0o700, 0o700, 0o600, 0o600]);
    }
}
