//! Stores and the agent against real databases.

mod cluster;
mod commits;
mod postgres;
mod sqlite;
