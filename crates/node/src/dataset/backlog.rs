//! What the views have not told yet: a bounded queue whose reader is woken by a call of its own.
//!
//! To wake a thread takes as long as a good part of a commit, so it is done behind the answers.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::topics::lock;

/// Entries for one reader, in order.
pub(super) struct Backlog<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
    left: Condvar,
    limit: usize,
}

struct State<T> {
    entries: VecDeque<T>,
    asleep: bool,
    closed: bool,
}

impl<T> Backlog<T> {
    pub(super) fn new(limit: usize) -> Self {
        let state = State { entries: VecDeque::new(), asleep: false, closed: false };
        let (arrived, left) = (Condvar::new(), Condvar::new());
        Self { state: Mutex::new(state), arrived, left, limit }
    }

    /// Adds an entry without waking the reader; blocks while the backlog is full.
    pub(super) fn push(&self, entry: T) {
        let mut state = lock(&self.state);
        while state.entries.len() >= self.limit {
            state.asleep = false;
            self.arrived.notify_one();
            state = self.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.entries.push_back(entry);
    }

    /// Wakes the reader if it sleeps and there is something.
    pub(super) fn wake(&self) {
        let mut state = lock(&self.state);
        if state.asleep && !state.entries.is_empty() {
            state.asleep = false;
            drop(state);
            self.arrived.notify_one();
        }
    }

    /// True when a push would not block for long.
    pub(super) fn has_room(&self) -> bool {
        lock(&self.state).entries.len() < self.limit
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.state).entries.len()
    }

    /// Waits for the next entry; `None` when there will be no more.
    pub(super) fn next(&self) -> Option<T> {
        let mut state = lock(&self.state);
        while state.entries.is_empty() && !state.closed {
            state.asleep = true;
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.asleep = false;
        let full = state.entries.len() >= self.limit;
        let entry = state.entries.pop_front();
        drop(state);
        if full {
            self.left.notify_one();
        }
        entry
    }

    /// There is nothing to come.
    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.arrived.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_gets_everything_in_order_and_then_the_end() {
        const ENTRIES: u32 = 50_000;
        let backlog = Backlog::new(16);

        let read = std::thread::scope(|scope| {
            let reader = scope.spawn(|| std::iter::from_fn(|| backlog.next()).collect::<Vec<_>>());
            for entry in 0..ENTRIES {
                backlog.push(entry);
                // The wake-up may come for several.
                if entry % 3 == 0 {
                    backlog.wake();
                }
            }
            backlog.close();
            reader.join().expect("the reader")
        });

        assert!(read.into_iter().eq(0..ENTRIES));
    }

    #[test]
    fn what_was_pushed_without_a_wake_up_is_told_at_the_next() {
        let backlog = Backlog::new(2);
        backlog.push(1);
        assert!(backlog.has_room());
        backlog.push(2);
        assert!(!backlog.has_room());

        assert_eq!(backlog.next(), Some(1));
        assert_eq!(backlog.next(), Some(2));
        backlog.close();
        assert_eq!(backlog.next(), None);
    }
}
