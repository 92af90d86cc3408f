//! The shop inside a server of the test's own.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

mod inventory_crash;
mod view_crash;
