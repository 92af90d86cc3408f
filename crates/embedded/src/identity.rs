//! Identity of a directory: whether it is the one that was written here, or a copy.
//!
//! A copy that is put back is another history: later commits are gone, and numbers are given a
//! second time. So the identity is a file that names properties that no copy can have: its own
//! inode and the moment in which it was made. It is made anew at each opening and at each orderly
//! closing, so that even a copy over the same files is told from them.
//!
//! ```text
//! instep identity 1
//! inode 1573921
//! born 1796010255123456789
//! ```
//!
//! A move within a file system keeps both. A snapshot of a whole file system keeps them as well and
//! cannot be told: `instep restore` is for an operator who puts one back.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

use instep_model::disk::Disk;

use crate::error::OpenError;
use crate::real::{FILE_MODE, regular};

/// The file in the directory of a dataset.
pub const FILE: &str = "identity";
/// Removed at the next opening, as all that is unfinished.
const UNFINISHED: &str = "identity.tmp";
const FORMAT: &str = "instep identity ";
const VERSION: u32 = 1;
/// Most bytes of a file that is read; a written one is far smaller.
const BYTES: u64 = 4096;

/// Identity of a directory: the original or a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// Written here.
    Original,
    /// Written somewhere else, or at another time, and copied.
    Copy,
    /// Nothing says: a directory from before there were identities.
    Unknown,
}

/// Marks that no copy shares with the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Marks {
    inode: u64,
    /// Nanoseconds since 1970; none where the file system does not say.
    born: Option<u128>,
}

/// Checks the identity of a directory: the original or a copy.
///
/// # Errors
/// When the file cannot be read, or a newer Instep wrote it.
pub fn look(directory: &Path) -> Result<Identity, OpenError> {
    let path = directory.join(FILE);
    let of = |error| OpenError::of(directory)(error);
    let mut file = match regular(&path).and_then(|()| File::open(&path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Identity::Unknown),
        file => file.map_err(of)?,
    };
    let mut text = String::new();
    // A file that is not text is no identity, so the directory is a copy.
    let read = Read::by_ref(&mut file).take(BYTES).read_to_string(&mut text);
    if let Err(error) = read
        && error.kind() != io::ErrorKind::InvalidData
    {
        return Err(of(error));
    }
    let newer = |found| OpenError::NewerFormat { file: path.clone(), found, known: VERSION };
    match parse(&text).map_err(newer)? {
        Some(written) if written.are_of(Marks::of(&file).map_err(of)?) => Ok(Identity::Original),
        _ => Ok(Identity::Copy),
    }
}

/// Writes the identity of a directory as it is now.
///
/// # Errors
/// When the file cannot be written. The identity is then unchanged.
pub fn write(directory: &Path) -> io::Result<()> {
    let unfinished = directory.join(UNFINISHED);
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(FILE_MODE).open(&unfinished)?;
    let text = Marks::of(&file)?.text();
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let named = written.and_then(|()| std::fs::rename(&unfinished, directory.join(FILE)));
    if named.is_err() {
        // Best effort: an unfinished file that stays is removed at the next opening.
        let _ = std::fs::remove_file(&unfinished);
    }
    named?;
    File::open(directory)?.sync_all()
}

/// Parses the text of an identity file; none if it is not whole, its version if that is newer.
fn parse(text: &str) -> Result<Option<Marks>, u32> {
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.strip_prefix(FORMAT)?.parse::<u32>().ok());
    match version {
        Some(VERSION) => {}
        Some(newer) => return Err(newer),
        None => return Ok(None),
    }
    let inode = lines.next().and_then(|line| line.strip_prefix("inode ")?.parse().ok());
    let born = lines.next().and_then(|line| line.strip_prefix("born "));
    Ok(inode.zip(born).map(|(inode, born)| Marks { inode, born: born.parse().ok() }))
}

impl Marks {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let born = metadata.created().ok();
        let born = born.and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        Ok(Self { inode: metadata.ino(), born: born.map(|born| born.as_nanos()) })
    }

    /// Returns true if they match those of a file. A time that one of them lacks is not compared.
    fn are_of(self, found: Self) -> bool {
        let same_time = self.born.zip(found.born).is_none_or(|(one, other)| one == other);
        self.inode == found.inode && same_time
    }

    fn text(self) -> String {
        let born = self.born.map_or_else(|| "unknown".to_owned(), |born| born.to_string());
        format!("{FORMAT}{VERSION}\ninode {}\nborn {born}\n", self.inode)
    }
}

/// Refuses a directory without segments that had a log.
///
/// # Errors
/// [`OpenError::NoLog`], and what the disk refuses.
pub(crate) fn refuse_lost_log(disk: &dyn Disk, directory: &Path) -> Result<(), OpenError> {
    let names = disk.list(directory).map_err(OpenError::of(directory))?;
    if names.iter().any(|name| name == FILE) {
        return Err(OpenError::NoLog { directory: directory.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path()).unwrap();
        directory
    }

    #[test]
    fn an_identity_is_the_text_that_it_always_was() {
        for (text, born) in [("9", Some(9)), ("unknown", None)] {
            let text = format!("instep identity 1\ninode 7\nborn {text}\n");
            let marks = Marks { inode: 7, born };

            assert_eq!(marks.text(), text);
            assert_eq!(parse(&text), Ok(Some(marks)));
        }
    }

    #[test]
    fn a_copy_is_told_from_what_was_written_here() {
        let here = written();
        assert_eq!(look(here.path()).unwrap(), Identity::Original);

        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(here.path().join(FILE), copy.path().join(FILE)).unwrap();

        assert_eq!(look(copy.path()).unwrap(), Identity::Copy);
        assert_eq!(look(here.path()).unwrap(), Identity::Original);
    }

    #[test]
    fn an_older_copy_over_the_same_files_is_told_too() {
        let here = written();
        let older = std::fs::read(here.path().join(FILE)).unwrap();
        write(here.path()).unwrap();

        // The file stays the same one, with the bytes of the one before it.
        std::fs::write(here.path().join(FILE), older).unwrap();

        assert_eq!(look(here.path()).unwrap(), Identity::Copy);
    }

    #[test]
    fn a_move_keeps_the_identity() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("a")).unwrap();
        write(&root.path().join("a")).unwrap();

        std::fs::rename(root.path().join("a"), root.path().join("b")).unwrap();

        assert_eq!(look(&root.path().join("b")).unwrap(), Identity::Original);
    }

    #[test]
    fn a_directory_from_before_there_were_identities_is_no_copy() {
        let directory = tempfile::tempdir().unwrap();

        assert_eq!(look(directory.path()).unwrap(), Identity::Unknown);
    }

    #[test]
    fn an_identity_of_another_time_or_in_part_is_a_copy_and_a_newer_one_is_refused() {
        let here = written();
        std::fs::write(here.path().join(FILE), "instep identity 1\ninode 0\nborn 0\n").unwrap();
        assert_eq!(look(here.path()).unwrap(), Identity::Copy);

        std::fs::write(here.path().join(FILE), b"\xff instep").unwrap();
        assert_eq!(look(here.path()).unwrap(), Identity::Copy);

        std::fs::write(here.path().join(FILE), "instep identity 2\n").unwrap();
        assert!(look(here.path()).unwrap_err().to_string().contains("newer"));
    }
}
