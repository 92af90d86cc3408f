//! The server: opens the data, serves HTTP and sockets, ends in order.

use std::fs::{File, TryLockError};
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use instep_access::Gate;
use instep_edge::{Certificates, Door};
use instep_embedded::error::OpenError as EngineError;
use instep_model::commit::{Operation, Proposal};
use instep_model::limits;
use instep_model::mail::Kind;
use instep_model::name::Name;
use instep_model::owner::Refusal;
use instep_model::view::{View, check_together};
use instep_node::dataset::{OpenError, Options};
use instep_node::mail::MailOptions;
use instep_node::retention::Keep;
use instep_node::{Dataset, Node, NodeError};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};
use tokio::task::{AbortHandle, JoinHandle};
use uuid::Uuid;

use crate::admin::AdminKey;
use crate::app::App;
use crate::config::{Config, ConfigError, MailConfig};
use crate::fronts::{Fronts, Serving};
use crate::problem::{Problem, on_disk};
use crate::web::Web;
use crate::{api, engine, keys, metrics, tables, tls};

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration was refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory cannot be used.
    #[error("the data directory {path} cannot be used: {error}")]
    Data {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Another server has the data directory.
    #[error("the data directory {path} is in use by another server")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// The threads that serve sockets cannot be started.
    #[error("the threads that serve sockets cannot be started: {0}")]
    Shards(std::io::Error),
    /// The engine of a dataset does not open.
    #[error("dataset {dataset}: {error}")]
    Engine {
        /// The dataset.
        dataset: Name,
        /// Why.
        error: Box<EngineError>,
    },
    /// A dataset cannot be recovered.
    #[error("dataset {dataset}: {error}")]
    Open {
        /// The dataset.
        dataset: Name,
        /// Why.
        error: Box<OpenError>,
    },
    /// A table that should exist cannot be made.
    #[error("dataset {dataset}, table {table}: {refusal}")]
    Table {
        /// The dataset.
        dataset: Name,
        /// The table.
        table: Name,
        /// Why.
        refusal: Box<Refusal>,
    },
    /// The node is full.
    #[error(transparent)]
    Node(#[from] NodeError),
}

type Listen<'a> = dyn Fn(&Door, SocketAddr) -> std::io::Result<SocketAddr> + 'a;

/// A running server.
pub struct Server {
    node: Node,
    door: Door,
    key: AdminKey,
    address: SocketAddr,
    tcp: Option<SocketAddr>,
    janus: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    fronts: Fronts,
    loading: JoinHandle<Result<(), StartError>>,
    watching: Watching,
    is_tls: bool,
    tcp_is_tls: bool,
    drain: Duration,
    /// Held until everything is closed.
    _lock: File,
}

impl Server {
    /// Listens, and loads the data meanwhile: until everything is in memory requests are answered
    /// 503. [`Server::ready`] waits for that.
    ///
    /// # Errors
    /// [`StartError`] when the configuration, the data directory or the address is refused.
    pub async fn start(config: Config, app: App) -> Result<Self, StartError> {
        metrics::begin();
        config.check()?;
        config.check_exposure()?;
        let data = |error| StartError::Data { path: config.data.clone(), error };
        std::fs::create_dir_all(&config.data).map_err(data)?;
        let lock = take(&config.data)?;
        let key = AdminKey::in_directory(&config.data).map_err(data)?;
        let (files, access) = keys::reload::Files::read(&config, &key)?;
        let gate = Gate::new(access);
        let seen = tls::state(&config.tls);
        let (certificates, over_tls) = (tls::certificates(&config.tls)?, config.tls.tcp);
        let address = config.http;
        let listen = |error| StartError::Listen { address, error };
        let listener =
            instep_edge::listen(address).and_then(TcpListener::from_std).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let live = config.live.iter().chain(&app.live).cloned().collect();
        let node = Node::new(live, config.rings());
        let door = Door::open(node.clone(), gate.clone(), app.channels.clone(), config.door());
        let door = door.map_err(StartError::Shards)?;
        let (tcp, janus) = listen_beside(&door, &config, certificates.clone())?;
        let drain = Duration::from_millis(config.drain_ms);
        let opener = Opener::new(&config, &app);
        let shared = api::Shared { node: node.clone(), door: door.clone(), opener: opener.clone() };
        let routes = app.routes.iter().map(|routes| routes(node.clone()));
        let routes = routes.fold(Router::new(), Router::merge);
        let router = api::router(shared, gate.clone(), Web::new(&config)?, routes);
        let (stop, stopping) = watch::channel(false);
        let keys = keys::reload::watch(gate, door.clone(), files);
        let certificate = certificates.clone().map(|of| tls::watch(of, config.tls.clone(), seen));
        let watching = Watching::over(keys, certificate);
        let is_tls = certificates.is_some();
        let serving = Serving {
            router,
            door: door.clone(),
            certificates,
            handshake: Duration::from_millis(config.handshake_ms),
            idle: Duration::from_millis(config.socket_idle_ms),
        };
        let fronts = Fronts::start(listener, &serving, &stopping).map_err(listen)?;
        let loading = tokio::spawn(load(node.clone(), opener, config, app));
        Ok(Self {
            node,
            door,
            key,
            address,
            tcp,
            janus,
            stop,
            fronts,
            loading,
            watching,
            is_tls,
            tcp_is_tls: is_tls && over_tls,
            drain,
            _lock: lock,
        })
    }

    /// Where HTTP and WebSocket are served.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// True when HTTP is served over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// True when the TCP door speaks TLS.
    #[must_use]
    pub fn tcp_is_tls(&self) -> bool {
        self.tcp_is_tls
    }

    /// Where messages are taken over TCP, if they are.
    #[must_use]
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp
    }

    /// Where clients of the Janus wire are taken in, if they are.
    #[must_use]
    pub fn janus_address(&self) -> Option<SocketAddr> {
        self.janus
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The admin key.
    #[must_use]
    pub fn admin_key(&self) -> &AdminKey {
        &self.key
    }

    /// Waits until everything is in memory.
    ///
    /// # Errors
    /// [`StartError`] when a dataset cannot be opened; the server is of no use then.
    pub async fn ready(&mut self) -> Result<(), StartError> {
        match (&mut self.loading).await {
            Ok(loaded) => loaded,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Serves until `stop` is done, then sends connections away (1012), finishes what is in
    /// flight within the configured time, and closes the data.
    pub async fn run_until(self, stop: impl Future<Output = ()>) {
        stop.await;
        self.stop().await;
    }

    /// Ends the server in order.
    pub async fn stop(mut self) {
        self.door.drain();
        self.stop.send_replace(true);
        drop(self.watching);
        let until = tokio::time::Instant::now() + self.drain;
        if tokio::time::timeout_at(until, &mut self.fronts.serving).await.is_err() {
            tracing::warn!("some requests did not end in time");
        }
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        if !self.door.empty(left).await {
            tracing::warn!(sockets = self.door.connections(), "some sockets did not end in time");
        }
        let node = self.node;
        let closing = tokio::task::spawn_blocking(move || node.close());
        let patience = left.max(Duration::from_millis(limits::CLOSING_MS));
        match tokio::time::timeout(patience, closing).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => tracing::error!("closing the data panicked"),
            // What was acknowledged is on disk; what is under way has no known outcome.
            Err(_) => tracing::error!("the data is not closed in time: a disk does not answer"),
        }
    }
}

/// Opens the doors beside HTTP: plain TCP, over TLS if so configured, and the Janus wire.
fn listen_beside(
    door: &Door,
    config: &Config,
    certificates: Option<Certificates>,
) -> Result<(Option<SocketAddr>, Option<SocketAddr>), StartError> {
    let open = |address: Option<SocketAddr>, listen: &Listen<'_>| {
        let opened = address.map(|address| {
            let failed = |error| StartError::Listen { address, error };
            listen(door, address).map_err(failed)
        });
        opened.transpose()
    };
    let tcp = match certificates.filter(|_| config.tls.tcp) {
        Some(certificates) => open(config.tcp, &|door, address| {
            door.listen_tcp_over_tls(address, certificates.clone())
        })?,
        None => open(config.tcp, &Door::listen_tcp)?,
    };
    Ok((tcp, open(config.janus, &Door::listen_janus)?))
}

/// Those who look at files, until this is dropped.
struct Watching(Vec<AbortHandle>);

impl Watching {
    fn over(
        keys: impl Future<Output = ()> + Send + 'static,
        certificate: Option<impl Future<Output = ()> + Send + 'static>,
    ) -> Self {
        let certificate = certificate.map(tokio::spawn);
        let all = certificate.into_iter().chain([tokio::spawn(keys)]);
        Self(all.map(|task| task.abort_handle()).collect())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// Locks the data directory: it has no second server, even when it holds no dataset yet.
fn take(directory: &Path) -> Result<File, StartError> {
    let data = |error| StartError::Data { path: directory.to_owned(), error };
    let path = directory.join(LOCK);
    // A link would make a file elsewhere.
    if path.is_symlink() {
        return Err(data(std::io::Error::other(format!("{LOCK} is a link"))));
    }
    let lock = File::create(path).map_err(data)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StartError::InUse { path: directory.to_owned() }),
        Err(TryLockError::Error(error)) => Err(data(error)),
    }
}

/// Opens every dataset, makes the tables that should exist, and lets requests in.
async fn load(node: Node, opener: Opener, config: Config, app: App) -> Result<(), StartError> {
    for name in opener.names() {
        opener.open(&node, &name).await?;
    }
    tables::make(&node, &config, &app).await?;
    make_mail(&node, &config).await?;
    node.set_ready();
    app.started.iter().for_each(|run| run(node.clone()));
    Ok(())
}

/// Makes the queues and the directories that should exist.
async fn make_mail(node: &Node, config: &Config) -> Result<(), StartError> {
    for mail in &config.mail {
        let Some(handle) = node.dataset(mail.dataset.as_str()) else { continue };
        let state = handle.state();
        let missing = mail.queues.iter().filter(|queue| state.mail.queue(queue).is_none());
        let mut operations: Vec<Operation> =
            missing.map(|queue| Operation::CreateQueue { queue: queue.clone() }).collect();
        if !state.tables.contains_key(&mail.directory) {
            let table = mail.directory.clone();
            operations.push(Operation::CreateTable { table, public: false });
        }
        if operations.is_empty() {
            continue;
        }
        let proposal = Proposal::from(operations);
        if let Err(refusal) = handle.commit(proposal).await {
            let (dataset, table) = (mail.dataset.clone(), mail.directory.clone());
            return Err(StartError::Table { dataset, table, refusal: Box::new(refusal) });
        }
        handle.start_mail();
    }
    Ok(())
}

/// Opens datasets as the configuration and the applications say.
#[derive(Clone)]
pub(crate) struct Opener(Arc<Opening>);

struct Opening {
    config: Config,
    names: Vec<Name>,
    views: Vec<(Name, View)>,
    mappings: Vec<(Name, Kind)>,
    /// One at a time: making and removing the same name must not meet.
    busy: Mutex<()>,
}

impl Opener {
    fn new(config: &Config, app: &App) -> Self {
        let mut names = config.dataset_names();
        names.extend(app.tables.iter().map(|(dataset, ..)| dataset.clone()));
        names.extend(app.views.iter().map(|(dataset, _)| dataset.clone()));
        // Those that were made over HTTP are found by their directories.
        let found = std::fs::read_dir(config.data.join(DIRECTORY)).into_iter().flatten().flatten();
        names.extend(found.filter_map(|entry| Name::new(entry.file_name().to_str()?).ok()));
        names.extend(app.mappings.iter().map(|(dataset, _)| dataset.clone()));
        names.sort();
        names.dedup();
        let (config, views) = (config.clone(), engine::built_in(&app.views));
        let mappings = app.mappings.clone();
        Self(Arc::new(Opening { config, names, views, mappings, busy: Mutex::default() }))
    }

    fn names(&self) -> Vec<Name> {
        self.0.names.clone()
    }

    fn directory(&self, name: &str) -> PathBuf {
        self.0.config.data.join(DIRECTORY).join(name)
    }

    async fn open(&self, node: &Node, name: &Name) -> Result<Dataset, StartError> {
        let (opening, name) = (self.clone(), name.clone());
        let topics = node.topics().clone();
        let opened = tokio::task::spawn_blocking(move || opening.open_blocking(name, topics));
        let dataset = match opened.await {
            Ok(opened) => opened?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        node.add(dataset.clone())?;
        Ok(dataset)
    }

    fn open_blocking(
        &self,
        name: Name,
        topics: instep_node::Topics,
    ) -> Result<Dataset, StartError> {
        let (Opening { config, views, .. }, log) = (&*self.0, self.0.config.log);
        let engine =
            engine::open(&self.directory(name.as_str()), log.segment_bytes).map_err(|error| {
                StartError::Engine { dataset: name.clone(), error: Box::new(error) }
            })?;
        let mut all = config.views_of(&name)?;
        all.extend(views.iter().filter(|(of, _)| *of == name).map(|(_, view)| view.clone()));
        check_together(&all).map_err(ConfigError::from)?;
        let options = Options {
            name: name.clone(),
            writer: Uuid::new_v4(),
            views: all,
            keep: Keep { bytes: log.keep_bytes, ms: log.keep_hours * 60 * 60 * 1000 },
            snapshot_after_bytes: log.snapshot_after_bytes,
            snapshot_after: Duration::from_secs(log.snapshot_after_seconds),
            bookmark_every: Duration::from_millis(config.bookmark_ms),
            mail: self.mail_of(&name),
        };
        Dataset::open(engine, options, topics)
            .map_err(|error| StartError::Open { dataset: name, error: Box::new(error) })
    }

    /// What is decided about the mail of a dataset.
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

    pub(crate) async fn create(&self, node: &Node, name: &Name) -> Result<Dataset, Problem> {
        let _alone = self.0.busy.lock().await;
        if let Some(dataset) = node.dataset(name.as_str()) {
            return Ok(dataset);
        }
        self.open(node, name).await.map_err(|error| match error {
            StartError::Node(NodeError::TooMany { .. }) => {
                Problem::new(StatusCode::CONFLICT, "too_many_datasets", error.to_string())
            }
            error => Problem::storage(&error),
        })
    }

    pub(crate) async fn remove(&self, node: &Node, name: &str) -> Result<(), Problem> {
        let _alone = self.0.busy.lock().await;
        let Some(dataset) = node.remove(name) else {
            return Err(Problem::unknown_dataset(name));
        };
        let directory = self.directory(name);
        on_disk(move || {
            dataset.close();
            std::fs::remove_dir_all(directory)
        })
        .await
    }
}

/// Where datasets are kept in the data directory.
const DIRECTORY: &str = "datasets";
/// Locked while a server has the data directory.
const LOCK: &str = "lock";
