//! What the embedded engine promises, one behaviour per module.

mod conformance;
mod crash;
mod damage;
mod faults;
mod repairing;
mod snapshots;
mod sqlite;
mod trimming;
mod world;
