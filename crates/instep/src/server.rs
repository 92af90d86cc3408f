//! The server: opens the data, serves HTTP and sockets, ends in order.

mod doors;
mod stopping;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use instep_access::Gate;
use instep_edge::{Door, HttpWorkers, Serving};
use instep_embedded::real::RealDisk;
use instep_model::disk::{Disk as _, DiskLock, Sharing, Shortage};
use instep_model::limits;
use instep_node::Node;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

use self::doors::listen_beside;
pub use self::stopping::StopError;
use crate::admin::AdminKey;
use crate::app::App;
use crate::config::{Config, DoorName};
use crate::directory::make_private;
use crate::dumps::Dumps;
use crate::opener::Opener;
use crate::start_error::StartError;
use crate::web::Web;
use crate::{api, keys, metrics, tls, views};

/// A running server.
pub struct Server {
    node: Node,
    door: Door,
    key: AdminKey,
    address: SocketAddr,
    tcp: Option<SocketAddr>,
    janus: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    workers: HttpWorkers,
    loading: JoinHandle<Result<(), StartError>>,
    watching: Watching,
    is_tls: bool,
    tcp_is_tls: bool,
    drain: Duration,
    /// Held until everything is closed.
    _lock: Box<dyn DiskLock>,
}

impl Server {
    /// Listens, and loads the data meanwhile: until everything is in memory requests are answered
    /// 503. [`Server::ready`] waits for that.
    ///
    /// # Errors
    /// [`StartError`] when the configuration, the data directory or the address is refused.
    pub async fn start(config: Config, app: App) -> Result<Self, StartError> {
        metrics::begin();
        let source = config.source.clone();
        Self::begin(config, app).await.map_err(|error| match error {
            StartError::Config(error) => StartError::Config(error.located(source.as_ref())),
            other => other,
        })
    }

    async fn begin(config: Config, app: App) -> Result<Self, StartError> {
        config.check()?;
        config.check_exposure()?;
        views::check(&config, &app)?;
        let data = |error| StartError::Data { path: config.data.clone(), error };
        instep_edge::raise_descriptor_limit();
        instep_edge::warn_of_few_descriptors(config.max_datasets);
        instep_edge::grow_descriptor_table();
        // What refuses comes before what leaves something behind.
        let seen = tls::state(&config.tls);
        let (certificates, over_tls) = (tls::certificates(&config.tls)?, config.tls.tcp);
        let address = config.http;
        let listen = |error| StartError::Listen { address, error };
        let listener =
            instep_edge::listen(address).and_then(TcpListener::from_std).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        for address in config.tcp.into_iter().chain(config.janus) {
            let free = instep_edge::listen(address);
            free.map_err(|error| StartError::Listen { address, error })?;
        }
        make_private(&config.data).map_err(data)?;
        let lock = take(&config.data, Sharing::Exclusive)?;
        let key = AdminKey::in_directory(&config.data).map_err(data)?;
        let (files, access) = keys::reload::Files::read(&config, &key)?;
        let gate = Gate::new(access);
        let live = config.live.iter().chain(&app.live).cloned().collect();
        let node = Node::bounded(live, config.rings(), config.max_datasets);
        let node = node.map_err(StartError::Threads)?;
        let door = Door::open(node.clone(), gate.clone(), app.channels.clone(), config.door());
        let door = door.map_err(StartError::Threads)?;
        let (tcp, janus) = listen_beside(&door, &config, certificates.clone())?;
        let drain = Duration::from_millis(config.drain_ms);
        let opener = Opener::new(&config, &app).map_err(data)?;
        let spool = config.data.join("spool");
        let dumps = Dumps::new(spool, config.spool_bytes).map_err(data)?;
        let shared = api::Shared::new(node.clone(), door.clone(), (opener.clone(), dumps));
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
            certificates,
            proxied: config.proxy_protocol.contains(&DoorName::Http),
            idle: Duration::from_millis(config.socket_idle_ms),
            refuse: api::refuse,
        };
        let workers = door.http().serve(listener, &serving, &stopping).map_err(listen)?;
        let loading = tokio::spawn(load(node.clone(), opener, app, (config.data, stopping)));
        Ok(Self {
            node,
            door,
            key,
            address,
            tcp,
            janus,
            stop,
            workers,
            loading,
            watching,
            is_tls,
            tcp_is_tls: is_tls && over_tls,
            drain,
            _lock: lock,
        })
    }

    /// Address of HTTP and WebSocket.
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

    /// Address of the plain TCP door, if it is open.
    #[must_use]
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp
    }

    /// Address of the Janus wire, if it is served.
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
}

/// Tasks that look at files, until this is dropped.
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
pub(crate) fn take(directory: &Path, sharing: Sharing) -> Result<Box<dyn DiskLock>, StartError> {
    let path = directory.to_owned();
    RealDisk.lock(&directory.join(LOCK), sharing).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => StartError::InUse { path },
        _ => StartError::Data { path, error },
    })
}

/// Opens every dataset, makes the tables that should exist, and lets requests in.
async fn load(
    node: Node,
    opener: Opener,
    app: App,
    (data, stopping): (PathBuf, watch::Receiver<bool>),
) -> Result<(), StartError> {
    loop {
        match opener.open_all(&node, &stopping).await {
            Ok(()) => break,
            // Nothing was opened yet.
            Err(error) => passes(StartError::Data { path: data.clone(), error }).await?,
        }
    }
    let all_declared = opener.declare(&node, None).await;
    opener.warn_of_views(&node);
    node.set_ready();
    app.started.iter().for_each(|run| run(node.clone()));
    tokio::spawn(opener.care(node, all_declared, stopping));
    Ok(())
}

/// Waits a moment where a shortage keeps a server from its start: a crowd may have come before its
/// data was open.
///
/// # Errors
/// The error itself, if it does not pass.
async fn passes(error: StartError) -> Result<(), StartError> {
    match &error {
        StartError::Data { error: system, .. } if Shortage::of(system).is_some() => {
            tracing::warn!(%error, "the data is not open yet");
            tokio::time::sleep(Duration::from_millis(limits::ACCEPT_AGAIN_MS)).await;
            Ok(())
        }
        _ => Err(error),
    }
}

/// Locked while a server has the data directory.
const LOCK: &str = "lock";
