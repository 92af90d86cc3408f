//! Stores and the agent against real databases.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

mod cluster;
mod commits;
mod postgres;
mod sqlite;
