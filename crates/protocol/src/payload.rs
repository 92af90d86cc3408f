//! Payloads: contents of messages to clients, as bytes, and parsers of those from clients.
//!
//! A client that adopts every `position` it sees never misses anything: a position is only given
//! where everything up to it has been told (decision 3). That is decided here and nowhere else:
//! replies to joins ([`join`]), pushes behind them and to a subscriber that fell off the ring
//! ([`rows`]), and frames of rings ([`frame`]). Parameters of a joiner are read by [`params`] and
//! [`since`]; its refusal is in [`refusal`], and its last message in [`ended`]. Words of
//! [`mail`] are told to servers and read of them.

pub mod ended;
pub mod frame;
pub mod join;
pub mod live;
pub mod mail;
pub mod params;
pub mod refusal;
pub mod rows;
pub mod since;
