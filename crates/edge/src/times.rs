//! Histograms of durations, with fixed buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::counter::Counter;

/// The longest time of each step, in microseconds; what takes longer stands in a step of its own.
pub const STEPS_US: [u64; 13] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    5_000_000,
];

/// Histogram of durations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// Counts of the buckets [`STEPS_US`]: durations within each, and not within the one before;
    /// last, those that took longer.
    pub steps: [u64; STEPS_US.len() + 1],
    /// All of it together, in microseconds.
    pub sum_us: u64,
}

/// Times as one thread at a time notes them and all threads read them.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    steps: [AtomicU64; STEPS_US.len() + 1],
    sum_us: Counter,
}

impl Times {
    /// Adds what was noted elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.steps.iter_mut().zip(other.steps).for_each(|(step, more)| *step += more);
        self.sum_us += other.sum_us;
    }
}

impl Clock {
    /// Notes that it took so long. Only one thread at a time may.
    pub(crate) fn note(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let step = &self.steps[STEPS_US.partition_point(|longest| *longest < us)];
        step.store(step.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.sum_us.add(us);
    }

    pub(crate) fn read(&self) -> Times {
        let steps = std::array::from_fn(|at| self.steps[at].load(Ordering::Relaxed));
        Times { steps, sum_us: self.sum_us.get() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_stands_in_the_first_step_that_it_is_within() {
        let clock = Clock::default();

        for us in [0, 100, 101, 5_000_000, 5_000_001] {
            clock.note(Duration::from_micros(us));
        }

        let Times { steps, sum_us } = clock.read();
        assert_eq!((steps[0], steps[1], steps[12], steps[13]), (2, 1, 1, 1));
        assert_eq!((steps.iter().sum::<u64>(), sum_us), (5, 10_000_202));
    }
}
