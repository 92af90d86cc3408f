//! Programs of PostgreSQL: where they are, and the database that they are told.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio_postgres::config::Host;

use super::connection::Database;
use super::tls;
use crate::limits::ERROR_CHARS;
use crate::store::{Fatal, StoreError, bounded};

/// Directory of the programs of each version, in packages of Debian.
const VERSIONS: &str = "/usr/lib/postgresql";

/// Directory of the programs; none: they are looked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Programs(pub(super) Option<PathBuf>);

impl Programs {
    /// A command whose environment names the database: arguments are visible to other users.
    pub(super) fn command(&self, name: &str, database: &Database) -> Result<Command, StoreError> {
        let config = &database.config;
        let mut command = Command::new(self.find(name));
        command.stdin(Stdio::null());
        for inherited in ["PGSERVICE", "PGOPTIONS", "PGPASSFILE", "PGHOSTADDR"] {
            command.env_remove(inherited);
        }
        let (Some(host), ports) = (config.get_hosts().first(), config.get_ports()) else {
            return Err(Fatal::Unusable("the address names no host".into()).into());
        };
        match host {
            Host::Tcp(host) => command.env("PGHOST", host),
            Host::Unix(directory) => command.env("PGHOST", directory),
        };
        if let Some(port) = ports.first() {
            command.env("PGPORT", port.to_string());
        }
        if let Some(user) = config.get_user() {
            command.env("PGUSER", user);
            command.env("PGDATABASE", config.get_dbname().unwrap_or(user));
        }
        if let Some(password) = config.get_password() {
            command.env("PGPASSWORD", String::from_utf8_lossy(password).as_ref());
        }
        if tls::is_encrypted(config) {
            command.env("PGSSLMODE", "verify-full");
            command.env("PGSSLROOTCERT", database.authorities.root_file());
        } else {
            command.env("PGSSLMODE", "disable");
        }
        command.env("PGAPPNAME", "instep site, a dump");
        Ok(command)
    }

    /// The program of the directory that was named, of the search path, or of the newest version.
    fn find(&self, name: &str) -> PathBuf {
        if let Some(directory) = &self.0 {
            return directory.join(name);
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let of_path = std::env::split_paths(&path).map(|at| at.join(name)).find(|at| at.exists());
        of_path.or_else(|| newest(name)).unwrap_or_else(|| name.into())
    }
}

fn newest(name: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir(VERSIONS).ok()?;
    let version = |at: &Path| at.file_name()?.to_str()?.parse::<u32>().ok();
    let mut found: Vec<_> = versions
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter_map(|at| Some((version(&at)?, at)))
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, at)| at.join("bin").join(name)).find(|at| at.exists())
}

/// Reads what a program says about its failure, and returns the last of it.
pub(super) fn last_words(mut stderr: impl Read) -> String {
    let (mut words, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stderr.read(&mut buffer) {
        words.extend_from_slice(&buffer[..read]);
        words.drain(..words.len().saturating_sub(ERROR_CHARS));
    }
    bounded(String::from_utf8_lossy(&words).trim())
}
