//! The configuration file: read and checked before a port opens.

mod checks;
mod fault;
mod mail;
mod relay;
mod sections;
mod source;
pub(crate) mod tokens;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use instep_access::RightDeclaration;
use instep_access::key::KeyDeclaration;
use instep_access::origin::Origins;
use instep_edge::{DoorOptions, JanusOptions, Proxies, RateOptions};
use instep_model::limits;
use instep_model::name::Name;
use instep_model::ring::RingLimits;
use instep_model::view::{View, ViewDeclaration, ViewError};
use instep_node::LivePattern;
use serde::Deserialize;

pub(crate) use self::checks::is_shown;
pub use self::fault::Fault;
pub(crate) use self::fault::KeyPath;
pub use self::mail::{KindConfig, KindPreset, MailConfig};
pub use self::relay::RelayConfig;
pub use self::sections::{DatasetConfig, DoorName, LogConfig, RateConfig, TableConfig, TlsConfig};
pub use self::source::Source;
pub use self::tokens::TokensConfig;
use crate::keys;
use crate::web::Web;

/// Every key of the file. Each is explained in `docs/reference/configuration.md`.
pub const KEYS: &[&str] = &[
    "data",
    "http",
    "insecure_public",
    "origins",
    "names",
    "tcp",
    "tls.certificate",
    "tls.key",
    "tls.tcp",
    "janus",
    "janus_ping_ms",
    "janus_detached_ms",
    "dataset.name",
    "table.dataset",
    "table.name",
    "table.public",
    "view.name",
    "view.dataset",
    "view.table",
    "view.topic",
    "view.event",
    "view.filter",
    "view.project",
    "view.announce_when",
    "live.topic",
    "live.anyone_publishes",
    "live.history",
    "live.history_ms",
    "live.history_bytes",
    "live.last_value",
    "live.presence",
    "relay.prefix",
    "relay.dataset",
    "relay.journal",
    "relay.anyone",
    "relay.envelope",
    "relay.body_bytes",
    "mail.dataset",
    "mail.queues",
    "mail.directory",
    "mail.preset",
    "mail.kind.name",
    "mail.kind.number",
    "mail.kind.by_directory",
    "mail.kind.is_server",
    "mail.kind.follows",
    "mail.kind.table",
    "mail.kind.field",
    "mail.lease_ms",
    "mail.ask_ms",
    "mail.retry_ms",
    "mail.max_attempts",
    "mail.keep_finished",
    "mail.keep_hours",
    "mail.keep_dead",
    "mail.alarm_age_s",
    "tokens.secret",
    "tokens.public_key",
    "tokens.jwks",
    "tokens.issuer",
    "tokens.audience",
    "tokens.subject_prefix",
    "tokens.leeway_s",
    "key.name",
    "key.sha256",
    "key.roles",
    "rights.who",
    "rights.actions",
    "rights.topics",
    "rights.datasets",
    "rights.tables",
    "rights.when",
    "max_datasets",
    "spool_bytes",
    "log.segment_bytes",
    "log.keep_bytes",
    "log.keep_hours",
    "log.hold_bytes",
    "log.hold_hours",
    "log.snapshot_after_bytes",
    "log.snapshot_after_seconds",
    "bookmark_ms",
    "drain_ms",
    "drain_spread_ms",
    "shards",
    "slow_reader_ms",
    "handshake_ms",
    "socket_idle_ms",
    "socket_channels",
    "frame_bytes",
    "sockets",
    "sockets_per_address",
    "waiting_bytes",
    "waiting_bytes_per_address",
    "proxies",
    "proxy_protocol",
    "rate.connections",
    "rate.connections_burst",
    "rate.messages",
    "rate.messages_burst",
    "rate.refusals",
    "rate.requests",
    "rate.requests_burst",
    "rate.failures",
    "rate.failures_burst",
    "rate.loopback",
    "ring_frames",
    "ring_bytes",
    "ring_ms",
];

