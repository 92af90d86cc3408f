//! Private files: what the data directory has besides datasets, for its owner alone.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use instep_embedded::real::regular;
use instep_model::disk::Shortage;
use instep_model::limits;

/// Reads a file; none where there is none.
///
/// # Errors
/// When it cannot be read, is longer than [`limits::PRIVATE_FILE_BYTES`], or is no text in UTF-8,
/// with its name.
pub(crate) fn read(path: &Path) -> io::Result<Option<String>> {
    match text(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        // It is known by its code.
        Err(error) if Shortage::of(&error).is_some() => Err(error),
        Err(error) => Err(named(path, &error)),
    }
}

/// Text of a regular file, of bounded length.
pub(crate) fn text(path: &Path) -> io::Result<String> {
    io::read_to_string(&*bytes(path)?)
}

/// Bytes of a regular file, of bounded length. Anything else is refused without being opened: a
/// named pipe would wait for its writer.
pub(crate) fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    regular(path)?;
    let most = limits::PRIVATE_FILE_BYTES;
    if path.metadata()?.len() > most {
        return Err(io::Error::other(format!("longer than {most} bytes")));
    }
    std::fs::read(path)
}

/// An error of a file, with its name.
pub(crate) fn named(path: &Path, error: &io::Error) -> io::Error {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    io::Error::new(error.kind(), format!("{name}: {error}"))
}

/// Writes a file that is there whole or as it was before, whatever ends this process.
///
/// # Errors
/// When the file system refuses; the file is as it was then.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    // Under another name first: a reader now must not find half of it.
    let mut temporary = OsString::from(path);
    temporary.push(".tmp");
    let temporary = Path::new(&temporary);
    // What a crash has left, or a link that another process has put there, is not written through.
    if let Err(error) = std::fs::remove_file(temporary)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_too_long_is_refused_by_name_and_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("public.toml");
        // Without a block on the disk.
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(limits::PRIVATE_FILE_BYTES + 1).unwrap();

        let error = read(&path).unwrap_err();

        assert_eq!(error.to_string(), "public.toml: longer than 1048576 bytes");
        file.set_len(0).unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some(""));
    }
}
