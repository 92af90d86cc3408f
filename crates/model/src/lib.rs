//! The nouns of Instep and its pure machines.
//!
//! What lives here: names, positions, proposals, records, log entries, tables, views, [`mail`], the
//! owner machine, the mirror that every reader of a log runs, and the contracts of [`log::Log`], of
//! [`disk::Disk`] and of the stores beside a log ([`store`]) with their conformance suites.
//! What does not: sockets, threads, clocks, random sources. Time arrives as an argument.
//! Start reading at [`position`], then [`commit`], then [`owner`] and [`mirror`].

pub mod backoff;
pub mod codec;
pub mod commit;
pub mod definition;
pub mod disk;
pub mod expression;
pub mod feed;
#[cfg(test)]
mod golden;
pub mod ids;
pub mod json;
pub mod limits;
pub mod live;
pub mod log;
pub mod mail;
pub mod mirror;
pub mod name;
pub mod owner;
pub mod pattern;
pub mod position;
pub mod presence;
pub mod recovery;
pub mod registration;
pub mod reserved;
pub mod retention;
pub mod ring;
pub mod row;
pub mod site;
pub mod snapshot;
pub mod state;
pub mod store;
pub mod sweep;
pub mod text;
pub mod throttle;
pub mod view;
pub mod window;
