//! Work on many files or datasets at a time: each waits for the disk, not for the processor.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// As many at a time as a server opens at its start.
pub(super) const AT_A_TIME: usize = instep::model::limits::OPENINGS;

/// Does something with each item, and returns the results in the order of the items. While it
/// lasts, `tell` is told every so often how many are done.
pub(super) fn each<T: Sync, R: Send>(
    items: &[T],
    every: Duration,
    tell: &mut dyn FnMut(usize),
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let (done, results) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME.min(items.len()) {
            let (next, work, done) = (&next, &work, done.clone());
            scope.spawn(move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { return };
                    // The end of the receiver is a panic of the caller.
                    let _ = done.send((at, work(item)));
                }
            });
        }
        drop(done);
        let mut found = Vec::with_capacity(items.len());
        let mut due = Instant::now() + every;
        loop {
            match results.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(result) => found.push(result),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if Instant::now() >= due {
                tell(found.len());
                due = Instant::now() + every;
            }
        }
        found.sort_unstable_by_key(|(at, _)| *at);
        found.into_iter().map(|(_, result)| result).collect()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn as_many_are_worked_on_at_a_time_as_a_start_opens_and_their_order_is_kept() {
        let (items, all_there): (Vec<usize>, _) = ((0..2 * AT_A_TIME).collect(), AT_A_TIME);
        let meeting = Barrier::new(all_there);

        let doubled = each(&items, Duration::from_secs(3600), &mut |_| {}, |item| {
            // No item is done before as many are there.
            meeting.wait();
            2 * item
        });

        assert_eq!(doubled, items.iter().map(|item| 2 * item).collect::<Vec<_>>());
    }

    #[test]
    fn work_that_lasts_says_how_far_it_is() {
        let is_told = AtomicBool::new(false);
        let mut told = vec![];
        let mut tell = |done| {
            told.push(done);
            is_told.store(true, Ordering::Relaxed);
        };

        let results = each(&[false, true], Duration::from_millis(1), &mut tell, |waits| {
            while *waits && !is_told.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
        });

        assert_eq!(results.len(), 2);
        assert!(told.iter().all(|done| *done <= 2) && !told.is_empty(), "{told:?}");
    }
}
