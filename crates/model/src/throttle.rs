//! Throttle of a line of the log that may come again and again: it is told at once, then once in a
//! while, with the number of times that it was not told.

/// Throttle of one line.
#[derive(Debug)]
pub struct Throttle {
    every_ms: u64,
    told_ms: Option<u64>,
    untold: u64,
}

impl Throttle {
    /// A throttle whose line is told once in so many milliseconds.
    #[must_use]
    pub const fn new(every_ms: u64) -> Self {
        Self { every_ms, told_ms: None, untold: 0 }
    }

    /// Returns the number of times that the line was not told, when it is to be told now.
    pub fn tell(&mut self, now_ms: u64) -> Option<u64> {
        // A clock that was set back keeps nothing untold.
        let is_early = |told: u64| (told..told.saturating_add(self.every_ms)).contains(&now_ms);
        if self.told_ms.is_some_and(is_early) {
            self.untold += 1;
            return None;
        }
        self.told_ms = Some(now_ms);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_at_once_and_then_once_in_a_while_with_how_often_it_was_not() {
        let mut throttle = Throttle::new(1_000);

        let told = [5_000, 5_001, 5_999, 6_000, 9_000, 9_500, 8_000].map(|at| throttle.tell(at));

        assert_eq!(told, [Some(0), None, None, Some(2), Some(0), None, Some(1)]);
    }
}
