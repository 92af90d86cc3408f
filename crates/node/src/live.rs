//! Live topics: what is declared of them, what a publisher is told, where a reader is.
//!
//! A live topic has no log. Where a reader of it is, is an epoch and a number (`LivePlace`).

mod ids;
mod pattern;

use instep_model::json::{INEXACT, Inexact, check_object};
use instep_model::limits;
pub use instep_model::live::{GAP_EVENT, LivePlace, UNCOUNTED_EVENTS};
use instep_model::reserved;
use instep_model::ring::Payload;

pub(crate) use self::ids::Ids;
pub use self::ids::{Once, PublishId};
pub use self::pattern::{LivePattern, PresenceMode};
pub use crate::topics::{LiveJoined, Published};

/// Refusal of a publication.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LiveError {
    /// No live pattern matches the topic, or it is that of a dataset.
    #[error("{topic:?} is no live topic: no pattern matches it, or a view or a table has it")]
    Unmatched {
        /// The topic.
        topic: String,
    },
    /// The payload is over its limit.
    #[error("the payload is {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Bytes of the payload.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The payload is no JSON object of values that can be kept.
    #[error("the payload: {0}")]
    Payload(Inexact),
    /// The event's name is reserved, empty or too long.
    #[error("the event {event:?} is reserved, empty or longer than {limit} bytes")]
    Event {
        /// The event.
        event: String,
        /// Bytes allowed.
        limit: usize,
    },
}

impl LiveError {
    /// The stable code that clients see.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unmatched { .. } => "unmatched_topic",
            Self::TooLarge { .. } => "payload_too_large",
            Self::Payload(_) => INEXACT,
            Self::Event { .. } => "bad_event",
        }
    }
}

/// Checks what is about to be published: it is passed on as it is, so every reader must be able to
/// read it as the same.
pub(crate) fn check(event: &str, payload: &Payload) -> Result<(), LiveError> {
    if reserved::is_event(event) || event.is_empty() || event.len() > limits::EVENT_BYTES {
        let limit = limits::EVENT_BYTES;
        return Err(LiveError::Event { event: event.to_owned(), limit });
    }
    let (Payload::Json(bytes) | Payload::Binary(bytes)) = payload;
    if bytes.len() > limits::PUBLISH_BYTES {
        return Err(LiveError::TooLarge { bytes: bytes.len(), limit: limits::PUBLISH_BYTES });
    }
    match payload {
        Payload::Json(text) => check_object(text, limits::VALUE_DEPTH).map_err(LiveError::Payload),
        Payload::Binary(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
