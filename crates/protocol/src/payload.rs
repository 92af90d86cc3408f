//! Payloads of topics with a log: what clients are told inside messages, as bytes.
//!
//! A client that adopts every `position` it sees never misses anything: a position is only given
//! where everything up to it has been told (decision 3). That is decided here and nowhere else:
//! what the reply to a join carries ([`join`]), what is pushed behind it and to a subscriber that
//! fell off the ring ([`rows`]), and what the frames of a ring are ([`frame`]). What a joiner shows
//! to go on from is read by [`since`].

pub mod frame;
pub mod join;
pub mod rows;
pub mod since;
