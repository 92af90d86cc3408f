//! The configuration file: read and checked before a port opens.

mod sections;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use instep_access::RightDeclaration;
use instep_access::key::KeyDeclaration;
use instep_access::origin::Origins;
use instep_edge::{DoorOptions, JanusOptions, Proxies, RateOptions};
use instep_model::limits;
use instep_model::name::Name;
use instep_model::reserved;
use instep_model::view::{View, ViewDeclaration, ViewError, check_together};
use instep_node::LivePattern;
use instep_node::ring::RingLimits;
use serde::Deserialize;

pub use self::mail::{KindConfig, MailConfig};
pub use self::sections::{
    DatasetConfig, DoorName, LogConfig, RateConfig, TableConfig, TlsConfig, TokensConfig,
};
use crate::keys;
use crate::web::Web;

mod mail;

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
    "mail.dataset",
    "mail.queues",
    "mail.directory",
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
    "log.segment_bytes",
    "log.keep_bytes",
    "log.keep_hours",
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
    /// Where data and the admin key are kept.
    pub data: PathBuf,
    /// Where HTTP and WebSocket are served. Port 0 takes a free one.
    pub http: SocketAddr,
    /// Serves others than this machine even if neither tokens nor keys nor rights are configured.
    pub insecure_public: bool,
    /// Whose pages open sockets besides those of the server itself.
    pub origins: Vec<String>,
    /// Names under which the server is known, besides addresses and those without a dot.
    pub names: Vec<String>,
    /// Where messages are taken over plain TCP; nowhere when absent.
    pub tcp: Option<SocketAddr>,
    /// The certificate; without one nothing is encrypted.
    pub tls: TlsConfig,
    /// Where clients of the Janus wire are taken in; nowhere when absent.
    pub janus: Option<SocketAddr>,
    /// Between two questions whether a Janus client is there, in milliseconds.
    pub janus_ping_ms: u64,
    /// How long a Janus session outlives its connection, in milliseconds.
    pub janus_detached_ms: u64,
    /// Datasets that exist from the start.
    #[serde(rename = "dataset")]
    pub datasets: Vec<DatasetConfig>,
    /// Tables that exist from the start.
    #[serde(rename = "table")]
    pub tables: Vec<TableConfig>,
    /// What subscribers see.
    #[serde(rename = "view")]
    pub views: Vec<ViewDeclaration>,
    /// Live topics.
    #[serde(rename = "live")]
    pub live: Vec<LivePattern>,
    /// Datasets that keep mail.
    pub mail: Vec<MailConfig>,
    /// How tokens are checked.
    pub tokens: TokensConfig,
    /// Keys for programs.
    #[serde(rename = "key")]
    pub keys: Vec<KeyDeclaration>,
    /// Who may do what.
    pub rights: Vec<RightDeclaration>,
    /// How logs are kept.
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
    /// How long a TLS handshake may take, and after it the first request, in milliseconds.
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
    /// Bytes that may wait for everybody to take them, or are not complete.
    pub waiting_bytes: usize,
    /// Those of one address; 0: any number.
    pub waiting_bytes_per_address: usize,
    /// Trusted proxies, by address or network: their word on where requests come from is believed.
    pub proxies: Vec<String>,
    /// Doors whose connections begin with a header of the PROXY protocol.
    pub proxy_protocol: Vec<DoorName>,
    /// How often somebody may.
    pub rate: RateConfig,
    /// Frames that a topic keeps for those who fell behind.
    pub ring_frames: usize,
    /// Bytes that a topic keeps for those who fell behind.
    pub ring_bytes: usize,
    /// How long a topic keeps a frame, in milliseconds.
    pub ring_ms: u64,
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The file is not what is expected; line and column are in the message.
    #[error("{path}: {error}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        error: Box<toml::de::Error>,
    },
    /// A view does not compile.
    #[error(transparent)]
    View(#[from] ViewError),
    /// Something does not fit together.
    #[error("{key}: {problem}")]
    Invalid {
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
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
            mail: vec![],
            insecure_public: false,
            origins: vec![],
            names: vec![],
            tokens: TokensConfig::default(),
            keys: vec![],
            rights: vec![],
            log: LogConfig::default(),
            bookmark_ms: limits::BOOKMARK_MS,
            drain_ms: 15_000,
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
        let config: Self = toml::from_str(&text).map_err(|error| ConfigError::Malformed {
            path: path.to_owned(),
            error: Box::new(error),
        })?;
        config.check()?;
        Ok(config)
    }

    /// Checks that everything compiles and fits together.
    ///
    /// # Errors
    /// [`ConfigError`], naming the key.
    pub fn check(&self) -> Result<(), ConfigError> {
        let invalid = |key: String, problem: String| Err(ConfigError::Invalid { key, problem });
        if self.dataset_names().len() > limits::NODE_DATASETS {
            return invalid("dataset".into(), format!("at most {}", limits::NODE_DATASETS));
        }
        self.check_live()?;
        mail::check(&self.mail)?;
        let range = instep_embedded::log::SEGMENT_BYTES_MIN..=4 * 1024 * 1024 * 1024;
        if !range.contains(&self.log.segment_bytes) {
            let problem = format!("from {} to {} bytes", range.start(), range.end());
            return invalid("log.segment_bytes".into(), problem);
        }
        if self.ring_frames == 0 {
            return invalid("ring_frames".into(), "at least 1".into());
        }
        self.check_limits()?;
        for name in self.dataset_names() {
            self.views_of(&name)?;
        }
        Web::new(self)?;
        keys::rights(self)?;
        keys::declared_keys(self)?;
        Ok(())
    }

    fn check_limits(&self) -> Result<(), ConfigError> {
        let invalid =
            |key: &str, problem: String| Err(ConfigError::Invalid { key: key.to_owned(), problem });
        let times = [
            ("janus_ping_ms", self.janus_ping_ms),
            ("handshake_ms", self.handshake_ms),
            ("socket_idle_ms", self.socket_idle_ms),
            ("slow_reader_ms", self.slow_reader_ms),
            ("socket_channels", self.socket_channels as u64),
            ("sockets", self.sockets as u64),
            ("waiting_bytes", self.waiting_bytes as u64),
        ];
        if let Some((key, _)) = times.iter().find(|(_, value)| *value == 0) {
            return invalid(key, "at least 1".into());
        }
        let range = limits::FRAME_BYTES_LEAST..=limits::FRAME_BYTES_MOST;
        if !range.contains(&self.frame_bytes) {
            let problem = format!("from {} to {} bytes", range.start(), range.end());
            return invalid("frame_bytes", problem);
        }
        if let Err(problem) = Proxies::parse(&self.proxies) {
            return invalid("proxies", problem);
        }
        if !self.proxy_protocol.is_empty() && self.proxies.is_empty() {
            let problem = "whose headers are believed? Name them in proxies";
            return invalid("proxy_protocol", problem.into());
        }
        if let Err((key, problem)) = self.tls.check() {
            return invalid(key, problem.into());
        }
        Ok(())
    }

    fn check_live(&self) -> Result<(), ConfigError> {
        for (at, live) in self.live.iter().enumerate() {
            let invalid = |key: &str, problem: String| {
                Err(ConfigError::Invalid { key: format!("live[{at}].{key}"), problem })
            };
            let name = live.topic.strip_suffix('*').unwrap_or(&live.topic);
            if name.is_empty() || name.contains('*') || reserved::is_topic(name) {
                let problem = "a name, or one that ends in '*'; not reserved";
                return invalid("topic", problem.into());
            }
            if live.history > limits::LIVE_HISTORY_MESSAGES {
                return invalid("history", format!("at most {}", limits::LIVE_HISTORY_MESSAGES));
            }
            if live.history_bytes > limits::LIVE_HISTORY_BYTES_MOST {
                let most = limits::LIVE_HISTORY_BYTES_MOST;
                return invalid("history_bytes", format!("at most {most}"));
            }
        }
        Ok(())
    }

    /// Refuses to serve others than this machine before anything says who may do what.
    pub(crate) fn check_exposure(&self) -> Result<(), ConfigError> {
        let silent =
            self.rights.is_empty() && self.keys.is_empty() && self.tokens.files().next().is_none();
        let doors = [("http", Some(self.http)), ("tcp", self.tcp), ("janus", self.janus)];
        let public = doors.iter().find_map(|(key, address)| {
            address.filter(|address| !address.ip().is_loopback()).map(|address| (*key, address))
        });
        let Some((key, address)) = public.filter(|_| silent && !self.insecure_public) else {
            return Ok(());
        };
        let problem = format!(
            "{address} can be reached by others, and nothing says who may do what: declare \
             [[rights]], [tokens] or a [[key]], or say insecure_public = true (--insecure-public)"
        );
        Err(ConfigError::Invalid { key: key.into(), problem })
    }

    /// How sockets are served.
    #[must_use]
    pub fn door(&self) -> DoorOptions {
        DoorOptions {
            shards: self.shards,
            slow_reader_ms: self.slow_reader_ms,
            drain_spread_ms: self.drain_spread_ms.min(self.drain_ms / 2),
            // Checked before; a list that does not read lets nobody else in.
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
            // Checked before; a list that does not read trusts nobody.
            proxies: Proxies::parse(&self.proxies).unwrap_or_default(),
            handshake_ms: self.handshake_ms,
            socket_idle_ms: self.socket_idle_ms,
            socket_channels: self.socket_channels,
            frame_bytes: self.frame_bytes,
            // Behind a proxy on this machine everybody seems to be here.
            rates: RateOptions {
                loopback: self.rate.loopback || !self.proxies.is_empty(),
                ..self.rate.options()
            },
        }
    }

    /// How much each topic keeps for those who fell behind.
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
        let mut names: Vec<Name> = listed.chain(tables).chain(views).chain(mail).cloned().collect();
        names.sort();
        names.dedup();
        names
    }

    /// The compiled views of a dataset.
    ///
    /// # Errors
    /// [`ConfigError::View`] when one does not compile.
    pub fn views_of(&self, dataset: &Name) -> Result<Vec<View>, ConfigError> {
        let views = self.views.iter().filter(|view| view.dataset == *dataset);
        let views = views.map(View::compile).collect::<Result<Vec<_>, _>>()?;
        check_together(&views)?;
        match views.len() > limits::DATASET_VIEWS {
            true => Err(ConfigError::Invalid {
                key: "view".into(),
                problem: format!("at most {} for dataset {dataset}", limits::DATASET_VIEWS),
            }),
            false => Ok(views),
        }
    }
}

#[cfg(test)]
mod tests;
