//! `instep serve`: a server, until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;

use instep::{App, Config, Server};

use crate::failure::Failure;
use crate::running;
use crate::telemetry::{self, LogFormat};

/// Run a server.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Configuration file (TOML); without it the defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data directory, which also holds the admin key; overrides the file.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address of HTTP and WebSocket, port 0 takes a free one; overrides the file.
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// The listener for clients of Janus, by default at 127.0.0.1:8081; overrides the file.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "127.0.0.1:8081")]
    janus: Option<SocketAddr>,
    /// Listen on a public address even without rights, tokens and keys in the configuration.
    #[arg(long)]
    insecure_public: bool,
    /// Format of the log on stderr; RUST_LOG sets its level.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let _log = telemetry::start(arguments.log_format)?;
    let mut config = match &arguments.config {
        Some(file) => Config::read(file).map_err(|error| Failure::Usage(error.to_string()))?,
        None => Config::default(),
    };
    config.data = arguments.data.unwrap_or(config.data);
    config.http = arguments.http.unwrap_or(config.http);
    config.janus = arguments.janus.or(config.janus);
    config.insecure_public |= arguments.insecure_public;
    let stop = running::stop_signal()?;
    let server = Server::start(config, App::default()).await?;
    running::announce(&server);
    running::until(server, stop).await
}
