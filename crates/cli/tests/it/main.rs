//! The built binary, as people and programs use it.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

mod access;
mod api;
mod bench;
mod checking;
mod client;
mod commands;
mod completing;
mod configuration;
mod crash;
mod crowd;
mod datasets;
mod descriptors;
mod draining;
mod exact;
mod files;
mod golden;
mod hanging;
mod home;
mod inspection;
mod janus;
mod journals;
mod limits;
mod mail;
mod many;
mod metrics;
mod names;
mod newer;
mod opening;
mod publishing;
mod removing;
mod request_ids;
mod restoring;
mod running;
mod serving;
mod shims;
mod shoppers;
mod site_protocol;
mod sites;
mod stuck;
mod supervised;
mod terminal;
mod threads;
mod tls;
mod views;
