//! Stores and the agent against real databases.

mod commits;
mod sqlite;
