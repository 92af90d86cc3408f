//! Retention: which entries of a log are kept for readers of history.

use std::collections::VecDeque;

use crate::limits;
use crate::position::Revision;

/// Retention limits of history, or the history behind a reader. Entries older than the time, or
/// beyond the bytes, may go; a snapshot always covers what goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Bytes of entries.
    pub bytes: u64,
    /// Milliseconds of history.
    pub ms: u64,
}

/// Sizes and times of a log's entries, in coarse steps.
#[derive(Debug)]
pub struct Retention {
    /// Entries are counted together up to this many bytes.
    step_bytes: u64,
    steps: VecDeque<LogStep>,
    bytes: u64,
    age: Age,
}

/// The time by which history ages: that of the clock, but for a step forward, which is believed
/// when the clock still says so an hour later. History that is cut off does not come back when an
/// operator puts the clock right.
#[derive(Debug, Default)]
struct Age {
    /// Time that was returned last, and the running time then, in milliseconds.
    last: Option<(u64, u64)>,
    doubted_since: Option<u64>,
}

impl Age {
    /// Returns the time to believe when the clock says `now_ms`, after so many milliseconds of
    /// running.
    fn at(&mut self, now_ms: u64, newest_ms: u64, running_ms: u64) -> u64 {
        let (before, then) = self.last.unwrap_or((newest_ms, running_ms));
        let expected = before.saturating_add(running_ms.saturating_sub(then));
        let is_step = now_ms > expected.saturating_add(limits::HISTORY_STEP_MS);
        let since = *self.doubted_since.get_or_insert(running_ms);
        let believed = if is_step && running_ms - since < limits::HISTORY_DOUBT_MS {
            expected
        } else {
            self.doubted_since = None;
            now_ms
        };
        self.last = Some((believed, running_ms));
        believed
    }
}

#[derive(Debug, Clone, Copy)]
struct LogStep {
    first: Revision,
    bytes: u64,
    newest_ms: u64,
}

/// Bytes of a step of the log of a server.
const STEP_BYTES: u64 = 1024 * 1024;

impl Default for Retention {
    fn default() -> Self {
        Self::in_steps_of(STEP_BYTES)
    }
}

impl Retention {
    /// Retention of a log of which nothing was counted yet, in steps of so many bytes.
    #[must_use]
    pub fn in_steps_of(step_bytes: u64) -> Self {
        Self { step_bytes, steps: VecDeque::new(), bytes: 0, age: Age::default() }
    }

    /// Counts an entry.
    pub fn appended(&mut self, revision: Revision, bytes: u64, time_ms: u64) {
        self.bytes += bytes;
        match self.steps.back_mut() {
            Some(step) if step.bytes + bytes <= self.step_bytes => {
                step.bytes += bytes;
                step.newest_ms = time_ms;
            }
            _ => self.steps.push_back(LogStep { first: revision, bytes, newest_ms: time_ms }),
        }
    }

    /// Time by which history ages, of a clock that may be wrong ([`Age`]): `running_ms` is a
    /// monotonic clock.
    pub fn time(&mut self, now_ms: u64, running_ms: u64) -> u64 {
        let newest_ms = self.steps.back().map_or(now_ms, |step| step.newest_ms);
        self.age.at(now_ms, newest_ms, running_ms)
    }

    /// Backlog of a reader that stands at an entry: bytes behind it, and the age of the oldest of
    /// them in milliseconds, in coarse steps. `now_ms` is that of [`Retention::time`].
    #[must_use]
    pub fn behind(&self, entry: Revision, now_ms: u64) -> Keep {
        let mut behind = Keep { bytes: 0, ms: 0 };
        // The step that the reader stands in is not counted: how much of it is behind is not known.
        for step in self.steps.iter().filter(|step| step.first > entry) {
            behind.bytes += step.bytes;
            behind.ms = behind.ms.max(now_ms.saturating_sub(step.newest_ms));
        }
        behind
    }

    /// Returns the oldest entry to keep, and stops counting those below it. `covered` is the first
    /// entry that no snapshot covers; `running_ms` is a monotonic clock.
    pub fn floor(
        &mut self,
        keep: Keep,
        covered: Revision,
        now_ms: u64,
        running_ms: u64,
    ) -> Option<Revision> {
        let now_ms = self.time(now_ms, running_ms);
        let mut floor = None;
        while let [step, next, ..] = self.steps.make_contiguous() {
            let old = step.newest_ms.saturating_add(keep.ms) < now_ms;
            if next.first > covered || !(old || self.bytes > keep.bytes) {
                break;
            }
            floor = Some(next.first);
            self.bytes -= step.bytes;
            self.steps.pop_front();
        }
        floor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i25_history_is_bounded_by_bytes_and_by_time_and_never_cut_above_a_snapshot() {
        let mut retention = Retention::default();
        for number in 1..=10 {
            retention.appended(Revision(number), STEP_BYTES, number * 100);
        }
        let bytes = 6 * STEP_BYTES;

        let keep = Keep { bytes, ms: u64::MAX / 2 };
        assert_eq!(retention.floor(keep, Revision(3), 1_000, 0), Some(Revision(3)));
        assert_eq!(retention.floor(keep, Revision(11), 1_000, 0), Some(Revision(5)));
        assert_eq!(retention.floor(keep, Revision(11), 1_000, 0), None);
        let keep = Keep { bytes, ms: 250 };
        assert_eq!(retention.floor(keep, Revision(11), 1_000, 0), Some(Revision(8)));
    }

    #[test]
    fn the_backlog_of_a_reader_is_what_lies_behind_its_entry_in_whole_steps() {
        let mut retention = Retention::default();
        for number in 1..=10 {
            retention.appended(Revision(number), STEP_BYTES, number * 100);
        }
        let behind = |entry| retention.behind(Revision(entry), 1_100);

        assert_eq!(behind(10), Keep { bytes: 0, ms: 0 });
        assert_eq!(behind(8), Keep { bytes: 2 * STEP_BYTES, ms: 200 });
        assert_eq!(behind(0), Keep { bytes: 10 * STEP_BYTES, ms: 1_000 });
    }

    #[test]
    fn a_step_of_the_clock_cuts_no_history_off_unless_it_lasts_for_an_hour() {
        const HOUR: u64 = limits::HISTORY_DOUBT_MS;
        let day = 24 * HOUR;
        let mut retention = Retention::default();
        for number in 1..=10 {
            retention.appended(Revision(number), STEP_BYTES, number);
        }
        let keep = Keep { bytes: u64::MAX, ms: 7 * day };
        let mut floor =
            |now_ms, running_ms| retention.floor(keep, Revision(11), now_ms, running_ms).is_some();

        assert!(!floor(10, 0));
        assert!(!floor(8 * day, 1_000), "it is ahead");
        assert!(!floor(2_000, 2_000), "it is right again");
        assert!(!floor(8 * day, 3_000), "it is ahead");
        assert!(!floor(8 * day + HOUR - 1, 3_000 + HOUR - 1));
        assert!(floor(8 * day + HOUR, 3_000 + HOUR), "it is what the time is");
    }
}
