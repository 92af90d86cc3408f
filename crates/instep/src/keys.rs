//! Keys and rights from the configuration and from files, read at the start and whenever a file
//! changes.
//!
//! | from | what | read again |
//! | --- | --- | --- |
//! | `rights`, `key` of the configuration | rights, keys for programs | – |
//! | `admin.key` in the data directory | the admin key | – |
//! | `keys.toml` in the data directory | keys for programs, as `instep key` writes them | yes |
//! | the files of `tokens` | keys that tokens are checked with | yes |
//!
//! How files are read again, and what becomes of what they said while they cannot be, is in
//! [`reload`].

pub(crate) mod reload;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use instep_access::Rights;
use instep_access::key::{self, KeyDeclaration, Keys};
use instep_embedded::real::regular;
use serde::{Deserialize, Serialize};

use crate::config::{Config, Fault, KeyPath, Source};
use crate::private_file;

/// The name of the file of keys in the data directory.
const FILE: &str = "keys.toml";

/// The keys for programs that a data directory holds; only their hashes.
#[derive(Debug, Clone)]
pub struct KeyFile {
    path: PathBuf,
}

/// Error of making or removing a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The name cannot be that of a key.
    #[error(transparent)]
    Name(#[from] key::KeyNameError),
    /// There is a key of that name.
    #[error("there is a key {name:?} already; remove it first")]
    Taken {
        /// The name.
        name: String,
    },
    /// There is no key of that name.
    #[error("there is no key {name:?} in {}", path.display())]
    Unknown {
        /// The name.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// The system gave no random bytes.
    #[error("{0}")]
    Random(getrandom::Error),
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] KeyFileError),
}

/// Error of a file of keys. Each names the file.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be looked at.
    #[error("cannot look at {}: {error}", path.display())]
    Look {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        error: io::Error,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        error: io::Error,
    },
    /// The text of the file is not the TOML that is expected.
    #[error("{}: {error}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Error of the parser, with the place.
        error: Box<toml::de::Error>,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        error: io::Error,
    },
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    #[serde(rename = "key", default)]
    keys: Vec<KeyDeclaration>,
}

impl KeyFile {
    /// Key file of a data directory. It need not exist.
    #[must_use]
    pub fn in_directory(directory: &Path) -> Self {
        Self { path: directory.join(FILE) }
    }

    /// The keys.
    ///
    /// # Errors
    /// [`KeyFileError`], when the file cannot be read or is not what is expected.
    pub fn list(&self) -> Result<Vec<KeyDeclaration>, KeyFileError> {
        parse(&self.path, &read_or_nothing(&self.path)?)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a key; answers it. It is shown this once and cannot be found out later. A running
    /// server takes it within a second.
    ///
    /// # Errors
    /// [`KeyError`], when the name is taken or no name, or the file cannot be written.
    pub fn create(&self, name: &str, roles: Vec<String>) -> Result<String, KeyError> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(KeyError::Random)?;
        let (key, declaration) = key::make(name, roles, random)?;
        let mut keys = self.list()?;
        if keys.iter().any(|known| known.name == name) {
            return Err(KeyError::Taken { name: name.to_owned() });
        }
        keys.push(declaration);
        self.write(keys)?;
        Ok(key)
    }

    /// Removes a key. A running server refuses it within a second.
    ///
    /// # Errors
    /// [`KeyError`], when there is none of that name, or the file cannot be written.
    pub fn remove(&self, name: &str) -> Result<(), KeyError> {
        let mut keys = self.list()?;
        let before = keys.len();
        keys.retain(|key| key.name != name);
        if keys.len() == before {
            return Err(KeyError::Unknown { name: name.to_owned(), path: self.path.clone() });
        }
        Ok(self.write(keys)?)
    }

    fn write(&self, keys: Vec<KeyDeclaration>) -> Result<(), KeyFileError> {
        toml::to_string(&Content { keys })
            .map_err(io::Error::other)
            .and_then(|text| private_file::write(&self.path, &text))
            .map_err(|error| KeyFileError::Write { path: self.path.clone(), error })
    }
}

/// The rights of the configuration, compiled.
pub(crate) fn rights(config: &Config) -> Result<Rights, Fault> {
    Rights::compile(&config.rights).map_err(|error| {
        let path = KeyPath::new("rights").at(error.at);
        let path = if error.key.is_empty() { path } else { path.key(error.key) };
        Fault::new(path, error.problem).within(error.spot)
    })
}

/// The keys for programs of the configuration.
pub(crate) fn declared_keys(config: &Config) -> Result<Keys, Fault> {
    let mut keys = Keys::default();
    add(&mut keys, &config.keys)?;
    Ok(keys)
}

/// Says whether the file of keys of a data directory is good.
pub(crate) fn check(directory: &Path) -> Result<(), Fault> {
    let path = directory.join(FILE);
    let text = read_or_nothing(&path)?;
    add_those_of(&mut Keys::default(), &path, &text)
}

/// Adds those of the file of keys, whose text this is.
fn add_those_of(keys: &mut Keys, path: &Path, text: &str) -> Result<(), Fault> {
    let of_file = parse(path, text)?;
    let source = Source::new(path, text.to_owned());
    add(keys, &of_file).map_err(|fault| fault.located(&source))
}

fn add(keys: &mut Keys, all: &[KeyDeclaration]) -> Result<(), Fault> {
    for (at, declaration) in all.iter().enumerate() {
        let path = KeyPath::new("key").at(at);
        keys.add(declaration)
            .map_err(|key::KeyError { field, problem }| Fault::new(path.key(field), problem))?;
    }
    Ok(())
}

/// The keys in the text of a file of keys.
fn parse(path: &Path, text: &str) -> Result<Vec<KeyDeclaration>, KeyFileError> {
    let parsed = toml::from_str(text).map(|Content { keys }| keys);
    parsed.map_err(|error| KeyFileError::Parse { path: path.to_owned(), error: error.into() })
}

/// The text of a file that need not exist. One that cannot be looked at is not taken for none.
fn read_or_nothing(path: &Path) -> Result<String, KeyFileError> {
    match regular(path) {
        Ok(()) => read(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(KeyFileError::Read { path: path.to_owned(), error }),
    }
}

fn read(path: &Path) -> Result<String, KeyFileError> {
    private_file::text(path).map_err(|error| KeyFileError::Read { path: path.to_owned(), error })
}

impl From<KeyFileError> for Fault {
    fn from(error: KeyFileError) -> Self {
        Self::elsewhere(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_as_its_hash_and_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = KeyFile::in_directory(directory.path());

        let key = file.create("billing", vec!["writer".into()]).unwrap();

        let text = std::fs::read_to_string(&file.path).unwrap();
        assert!(!text.contains(&key) && !text.contains(&key[key.len() - 64..]), "{text}");
        assert_eq!(file.list().unwrap()[0].roles, ["writer"]);
        assert!(file.create("billing", vec![]).unwrap_err().to_string().contains("already"));
        file.remove("billing").unwrap();
        assert!(file.list().unwrap().is_empty() && file.remove("billing").is_err());
    }
}
