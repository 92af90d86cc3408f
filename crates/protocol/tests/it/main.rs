//! The promises of the protocol, from outside.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod frames;
mod golden;
mod janus;
mod sessions;
