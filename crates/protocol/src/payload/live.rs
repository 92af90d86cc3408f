//! Notices of live topics.

use bytes::Bytes;
use instep_model::live::LivePlace;
use serde::Serialize;

/// Notice to a reader that missed messages of a live topic: how many, and the place it is at now.
/// Fields stand in the order of their names, as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gap<'a> {
    epoch: &'a str,
    missed: u64,
    offset: u64,
}

impl<'a> Gap<'a> {
    /// Notice of a reader that is at `place` now.
    #[must_use]
    pub fn new(missed: u64, place: &'a LivePlace) -> Self {
        Self { epoch: &place.epoch, missed, offset: place.offset }
    }

    /// The JSON object.
    ///
    /// # Panics
    /// Never: numbers and texts become JSON.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("numbers and texts become JSON").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_says_how_much_was_missed_and_where_the_reader_is() {
        let place = LivePlace { epoch: "9f3a1".into(), offset: 17 };

        let expected = r#"{"epoch":"9f3a1","missed":3,"offset":17}"#;
        assert_eq!(Gap::new(3, &place).encode(), expected);
    }
}
