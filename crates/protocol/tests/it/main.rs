//! The promises of the protocol, from outside.

mod frames;
mod golden;
mod sessions;
