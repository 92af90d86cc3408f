//! Places in a live topic.
//!
//! A live topic has no log. While it exists it has an *epoch*, and its messages are numbered from
//! 1: a reader is complete up to an epoch and a number. The numbers are not on the wire: a client
//! that counts the messages since its join knows them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::presence::{COUNT_EVENT, DIFF_EVENT, STATE_EVENT};

/// The event that tells a reader that it missed messages.
pub const GAP_EVENT: &str = "gap";

/// Events between messages, which are not counted with them. Clients may not publish these.
pub const UNCOUNTED_EVENTS: &[&str] = &[GAP_EVENT, STATE_EVENT, DIFF_EVENT, COUNT_EVENT];

/// Position in a live topic: its reader has the messages of the epoch up to this number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LivePlace {
    /// Identity of the topic since it came to be.
    pub epoch: String,
    /// Number of the newest message that the reader has.
    pub offset: u64,
}

impl fmt::Display for LivePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.offset)
    }
}

/// The text is not an epoch and a number with a hyphen between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not EPOCH-OFFSET")]
pub struct LivePlaceError;

impl FromStr for LivePlace {
    type Err = LivePlaceError;

    fn from_str(text: &str) -> Result<Self, LivePlaceError> {
        let (epoch, offset) = text.split_once('-').ok_or(LivePlaceError)?;
        let known = !epoch.is_empty() && epoch.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let offset = offset.parse().map_err(|_| LivePlaceError)?;
        known.then(|| Self { epoch: epoch.to_owned(), offset }).ok_or(LivePlaceError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_from_its_own_text_and_from_nothing_else() {
        let place = LivePlace { epoch: "9f3a1".into(), offset: 17 };

        assert_eq!(place.to_string().parse(), Ok(place));
        for stale in ["", "17", "-17", "a-", "a-b", "a-1-2", "é-1", "a--1"] {
            assert_eq!(stale.parse::<LivePlace>(), Err(LivePlaceError), "{stale}");
        }
    }
}