/// Everything that an operator decides. Every key has a default; unknown keys are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Directory of the data and the admin key.
    pub data: PathBuf,
    /// Address of HTTP and WebSocket. Port 0 takes a free one.
    pub http: SocketAddr,
    /// Serves others than this machine even if neither tokens nor keys nor rights are configured.
    pub insecure_public: bool,
    /// Origins of pages that are let in besides those of the server itself.
    pub origins: Vec<String>,
    /// Names under which the server is known, besides addresses and those without a dot.
    pub names: Vec<String>,
    /// Address of the plain TCP door; closed when absent.
    pub tcp: Option<SocketAddr>,
    /// The certificate; without one nothing is encrypted.
    pub tls: TlsConfig,
    /// Address of the Janus wire; closed when absent.
    pub janus: Option<SocketAddr>,
    /// Between two questions whether a Janus client is there, in milliseconds.
    pub janus_ping_ms: u64,
    /// Lifetime of a Janus session without a connection, in milliseconds.
    pub janus_detached_ms: u64,
    /// Datasets that exist from the start.
    #[serde(rename = "dataset")]
    pub datasets: Vec<DatasetConfig>,
    /// Tables that exist from the start.
    #[serde(rename = "table")]
    pub tables: Vec<TableConfig>,
    /// Views: the rows that subscribers see.
    #[serde(rename = "view")]
    pub views: Vec<ViewDeclaration>,
    /// Live topics.
    #[serde(rename = "live")]
    pub live: Vec<LivePattern>,
    /// Relays: paths below which any POST becomes a record of a journal.
    #[serde(rename = "relay")]
    pub relays: Vec<RelayConfig>,
    /// Datasets that keep mail.
    pub mail: Vec<MailConfig>,
    /// Verification of tokens, for each issuer.
    #[serde(deserialize_with = "tokens::one_or_several")]
    pub tokens: Vec<TokensConfig>,
    /// Keys for programs.
    #[serde(rename = "key")]
    pub keys: Vec<KeyDeclaration>,
    /// Rights: the actions that principals may do.
    pub rights: Vec<RightDeclaration>,
    /// Datasets at a time.
    pub max_datasets: usize,
    /// Bytes of all dumps of sites that are on their way.
    pub spool_bytes: u64,
    /// Segments, retention and snapshots of logs.
    pub log: LogConfig,
    /// Topics without news get a bookmark this often, in milliseconds.
    pub bookmark_ms: u64,
    /// After a signal to stop: how long requests in flight may take, in milliseconds.
    pub drain_ms: u64,
    /// After a signal to stop: within what time many sockets are sent away, in milliseconds.
    pub drain_spread_ms: u64,
    /// Threads that serve sockets; 0 for one on each core.
    pub shards: usize,
    /// A reader that takes nothing for this long is closed, in milliseconds.
    pub slow_reader_ms: u64,
    /// Timeout of a TLS handshake, and after it of the first request, in milliseconds.
    pub handshake_ms: u64,
    /// A socket from which nothing arrives for this long is closed, in milliseconds.
    pub socket_idle_ms: u64,
    /// Channels joined on one socket.
    pub socket_channels: usize,
    /// Largest message of a client.
    pub frame_bytes: usize,
    /// Sockets at a time.
    pub sockets: usize,
    /// Sockets at a time of one address; 0: any number.
    pub sockets_per_address: usize,
    /// Bytes that may wait for all clients to take them, or are not complete.
    pub waiting_bytes: usize,
    /// Bytes of that kind for one address; 0: any number.
    pub waiting_bytes_per_address: usize,
    /// Trusted proxies, by address or network: their word on where requests come from is believed.
    pub proxies: Vec<String>,
    /// Doors whose connections begin with a header of the PROXY protocol.
    pub proxy_protocol: Vec<DoorName>,
    /// Rate limits.
    pub rate: RateConfig,
    /// Frames that a topic keeps for subscribers that fell behind.
    pub ring_frames: usize,
    /// Bytes that a topic keeps for subscribers that fell behind.
    pub ring_bytes: usize,
    /// Time for which a topic keeps a frame, in milliseconds.
    pub ring_ms: u64,
    /// The file that all this was read from, for what is said about it; none: it was not.
    #[serde(skip)]
    pub source: Option<Source>,
}

