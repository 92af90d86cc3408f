//! Sweep: an operation that a dataset proposes to itself whenever there is something to be done by
//! it, and again until the owner has taken it.
//!
//! | a sweep is | becomes | by |
//! | --- | --- | --- |
//! | at rest | under way | its time has come, and something is due |
//! | at rest | at rest, for an interval | its time has come, and nothing is due |
//! | under way | at rest, for an interval | it is settled |
//! | under way | at rest, due at once | it is settled, and there is more to do |
//! | under way | at rest, for a back-off | it was refused |

use crate::backoff::Backoff;

/// One sort of sweep of one dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    every_ms: u64,
    backoff: Backoff,
    at_ms: u64,
    is_under_way: bool,
    failures: u32,
}

/// Outcome of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, and with it all that was due.
    Done,
    /// It is done; more was due than one proposal takes.
    Partial,
    /// The owner took nothing of it.
    Refused {
        /// Jitter of the wait before the next try.
        jitter: u64,
    },
}

impl Sweep {
    /// A sweep that looks at most this often whether something is due.
    #[must_use]
    pub fn new(every_ms: u64, backoff: Backoff) -> Self {
        Self { every_ms, backoff, at_ms: 0, is_under_way: false, failures: 0 }
    }

    /// Returns true when its operation is to be proposed now; [`Sweep::ended`] follows then.
    pub fn begins(&mut self, now_ms: u64, is_due: impl FnOnce() -> bool) -> bool {
        if self.is_under_way || now_ms < self.at_ms {
            return false;
        }
        self.at_ms = now_ms.saturating_add(self.every_ms);
        self.is_under_way = is_due();
        self.is_under_way
    }

    /// Takes the outcome of a proposal.
    pub fn ended(&mut self, outcome: Outcome, now_ms: u64) {
        self.is_under_way = false;
        let wait_ms = match outcome {
            Outcome::Done => self.every_ms,
            Outcome::Partial => 0,
            Outcome::Refused { jitter } => {
                let wait_ms = self.backoff.wait_ms(self.failures, jitter);
                self.failures = self.failures.saturating_add(1);
                self.at_ms = now_ms.saturating_add(wait_ms);
                return;
            }
        };
        self.failures = 0;
        self.at_ms = now_ms.saturating_add(wait_ms);
    }

    /// Returns the time of the next look; none while a proposal is under way.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        (!self.is_under_way).then_some(self.at_ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BACKOFF: Backoff = Backoff { first_ms: 1_000, most_ms: 8_000 };

    #[test]
    fn due_work_is_proposed_once_until_it_is_settled() {
        let mut sweep = Sweep::new(100, BACKOFF);

        assert!(!sweep.begins(0, || false), "nothing is due");
        assert!(!sweep.begins(99, || true), "not before the interval");
        assert!(sweep.begins(100, || true));
        assert!(!sweep.begins(10_000, || true), "it is under way");
        assert_eq!(sweep.next_deadline(), None);

        sweep.ended(Outcome::Done, 10_000);
        assert_eq!(sweep.next_deadline(), Some(10_100));
    }

    #[test]
    fn of_much_the_rest_follows_at_once() {
        let mut sweep = Sweep::new(100, BACKOFF);
        assert!(sweep.begins(0, || true));

        sweep.ended(Outcome::Partial, 5);

        assert!(sweep.begins(5, || true));
    }

    #[test]
    fn refused_proposals_are_tried_later_each_time_and_soon_after_a_success() {
        let mut sweep = Sweep::new(100, BACKOFF);
        let mut now = 0;

        for least in [500, 1_000, 2_000, 4_000, 4_000] {
            assert!(sweep.begins(now, || true));
            sweep.ended(Outcome::Refused { jitter: 0 }, now);
            assert_eq!(sweep.next_deadline(), Some(now + least));
            now += least;
        }
        assert!(sweep.begins(now, || true));
        sweep.ended(Outcome::Done, now);
        assert!(sweep.begins(now + 100, || true));
        sweep.ended(Outcome::Refused { jitter: 0 }, now + 100);

        assert_eq!(sweep.next_deadline(), Some(now + 600));
    }

    proptest! {
        #[test]
        fn whatever_is_refused_it_is_proposed_again_and_never_twice_at_a_time(
            steps in prop::collection::vec((0_u64..5_000, 0_u8..4), 1..200),
        ) {
            let mut sweep = Sweep::new(100, BACKOFF);
            let (mut now, mut under_way) = (0, 0);
            for (passed, outcome) in steps {
                now += passed;
                if sweep.begins(now, || true) {
                    under_way += 1;
                }
                prop_assert!(under_way <= 1);
                prop_assert_eq!(sweep.next_deadline().is_none(), under_way == 1);
                let outcome = match outcome {
                    0 => Outcome::Done,
                    1 => Outcome::Partial,
                    2 => Outcome::Refused { jitter: passed },
                    _ => continue,
                };
                if under_way == 1 {
                    sweep.ended(outcome, now);
                    under_way = 0;
                    prop_assert!(sweep.next_deadline() <= Some(now + BACKOFF.most_ms));
                }
            }
            let at = sweep.next_deadline().unwrap_or(now);
            prop_assert_eq!(sweep.begins(at, || true), under_way == 0);
        }
    }
}
