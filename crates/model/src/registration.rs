//! Registration: a name is held by one generation at a time, and the newest one wins.
//!
//! | a name is | becomes | by |
//! | --- | --- | --- |
//! | free | held | a registration of a newer generation, or the return of the newest |
//! | held | held by a newer one; the one before is replaced | a registration that is newer |
//! | held | free, and its generation is remembered | its holder leaves |
//!
//! Everything else is fenced, and changes nothing. Generations come from the log
//! ([`Generation::next`]), so they tell registrations apart on every node and behind every restart.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Generation of a registration of a name, from 1, stored and sent as the bare number.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

/// State of one name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Registration {
    newest: Generation,
    is_held: bool,
}

/// Refusal: a newer registration, or the same one, is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another registration has taken over")]
pub struct Fenced;

impl Registration {
    /// Takes a registration that the log has given a generation. Returns the one that it replaces.
    ///
    /// # Errors
    /// [`Fenced`] when its generation, or a newer one, is known.
    pub fn register(&mut self, generation: Generation) -> Result<Option<Generation>, Fenced> {
        if generation <= self.newest {
            return Err(Fenced);
        }
        let replaced = self.holder();
        *self = Self { newest: generation, is_held: true };
        Ok(replaced)
    }

    /// Takes a registration that is back: it is the newest of the log. Returns the one that it
    /// replaces.
    ///
    /// # Errors
    /// [`Fenced`] when a newer one is known, or it is there.
    pub fn resume(&mut self, generation: Generation) -> Result<Option<Generation>, Fenced> {
        if generation < self.newest || self.is_held_by(generation) {
            return Err(Fenced);
        }
        let replaced = self.holder();
        *self = Self { newest: generation, is_held: true };
        Ok(replaced)
    }

    /// Frees the name, if this generation holds it; returns true if so.
    pub fn leave(&mut self, generation: Generation) -> bool {
        let leaves = self.is_held_by(generation);
        self.is_held &= !leaves;
        leaves
    }

    /// The generation that holds the name.
    #[must_use]
    pub fn holder(&self) -> Option<Generation> {
        self.is_held.then_some(self.newest)
    }

    /// True when this generation holds the name.
    #[must_use]
    pub fn is_held_by(&self, generation: Generation) -> bool {
        self.holder() == Some(generation)
    }

    /// The newest generation that was ever here.
    #[must_use]
    pub fn newest(&self) -> Generation {
        self.newest
    }
}

impl Generation {
    /// Before the first registration.
    pub const NONE: Self = Self(0);

    /// The generation of the next registration of a name, of which this is the newest: of a name
    /// that is not known, above those of all names that were forgotten.
    #[must_use]
    pub fn next(self, forgotten: Self) -> Self {
        Self(if self == Self::NONE { forgotten.0 + 1 } else { self.0 + 1 })
    }

    /// True when this is the newest generation of a name, and one that was given.
    #[must_use]
    pub fn is_newest(self, newest: Self) -> bool {
        self == newest && newest > Self::NONE
    }
}

/// The bare number, as it is stored.
impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_newest_registration_wins_and_is_told_which_it_replaces() {
        let mut name = Registration::default();

        assert_eq!(name.register(Generation(1)), Ok(None));
        assert_eq!(name.register(Generation(3)), Ok(Some(Generation(1))));
        assert_eq!(name.register(Generation(2)), Err(Fenced), "it was overtaken on its way");
        assert_eq!(name.holder(), Some(Generation(3)));
    }

    #[test]
    fn a_replaced_registration_ends_nothing_by_leaving() {
        let mut name = Registration::default();
        name.register(Generation(1)).unwrap();
        name.register(Generation(2)).unwrap();

        assert!(!name.leave(Generation(1)));
        assert!(name.is_held_by(Generation(2)));
        assert!(name.leave(Generation(2)) && !name.leave(Generation(2)));
        assert_eq!((name.holder(), name.newest()), (None, Generation(2)));
    }

    #[test]
    fn the_newest_may_come_back_as_long_as_there_is_no_newer_one() {
        let mut name = Registration::default();
        name.register(Generation(2)).unwrap();

        assert_eq!(name.resume(Generation(2)), Err(Fenced), "it is there");
        name.leave(Generation(2));
        assert_eq!(name.register(Generation(2)), Err(Fenced), "a generation registers once");
        assert_eq!(name.resume(Generation(1)), Err(Fenced));
        assert_eq!(name.resume(Generation(2)), Ok(None));
        assert_eq!(
            name.resume(Generation(5)),
            Ok(Some(Generation(2))),
            "this process has not seen it register"
        );
    }

    #[test]
    fn a_name_that_was_forgotten_never_has_a_generation_again() {
        let next = |newest, forgotten| Generation(newest).next(Generation(forgotten)).0;

        assert_eq!((next(0, 0), next(4, 9), next(0, 9)), (1, 5, 10));
        assert!(Generation(4).is_newest(Generation(4)) && !Generation(4).is_newest(Generation(5)));
        assert!(!Generation::NONE.is_newest(Generation::NONE), "none has registered");
    }

    proptest! {
        #[test]
        fn the_holder_is_the_newest_and_a_replaced_one_never_comes_back(
            steps in prop::collection::vec((0_u8..3, 1_u64..12), 0..80),
        ) {
            let mut name = Registration::default();
            for (step, generation) in steps {
                let generation = Generation(generation);
                let before = name;
                let taken = match step {
                    0 => name.register(generation).is_ok(),
                    1 => name.resume(generation).is_ok(),
                    _ => name.leave(generation),
                };
                prop_assert!(taken || name == before, "a refusal changes nothing");
                prop_assert!(name.newest() >= before.newest());
                prop_assert!(!taken || generation == name.newest());
                prop_assert_eq!(name.holder().is_some(), match (step, taken) {
                    (0 | 1, true) => true,
                    (_, true) => false,
                    (_, false) => before.holder().is_some(),
                });
            }
        }
    }
}
