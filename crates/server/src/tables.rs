//! Tables that the configuration and applications declare: made at the start, and open to everybody
//! for no longer than somebody declares them so.
//!
//! Whether a table is public stands in its dataset, because it can be said over HTTP as well. Which
//! of them are public by declaration is noted in `public.toml` of the data directory: a declaration
//! that is gone at the next start takes its effect with it.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use instep_model::commit::{Operation, Proposal, TableOptions};
use instep_model::name::Name;
use instep_node::Node;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::config::Config;
use crate::server::StartError;

/// The name of the note in the data directory.
const FILE: &str = "public.toml";

/// A dataset and a table in it.
type Place = (Name, Name);

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    /// `DATASET/TABLE`
    tables: BTreeSet<String>,
}

/// Makes the declared tables, gives them their options, and closes those that are not declared
/// public any more.
pub(crate) async fn make(node: &Node, config: &Config, app: &App) -> Result<(), StartError> {
    let ours = config.tables.iter().map(|table| {
        let options = TableOptions { public: table.public };
        (table.dataset.clone(), table.name.clone(), options)
    });
    let declared: Vec<(Name, Name, TableOptions)> =
        ours.chain(app.tables.iter().cloned()).collect();
    let public = declared.iter().filter(|(.., options)| options.public);
    let public: BTreeSet<String> =
        public.map(|(dataset, table, _)| format!("{dataset}/{table}")).collect();
    let data = |error| StartError::Data { path: config.data.join(FILE), error };
    let before = read(&config.data).map_err(data)?;
    // Noted before it is done: whatever ends this server, it is known what it has opened.
    let both = before.union(&public).cloned().collect();
    note(&config.data, &before, &both);
    for (dataset, table) in before.difference(&public).filter_map(|text| place(text)) {
        set(node, (dataset, table), TableOptions { public: false }, false).await?;
    }
    for (dataset, table, options) in declared {
        set(node, (dataset, table), options, true).await?;
    }
    note(&config.data, &both, &public);
    warn_of_views(node, config);
    Ok(())
}

/// Gives a table its options. One that is not there is made, if so declared.
async fn set(
    node: &Node,
    (dataset, table): Place,
    options: TableOptions,
    makes: bool,
) -> Result<(), StartError> {
    let Some(handle) = node.dataset(dataset.as_str()) else { return Ok(()) };
    let known = handle.state().tables.get(&table).map(|table| table.options);
    if known == Some(options) || known.is_none() && !makes {
        return Ok(());
    }
    if !makes {
        tracing::warn!(%dataset, %table, "the table is not declared public any more, and closed");
    }
    let create = Operation::CreateTable { table: table.clone(), public: options.public };
    let Err(refusal) = handle.commit(Proposal::from(vec![create])).await else { return Ok(()) };
    // A full disk at the start must not keep what is in memory from being read; but what is to be
    // closed must not stay open either.
    if known.is_none_or(|known| known.public) {
        return Err(StartError::Table { dataset, table, refusal: Box::new(refusal) });
    }
    tracing::warn!(%dataset, %table, %refusal, "the table's options are not set");
    Ok(())
}

/// Says of a view that it shows nothing, because its table is not there.
fn warn_of_views(node: &Node, config: &Config) {
    for view in &config.views {
        let (dataset, table) = (&view.dataset, &view.table);
        let state = node.dataset(dataset.as_str()).map(|dataset| dataset.state());
        if !state.is_some_and(|state| state.tables.contains_key(table)) {
            let view = &view.name;
            tracing::warn!(%dataset, %table, %view, "a view of a table that is not there");
        }
    }
}

fn place(text: &str) -> Option<Place> {
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
