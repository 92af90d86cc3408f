//! Backlog of committed entries that the views have not processed. Their task takes them, or a
//! caller that has just made the only entry there is.
//!
//! Waking a thread takes as long as a good part of a commit, so a caller processes a little itself,
//! and wakes the task for the rest only after the answers are sent.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::pool::Task;
use crate::sync::lock;

/// Entries for one reader at a time, in order.
pub(super) struct Backlog<T> {
    state: Mutex<State<T>>,
    reader: Task,
    left: Condvar,
    limit: usize,
}

struct State<T> {
    entries: VecDeque<T>,
    /// Reader that processes an entry now: all others wait, or entries would change places.
    teller: Teller,
    closed: bool,
    /// Nothing is told any more: what comes is dropped.
    abandoned: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Teller {
    Free,
    Caller,
    Reader,
}

/// Work for the reader.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<T> {
    /// The next entry.
    Entry(T),
    /// Nothing, until the reader is woken.
    Nothing,
    /// Nothing, and nothing comes any more.
    Closed,
}

impl<T> Backlog<T> {
    pub(super) fn new(limit: usize, reader: Task) -> Self {
        let state = State {
            entries: VecDeque::new(),
            teller: Teller::Free,
            closed: false,
            abandoned: false,
        };
        Self { state: Mutex::new(state), reader, left: Condvar::new(), limit }
    }

    /// The task that tells the entries.
    pub(super) fn reader(&self) -> &Task {
        &self.reader
    }

    /// Adds an entry without waking the reader; blocks while the backlog is full.
    pub(super) fn push(&self, entry: T) {
        let mut state = lock(&self.state);
        while state.entries.len() >= self.limit && !state.abandoned {
            self.reader.wake();
            state = self.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if !state.abandoned {
            state.entries.push_back(entry);
        }
    }

    /// Wakes the reader if there is an entry that no thread tells.
    pub(super) fn wake(&self) {
        let state = lock(&self.state);
        let is_left = state.teller == Teller::Free && !state.entries.is_empty();
        drop(state);
        if is_left {
            self.reader.wake();
        }
    }

    /// True when a push would not block for long.
    pub(super) fn has_room(&self) -> bool {
        lock(&self.state).entries.len() < self.limit
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.state).entries.len()
    }

    /// Gives the only entry to a thread other than the reader, if none tells one.
    /// [`Backlog::rest`] comes behind it.
    pub(super) fn take_only(&self) -> Option<T> {
        let mut state = lock(&self.state);
        if state.teller != Teller::Free || state.entries.len() != 1 {
            return None;
        }
        state.teller = Teller::Caller;
        state.entries.pop_front()
    }

    /// The entry that was given is told. What has come meanwhile is the reader's.
    pub(super) fn rest(&self) {
        let mut state = lock(&self.state);
        state.teller = Teller::Free;
        // The reader may have been woken by the end, and not for an entry.
        let left = !state.entries.is_empty() || state.closed;
        drop(state);
        if left {
            self.reader.wake();
        }
    }

    /// The next entry, for the reader, which has told the one before.
    pub(super) fn next(&self) -> Next<T> {
        let mut state = lock(&self.state);
        if state.teller == Teller::Caller {
            return Next::Nothing;
        }
        let full = state.entries.len() >= self.limit;
        let Some(entry) = state.entries.pop_front() else {
            state.teller = Teller::Free;
            return if state.closed { Next::Closed } else { Next::Nothing };
        };
        state.teller = Teller::Reader;
        drop(state);
        if full {
            self.left.notify_one();
        }
        Next::Entry(entry)
    }

    /// Drops what waits and what is still to come: subscribers are not told of it.
    pub(super) fn abandon(&self) {
        let mut state = lock(&self.state);
        state.abandoned = true;
        let dropped = std::mem::take(&mut state.entries);
        drop(state);
        self.left.notify_all();
        drop(dropped);
    }

    /// Closes the backlog: nothing is to come.
    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.reader.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::pool::{Pools, Step};

    /// A backlog whose reader puts what it is told into a list.
    fn told(pools: &Pools, limit: usize) -> (Arc<Backlog<u32>>, Arc<Mutex<Vec<u32>>>) {
        let backlog = Arc::new(Backlog::new(limit, pools.delivery().task("views")));
        let told = Arc::new(Mutex::new(Vec::new()));
        let (entries, list) = (Arc::clone(&backlog), Arc::clone(&told));
        backlog.reader().begin(move || match entries.next() {
            Next::Entry(entry) => {
                lock(&list).push(entry);
                Step::Again
            }
            Next::Nothing => Step::Idle,
            Next::Closed => Step::Ended,
        });
        (backlog, told)
    }

    #[test]
    fn a_reader_gets_everything_in_order_and_then_the_end() {
        const ENTRIES: u32 = 50_000;
        let pools = Pools::new().unwrap();
        let (backlog, told) = told(&pools, 16);

        for entry in 0..ENTRIES {
            backlog.push(entry);
            // The wake-up may come for several.
            if entry % 3 == 0 {
                backlog.wake();
            }
        }
        backlog.close();
        backlog.reader().join();

        assert!(lock(&told).iter().copied().eq(0..ENTRIES));
    }

    #[test]
    fn a_caller_and_the_reader_tell_everything_once_and_in_order() {
        const ENTRIES: u32 = 50_000;
        let pools = Pools::new().unwrap();
        let (backlog, told) = told(&pools, 16);

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
        backlog.reader().join();

        let (mut last, mut extra) = (None, 0);
        for entry in lock(&told).drain(..) {
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
    fn an_owner_that_waits_for_views_goes_on_when_these_are_abandoned() {
        let pools = Pools::new().unwrap();
        let backlog = Arc::new(Backlog::new(1, pools.delivery().task("views")));
        backlog.push(1);
        let owner = Arc::clone(&backlog);
        let waiting = std::thread::spawn(move || owner.push(2));

        backlog.abandon();

        waiting.join().unwrap();
        backlog.push(3);
        assert_eq!(backlog.next(), Next::Nothing);
    }

    #[test]
    fn what_was_pushed_without_a_wake_up_is_told_at_the_next() {
        let pools = Pools::new().unwrap();
        let backlog = Backlog::new(2, pools.delivery().task("views"));
        backlog.push(1);
        assert!(backlog.has_room());
        backlog.push(2);
        assert!(!backlog.has_room());

        assert_eq!(backlog.next(), Next::Entry(1));
        assert_eq!(backlog.next(), Next::Entry(2));
        assert_eq!(backlog.next(), Next::Nothing);
        backlog.close();
        assert_eq!(backlog.next(), Next::Closed);
    }
}
