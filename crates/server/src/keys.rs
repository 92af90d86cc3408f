//! Keys and rights from the configuration and from files, read at the start and whenever a file
//! changes.
//!
//! | from | what | read again |
//! | --- | --- | --- |
//! | `rights`, `key` of the configuration | rights, keys for programs | – |
//! | `admin.key` in the data directory | the admin key | – |
//! | `keys.toml` in the data directory | keys for programs, as `instep key` writes them | yes |
//! | the files of `tokens` | keys that tokens are checked with | yes |

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use instep_access::key::{self, KeyDeclaration, Keys};
use instep_access::token::{KeySource, Tokens};
use instep_access::{Access, Gate, Rights};
use instep_edge::Door;
use serde::{Deserialize, Serialize};

use crate::admin::AdminKey;
use crate::config::{Config, ConfigError};

/// The name of the file of keys in the data directory.
const FILE: &str = "keys.toml";
/// Files of keys are looked at this often.
const LOOK: Duration = Duration::from_secs(1);
/// Bytes of a file of keys.
const FILE_BYTES: u64 = 1024 * 1024;

/// The keys for programs that a data directory holds; only their hashes.
#[derive(Debug, Clone)]
pub struct KeyFile {
    path: PathBuf,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    #[serde(rename = "key", default)]
    keys: Vec<KeyDeclaration>,
}

impl KeyFile {
    /// That of a data directory. It need not exist.
    #[must_use]
    pub fn in_directory(directory: &Path) -> Self {
        Self { path: directory.join(FILE) }
    }

    /// The keys.
    ///
    /// # Errors
    /// A sentence, when the file cannot be read or is not what is expected.
    pub fn list(&self) -> Result<Vec<KeyDeclaration>, String> {
        if !self.path.exists() {
            return Ok(vec![]);
        }
        let content: Content = toml::from_str(&read(&self.path)?)
            .map_err(|error| format!("{}: {error}", self.path.display()))?;
        Ok(content.keys)
    }

    /// Makes a key; answers it. It is shown this once and cannot be found out later. A running
    /// server takes it within a second.
    ///
    /// # Errors
    /// A sentence, when the name is taken or no name, or the file cannot be written.
    pub fn create(&self, name: &str, roles: Vec<String>) -> Result<String, String> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|error| error.to_string())?;
        let (key, declaration) = key::make(name, roles, random)?;
        let mut keys = self.list()?;
        if keys.iter().any(|known| known.name == name) {
            return Err(format!("there is a key {name:?} already; remove it first"));
        }
        keys.push(declaration);
        self.write(keys)?;
        Ok(key)
    }

    /// Removes a key. A running server refuses it within a second.
    ///
    /// # Errors
    /// A sentence, when there is none of that name, or the file cannot be written.
    pub fn remove(&self, name: &str) -> Result<(), String> {
        let mut keys = self.list()?;
        let before = keys.len();
        keys.retain(|key| key.name != name);
        match keys.len() == before {
            true => Err(format!("there is no key {name:?} in {}", self.path.display())),
            false => self.write(keys),
        }
    }

    fn write(&self, keys: Vec<KeyDeclaration>) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| {
            format!("cannot write {}: {error}", self.path.display())
        };
        let text = toml::to_string(&Content { keys }).map_err(|error| failed(&error))?;
        // Under another name first: a server that looks now must not find half of it.
        let temporary = self.path.with_extension("toml.tmp");
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options.open(&temporary).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&temporary, &self.path)
        });
        written.map_err(|error| failed(&error))
    }
}

/// Everything by which a server decides, as configuration and files say now.
pub(crate) fn access(config: &Config, admin: &AdminKey) -> Result<Access, ConfigError> {
    let invalid =
        |key: &str, problem: String| ConfigError::Invalid { key: key.to_owned(), problem };
    let mut keys = declared_keys(config)?;
    keys.set_admin(admin.as_str());
    let file = KeyFile::in_directory(&config.data);
    for key in file.list().map_err(|problem| invalid(FILE, problem))? {
        keys.add(&key).map_err(|problem| invalid(FILE, problem))?;
    }
    Ok(Access { rights: rights(config)?, tokens: tokens(config)?, keys })
}

