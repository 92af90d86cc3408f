//! Simulator: whole lives of a node from a seed, judged by checkers.
//!
//! What lives here: the [`checker`]s over recorded [`history`] (usable by any test that records
//! one), the [`oracle`] that they compare with, and the simulation itself: a world with a disk
//! that loses and tears, a process that dies, writers, subscribers and time.
//! What does not: threads, sockets, clocks. The machines are the ones that the server runs.
//! Start reading at [`run`], then [`history`], then [`checker`].

pub mod checker;
mod dice;
pub mod fault;
mod faulty_disk;
pub mod history;
pub mod judged;
pub mod mail;
mod node;
pub mod oracle;
pub mod run;
mod shop;
pub mod sites;
mod socket;
mod subscriber;
pub mod timeline;
mod world;
mod writers;
