//! Public tables: open to everybody for no longer than the configuration or an application declares
//! them so.
//!
//! Whether a table is public stands in its dataset, because it can be said over HTTP as well. Which
//! of them are public by declaration is noted in `public.toml` of the data directory: a declaration
//! that is gone at the next start takes its effect with it.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use instep_model::commit::{Operation, Proposal, TableOptions};
use instep_model::name::Name;
use instep_node::{Dataset, Node};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::server::StartError;

/// The name of the note in the data directory.
const FILE: &str = "public.toml";

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    /// `DATASET/TABLE`
    tables: BTreeSet<String>,
}

/// Closes tables that are not declared public any more, and notes which ones are. What is in a
/// dataset that is not open stays noted, and is closed once it opens.
///
/// # Errors
/// When the note cannot be read, or a table cannot be closed: it must not stay open.
pub(crate) async fn close_undeclared(
    node: &Node,
    directory: &Path,
    declared: &[(Name, Name, TableOptions)],
) -> Result<(), StartError> {
    let public = declared.iter().filter(|(.., options)| options.public);
    let public: BTreeSet<String> =
        public.map(|(dataset, table, _)| format!("{dataset}/{table}")).collect();
    let data = |error| StartError::Data { path: directory.join(FILE), error };
    let before = read(directory).map_err(data)?;
    // Noted before it is done: whatever ends this server, it is known what it has opened.
    let both: BTreeSet<String> = before.union(&public).cloned().collect();
    note(directory, &before, &both);
    let mut after = public.clone();
    for text in before.difference(&public) {
        let Some((dataset, table)) = place(text) else { continue };
        match node.dataset(dataset.as_str()) {
            Some(open) => close(&open, table).await?,
            None if node.why_unopened(dataset.as_str()).is_some() => {
                after.insert(text.clone());
            }
            None => {}
        }
    }
    note(directory, &both, &after);
    Ok(())
}

async fn close(dataset: &Dataset, table: Name) -> Result<(), StartError> {
    let known = dataset.state().tables.get(&table).map(|table| table.options);
    if known.is_none_or(|known| !known.public) {
        return Ok(());
    }
    let name = dataset.name().clone();
    tracing::warn!(dataset = %name, %table, "a table is not declared public any more");
    let close = Operation::CreateTable { table: table.clone(), public: false };
    match dataset.commit(Proposal::from(vec![close])).await {
        Ok(_) => Ok(()),
        Err(refusal) => Err(StartError::Table { dataset: name, table, refusal: Box::new(refusal) }),
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

fn place(text: &str) -> Option<(Name, Name)> {
    let (dataset, table) = text.split_once('/')?;
    Some((Name::new(dataset).ok()?, Name::new(table).ok()?))
}

fn read(directory: &Path) -> std::io::Result<BTreeSet<String>> {
    match std::fs::read_to_string(directory.join(FILE)) {
        Ok(text) => {
            let note: Note = toml::from_str(&text).map_err(std::io::Error::other)?;
            Ok(note.tables)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

/// Notes which tables are public by declaration, if others were before. A disk that is full does
/// not keep a server from its start.
fn note(directory: &Path, before: &BTreeSet<String>, tables: &BTreeSet<String>) {
    if before == tables {
        return;
    }
    let written = || -> std::io::Result<()> {
        let note = Note { tables: tables.clone() };
        let text = toml::to_string(&note).map_err(std::io::Error::other)?;
        // Under another name first: what is there is whole.
        let temporary = directory.join("public.toml.tmp");
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, directory.join(FILE))
    };
    if let Err(error) = written() {
        tracing::warn!(%error, file = FILE, "it is not noted which tables are declared public");
    }
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
            server.stop().await;
        }
        let server = with(directory.path(), None).await;
        let open = Operation::CreateTable { table: Name::new("items").unwrap(), public: true };
        let dataset = server.node().dataset("store").unwrap();
        dataset.commit(Proposal::from(vec![open])).await.unwrap();
        drop(dataset);
        server.stop().await;
        let server = with(directory.path(), None).await;
        assert!(is_public(&server), "what was said over HTTP is nobody's declaration");
        server.stop().await;
    }
}
