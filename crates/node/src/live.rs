//! Live topics: what is declared of them, what a publisher is told, where a reader is.
//!
//! A live topic has no log. Where a reader of it is, is an epoch and a number (`LivePlace`).

mod ids;

use std::sync::Arc;

use instep_model::json::{INEXACT, Inexact, check_object};
use instep_model::limits;
pub use instep_model::live::{GAP_EVENT, LivePlace, UNCOUNTED_EVENTS};
use instep_model::pattern::Names;
use instep_model::reserved;
use instep_model::ring::{Frame, Payload, RingLimits};
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) use self::ids::Ids;
pub use self::ids::{Once, PublishId};
use crate::topics::Subscription;

/// A declared pattern of live topics.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LivePattern {
    /// The topics: exact, or ending in `*`.
    pub topic: String,
    /// Publish right on a socket: everybody who joined, or only holders of the admin key.
    pub anyone_publishes: bool,
    /// Messages that are kept when nobody has joined; with any, the topic outlives its
    /// subscribers until they have aged out.
    pub history: usize,
    /// Retention of such a message, in milliseconds.
    pub history_ms: u64,
    /// Bytes of such messages.
    pub history_bytes: usize,
    /// Last-value cache: a joiner without a place to go on from gets the newest message.
    pub last_value: bool,
    /// Presence mode; none: presence is not tracked.
    pub presence: Option<PresenceMode>,
}

/// Presence detail that subscribers get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PresenceMode {
    /// Keys and metas, as long as they are few enough.
    List,
    /// Counts only.
    Count,
}

impl Default for LivePattern {
    fn default() -> Self {
        Self {
            topic: String::new(),
            anyone_publishes: false,
            history: 0,
            history_ms: limits::LIVE_HISTORY_MS,
            history_bytes: limits::LIVE_HISTORY_BYTES,
            last_value: false,
            presence: None,
        }
    }
}

impl LivePattern {
    /// True when the topic outlives its subscribers for a while.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.history > 0 || self.last_value
    }

    pub(crate) fn matches(&self, topic: &str) -> bool {
        !reserved::is_topic(topic) && Names::of(&self.topic).contains(topic)
    }

    /// Ring limits while nobody has joined.
    pub(crate) fn history_limits(&self) -> RingLimits {
        RingLimits { frames: self.history, bytes: self.history_bytes, ms: self.history_ms }
    }

    /// Ring limits while somebody has joined: never less than when nobody has.
    pub(crate) fn ring_limits(&self, rings: RingLimits) -> RingLimits {
        match self.history {
            0 => rings,
            frames => RingLimits {
                frames: rings.frames.max(frames),
                bytes: rings.bytes.max(self.history_bytes),
                ms: rings.ms.max(self.history_ms),
            },
        }
    }
}

/// A join of a live topic.
pub struct LiveJoined {
    /// The joiner's place in the topic: in front of what it missed, if that is known.
    pub subscription: Subscription,
    /// The messages that follow are counted from here.
    pub place: LivePlace,
    /// The joiner said where it was.
    pub resumes: bool,
    /// True when no message is lost: the joiner gets all that it missed.
    pub recovered: bool,
    /// A message to send before all others.
    pub last: Option<Arc<Frame>>,
    /// Publish right on a socket, as the pattern has it.
    pub anyone_publishes: bool,
}

impl LiveJoined {
    /// The reply to the joiner.
    #[must_use]
    pub fn reply(&self) -> Value {
        json!({
            "mode": if self.resumes { "resume" } else { "live" },
            "epoch": self.place.epoch,
            "offset": self.place.offset,
            "recovered": self.recovered,
        })
    }
}

/// Reply to a publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Subscribers that had joined.
    pub subscribers: usize,
    /// The message's place; none when nobody had joined and nothing is kept.
    pub place: Option<LivePlace>,
}

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
