//! Targets of a site's agent: the store, and names in it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use instep_client::Client;
use instep_model::name::Name;
use instep_sites::{
    CommandStore, HttpStore, Identity, JournalTarget, PostgresStore, SqliteStore, Store, Targets,
};
use tokio::runtime::Handle;

use crate::failure::Failure;

/// Store that a site applies to.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// A file of SQLite.
    Sqlite(PathBuf),
    /// A database of PostgreSQL.
    Postgres(String),
    /// A command of the shell.
    Command(String),
    /// An address that commits are posted to.
    Http(String),
}

/// Name of a table, and its name in the store.
#[derive(Debug, Clone)]
pub(super) struct TableTarget(String, String);

/// Name of a journal, and its way into the store.
#[derive(Debug, Clone)]
pub(super) struct JournalWay(String, JournalTarget);

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("sqlite", path)) if path == ":memory:" || path.starts_with("file:") => {
                Err("sqlite: it must be the path of a file, which outlives the agent".into())
            }
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            Some(("postgres" | "postgresql", address)) if address.starts_with("//") => {
                Ok(Self::Postgres(text.into()))
            }
            Some(("postgres", settings)) => Ok(Self::Postgres(settings.into())),
            Some(("command", command)) if !command.is_empty() => Ok(Self::Command(command.into())),
            Some(("http" | "https", address)) if address.starts_with("//") => {
                Ok(Self::Http(text.into()))
            }
            _ => Err("it must be sqlite:PATH, postgres://USER@HOST/DATABASE, command:COMMAND, \
                      http://HOST/PATH or https://HOST/PATH"
                .into()),
        }
    }
}

/// Surroundings of a store in PostgreSQL.
#[derive(Debug, clap::Args)]
pub(super) struct Postgres {
    /// Directory of `pg_dump` and `psql`, which must be as new as the database; without it they are
    /// looked for.
    #[arg(long, value_name = "DIR")]
    pub(super) pg_bin: Option<PathBuf>,
    /// Certificates that vouch for the PostgreSQL server, in PEM; without it the roots of this
    /// machine.
    #[arg(long, value_name = "FILE")]
    pub(super) pg_ca: Option<PathBuf>,
}

impl FromStr for TableTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((table, target)) => Ok(Self(name(table)?, target.into())),
            None => Err("it must be TABLE=TARGET".into()),
        }
    }
}

impl FromStr for JournalWay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((journal, "table")) => Ok(Self(name(journal)?, JournalTarget::Table)),
            Some((journal, "sql")) => Ok(Self(name(journal)?, JournalTarget::Sql)),
            _ => Err("it must be JOURNAL=sql or JOURNAL=table".into()),
        }
    }
}

impl Target {
    /// The store, of a site.
    pub(super) fn store(
        self,
        identity: &Identity,
        (targets, postgres): (Targets, Postgres),
    ) -> Result<Box<dyn Store>, Failure> {
        let identity = identity.clone();
        match self {
            Self::Sqlite(path) => Ok(Box::new(SqliteStore::new(&path, identity, targets))),
            Self::Postgres(url) => {
                let store = PostgresStore::new(&url, identity, targets, Handle::current());
                let store = store.map_err(|error| Failure::Usage(format!("--apply: {error}")))?;
                let store = postgres.pg_bin.into_iter().fold(store, PostgresStore::with_programs);
                let store = postgres.pg_ca.into_iter().fold(store, PostgresStore::trusting);
                Ok(Box::new(store))
            }
            Self::Command(command) => Ok(Box::new(CommandStore::new(&command, identity))),
            Self::Http(url) => {
                let receiver = Client::new(&url, None)?;
                Ok(Box::new(HttpStore::new(receiver, identity, Handle::current())))
            }
        }
    }

    /// True if the store keeps its position, and takes dumps.
    pub(super) fn keeps_position(&self) -> bool {
        match self {
            Self::Sqlite(_) | Self::Postgres(_) => true,
            Self::Command(_) | Self::Http(_) => false,
        }
    }
}

/// Reads a name as datasets have them.
pub(super) fn name(text: &str) -> Result<String, String> {
    match Name::new(text) {
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(error) => Err(format!("the name {text:?} {error}")),
    }
}

/// Names in the store.
pub(super) fn targets(
    tables: Vec<TableTarget>,
    journals: Vec<JournalWay>,
) -> Result<Targets, Failure> {
    let tables = once("--table", tables.into_iter().map(|TableTarget(table, to)| (table, to)))?;
    let journals = journals.into_iter().map(|JournalWay(journal, way)| (journal, way));
    let journals = once("--journal", journals)?;
    Targets::new(tables, journals).map_err(|error| Failure::Usage(format!("--table: {error}")))
}

fn once<T>(
    flag: &str,
    pairs: impl Iterator<Item = (String, T)>,
) -> Result<BTreeMap<String, T>, Failure> {
    let mut map = BTreeMap::new();
    for (name, target) in pairs {
        if map.insert(name.clone(), target).is_some() {
            return Err(Failure::Usage(format!("{flag}: {name} is there twice")));
        }
    }
    Ok(map)
}
