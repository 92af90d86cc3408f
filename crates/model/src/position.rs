//! Position of a reader: one identity of history, one entry of its log, one commit in the entry.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// The identity of one unbroken history of a dataset. A recreated or restored dataset has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub Uuid);

/// The number of an entry of the log, from 1. Zero is "before the first".
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);

    /// The revision of the next entry.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.simple())
    }
}

/// The place of one commit inside one history: an entry and the commit's index in it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Place {
    /// The entry of the log.
    pub revision: Revision,
    /// The commit within the entry, from 0.
    pub index: u16,
}

/// A reader's position: everything up to and including one commit of one history.
///
/// There is no order between positions of two incarnations (I1), so this type has none:
/// compare with [`Position::place_in`], which asks for the incarnation first.
///
/// The text form is opaque to clients and of fixed width, so that text order is numeric order
/// within an incarnation (I6): 32 hex digits, 20 digits, 5 digits, joined by `-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// The history that the place belongs to.
    pub incarnation: Incarnation,
    /// The place in it.
    pub place: Place,
}

impl Position {
    /// The place, if the position belongs to `incarnation`.
    #[must_use]
    pub fn place_in(&self, incarnation: Incarnation) -> Option<Place> {
        (self.incarnation == incarnation).then_some(self.place)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { revision, index } = self.place;
        write!(f, "{}-{:020}-{index:05}", self.incarnation, revision.0)
    }
}

/// The text is not a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position of this server")]
pub struct PositionError;

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let mut parts = text.split('-');
        let (Some(incarnation), Some(revision), Some(index), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(PositionError);
        };
        if (incarnation.len(), revision.len(), index.len()) != (32, 20, 5)
            || !digits(revision)
            || !digits(index)
        {
            return Err(PositionError);
        }
        Ok(Self {
            incarnation: Incarnation(Uuid::try_parse(incarnation).map_err(|_| PositionError)?),
            place: Place {
                revision: Revision(revision.parse().map_err(|_| PositionError)?),
                index: index.parse().map_err(|_| PositionError)?,
            },
        })
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn position(incarnation: u128, revision: u64, index: u16) -> Position {
        Position {
            incarnation: Incarnation(Uuid::from_u128(incarnation)),
            place: Place { revision: Revision(revision), index },
        }
    }

    #[test]
    fn i1_places_of_two_incarnations_are_never_compared() {
        let here = position(1, 5, 0);

        assert_eq!(here.place_in(Incarnation(Uuid::from_u128(2))), None);
        assert_eq!(here.place_in(here.incarnation), Some(here.place));
    }

    #[test]
    fn i7_other_texts_are_not_positions() {
        let good = position(7, 42, 3).to_string();
        assert!(good.parse::<Position>().is_ok());
        for bad in ["", "0", "-", &good[1..], &good.replace('-', "+"), &format!("{good}-0")] {
            assert_eq!(bad.parse::<Position>(), Err(PositionError), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn i6_text_order_is_numeric_order(a: u64, b: u64, i: u16, j: u16) {
            let (left, right) = (position(9, a, i), position(9, b, j));

            prop_assert_eq!(left.to_string().cmp(&right.to_string()), left.place.cmp(&right.place));
            prop_assert_eq!(left.to_string().parse::<Position>(), Ok(left));
        }
    }
}
