//! The admin key: its holder may do everything.

use std::path::Path;

use data_encoding::HEXLOWER;
use instep_model::limits;

use crate::private_file;

/// The name of the key's file in the data directory.
const FILE: &str = "admin.key";

/// The key of this server. It is made at the first start and kept in the data directory.
#[derive(Clone)]
pub struct AdminKey(String);

impl AdminKey {
    /// Reads the key of a data directory, or makes one.
    ///
    /// # Errors
    /// When the file cannot be read or written, or the system gives no randomness.
    pub fn in_directory(directory: &Path) -> std::io::Result<Self> {
        if let Some(key) = Self::read(directory)? {
            return Ok(key);
        }
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        let key = HEXLOWER.encode(&bytes);
        private_file::write(&directory.join(FILE), &format!("{key}\n"))?;
        Ok(Self(key))
    }

    /// Reads the key of a data directory; none where there is none yet.
    ///
    /// # Errors
    /// When the file cannot be read, or what it holds can be guessed.
    pub(crate) fn read(directory: &Path) -> std::io::Result<Option<Self>> {
        let path = directory.join(FILE);
        let Some(text) = private_file::read(&path)? else { return Ok(None) };
        let key = text.trim().to_owned();
        if key.len() < limits::ADMIN_KEY_BYTES {
            let least = limits::ADMIN_KEY_BYTES;
            let problem = format!("{FILE} has less than {least} bytes; remove it for a new one");
            return Err(std::io::Error::other(problem));
        }
        warn_of_readers(&path);
        Ok(Some(Self(key)))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Says that others on the machine can read the key, or write it.
fn warn_of_readers(path: &Path) {
    #[cfg(unix)]
    if let Ok(metadata) = path.metadata() {
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
        if mode & 0o077 != 0 {
            let (file, mode) = (path.display(), format!("{mode:o}"));
            tracing::warn!(%file, mode, "others can read or write the admin key: chmod 600");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_can_be_guessed_is_refused_and_a_link_is_not_written_through() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("elsewhere");
        std::fs::write(&target, "as it was").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(&target, directory.path().join("admin.key.tmp")).unwrap();

        AdminKey::in_directory(directory.path()).unwrap();

        assert_eq!(std::fs::read_to_string(&target).unwrap(), "as it was");
        for weak in ["", "a", "fifteen letters"] {
            std::fs::write(directory.path().join(FILE), weak).unwrap();
            assert!(AdminKey::in_directory(directory.path()).is_err(), "{weak}");
        }
    }

    #[test]
    fn the_key_is_made_once_and_only_its_owner_may_read_it() {
        let directory = tempfile::tempdir().unwrap();

        let first = AdminKey::in_directory(directory.path()).unwrap();
        let second = AdminKey::in_directory(directory.path()).unwrap();

        assert_eq!((first.as_str(), first.as_str().len()), (second.as_str(), 64));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = directory.path().join(FILE).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
