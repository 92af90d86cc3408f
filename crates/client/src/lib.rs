//! The Rust client of an Instep server.
//!
//! What lives here: [`Client`] (HTTP: commits that are safe to retry, rows, snapshots,
//! changefeeds that resume, administration) and [`Channels`] (WebSocket: topics that are joined
//! again where they were left). What does not: how a program uses the messages. Start reading at
//! [`Client`], then [`Channels`].
//!
//! ```no_run
//! use instep_client::Client;
//! use serde_json::json;
//!
//! # async fn example() -> Result<(), instep_client::Error> {
//! let client = Client::new("http://127.0.0.1:4000", Some("the admin key".into()))?;
//! let row = json!({"op": "put", "table": "items", "key": "7", "row": {"count": 3}});
//! let receipt = client.commit("shop", &[row], None).await?;
//! let mut changes = client.changes("shop", Some(receipt.position), true);
//! while let Some(change) = changes.next().await? {
//!     println!("{change:?}");
//! }
//! # Ok(())
//! # }
//! ```

mod backoff;
mod changes;
mod channels;
mod commits;
mod datasets;
mod error;
mod http;
mod inspection;
mod lines;
mod mail;
mod publish;
mod rows;
mod sites;
mod trust;

pub use backoff::Backoff;
pub use changes::{Change, Changes, Commit};
pub use channels::{Channel, ChannelError, ChannelEvent, Channels};
pub use commits::Receipt;
pub use datasets::{DatasetStatus, JournalStatus, TableStatus, ViewFailure, ViewStatus};
pub use error::{Error, Problem};
pub use http::Client;
pub use inspection::{ConnectionStatus, Connections, JoinedTopic, TopicStatus, Topics};
pub use instep_model::mail::Seq;
pub use lines::{LINE_BYTES, Lines};
pub use mail::{
    Answered, Answers, Backfilled, MessagePage, MessageQuery, MessageStatus, Moved, Nack,
    NewMessage, Pulled, Reject, Sent, ServerStatus, Stale, Taken, Unroutable,
};
pub use publish::{Message, Published};
pub use reqwest::Method;
pub use rows::{KeyedRow, Page, PageQuery, RowAt, Snapshot};
pub use sites::{
    DumpChunk, DumpEnd, DumpState, DumpStatus, NewSite, Registered, SiteAppend, SiteChange,
    SiteCommit, SiteFailure, SiteFeed, SiteList, SiteRecord, SiteSkip, SiteStand, SiteStart,
    SiteStatus, SiteTally,
};
pub use trust::{Trust, TrustError};
pub use uuid::Uuid;
