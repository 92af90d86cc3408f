//! Sockets of a program of its own, which does not speak Channels.

use instep_protocol::encode::Frame;

/// A message of a socket that does not speak Channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawMessage<'a> {
    /// A text.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
}

/// Answer function of a socket that does not speak Channels.
pub(crate) struct Raw {
    pub(crate) limit: usize,
    pub(crate) answer: Box<dyn Fn(RawMessage<'_>) -> Option<Frame> + Send + Sync>,
}
