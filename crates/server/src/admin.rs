//! The admin key: its holder may do everything.

use std::io::Write;
use std::path::Path;

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
        let path = directory.join(FILE);
        if path.exists() {
            let key = std::fs::read_to_string(path)?.trim().to_owned();
            return match key.is_empty() {
                true => Err(std::io::Error::other(format!("{FILE} is empty; remove it"))),
                false => Ok(Self(key)),
            };
        }
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        let key: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        // Under another name first: a crash in between must not leave an empty key.
        let temporary = directory.join("admin.key.tmp");
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&temporary)?;
        writeln!(file, "{key}")?;
        file.sync_all()?;
        std::fs::rename(temporary, path)?;
        Ok(Self(key))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
