//! Promises of the embedded engine, one behaviour per module.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

mod anew;
mod conformance;
mod crash;
mod damage;
mod entries;
mod faults;
mod growing;
mod harm;
mod one_thing;
mod repairing;
mod snapshots;
mod sqlite;
mod trimming;
mod world;
