//! Opening, making and removing datasets, as the configuration and the applications say.
//!
//! What may refuse is asked before anything is touched. One dataset that cannot be opened keeps no
//! other from being served, and neither does one whose disk does not answer: it is shown with its
//! reason, tried again unless it is damaged, and can be removed. How all of them are opened at a
//! start is in [`starting`].

mod room;
mod starting;
mod turns;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use instep_embedded::check;
use instep_embedded::datasets::{Datasets, Found};
use instep_embedded::error::OpenError as EngineError;
use instep_embedded::real::RealDisk;
use instep_model::commit::{Operation, Proposal, TableOptions};
use instep_model::disk::{Disk as _, Sharing};
use instep_model::limits;
use instep_model::mail::Kind;
use instep_model::name::Name;
use instep_model::retention::Keep;
use instep_model::view::View;
use instep_node::dataset::Options;
use instep_node::mail::MailOptions;
use instep_node::{Dataset, Node, NodeError, Unopened, on_a_thread};
use tokio::sync::Notify;
use uuid::Uuid;

use self::room::{Room, Short};
use self::turns::{NoTurn, Turns};
use crate::app::App;
use crate::config::{Config, MailConfig, RelayConfig};
use crate::problem::Problem;
use crate::start_error::StartError;
use crate::tables::{self, Publics};
use crate::{directory, engine};

/// Opens datasets as the configuration and the applications say.
#[derive(Clone)]
pub(crate) struct Opener(Arc<Opening>);

struct Opening {
    config: Config,
    datasets: Datasets,
    /// Datasets that the configuration and the applications declare.
    declared: Vec<Name>,
    views: Vec<(Name, View)>,
    tables: Vec<(Name, Name, TableOptions)>,
    mappings: Vec<(Name, Kind)>,
    publics: Publics,
    turns: Arc<Turns>,
    room: Room,
    short: Short,
    /// A dataset was opened later than at the start.
    late: Notify,
}

/// Error of making a dataset.
enum MakeError {
    Engine(EngineError),
    System(std::io::Error),
}

impl From<std::io::Error> for MakeError {
    fn from(error: std::io::Error) -> Self {
        Self::System(error)
    }
}

impl Opener {
    /// # Errors
    /// When the directory of the datasets cannot be made or read.
    pub(crate) fn new(config: &Config, app: &App) -> std::io::Result<Self> {
        let mut declared = config.dataset_names();
        declared.extend(app.tables.iter().map(|(dataset, ..)| dataset.clone()));
        declared.extend(app.views.iter().map(|(dataset, _)| dataset.clone()));
        declared.extend(app.mappings.iter().map(|(dataset, _)| dataset.clone()));
        declared.sort();
        declared.dedup();
        let tables = config.tables.iter().map(|table| {
            let options = TableOptions { public: table.public };
            (table.dataset.clone(), table.name.clone(), options)
        });
        let tables: Vec<_> = tables.chain(app.tables.iter().cloned()).collect();
        let opening = Opening {
            config: config.clone(),
            datasets: directory::open(&config.data)?,
            declared,
            views: engine::built_in(&app.views),
            publics: Publics::new(&config.data, &tables),
            tables,
            mappings: app.mappings.clone(),
            turns: Arc::default(),
            room: Room::default(),
            short: Short::default(),
            late: Notify::new(),
        };
        Ok(Self(Arc::new(opening)))
    }

    /// The relays of the configuration.
    pub(crate) fn relays(&self) -> &[RelayConfig] {
        &self.0.config.relays
    }

    fn note_unopened(&self, node: &Node, name: &Name, error: &StartError) {
        let (reason, is_damaged) = (error.to_string(), error.is_damage());
        if node.why_unopened(name.as_str()).is_none_or(|before| before.reason != reason) {
            if error.is_exhausted() {
                self.0.short.note(&reason);
            } else {
                tracing::error!(dataset = %name, reason, is_damaged, "a dataset is not open");
            }
        }
        let views = self.views_of(name).unwrap_or_default();
        node.set_unopened(name.clone(), Unopened { reason, is_damaged, views });
    }

