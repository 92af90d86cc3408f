//! Public tables: open to all clients for no longer than the configuration or an application
//! declares them so.
//!
//! Whether a table is public stands in its dataset, because it can be said over HTTP as well. Which
//! of them are public by declaration is noted in `public.toml` of the data directory: a declaration
//! that is gone at the next start takes its effect with it. Tables are closed before their dataset
//! is served, so where one cannot be closed, its dataset is not open, and all others are.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use instep_model::commit::{Operation, Proposal, TableOptions};
use instep_model::name::Name;
use instep_node::{Dataset, Node};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::private_file;
use crate::start_error::StartError;

/// The name of the note in the data directory.
const FILE: &str = "public.toml";

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    /// `DATASET/TABLE`
    tables: BTreeSet<String>,
}

/// Tables that are public by declaration, and those that were.
pub(crate) struct Publics {
    directory: PathBuf,
    declared: Vec<(Name, Name, TableOptions)>,
    noted: Mutex<Noted>,
}

/// Note that the file should hold, and the one that it holds.
#[derive(Debug, Default)]
struct Noted {
    wanted: Note,
    written: Note,
}

impl Publics {
    /// Returns the declarations of now; nothing is read yet.
    pub(crate) fn new(directory: &Path, declared: &[(Name, Name, TableOptions)]) -> Self {
        let (directory, declared) = (directory.to_owned(), declared.to_vec());
        Self { directory, declared, noted: Mutex::default() }
    }

    /// Reads what was declared before, and notes what is declared now: whatever ends this server,
    /// it is known what it has opened.
    ///
    /// # Errors
    /// When the note cannot be read: it is unknown then which tables have to be closed.
    pub(crate) fn begin(&self) -> io::Result<()> {
        let before = read(&self.directory)?;
        let mut wanted = before.clone();
        wanted.tables.extend(self.public().map(|(dataset, table)| text(dataset, table)));
        *self.noted() = Noted { wanted, written: before };
        self.write_down();
        Ok(())
    }

    /// Brings the file up to date; false when that cannot be done now. A disk that is full does not
    /// keep a server from its start, but no table is made public then.
    pub(crate) fn write_down(&self) -> bool {
        let mut noted = self.noted();
        if noted.wanted == noted.written {
            return true;
        }
        match write(&self.directory, &noted.wanted) {
            Ok(()) => noted.written = noted.wanted.clone(),
            Err(error) => {
                tracing::warn!(%error, file = FILE, "the tables declared public are not noted");
                return false;
            }
        }
        true
    }

    /// Closes the tables of a dataset that are not declared public any more, or declared not to be.
    /// Blocks for the disk.
    ///
    /// # Errors
    /// When one of them cannot be closed: it must not be served.
    pub(crate) fn close_undeclared(&self, dataset: &Dataset) -> Result<(), StartError> {
        let name = dataset.name();
        let known = dataset.state();
        for table in self.undeclared(name) {
            if known.tables.get(&table).is_none_or(|known| !known.options.public) {
                continue;
            }
            tracing::warn!(dataset = %name, %table, "a table is not declared public any more");
            let close = Operation::CreateTable { table: table.clone(), public: false };
            dataset.commit_blocking(Proposal::from(vec![close])).map_err(|refusal| {
                StartError::Table { dataset: name.clone(), table, refusal: Box::new(refusal) }
            })?;
        }
        self.forget(name);
        Ok(())
    }

    /// Forgets the tables of a dataset that are not declared any more: they are closed, or gone.
    pub(crate) fn forget(&self, dataset: &Name) {
        let declared: BTreeSet<String> =
            self.public().map(|(dataset, table)| text(dataset, table)).collect();
        self.noted().wanted.tables.retain(|noted| {
            declared.contains(noted) || place(noted).is_none_or(|(of, _)| of != *dataset)
        });
        // What stays noted too long is only closed once more.
        self.write_down();
    }

