//! Drain: sends all clients away, not all at once: they come back, and elsewhere at the same time.

/// Connections of one shard that are still to be sent away.
#[derive(Debug, Default)]
pub(super) struct Drain {
    slots: Vec<u32>,
    /// Connections at the beginning.
    all: usize,
    began: u64,
    /// Duration over which all of them are sent away, in milliseconds from the beginning.
    spread_ms: u64,
}

/// Interval between two batches that are sent away, in milliseconds.
const STEP_MS: u64 = 10;

impl Drain {
    pub(super) fn new(slots: Vec<u32>, began: u64, spread_ms: u64) -> Self {
        Self { all: slots.len(), slots, began, spread_ms }
    }

    /// Milliseconds until a client is due; none when no client is left.
    pub(super) fn due_in(&self, now: u64) -> Option<u64> {
        let wait = if self.due(now) > 0 { 0 } else { STEP_MS };
        (!self.slots.is_empty()).then_some(wait)
    }

    /// Returns the connections to send away now, at most so many.
    pub(super) fn take(&mut self, now: u64, most: usize) -> Vec<u32> {
        let due = self.due(now).min(most);
        self.slots.split_off(self.slots.len() - due)
    }

    fn due(&self, now: u64) -> usize {
        let passed = now.saturating_sub(self.began);
        if passed >= self.spread_ms {
            return self.slots.len();
        }
        let share = self.all as u128 * u128::from(passed) / u128::from(self.spread_ms);
        let stay = self.all - usize::try_from(share).unwrap_or(self.all);
        self.slots.len().saturating_sub(stay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_leaves_evenly_and_no_client_is_forgotten() {
        let mut leaving = Drain::new((0..1_000).collect(), 50, 500);

        let by_time: Vec<_> =
            [50, 51, 100, 300, 549, 550].map(|now| leaving.take(now, 1_000).len()).into();

        assert_eq!(by_time, [0, 2, 98, 400, 498, 2]);
        assert_eq!(leaving.due_in(600), None);
    }

    #[test]
    fn without_a_spread_all_clients_leave_at_once_in_turns() {
        let mut leaving = Drain::new((0..10).collect(), 50, 0);

        assert_eq!((leaving.take(50, 6).len(), leaving.due_in(50)), (6, Some(0)));
        assert_eq!((leaving.take(50, 6).len(), leaving.due_in(50)), (4, None));
    }
}