    /// Opens a dataset, and makes it where there is none. What was made is removed again when it
    /// does not open.
    fn open(&self, node: &Node, name: &Name) -> Result<Dataset, StartError> {
        if node.count() >= node.limit() {
            return Err(NodeError::TooMany { limit: node.limit() }.into());
        }
        let room = self.0.room.take(PATIENCE);
        let _counted =
            room.map_err(|error| StartError::Descriptors { dataset: name.clone(), error })?;
        let made = self.make(name)?;
        let opened = self.open_made(name, node);
        let added = opened.and_then(|dataset| {
            node.add(dataset.clone()).inspect_err(|_| dataset.close())?;
            Ok(dataset)
        });
        if added.is_err() && made {
            // Best effort: an empty dataset that stays is opened at the next start.
            self.remove_files(name).unwrap_or_else(|error| {
                tracing::warn!(dataset = %name, %error, "an empty dataset stays");
            });
        }
        added
    }

    /// Makes a dataset if there is none; says whether it did.
    fn make(&self, name: &Name) -> Result<bool, StartError> {
        let datasets = &self.0.datasets;
        let system = |error| self.refused(name, error);
        match datasets.find(name).map_err(system)? {
            Found::Dataset => return Ok(false),
            Found::Foreign => return Err(StartError::Foreign { path: datasets.path(name) }),
            Found::Empty => return Err(StartError::Empty { path: datasets.path(name) }),
            Found::Nothing | Found::Unfinished => {}
        }
        let segment_bytes = self.0.config.log.segment_bytes;
        let fill =
            |directory: &Path| engine::begin(directory, segment_bytes).map_err(MakeError::Engine);
        match datasets.make(name, fill) {
            Ok(()) => Ok(true),
            Err(MakeError::System(error)) => Err(system(error)),
            Err(MakeError::Engine(error)) => {
                Err(StartError::Engine { dataset: name.clone(), error: Box::new(error) })
            }
        }
    }

    fn open_made(&self, name: &Name, node: &Node) -> Result<Dataset, StartError> {
        let config = &self.0.config;
        let log = config.log;
        let directory = self.0.datasets.path(name);
        let engine = engine::open(&directory, log.segment_bytes).map_err(|error| {
            StartError::Engine { dataset: name.clone(), error: Box::new(error) }
        })?;
        let options = Options {
            name: name.clone(),
            writer: Uuid::new_v4(),
            views: self.views_of(name)?,
            keep: Keep { bytes: log.keep_bytes, ms: log.keep_hours * 60 * 60 * 1000 },
            hold: Keep { bytes: log.hold_bytes, ms: log.hold_hours * 60 * 60 * 1000 },
            snapshot_after_bytes: log.snapshot_after_bytes,
            snapshot_after: Duration::from_secs(log.snapshot_after_seconds),
            bookmark_every: Duration::from_millis(config.bookmark_ms),
            mail: self.mail_of(name),
        };
        let dataset = Dataset::open(engine, options, node.topics().clone(), node.pools()).map_err(
            |error| {
                let file =
                    error.entry().and_then(|entry| check::file_of(&RealDisk, &directory, entry));
                StartError::Open { dataset: name.clone(), file, error: Box::new(error) }
            },
        )?;
        // Before any client can read it.
        let closed = self.0.publics.close_undeclared(&dataset);
        closed.inspect_err(|_| dataset.close())?;
        Ok(dataset)
    }

    fn views_of(&self, name: &Name) -> Result<Vec<View>, StartError> {
        let mut all = self.0.config.views_of(name)?;
        let of_apps = self.0.views.iter().filter(|(of, _)| of == name);
        all.extend(of_apps.map(|(_, view)| view.clone()));
        Ok(all)
    }

