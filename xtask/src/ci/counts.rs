//! Counts of tests, read from the closing lines of four runners.

use std::fmt;
use std::ops::Add;

/// Tests, by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Held.
    pub(crate) passed: u64,
    /// Did not hold, or never answered.
    pub(crate) failed: u64,
    /// Not run.
    pub(crate) skipped: u64,
}

impl Counts {
    /// One failure of something that counts no tests.
    pub(crate) fn failure() -> Self {
        Self { failed: 1, ..Self::default() }
    }

    /// A runner that fails without naming a test (it did not compile, say) is one failure.
    pub(crate) fn or_failure(self, success: bool) -> Self {
        if success || self.failed > 0 { self } else { self + Self::failure() }
    }

    /// Passed tests and the sum of all, for the report; empty if there are none.
    pub(crate) fn total(self) -> String {
        match self.passed + self.failed + self.skipped {
            0 => String::new(),
            tests => format!("{} of {tests}", self.passed),
        }
    }

    /// One word for the report.
    pub(crate) fn state(self) -> &'static str {
        match self {
            Self { failed: 1.., .. } => "FAILED",
            Self { passed: 0, skipped: 1.., .. } => "skipped",
            _ => "ok",
        }
    }

    /// `Summary [ 1.2s] 4 tests run: 2 passed (1 slow), 1 failed, 1 timed out, 3 skipped`
    pub(crate) fn of_nextest(output: &str) -> Self {
        let line = output.lines().rev().find(|line| line.trim_start().starts_with("Summary ["));
        let counted = line.and_then(|line| line.split_once("run:")).map_or("", |(_, rest)| rest);
        Self {
            passed: number_before(counted, "passed"),
            failed: number_before(counted, "failed")
                + number_before(counted, "timed")
                + number_before(counted, "exec"),
            skipped: number_before(counted, "skipped"),
        }
    }

    /// `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out`, many times.
    pub(crate) fn of_cargo(output: &str) -> Self {
        let lines = output.lines().filter(|line| line.starts_with("test result: "));
        let each = lines.map(|line| Self {
            passed: number_before(line, "passed"),
            failed: number_before(line, "failed"),
            skipped: number_before(line, "ignored"),
        });
        each.fold(Self::default(), Self::add)
    }

    /// `ℹ pass 4`, `ℹ fail 1`, `ℹ cancelled 0`, `ℹ skipped 0`, `ℹ todo 0`
    pub(crate) fn of_node(output: &str) -> Self {
        let count = |word: &str| {
            let lines = output.lines().rev();
            let mut counts = lines.filter_map(|line| {
                let mut words = line.split_whitespace();
                let sign = matches!(words.next(), Some("ℹ" | "#"));
                (sign && words.next() == Some(word)).then(|| words.next()?.parse().ok())?
            });
            counts.next().unwrap_or(0)
        };
        Self {
            passed: count("pass"),
            failed: count("fail") + count("cancelled"),
            skipped: count("skipped") + count("todo"),
        }
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 { write!(f, ", {} skipped", self.skipped) } else { Ok(()) }
    }
}

/// The number in front of the word; 0 when there is none.
fn number_before(text: &str, word: &str) -> u64 {
    let words: Vec<&str> =
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let pairs = words.windows(2).filter(|pair| pair[1] == word);
    pairs.filter_map(|pair| pair[0].parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nextest_is_counted_with_its_time_outs() {
        let output = "  Nextest run ID 1\n     Summary [   0.120s] 14/14 tests run: 10 passed \
                      (1 slow, 2 flaky), 2 failed, 1 timed out, 1 exec failed, 3 skipped\n";
        assert_eq!(Counts::of_nextest(output), Counts { passed: 10, failed: 4, skipped: 3 });
    }

    #[test]
    fn cargo_is_added_up() {
        let output = "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n\
                      test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured\n";
        assert_eq!(Counts::of_cargo(output), Counts { passed: 6, failed: 2, skipped: 1 });
    }

    #[test]
    fn node_counts_a_cancelled_test_as_failed() {
        let output = "ℹ tests 7\nℹ suites 1\nℹ pass 4\nℹ fail 1\nℹ cancelled 1\nℹ skipped 1\n";
        assert_eq!(Counts::of_node(output), Counts { passed: 4, failed: 2, skipped: 1 });
    }

    #[test]
    fn a_runner_that_fails_without_a_count_is_a_failure() {
        assert_eq!(Counts::default().or_failure(false), Counts::failure());
        assert_eq!(Counts::default().or_failure(true), Counts::default());
    }

    #[test]
    fn the_sum_reads_like_a_runner() {
        assert_eq!(Counts { passed: 3, failed: 0, skipped: 0 }.to_string(), "3 passed, 0 failed");
        let skipping = Counts { passed: 3, failed: 1, skipped: 2 };
        assert_eq!(skipping.to_string(), "3 passed, 1 failed, 2 skipped");
    }
}
