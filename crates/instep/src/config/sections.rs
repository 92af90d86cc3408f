//! The sections of the file.

use std::path::{Path, PathBuf};

use instep_edge::{Rate, RateOptions};
use instep_model::limits;
use instep_model::name::Name;
use serde::Deserialize;

/// A dataset that exists from the start.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetConfig {
    /// Its name.
    pub name: Name,
}

/// A door, by its name in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DoorName {
    /// HTTP and WebSocket.
    Http,
    /// Plain TCP, or TLS.
    Tcp,
    /// The Janus wire.
    Janus,
}

/// A table that exists from the start.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableConfig {
    /// Its dataset.
    pub dataset: Name,
    /// Its name.
    pub name: Name,
    /// Any client may read it, and join its `table:` topic.
    #[serde(default)]
    pub public: bool,
}

/// Segments, retention and snapshots of logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Bytes of one segment file, preallocated.
    pub segment_bytes: u64,
    /// History is kept for readers up to this many bytes for each dataset …
    pub keep_bytes: u64,
    /// … and up to this many hours.
    pub keep_hours: u64,
    /// Bytes of history that are held for sites which have not applied it.
    pub hold_bytes: u64,
    /// Hours of history that are held for sites which have not applied it.
    pub hold_hours: u64,
    /// A snapshot is written after this many bytes of log …
    pub snapshot_after_bytes: u64,
    /// … or this many seconds, if anything changed.
    pub snapshot_after_seconds: u64,
}

/// The certificate, with which HTTP and WebSocket are served over TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// File of the certificate and those that vouch for it, in PEM.
    pub certificate: Option<PathBuf>,
    /// File of its private key, in PEM.
    pub key: Option<PathBuf>,
    /// The TCP door speaks TLS as well.
    pub tcp: bool,
}

/// Rate limits; 0: no limit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateConfig {
    /// Connections of one address each second …
    pub connections: u32,
    /// … and at once.
    pub connections_burst: u32,
    /// Messages of one connection each second …
    pub messages: u32,
    /// … and at once.
    pub messages_burst: u32,
    /// Refused messages in a row that end a connection.
    pub refusals: u32,
    /// Requests on one connection of HTTP each second …
    pub requests: u32,
    /// … and at once.
    pub requests_burst: u32,
    /// Keys and tokens of one address that are no good, each minute …
    pub failures: u32,
    /// … and at once.
    pub failures_burst: u32,
    /// All of this holds for clients on this machine as well.
    pub loopback: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: instep_embedded::log::SEGMENT_BYTES,
            keep_bytes: 1024 * 1024 * 1024,
            keep_hours: 7 * 24,
            hold_bytes: limits::SITE_HOLD_BYTES,
            hold_hours: limits::SITE_HOLD_HOURS,
            snapshot_after_bytes: 64 * 1024 * 1024,
            snapshot_after_seconds: 300,
        }
    }
}

impl Default for RateConfig {
    fn default() -> Self {
        Self {
            connections: limits::RATE_CONNECTIONS,
            connections_burst: limits::RATE_CONNECTIONS_BURST,
            messages: limits::RATE_MESSAGES,
            messages_burst: limits::RATE_MESSAGES_BURST,
            refusals: limits::RATE_REFUSALS,
            requests: limits::RATE_REQUESTS,
            requests_burst: limits::RATE_REQUESTS_BURST,
            failures: limits::RATE_FAILURES,
            failures_burst: limits::RATE_FAILURES_BURST,
            loopback: false,
        }
    }
}

impl RateConfig {
    pub(crate) fn options(&self) -> RateOptions {
        let rate = |each, burst| Rate { each, burst };
        RateOptions {
            connections: rate(self.connections, self.connections_burst),
            messages: rate(self.messages, self.messages_burst),
            requests: rate(self.requests, self.requests_burst),
            failures: rate(self.failures, self.failures_burst),
            refusals: self.refusals,
            loopback: self.loopback,
        }
    }
}

impl TlsConfig {
    /// The certificate and the key, if there is to be TLS.
    pub(crate) fn files(&self) -> Option<(&Path, &Path)> {
        Some((self.certificate.as_deref()?, self.key.as_deref()?))
    }

    /// Checks that nothing is missing; the error is the key at fault, and what it needs.
    pub(crate) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        match (&self.certificate, &self.key) {
            (Some(_), None) => Err(("tls.key", "a certificate needs its key")),
            (None, Some(_)) => Err(("tls.certificate", "a key needs its certificate")),
            (None, None) if self.tcp => Err(("tls.tcp", "TLS needs a certificate and a key")),
            (Some(_), Some(_)) | (None, None) => Ok(()),
        }
    }
}
