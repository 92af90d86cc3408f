//! Payloads: what clients are told inside messages, as bytes, and what is read of what they say.
//!
//! A client that adopts every `position` it sees never misses anything: a position is only given
//! where everything up to it has been told (decision 3). That is decided here and nowhere else:
//! what the reply to a join carries ([`join`]), what is pushed behind it and to a subscriber that
//! fell off the ring ([`rows`]), and what the frames of a ring are ([`frame`]). What a joiner says
//! is read by [`params`] and [`since`]; what it is refused with is a [`refusal`], and what it is
//! told last stands in [`ended`]. Words of [`mail`] are told to servers and read of them.

pub mod ended;
pub mod frame;
pub mod join;
pub mod live;
pub mod mail;
pub mod params;
pub mod refusal;
pub mod rows;
pub mod since;
