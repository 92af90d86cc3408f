//! Wire protocols of clients: Phoenix Channels V2, V1 for clients that ask for it, and Janus.
//!
//! What lives here: the codec of messages ([`message`] in, [`encode`] out), the session machine
//! ([`session`]), and the parts of a door that are no I/O: the version ([`vsn`]), the subprotocol
//! with its token ([`subprotocol`]), the bodies of long-poll ([`longpoll`]), the frames of the
//! WebSocket ([`websocket`]) and of plain TCP ([`length`]); what clients are told inside messages
//! ([`payload`]). And the wire of 2009 with a session machine of its own ([`janus`]). What does
//! not: sockets, clocks, rights, topics' patterns, the rings that fan frames out. Start reading at
//! [`session`], then [`message`].

pub mod encode;
pub mod janus;
pub mod length;
pub mod longpoll;
pub mod message;
pub mod payload;
pub mod reference;
pub mod session;
pub mod subprotocol;
pub mod vsn;
pub mod websocket;
