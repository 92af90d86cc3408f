//! Drives datasets on one node.
//!
//! What lives here: [`Dataset`] (the threads around the owner machine, the memory that readers
//! see, changefeeds), [`Topics`] with their rings, and [`Node`], which holds them together.
//! What does not: sockets, HTTP, and which engine runs.
//! Start reading at [`dataset`], then [`hub`](crate::Dataset::join), then [`ring`].

pub mod dataset;
pub mod engine;
mod follow;
mod hub;
mod node;
pub mod retention;
pub mod ring;
mod topics;

pub use dataset::Dataset;
pub use follow::{Follow, FollowError, FollowedCommit};
pub use node::{LiveError, LivePattern, Node, NodeError, NodeJoined};
pub use topics::{Bell, Listener, Subscription, Topic, Topics};