    /// The tables that must not be public: those that were declared so and are not, and those that
    /// are declared otherwise.
    fn undeclared(&self, name: &Name) -> BTreeSet<Name> {
        let noted = self.noted();
        let before = noted.wanted.tables.iter().filter_map(|noted| place(noted));
        let before = before.filter(|(dataset, _)| dataset == name).map(|(_, table)| table);
        let otherwise =
            self.declared.iter().filter(|(of, _, options)| of == name && !options.public);
        let mut all: BTreeSet<Name> =
            before.chain(otherwise.map(|(_, table, _)| table.clone())).collect();
        self.public().filter(|(of, _)| *of == name).for_each(|(_, table)| {
            all.remove(table);
        });
        all
    }

    fn public(&self) -> impl Iterator<Item = (&Name, &Name)> {
        let public = self.declared.iter().filter(|(.., options)| options.public);
        public.map(|(dataset, table, _)| (dataset, table))
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says of a view that it shows nothing, because its table is not there.
pub(crate) fn warn_of_views(node: &Node, config: &Config) {
    for view in &config.views {
        let (dataset, table) = (&view.dataset, &view.table);
        let Some(open) = node.dataset(dataset.as_str()) else { continue };
        if !open.state().tables.contains_key(table) {
            let view = &view.name;
            tracing::warn!(%dataset, %table, %view, "a view of a table that is not there");
        }
    }
}

fn text(dataset: &Name, table: &Name) -> String {
    format!("{dataset}/{table}")
}

fn place(text: &str) -> Option<(Name, Name)> {
    let (dataset, table) = text.split_once('/')?;
    Some((Name::new(dataset).ok()?, Name::new(table).ok()?))
}

/// Says whether the note in a data directory can be read.
pub(crate) fn check(directory: &Path) -> io::Result<()> {
    read(directory).map(drop)
}

fn read(directory: &Path) -> io::Result<Note> {
    let path = directory.join(FILE);
    let Some(text) = private_file::read(&path)? else { return Ok(Note::default()) };
    let no_note = |error| private_file::named(&path, &io::Error::other(error));
    toml::from_str(&text).map_err(no_note)
}

fn write(directory: &Path, note: &Note) -> io::Result<()> {
    let text = toml::to_string(note).map_err(io::Error::other)?;
    private_file::write(&directory.join(FILE), &text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::App;
    use crate::server::Server;

    async fn with(directory: &Path, public: Option<bool>) -> Server {
        let mut config = Config::in_directory(directory);
        config.http.set_port(0);
        let names = ["store", "items"].map(|name| Name::new(name).unwrap());
        let [dataset, name] = names;
        let table = |public| crate::config::TableConfig { dataset, name, public };
        config.tables = public.map(table).into_iter().collect();
        let mut server = Server::start(config, App::default()).await.unwrap();
        server.ready().await.unwrap();
        server
    }

    fn is_public(server: &Server) -> bool {
        let state = server.node().dataset("store").unwrap().state();
        state.tables.get("items").unwrap().options.public
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_table_is_public_for_no_longer_than_it_is_declared_so() {
        let directory = tempfile::tempdir().unwrap();

        for (declared, public) in [
            (Some(true), true),
            (Some(true), true),
            (None, false),
            (Some(true), true),
            (Some(false), false),
        ] {
            let server = with(directory.path(), declared).await;
            assert_eq!(is_public(&server), public, "{declared:?}");
            server.stop().await.unwrap();
        }
        let server = with(directory.path(), None).await;
        let open = Operation::CreateTable { table: Name::new("items").unwrap(), public: true };
        let dataset = server.node().dataset("store").unwrap();
        dataset.commit(Proposal::from(vec![open])).await.unwrap();
        drop(dataset);
        server.stop().await.unwrap();
        let server = with(directory.path(), None).await;
        assert!(is_public(&server), "what was said over HTTP is no declaration");
        server.stop().await.unwrap();
    }
}
