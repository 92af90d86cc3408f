//! The agent of a site: applies the log of a dataset to a database of its own.
//!
//! What lives here: [`Agent`], which registers a site, follows its share of the log and
//! acknowledges what is durable; the contract [`Store`] and the stores that keep it. What does
//! not: the server's half (`instep`), and how requests are made (`instep-client`). Start reading
//! at [`store`], then [`agent`].

pub mod agent;
pub mod batch;
pub mod command;
mod fold;
pub mod http;
pub mod limits;
mod ordinals;
pub mod postgres;
mod site_row;
pub mod sqlite;
pub mod store;
pub mod targets;
pub mod verification;

pub use agent::{Agent, AgentError, Notice, Origin, Settings};
pub use batch::{Batch, Culprit};
pub use command::CommandStore;
pub use http::HttpStore;
pub use postgres::PostgresStore;
pub use sqlite::SqliteStore;
pub use store::{Applied, Dumper, Fatal, Identity, Refusal, Store, StoreError, StorePosition};
pub use targets::{JournalTarget, TargetError, Targets};
pub use verification::{Verification, verify};