/// The rights of the configuration, compiled.
pub(crate) fn rights(config: &Config) -> Result<Rights, ConfigError> {
    Rights::compile(&config.rights).map_err(|error| ConfigError::Invalid {
        key: format!("rights[{}].{}", error.at, error.key),
        problem: error.problem,
    })
}

/// The keys for programs of the configuration.
pub(crate) fn declared_keys(config: &Config) -> Result<Keys, ConfigError> {
    let mut keys = Keys::default();
    for (at, declaration) in config.keys.iter().enumerate() {
        let invalid = |problem| ConfigError::Invalid { key: format!("key[{at}]"), problem };
        keys.add(declaration).map_err(invalid)?;
    }
    Ok(keys)
}

fn tokens(config: &Config) -> Result<Tokens, ConfigError> {
    let asked = &config.tokens;
    let mut tokens = Tokens::new(asked.issuer.clone(), asked.audience.clone(), asked.leeway_s);
    for (key, path) in asked.files() {
        let invalid = |problem| ConfigError::Invalid { key: key.to_owned(), problem };
        let text = read(path).map_err(invalid)?;
        let source = match key {
            "tokens.jwks" => KeySource::Jwks(&text),
            "tokens.public_key" => KeySource::Pem(&text),
            _ => KeySource::Secret(text.as_bytes()),
        };
        tokens.add(source).map_err(|problem| invalid(format!("{}: {problem}", path.display())))?;
    }
    Ok(tokens)
}

fn read(path: &Path) -> Result<String, String> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", path.display());
    let bytes = path.metadata().map_err(|error| failed(&error))?.len();
    if bytes > FILE_BYTES {
        return Err(failed(&format!("longer than {FILE_BYTES} bytes")));
    }
    std::fs::read_to_string(path).map_err(|error| failed(&error))
}

/// Looks at the files for as long as the server runs, and exchanges what the gate decides by. What
/// cannot be read changes nothing.
pub(crate) async fn watch(gate: Gate, door: Door, config: Config, admin: AdminKey) {
    let mut seen = state_of(&config);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = state_of(&config);
        if now == seen {
            continue;
        }
        seen = now;
        match access(&config, &admin) {
            Ok(access) => {
                gate.exchange(access);
                door.review();
                tracing::info!("keys were read again");
            }
            Err(error) => tracing::warn!(%error, "keys are as before: a file is not good"),
        }
    }
}

/// By what a changed file is known.
fn state_of(config: &Config) -> Vec<Option<(SystemTime, u64)>> {
    let keys = config.data.join(FILE);
    let tokens = config.tokens.files().map(|(_, path)| path.to_owned());
    let state = |path: PathBuf| {
        let metadata = path.metadata().ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    tokens.chain([keys]).map(state).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_good_is_named_and_a_changed_one_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::in_directory(directory.path());
        let admin = AdminKey::in_directory(directory.path()).unwrap();
        let jwks = directory.path().join("jwks.json");
        config.tokens.jwks = Some(jwks.clone());
        let missing = state_of(&config);
        std::fs::write(&jwks, "{").unwrap();

        let error = access(&config, &admin).unwrap_err().to_string();

        assert!(error.contains("tokens.jwks") && error.contains("jwks.json"), "{error}");
        assert_ne!(state_of(&config), missing);
    }

    #[test]
    fn a_key_is_written_as_its_hash_and_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = KeyFile::in_directory(directory.path());

        let key = file.create("billing", vec!["writer".into()]).unwrap();

        let text = std::fs::read_to_string(&file.path).unwrap();
        assert!(!text.contains(&key) && !text.contains(&key[key.len() - 64..]), "{text}");
        assert_eq!(file.list().unwrap()[0].roles, ["writer"]);
        assert!(file.create("billing", vec![]).unwrap_err().contains("already"));
        file.remove("billing").unwrap();
        assert!(file.list().unwrap().is_empty() && file.remove("billing").is_err());
    }
}
