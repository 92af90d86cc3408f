//! Back-off: the wait before something that failed is tried again. Waits double with each failure
//! up to a longest one. Jitter is a number that the caller draws or computes, so that a machine
//! reads no random source, and clients that failed together do not come back together.
//!
//! | failures so far | whole wait |
//! | --- | --- |
//! | 0 | `first_ms` |
//! | n | twice that of n - 1, at most `most_ms` |

/// Waits between tries, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait.
    pub first_ms: u64,
    /// The longest wait.
    pub most_ms: u64,
}

impl Backoff {
    /// Wait behind so many failures, without jitter.
    #[must_use]
    pub fn whole_ms(self, failures: u32) -> u64 {
        let doubled = self.first_ms.saturating_mul(1_u64.checked_shl(failures).unwrap_or(u64::MAX));
        doubled.min(self.most_ms)
    }

    /// Wait before the next try: at least a half of the whole, at most the whole.
    #[must_use]
    pub fn wait_ms(self, failures: u32, jitter: u64) -> u64 {
        let whole = self.whole_ms(failures);
        whole / 2 + jitter % (whole / 2 + 1)
    }

    /// Timeout of the next try: at least the whole wait, at most a quarter more.
    #[must_use]
    pub fn timeout_ms(self, failures: u32, jitter: u64) -> u64 {
        let whole = self.whole_ms(failures);
        whole.saturating_add(jitter % (whole / 4 + 1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let backoff = Backoff { first_ms: 100, most_ms: 1_000 };

        let whole: Vec<u64> = (0..6).map(|failures| backoff.whole_ms(failures)).collect();

        assert_eq!(whole, [100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(backoff.whole_ms(u32::MAX), 1_000);
        assert_eq!(Backoff { first_ms: 0, most_ms: 1_000 }.wait_ms(9, 7), 0);
    }

    proptest! {
        #[test]
        fn jitter_keeps_a_wait_within_the_whole_and_a_timeout_above_it(
            (first_ms, most_ms) in (any::<u64>(), any::<u64>()),
            failures in any::<u32>(),
            jitter in any::<u64>(),
        ) {
            let backoff = Backoff { first_ms, most_ms };
            let whole = backoff.whole_ms(failures);

            let (wait, timeout) =
                (backoff.wait_ms(failures, jitter), backoff.timeout_ms(failures, jitter));

            prop_assert!(whole <= most_ms && whole <= backoff.whole_ms(failures.saturating_add(1)));
            prop_assert!((whole / 2..=whole).contains(&wait));
            prop_assert!((whole..=whole.saturating_add(whole / 4)).contains(&timeout));
        }
    }
}
