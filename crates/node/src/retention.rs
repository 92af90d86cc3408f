//! Which entries of a log are kept for those who read history.

use std::collections::VecDeque;

use instep_model::position::Revision;

/// How much history is kept. What is older than the time, or beyond the bytes, may go; a snapshot
/// always covers what goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Bytes of entries.
    pub bytes: u64,
    /// Milliseconds of history.
    pub ms: u64,
}

/// Sizes and times of a log's entries, in coarse steps.
#[derive(Debug, Default)]
pub struct Retention {
    steps: VecDeque<Step>,
    bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Step {
    first: Revision,
    bytes: u64,
    newest_ms: u64,
}

/// Entries are counted together up to this many bytes.
const STEP_BYTES: u64 = 1024 * 1024;

impl Retention {
    /// Counts an entry.
    pub fn appended(&mut self, revision: Revision, bytes: u64, time_ms: u64) {
        self.bytes += bytes;
        match self.steps.back_mut() {
            Some(step) if step.bytes + bytes <= STEP_BYTES => {
                step.bytes += bytes;
                step.newest_ms = time_ms;
            }
            _ => self.steps.push_back(Step { first: revision, bytes, newest_ms: time_ms }),
        }
    }

    /// The oldest entry to keep, and no more counts what is below it. `covered` is the first entry
    /// that no snapshot covers.
    pub fn floor(&mut self, keep: Keep, covered: Revision, now_ms: u64) -> Option<Revision> {
        let mut floor = None;
        while let [step, next, ..] = self.steps.make_contiguous() {
            let old = step.newest_ms + keep.ms < now_ms;
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
        assert_eq!(retention.floor(keep, Revision(3), 1_000), Some(Revision(3)));
        assert_eq!(retention.floor(keep, Revision(11), 1_000), Some(Revision(5)));
        assert_eq!(retention.floor(keep, Revision(11), 1_000), None);
        let keep = Keep { bytes, ms: 250 };
        assert_eq!(retention.floor(keep, Revision(11), 1_000), Some(Revision(8)));
    }
}
