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

use std::io::ErrorKind;
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
    /// Invalid request: a name that is taken, unknown or none.
    #[error("{0}")]
    Refused(String),
    /// The file cannot be read or written.
    #[error("{0}")]
    Storage(String),
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
    /// A sentence, when the file cannot be read or is not what is expected.
    pub fn list(&self) -> Result<Vec<KeyDeclaration>, String> {
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
        getrandom::fill(&mut random).map_err(|error| KeyError::Storage(error.to_string()))?;
        let (key, declaration) = key::make(name, roles, random).map_err(KeyError::Refused)?;
        let mut keys = self.list().map_err(KeyError::Storage)?;
        if keys.iter().any(|known| known.name == name) {
            let taken = format!("there is a key {name:?} already; remove it first");
            return Err(KeyError::Refused(taken));
        }
        keys.push(declaration);
        self.write(keys).map_err(KeyError::Storage)?;
        Ok(key)
    }

    /// Removes a key. A running server refuses it within a second.
    ///
    /// # Errors
    /// [`KeyError`], when there is none of that name, or the file cannot be written.
    pub fn remove(&self, name: &str) -> Result<(), KeyError> {
        let mut keys = self.list().map_err(KeyError::Storage)?;
        let before = keys.len();
        keys.retain(|key| key.name != name);
        if keys.len() == before {
            let missing = format!("there is no key {name:?} in {}", self.path.display());
            return Err(KeyError::Refused(missing));
        }
        self.write(keys).map_err(KeyError::Storage)
    }

    fn write(&self, keys: Vec<KeyDeclaration>) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| {
            format!("cannot write {}: {error}", self.path.display())
        };
        let text = toml::to_string(&Content { keys }).map_err(|error| failed(&error))?;
        private_file::write(&self.path, &text).map_err(|error| failed(&error))
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
    let text = read_or_nothing(&path).map_err(Fault::elsewhere)?;
    add_those_of(&mut Keys::default(), &path, &text)
}

/// Adds those of the file of keys, whose text this is.
fn add_those_of(keys: &mut Keys, path: &Path, text: &str) -> Result<(), Fault> {
    let of_file = parse(path, text).map_err(Fault::elsewhere)?;
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
fn parse(path: &Path, text: &str) -> Result<Vec<KeyDeclaration>, String> {
    let content: Content =
        toml::from_str(text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(content.keys)
}

/// The text of a file that need not exist. One that cannot be looked at is not taken for none.
fn read_or_nothing(path: &Path) -> Result<String, String> {
    match regular(path) {
        Ok(()) => read(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

fn read(path: &Path) -> Result<String, String> {
    private_file::text(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
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
