//! Access to a server: its address, and the credential that a command shows.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use instep_client::{Channels, Client, Trust};

use crate::failure::Failure;

/// The port of a server that was not told another.
pub(crate) const PORT: u16 = 4000;
/// The name of the key's file in a data directory.
const KEY_FILE: &str = "admin.key";
/// Data directories of `serve` and `demo` when they are not told otherwise.
const USUAL_DATA: [&str; 2] = ["data", "data/demo"];
/// Credential that this command shows, in words.
static SHOWN: OnceLock<String> = OnceLock::new();
/// Longest key that is read: that of a server has 64 bytes.
const KEY_BYTES: usize = 4096;
/// Largest file of certificates to trust.
const CA_BYTES: u64 = 1024 * 1024;

/// Address of the server, and the credential to show.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct Access {
    /// The server's address.
    #[arg(
        long,
        value_name = "URL",
        env = "INSTEP_SERVER",
        default_value = "http://127.0.0.1:4000"
    )]
    server: String,
    /// The admin key, or the key of a program; without it the admin key in the data directory.
    #[arg(
        id = "admin_key",
        long = "key",
        value_name = "KEY",
        env = "INSTEP_KEY",
        hide_env_values = true
    )]
    key: Option<String>,
    /// A token, instead of a key.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "INSTEP_TOKEN",
        hide_env_values = true,
        conflicts_with = "admin_key"
    )]
    token: Option<String>,
    /// CA certificates (PEM) to trust over https, instead of the system's; a self-signed
    /// certificate of the server is one.
    #[arg(long, value_name = "FILE", env = "INSTEP_CA")]
    ca: Option<PathBuf>,
    /// The data directory whose admin.key is used: data, or else data/demo.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Access {
    /// A client of the server.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::trusting(&self.server, self.key()?, &self.trust()?)?)
    }

    /// A socket to the server.
    pub(crate) async fn channels(&self) -> Result<Channels, Failure> {
        Ok(Channels::connect_trusting(&self.server, self.key()?, &self.trust()?).await?)
    }

    /// The same access to another server.
    pub(crate) fn to(mut self, server: Option<String>) -> Self {
        if let Some(server) = server {
            self.server = server;
        }
        self
    }

    /// The server's address, as it was given.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    fn trust(&self) -> Result<Trust, Failure> {
        let Some(file) = &self.ca else { return Ok(Trust::system()) };
        let unreadable = |error: &dyn std::fmt::Display| {
            Failure::Storage(format!("the certificates {}: {error}", file.display()))
        };
        let bytes = file.metadata().map_err(|error| unreadable(&error))?.len();
        if bytes > CA_BYTES {
            Err(unreadable(&format!("longer than {CA_BYTES} bytes")))
        } else {
            Ok(Trust::only(std::fs::read(file).map_err(|error| unreadable(&error))?))
        }
    }

    fn key(&self) -> Result<Option<String>, Failure> {
        let given = [("--token", "INSTEP_TOKEN", &self.token), ("--key", "INSTEP_KEY", &self.key)];
        for (flag, variable, given) in given {
            let Some(given) = given else { continue };
            let is_of_variable = std::env::var(variable).is_ok_and(|value| value == *given);
            let from = if is_of_variable { variable } else { flag };
            note(format!("the credential of {from} was shown"));
            return Ok(Some(given.clone()));
        }
        // Without a key, public tables can be read all the same.
        let Some(file) = key_file(self.data.as_deref()) else {
            let usual = USUAL_DATA.map(|data| format!("{data}/{KEY_FILE}")).join(" and ");
            note(format!(
                "no --key, --token, INSTEP_KEY or INSTEP_TOKEN, and there is no {usual} here: \
                 --data names the data directory of the server"
            ));
            return Ok(None);
        };
        note(shown_of(&file, self.data.is_none()));
        read_key(&file).map(Some)
    }
}

/// The admin key of a data directory.
pub(crate) fn key_of(data: &Path) -> Result<String, Failure> {
    read_key(&data.join(KEY_FILE))
}

fn read_key(file: &Path) -> Result<String, Failure> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Failure::Storage(format!("the admin key {}: {error}", file.display()))
    };
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(&error))?;
    if text.len() > KEY_BYTES {
        Err(unreadable(&format!("longer than {KEY_BYTES} bytes")))
    } else {
        Ok(text.trim().to_owned())
    }
}

/// Words for the key of a file that is shown, and for another that may be meant.
fn shown_of(file: &Path, is_usual: bool) -> String {
    let shown = format!("the key in {} was shown", file.display());
    let is_other = |data: &&str| {
        let other = Path::new(data).join(KEY_FILE);
        is_usual && other != file && other.exists()
    };
    match USUAL_DATA.into_iter().find(is_other) {
        Some(data) => format!("{shown}; that of {data} with --data {data}"),
        None => shown,
    }
}

/// Notes which credential is shown. The first note stays.
fn note(words: String) {
    let _ = SHOWN.set(words);
}

/// Credential that this command shows, in words, for users who are refused because of it.
pub(crate) fn shown() -> Option<&'static str> {
    SHOWN.get().map(String::as_str)
}

/// The file of the admin key: that of the data directory given, or the first one there is.
pub(crate) fn key_file(data: Option<&Path>) -> Option<PathBuf> {
    match data {
        Some(directory) => Some(directory.join(KEY_FILE)),
        None => USUAL_DATA.iter().map(|data| Path::new(data).join(KEY_FILE)).find(|f| f.exists()),
    }
}