    /// Options of a dataset's mail: the configuration's, with the mappings of applications.
    fn mail_of(&self, name: &Name) -> MailOptions {
        let Opening { config, mappings, .. } = &*self.0;
        let declared = config.mail.iter().find(|mail| mail.dataset == *name);
        let mut options = declared.map_or_else(MailOptions::default, MailConfig::options);
        for (dataset, kind) in mappings.iter().filter(|(dataset, _)| dataset == name) {
            tracing::debug!(%dataset, kind = %kind.name, "a program maps endpoints");
            options.rules.kinds.retain(|other| other.name != kind.name);
            options.rules.kinds.push(kind.clone());
        }
        options
    }

    /// Error of the system about the directory of a dataset.
    fn refused(&self, name: &Name, error: std::io::Error) -> StartError {
        let (dataset, path) = (name.clone(), self.0.datasets.path(name));
        StartError::Directory { dataset, path, error }
    }

    /// Makes a dataset, or opens one that could not be opened. It comes to its end even if no
    /// caller waits for it any more.
    pub(crate) async fn create(&self, node: &Node, name: &Name) -> Result<Dataset, Problem> {
        let (opener, node, name) = (self.clone(), node.clone(), name.clone());
        let create = move || opener.create_blocking(&node, &name).map(|dataset| (dataset, node));
        let created = on_a_thread("opening", create).await;
        let (dataset, node) = created.map_err(|error| Problem::exhausted(&error))??;
        self.declare(&node, Some(dataset.name())).await;
        Ok(dataset)
    }

