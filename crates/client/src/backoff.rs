//! Backoff between attempts.

use std::time::Duration;

use instep_model::backoff;

/// Exponential backoff with jitter: waits that double up to a longest one. Each is somewhere
/// between a half and the whole, so that clients which lost the same server do not come back in the
/// same moment.
#[derive(Debug, Clone)]
pub struct Backoff {
    waits: backoff::Backoff,
    attempts: u32,
}

impl Backoff {
    /// Waits from `first` to `longest`.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        let ms = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let waits = backoff::Backoff { first_ms: ms(first), most_ms: ms(longest) };
        Self { waits, attempts: 0 }
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        let wait_ms = self.waits.wait_ms(self.attempts, rand::random());
        self.attempts = self.attempts.saturating_add(1);
        Duration::from_millis(wait_ms)
    }

    /// Waits taken since the start or the last success.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Resets the wait after a success.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(1000));

        let waits: Vec<Duration> = (0..40).map(|_| backoff.next_wait()).collect();
        backoff.reset();
        let again = backoff.next_wait();

        for (at, wait) in waits.iter().enumerate() {
            let whole = ms(100 << at.min(4)).min(ms(1000));
            assert!(*wait >= whole / 2 && *wait <= whole, "wait {at} is {wait:?}");
        }
        assert!(again <= ms(100));
    }
}
