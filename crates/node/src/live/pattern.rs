//! Patterns of live topics, as they are declared.

use instep_model::limits;
use instep_model::pattern::Names;
use instep_model::reserved;
use instep_model::ring::RingLimits;
use serde::Deserialize;

/// A declared pattern of live topics.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LivePattern {
    /// The topics: exact, or ending in `*`.
    pub topic: String,
    /// Publish right on a socket: all subscribers, or only holders of the admin key.
    pub anyone_publishes: bool,
    /// Messages that are kept without subscribers; with any, the topic outlives its
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

    /// Ring limits without subscribers.
    pub(crate) fn history_limits(&self) -> RingLimits {
        RingLimits { frames: self.history, bytes: self.history_bytes, ms: self.history_ms }
    }

    /// Ring limits with subscribers: never less than without.
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