    fn create_blocking(&self, node: &Node, name: &Name) -> Result<Dataset, Problem> {
        let is_known =
            || node.dataset(name.as_str()).is_some() || node.why_unopened(name.as_str()).is_some();
        let turn = self.0.turns.take(name, PATIENCE, |taken| {
            is_known() || node.names().union(taken).count() < node.limit()
        });
        let _turn = turn.map_err(|why| match why {
            NoTurn::Taken => Problem::unavailable_dataset(name.as_str()),
            NoTurn::Refused => too_many(node),
        })?;
        if let Some(dataset) = node.dataset(name.as_str()) {
            return Ok(dataset);
        }
        let waited_for = node.why_unopened(name.as_str()).is_some();
        if !waited_for {
            let free = instep_edge::check_free_descriptors();
            free.map_err(|error| Problem::no_descriptors(&error))?;
        }
        self.open(node, name).map_err(|error| match (waited_for, error) {
            (true, error) => {
                self.note_unopened(node, name, &error);
                Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "dataset_unavailable",
                    error.to_string(),
                )
            }
            (false, StartError::Node(NodeError::TooMany { .. })) => too_many(node),
            (false, error) if error.is_full() => {
                Problem::new(StatusCode::INSUFFICIENT_STORAGE, "storage_full", error.to_string())
            }
            (false, StartError::Descriptors { error, .. }) => Problem::no_descriptors(&error),
            (false, error) if error.is_exhausted() => Problem::exhausted(&error),
            (false, error) => Problem::storage(&error),
        })
    }

    /// Removes a dataset, open or not. It comes to its end even if no caller waits for it any more.
    pub(crate) async fn remove(&self, node: &Node, name: &str) -> Result<(), Problem> {
        let Ok(name) = Name::new(name) else { return Err(Problem::unknown_dataset(name)) };
        let (opener, node) = (self.clone(), node.clone());
        let removed = on_a_thread("removing", move || opener.remove_blocking(&node, &name)).await;
        removed.map_err(|error| Problem::exhausted(&error))?
    }

    fn remove_blocking(&self, node: &Node, name: &Name) -> Result<(), Problem> {
        let turn = self.0.turns.take(name, PATIENCE, |_| true);
        let _turn = turn.map_err(|_| Problem::unavailable_dataset(name.as_str()))?;
        let datasets = &self.0.datasets;
        let system = |error| self.refused(name, error);
        if let Some(dataset) = node.remove(name.as_str()) {
            dataset.close();
        } else if node.why_unopened(name.as_str()).is_none() {
            return Err(Problem::unknown_dataset(name.as_str()));
        } else if datasets.find(name).ok() == Some(Found::Foreign) {
            return Err(Problem::storage(&StartError::Foreign { path: datasets.path(name) }));
        }
        let removed = match datasets.find(name) {
            Ok(Found::Nothing) => Ok(()),
            _ => self.take(name).and_then(|_lock| self.remove_files(name)).map_err(system),
        };
        match removed {
            Ok(()) => {
                node.forget_unopened(name);
                self.0.publics.forget(name);
                Ok(())
            }
            // It is whole, closed, and tried again like any other that is not open.
            Err(error) => {
                self.note_unopened(node, name, &error);
                Err(Problem::storage(&error))
            }
        }
    }

    /// Removes the directory of a dataset. Files that stay are named in the log.
    fn remove_files(&self, name: &Name) -> std::io::Result<()> {
        let left = self.0.datasets.remove(name)?;
        left.iter().for_each(directory::note);
        Ok(())
    }

    /// Takes the directory of a dataset: a repair may have it.
    fn take(&self, name: &Name) -> std::io::Result<Box<dyn instep_model::disk::DiskLock>> {
        let path = self.0.datasets.path(name).join(LOCK);
        RealDisk.lock(&path, Sharing::Exclusive)
    }

    /// Warns of views whose tables are not there.
    pub(crate) fn warn_of_views(&self, node: &Node) {
        tables::warn_of_views(node, &self.0.config);
    }

    /// Makes what should exist in the datasets that are open, or in one of them; true when it does.
    pub(crate) async fn declare(&self, node: &Node, only: Option<&Name>) -> bool {
        let mut names = self.0.declared.clone();
        names.retain(|name| only.is_none_or(|only| only == name));
        // What is not noted would stay public once it is not declared so any more.
        let mut all = self.0.publics.write_down();
        let may_open = all;
        for name in names {
            let Some(dataset) = node.dataset(name.as_str()) else { continue };
            let operations = self.missing(&dataset, may_open);
            if operations.is_empty() {
                continue;
            }
            match dataset.commit(Proposal::from(operations)).await {
                Ok(_) => {}
                // A full disk at the start must not keep what is in memory from being read.
                Err(refusal) => {
                    tracing::warn!(dataset = %name, %refusal, "tables or queues are missing");
                    all = false;
                }
            }
        }
        all
    }

    /// Operations that make the tables, journals, queues and directories which a dataset lacks.
    fn missing(&self, dataset: &Dataset, may_open: bool) -> Vec<Operation> {
        let (state, name) = (dataset.state(), dataset.name());
        let tables = self.0.tables.iter().filter(|(of, ..)| of == name);
        let tables = tables.filter(|(.., options)| may_open || !options.public);
        let mut operations: Vec<Operation> = tables
            .filter(|(_, table, options)| {
                state.tables.get(table).map(|table| table.options) != Some(*options)
            })
            .map(|(_, table, options)| Operation::CreateTable {
                table: table.clone(),
                public: options.public,
            })
            .collect();
        let relays = self.relays().iter().filter(|relay| relay.dataset == *name);
        let journals: BTreeSet<&Name> = relays.map(|relay| &relay.journal).collect();
        let missing = journals.into_iter().filter(|journal| !state.journals.contains_key(*journal));
        operations
            .extend(missing.map(|journal| Operation::CreateJournal { journal: journal.clone() }));
        for mail in self.0.config.mail.iter().filter(|mail| mail.dataset == *name) {
            let missing = mail.queues.iter().filter(|queue| state.mail.queue(queue).is_none());
            operations.extend(missing.map(|queue| Operation::CreateQueue { queue: queue.clone() }));
            let table = mail.directory.clone();
            let declared = self.0.tables.iter().any(|(of, of_it, _)| of == name && *of_it == table);
            if !declared && !state.tables.contains_key(&table) {
                operations.push(Operation::CreateTable { table, public: false });
            }
        }
        operations
    }
}

fn too_many(node: &Node) -> Problem {
    let error = NodeError::TooMany { limit: node.limit() };
    Problem::new(StatusCode::CONFLICT, "too_many_datasets", error.to_string())
}

/// Timeout of a request that waits for other work on its dataset.
const PATIENCE: Duration = Duration::from_millis(limits::OPENING_MS);
/// Locked while a dataset is open.
const LOCK: &str = "lock";
