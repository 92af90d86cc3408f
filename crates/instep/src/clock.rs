//! Wall clock, and its steps: what ends at a time of day is looked at again when the clock is set,
//! or the machine has slept.

use std::time::Instant;

use instep_node::now_ms;

/// The clock is taken to have been set when it is this far from where it should be.
const STEP_MS: u64 = 500;

/// The wall clock beside the one that never goes back, and stands still while a machine sleeps.
pub(crate) struct Steps {
    began: Instant,
    /// Wall-clock time of `began`, corrected by every step noticed since.
    began_ms: u64,
}

impl Steps {
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now(), began_ms: now_ms() }
    }

    /// True when the wall clock has been set, in either direction, since it was asked last.
    pub(crate) fn has_stepped(&mut self) -> bool {
        let passed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.is_step(passed, now_ms())
    }

    fn is_step(&mut self, passed_ms: u64, now_ms: u64) -> bool {
        let began_ms = now_ms.saturating_sub(passed_ms);
        let is_step = began_ms.abs_diff(self.began_ms) >= STEP_MS;
        if is_step {
            self.began_ms = began_ms;
        }
        is_step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_forward_or_back_is_noticed_once() {
        let mut steps = Steps { began: Instant::now(), began_ms: 1_000_000 };

        assert!(!steps.is_step(5_000, 1_005_000));
        assert!(!steps.is_step(6_000, 1_006_400), "it runs a little fast");
        assert!(steps.is_step(7_000, 87_407_000), "a day ahead");
        assert!(!steps.is_step(8_000, 87_408_000));
        assert!(steps.is_step(9_000, 1_009_000), "and back");
        assert!(!steps.is_step(10_000, 1_010_000));
    }
}
