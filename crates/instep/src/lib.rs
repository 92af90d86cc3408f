//! An Instep server as a library: run it alone, or inside your own program.
//!
//! What lives here: configuration ([`Config`]), the server itself ([`Server`]), the HTTP API, and
//! [`App`], by which an application adds tables, views, routes and rules. What does not: how data
//! flows (`instep-node`), what messages mean (`instep-protocol`), and the command line.
//! Start reading at [`server`], then `api`.
//!
//! ```no_run
//! use instep::{App, Config, Server};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::in_directory("data");
//! let server = Server::start(config, App::default()).await?;
//! println!("listening on {}", server.address());
//! server.run_until(async { let _ = tokio::signal::ctrl_c().await; }).await?;
//! # Ok(())
//! # }
//! ```

mod accept;
mod admin;
mod admission;
mod api;
mod app;
mod caller;
mod clock;
mod config;
mod directory;
mod dumps;
mod engine;
mod formats;
mod inspection;
mod keys;
#[cfg(test)]
mod limits_document;
mod metrics;
mod opener;
mod private_file;
mod problem;
pub mod server;
mod start_error;
mod tables;
mod tls;
mod views;
mod web;

pub use admin::AdminKey;
pub use app::App;
pub use caller::{Admin, Caller};
pub use config::{
    Config, ConfigError, DatasetConfig, DoorName, Fault, KEYS, KindConfig, KindPreset, LogConfig,
    MailConfig, RateConfig, RelayConfig, Source, TableConfig, TlsConfig, TokensConfig,
};
pub use formats::{NEWEST_ENTRY, check_formats};
pub use inspection::check_data;
pub use instep_access as access;
pub use instep_edge::rules::{Channel, ChannelError, JoinRequest, Push};
pub use instep_model as model;
pub use instep_model::ring::Payload;
pub use instep_node::live::{LiveError, Published};
pub use instep_node::{
    Audience, Crowd, Dataset, Follow, FollowError, FollowedCommit, LivePattern, Node, PresenceMode,
};
pub use keys::{KeyError, KeyFile, KeyFileError};
pub use problem::{CODES, Problem};
pub use server::{Server, StopError};
pub use start_error::StartError;
