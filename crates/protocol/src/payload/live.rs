//! Live topics: the reply to a joiner, and notices.

use bytes::Bytes;
use instep_model::live::LivePlace;
use serde::Serialize;

/// Reply to who joins a live topic: the place that messages are counted from. Fields stand in the
/// order of their names, as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Joined<'a> {
    epoch: &'a str,
    mode: Mode,
    offset: u64,
    recovered: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// It said no place.
    Live,
    /// It said where it was.
    Resume,
}

impl<'a> Joined<'a> {
    /// Reply to a joiner that is at `place` now; `recovered` if it gets all that it missed.
    #[must_use]
    pub fn new(place: &'a LivePlace, resumes: bool, recovered: bool) -> Self {
        let mode = if resumes { Mode::Resume } else { Mode::Live };
        Self { epoch: &place.epoch, mode, offset: place.offset, recovered }
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

    #[test]
    fn a_joiner_is_told_where_it_is_and_whether_it_gets_what_it_missed() {
        let place = LivePlace { epoch: "9f3a1".into(), offset: 17 };

        let expected = r#"{"epoch":"9f3a1","mode":"live","offset":17,"recovered":false}"#;
        assert_eq!(Joined::new(&place, false, false).encode(), expected);
        let expected = r#"{"epoch":"9f3a1","mode":"resume","offset":17,"recovered":true}"#;
        assert_eq!(Joined::new(&place, true, true).encode(), expected);
    }
}
