//! Drives datasets on one node.
//!
//! What lives here: [`Dataset`] (the tasks around the owner machine, the memory that readers
//! see, changefeeds), [`Topics`] with their rings, [`live`] topics, and [`Node`], which holds them
//! together.
//! What does not: sockets, HTTP, and which engine runs.
//! Start reading at [`dataset`], then [`hub`](crate::Dataset::join), then [`Topics`].

mod blocking;
mod clock;
pub mod dataset;
mod directory;
mod driver;
pub mod engine;
mod follow;
mod hub;
pub mod journals;
pub mod live;
mod loans;
pub mod mail;
mod node;
mod outbox;
mod pool;
mod quota;
mod sync;
mod topics;

pub use blocking::{blocking, on_a_thread};
pub use clock::{now_ms, now_us};
pub use dataset::Dataset;
pub use directory::{NodeError, Unopened};
pub use follow::{Follow, FollowError, FollowedCommit};
pub use live::{LiveError, LivePattern, PresenceMode};
pub use loans::Loans;
pub use node::{Node, NodeJoined};
pub use pool::Pools;
pub use topics::{Audience, Crowd, Notifier, Present, Subscriber, Subscription, Topic, Topics};