/// Error of a configuration that was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        error: std::io::Error,
    },
    /// The file is not what is expected; line and column are in the message.
    #[error("{path}: {error}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Error of the parser.
        error: Box<toml::de::Error>,
    },
    /// A view of an application does not go with the others.
    #[error(transparent)]
    View(#[from] ViewError),
    /// Something does not fit together; the place in the file is in the message.
    #[error(transparent)]
    Invalid(#[from] Fault),
}

impl ConfigError {
    /// The same error, with the place in the file if it has none.
    pub(crate) fn located(self, source: Option<&Source>) -> Self {
        match (self, source) {
            (Self::Invalid(fault), Some(source)) => Self::Invalid(fault.located(source)),
            (other, _) => other,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("data"),
            http: SocketAddr::from(([127, 0, 0, 1], 4000)),
            tcp: None,
            tls: TlsConfig::default(),
            janus: None,
            janus_ping_ms: limits::JANUS_PING_MS,
            janus_detached_ms: limits::JANUS_DETACHED_MS,
            datasets: vec![],
            tables: vec![],
            views: vec![],
            live: vec![],
            relays: vec![],
            mail: vec![],
            insecure_public: false,
            origins: vec![],
            names: vec![],
            tokens: vec![],
            keys: vec![],
            rights: vec![],
            max_datasets: limits::NODE_DATASETS,
            spool_bytes: limits::SPOOL_BYTES,
            log: LogConfig::default(),
            bookmark_ms: limits::BOOKMARK_MS,
            drain_ms: limits::DRAIN_MS,
            drain_spread_ms: limits::DRAIN_SPREAD_MS,
            shards: 0,
            slow_reader_ms: limits::SLOW_READER_MS,
            handshake_ms: limits::HANDSHAKE_MS,
            socket_idle_ms: limits::SOCKET_IDLE_MS,
            socket_channels: limits::SOCKET_CHANNELS,
            frame_bytes: limits::FRAME_BYTES,
            sockets: limits::NODE_SOCKETS,
            sockets_per_address: limits::ADDRESS_SOCKETS,
            waiting_bytes: limits::WAITING_BYTES,
            waiting_bytes_per_address: limits::ADDRESS_WAITING_BYTES,
            proxies: vec![],
            proxy_protocol: vec![],
            rate: RateConfig::default(),
            ring_frames: limits::RING_FRAMES,
            ring_bytes: limits::RING_BYTES,
            ring_ms: limits::RING_MS,
            source: None,
        }
    }
}

impl Config {
    /// The defaults, with data under `directory`.
    #[must_use]
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self { data: directory.into(), ..Self::default() }
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`], naming the file, the line and the key.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
        let read = toml::from_str(&text);
        let mut config: Self = read.map_err(|error| ConfigError::Malformed {
            path: path.to_owned(),
            error: Box::new(error),
        })?;
        config.source = Some(Source::new(path, text));
        config.check()?;
        Ok(config)
    }

    /// Checks that everything compiles and fits together.
    ///
    /// # Errors
    /// [`ConfigError`], naming the key, and its line if it was read from a file.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_all().map_err(|error| error.located(self.source.as_ref()))
    }

    fn check_all(&self) -> Result<(), ConfigError> {
        checks::once(self)?;
        let views = checks::views(self)?;
        checks::live(self, &views)?;
        relay::check(&self.relays)?;
        mail::check(&self.mail)?;
        tokens::check(&self.tokens)?;
        checks::limits(self)?;
        Web::new(self)?;
        keys::rights(self)?;
        keys::declared_keys(self)?;
        Ok(())
    }

    /// Refuses to serve others than this machine before anything says who may do what.
    pub(crate) fn check_exposure(&self) -> Result<(), ConfigError> {
        Ok(checks::exposure(self)?)
    }

    /// Options of the doors, by which sockets are served.
    #[must_use]
    pub fn door(&self) -> DoorOptions {
        DoorOptions {
            shards: self.shards,
            slow_reader_ms: self.slow_reader_ms,
            drain_ms: self.drain_ms,
            drain_spread_ms: self.drain_spread_ms.min(self.drain_ms / 2),
            // Checked before; a list that does not read lets no other page in.
            origins: Origins::parse(&self.origins).unwrap_or_default(),
            janus: JanusOptions {
                ping_ms: self.janus_ping_ms,
                detached_ms: self.janus_detached_ms,
                ..JanusOptions::default()
            },
            sockets: self.sockets,
            sockets_per_address: self.sockets_per_address,
            waiting_bytes: self.waiting_bytes,
            waiting_bytes_per_address: self.waiting_bytes_per_address,
            // Checked before; a list that does not read trusts no proxy.
            proxies: Proxies::parse(&self.proxies).unwrap_or_default(),
            handshake_ms: self.handshake_ms,
            socket_idle_ms: self.socket_idle_ms,
            socket_channels: self.socket_channels,
            frame_bytes: self.frame_bytes,
            // Behind a proxy on this machine all clients seem to be here.
            rates: RateOptions {
                loopback: self.rate.loopback || !self.proxies.is_empty(),
                ..self.rate.options()
            },
        }
    }

    /// Limits of each topic's ring, kept for subscribers that fell behind.
    #[must_use]
    pub fn rings(&self) -> RingLimits {
        RingLimits { frames: self.ring_frames, bytes: self.ring_bytes, ms: self.ring_ms }
    }

    /// The names of all datasets that the configuration speaks of.
    #[must_use]
    pub fn dataset_names(&self) -> Vec<Name> {
        let listed = self.datasets.iter().map(|dataset| &dataset.name);
        let tables = self.tables.iter().map(|table| &table.dataset);
        let views = self.views.iter().map(|view| &view.dataset);
        let mail = self.mail.iter().map(|mail| &mail.dataset);
        let relays = self.relays.iter().map(|relay| &relay.dataset);
        let all = listed.chain(tables).chain(views).chain(mail).chain(relays);
        let mut names: Vec<Name> = all.cloned().collect();
        names.sort();
        names.dedup();
        names
    }

    /// The compiled views of a dataset.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] when one does not compile.
    pub fn views_of(&self, dataset: &Name) -> Result<Vec<View>, ConfigError> {
        let of = (0..self.views.len()).filter(|at| self.views[*at].dataset == *dataset);
        Ok(of.map(|at| self.compile(at)).collect::<Result<_, Fault>>()?)
    }

    fn compile(&self, at: usize) -> Result<View, Fault> {
        View::compile(&self.views[at]).map_err(|ViewError { field, spot, problem, .. }| {
            let path = KeyPath::new("view").at(at);
            // The name of a projected field may have dots itself.
            let path = match field.split_once('.') {
                Some((project, name)) => path.key(project).key(name),
                None => path.key(&field),
            };
            Fault::new(path, problem).within(spot)
        })
    }
}

#[cfg(test)]
mod tests;
