//! Registration: a name is held by one generation at a time, and the newest one wins.
//!
//! | a name is | becomes | by |
//! | --- | --- | --- |
//! | free | held | a registration of a newer generation, or the return of the newest |
//! | held | held by a newer one; the one before is replaced | a registration that is newer |
//! | held | free, and its generation is remembered | its holder leaves |
//!
//! Everything else is fenced, and changes nothing. Generations come from the log ([`above`]), so
//! they tell registrations apart on every node and behind every restart.

/// State of one name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Registration {
    newest: u64,
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
    pub fn register(&mut self, generation: u64) -> Result<Option<u64>, Fenced> {
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
    pub fn resume(&mut self, generation: u64) -> Result<Option<u64>, Fenced> {
        if generation < self.newest || self.is_held_by(generation) {
            return Err(Fenced);
        }
        let replaced = self.holder();
        *self = Self { newest: generation, is_held: true };
        Ok(replaced)
    }

    /// Frees the name, if this generation holds it; returns true if so.
    pub fn leave(&mut self, generation: u64) -> bool {
        let leaves = self.is_held_by(generation);
        self.is_held &= !leaves;
        leaves
    }

    /// The generation that holds the name.
    #[must_use]
    pub fn holder(&self) -> Option<u64> {
        self.is_held.then_some(self.newest)
    }

    /// True when this generation holds the name.
    #[must_use]
    pub fn is_held_by(&self, generation: u64) -> bool {
        self.holder() == Some(generation)
    }

    /// The newest generation that was ever here; 0: there was none.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.newest
    }
}

/// The generation of the next registration of a name: above its newest one, or, of a name that is
/// not known, above those of all names that were forgotten.
#[must_use]
pub fn above(newest: u64, forgotten: u64) -> u64 {
    if newest > 0 { newest + 1 } else { forgotten + 1 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_newest_registration_wins_and_is_told_whom_it_replaces() {
        let mut name = Registration::default();

        assert_eq!(name.register(1), Ok(None));
        assert_eq!(name.register(3), Ok(Some(1)));
        assert_eq!(name.register(2), Err(Fenced), "it was overtaken on its way");
        assert_eq!(name.holder(), Some(3));
    }

    #[test]
    fn whoever_was_replaced_ends_nothing_by_leaving() {
        let mut name = Registration::default();
        name.register(1).unwrap();
        name.register(2).unwrap();

        assert!(!name.leave(1));
        assert!(name.is_held_by(2));
        assert!(name.leave(2) && !name.leave(2));
        assert_eq!((name.holder(), name.newest()), (None, 2));
    }

    #[test]
    fn the_newest_may_come_back_as_long_as_there_is_no_newer_one() {
        let mut name = Registration::default();
        name.register(2).unwrap();

        assert_eq!(name.resume(2), Err(Fenced), "it is there");
        name.leave(2);
        assert_eq!(name.register(2), Err(Fenced), "a generation registers once");
        assert_eq!(name.resume(1), Err(Fenced));
        assert_eq!(name.resume(2), Ok(None));
        assert_eq!(name.resume(5), Ok(Some(2)), "this process has not seen it register");
    }

    #[test]
    fn a_name_that_was_forgotten_never_has_a_generation_again() {
        assert_eq!((above(0, 0), above(4, 9), above(0, 9)), (1, 5, 10));
    }

    proptest! {
        #[test]
        fn the_holder_is_the_newest_and_whoever_is_overtaken_never_comes_back(
            steps in prop::collection::vec((0_u8..3, 1_u64..12), 0..80),
        ) {
            let mut name = Registration::default();
            for (step, generation) in steps {
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
