//! The doors: sockets and long-poll requests on one side, sessions and topics on the other.
//!
//! What lives here: [`Door`] (what all connections share), the connection that drives a session
//! machine, its two transports ([`websocket`], [`longpoll`]), and the rules by which an
//! application takes part in a channel ([`rules`]). What does not: what messages mean (that is
//! `instep-protocol`), what topics hold (`instep-node`), and which engine runs.
//! Start reading at [`rules`], then `connection`.

mod connection;
mod door;
pub mod longpoll;
pub mod rules;
pub mod websocket;

pub use door::Door;
