//! The doors with real sockets, over plain TCP.

#![allow(clippy::unwrap_used, reason = "a test says by a panic what it found")]

mod client;
mod crowds;
mod fixture;
mod panics;
mod slow_readers;
mod stopping;
mod streams;
