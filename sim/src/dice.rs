//! The one source of chance of a run.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

/// Dice that fall the same for the same seed.
pub(crate) struct Dice(SmallRng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    /// One of these, each as often as its weight says. The weights are not all zero.
    pub(crate) fn draw<T: Copy>(&mut self, weighted: &[(T, usize)]) -> T {
        let mut left = self.below(weighted.iter().map(|(_, weight)| weight).sum());
        for (one, weight) in weighted {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return *one,
            }
        }
        unreachable!("a number below the sum of the weights falls on one of them")
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0.random_range(0..bound)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0.random()
    }

    /// True `percent` times out of a hundred.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A UUID without a meaning.
    pub(crate) fn uuid(&mut self) -> Uuid {
        Uuid::from_u128(self.0.random())
    }

    /// A UUIDv7 of a time.
    pub(crate) fn id_at(&mut self, ms: u64) -> Uuid {
        let low: u128 = self.0.random();
        let random = low & !(0xf << 76) & !(0b11 << 62) & ((1 << 80) - 1);
        Uuid::from_u128((u128::from(ms) << 80) | random | (0x7 << 76) | (0b10 << 62))
    }
}
