//! Resume points: positions that a joiner shows to go on from.

use instep_model::live::LivePlace;
use instep_model::position::Position;
use serde::Deserialize;
use serde_json::Value;

/// Resume point that a joiner shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// None.
    Nothing,
    /// Position in a topic with a log.
    Position(Position),
    /// Place in a live topic.
    Live(LivePlace),
    /// Neither a position nor a place.
    Unreadable,
}

impl Since {
    /// Reads the `since` of a join's parameters. Never an error: a client may repeat for ever a
    /// value that was right once.
    #[must_use]
    pub fn of(params: &Value) -> Self {
        match params.get("since") {
            None | Some(Value::Null) => Self::Nothing,
            Some(Value::String(text)) => Self::of_text(text),
            Some(place) => LivePlace::deserialize(place).map_or(Self::Unreadable, Self::Live),
        }
    }

    /// Reads a text form.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        match (text.parse(), text.parse()) {
            (Ok(position), _) => Self::Position(position),
            (Err(_), Ok(place)) => Self::Live(place),
            (Err(_), Err(_)) => Self::Unreadable,
        }
    }

    /// Converts it for a topic with a log: `Some(None)` is a resume point that means nothing there.
    #[must_use]
    pub fn position(&self) -> Option<Option<Position>> {
        match self {
            Self::Nothing => None,
            Self::Position(position) => Some(Some(*position)),
            Self::Live(_) | Self::Unreadable => Some(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_place_is_read_from_its_text_and_from_json_and_is_no_position() {
        let place = LivePlace { epoch: "9f3a1".into(), offset: 17 };

        assert_eq!(Since::of(&json!({"since": "9f3a1-17"})), Since::Live(place.clone()));
        let object = json!({"since": {"epoch": "9f3a1", "offset": 17}});
        assert_eq!(Since::of(&object), Since::Live(place));
        for stale in ["", "17", "-17", "a-", "a-b", "a-1-2", "é-1"] {
            assert_eq!(Since::of(&json!({"since": stale})), Since::Unreadable, "{stale}");
        }
        assert_eq!(Since::of(&json!({"since": null})), Since::Nothing);
    }
}
