//! Private files: what the data directory has besides datasets, for its owner alone.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

/// Writes a file that is there whole or as it was before, whatever ends this process.
///
/// # Errors
/// When the file system refuses; the file is as it was then.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    // Under another name first: whoever looks now must not find half of it.
    let mut temporary = OsString::from(path);
    temporary.push(".tmp");
    let temporary = Path::new(&temporary);
    // What a crash has left, or a link that somebody has put there, is not written through.
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
