//! Backlog of committed entries that the views have not processed. Their thread takes them, or a
//! caller that has just made the only entry there is.
//!
//! Waking a thread takes as long as a good part of a commit, so a caller processes a little itself,
//! and wakes the thread for the rest only after the answers are sent.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::topics::lock;

/// Entries for one reader at a time, in order.
pub(super) struct Backlog<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
    left: Condvar,
    limit: usize,
}

struct State<T> {
    entries: VecDeque<T>,
    /// Reader that processes an entry now: all others wait, or entries would change places.
    teller: Teller,
    asleep: bool,
    closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Teller {
    Nobody,
    Caller,
    Reader,
}

impl<T> Backlog<T> {
    pub(super) fn new(limit: usize) -> Self {
        let state = State {
            entries: VecDeque::new(),
            teller: Teller::Nobody,
            asleep: false,
            closed: false,
        };
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
        if state.asleep && state.teller == Teller::Nobody && !state.entries.is_empty() {
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

    /// Gives the only entry to somebody else than the reader, if nobody tells one.
    /// [`Backlog::rest`] comes behind it.
    pub(super) fn take_only(&self) -> Option<T> {
        let mut state = lock(&self.state);
        if state.teller != Teller::Nobody || state.entries.len() != 1 {
            return None;
        }
        state.teller = Teller::Caller;
        state.entries.pop_front()
    }

    /// The entry that was given is told. What has come meanwhile is the reader's.
    pub(super) fn rest(&self) {
        let mut state = lock(&self.state);
        state.teller = Teller::Nobody;
        // The reader may have been woken by the end, and not for an entry.
        let left = !state.entries.is_empty() || state.closed;
        drop(state);
        if left {
            self.arrived.notify_one();
        }
    }

    /// Waits for the next entry; `None` when there will be no more. The reader has told the one
    /// before.
    pub(super) fn next(&self) -> Option<T> {
        let mut state = lock(&self.state);
        if state.teller == Teller::Reader {
            state.teller = Teller::Nobody;
        }
        while state.teller == Teller::Caller || (state.entries.is_empty() && !state.closed) {
            state.asleep = true;
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.asleep = false;
        let full = state.entries.len() >= self.limit;
        let entry = state.entries.pop_front();
        if entry.is_some() {
            state.teller = Teller::Reader;
        }
        drop(state);
        if full {
            self.left.notify_one();
        }
        entry
    }

    /// Closes the backlog: nothing is to come.
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
    fn a_caller_and_the_reader_tell_everything_once_and_in_order() {
        const ENTRIES: u32 = 50_000;
        let (backlog, told) = (Backlog::new(16), Mutex::new(Vec::new()));

        std::thread::scope(|scope| {
            scope.spawn(|| {
                while let Some(entry) = backlog.next() {
                    lock(&told).push(entry);
                }
            });
            for entry in 0..ENTRIES {
                backlog.push(entry);
                match backlog.take_only() {
                    // Now and then others come while the caller tells.
                    Some(only) => {
                        if only % 7 == 0 {
                            backlog.push(ENTRIES + entry);
                            backlog.wake();
                        }
                        lock(&told).push(only);
                        backlog.rest();
                    }
                    None => backlog.wake(),
                }
            }
            backlog.close();
        });

        let told = told.into_inner().expect("nobody panicked");
        let (mut last, mut extra) = (None, 0);
        for entry in told {
            match entry.checked_sub(ENTRIES) {
                // Pushed while its own entry was told, so it comes right behind it.
                Some(of) => {
                    assert_eq!(Some(of), last);
                    extra += 1;
                }
                None => {
                    assert_eq!(entry, last.map_or(0, |last| last + 1));
                    last = Some(entry);
                }
            }
        }
        assert_eq!(last, Some(ENTRIES - 1));
        assert!(extra > 0, "a caller never told");
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
