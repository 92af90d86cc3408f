//! Queue of requests to a dataset's owner, and the turn: who may be the owner now.
//!
//! | turn | works now | ends with |
//! | --- | --- | --- |
//! | `Nobody` | nobody, and nothing waits | `put`: its caller's turn if it may, else the thread's |
//! | `Caller` | the caller of a `put`, on what it put | `rest`: nobody's, or the thread's |
//! | `Thread` | the owner's thread, on all that waits | `wait`: nobody's once nothing waits |
//!
//! So at most one thread works at a time, and nothing waits in nobody's turn.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::topics::lock;

/// Bounded queue, worked off by whoever has the turn.
pub(super) struct Inbox<T> {
    state: Mutex<State<T>>,
    turned: Condvar,
    limit: usize,
}

struct State<T> {
    waiting: VecDeque<T>,
    turn: Turn,
    closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Nobody,
    Caller,
    Thread,
}

/// Outcome of putting a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Put<T> {
    /// Queued for whoever works.
    Queued,
    /// The caller works on it now, and calls [`Inbox::rest`] behind that.
    YourTurn(T),
    /// Refused: the queue is full.
    Full,
    /// Refused: the queue is closed.
    Closed,
}

impl<T> Inbox<T> {
    pub(super) fn new(limit: usize) -> Self {
        let state = State { waiting: VecDeque::new(), turn: Turn::Nobody, closed: false };
        Self { state: Mutex::new(state), turned: Condvar::new(), limit }
    }

    /// Takes a request; gives it back to a caller that `may_work` when nobody does.
    pub(super) fn put(&self, request: T, may_work: bool) -> Put<T> {
        let mut state = lock(&self.state);
        if state.closed {
            return Put::Closed;
        }
        if state.waiting.len() >= self.limit {
            return Put::Full;
        }
        if state.turn == Turn::Nobody && may_work {
            state.turn = Turn::Caller;
            return Put::YourTurn(request);
        }
        state.waiting.push_back(request);
        if state.turn == Turn::Nobody {
            state.turn = Turn::Thread;
            drop(state);
            self.turned.notify_one();
        }
        Put::Queued
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.state).waiting.len()
    }

    /// Ends a caller's turn. What has come meanwhile is left to the thread.
    pub(super) fn rest(&self) {
        let mut state = lock(&self.state);
        if state.waiting.is_empty() && !state.closed {
            state.turn = Turn::Nobody;
            return;
        }
        state.turn = Turn::Thread;
        drop(state);
        self.turned.notify_one();
    }

    /// Waits for the thread's turn and swaps everything that waits into `taken`; false when
    /// nothing is left and nothing comes any more.
    pub(super) fn wait(&self, taken: &mut VecDeque<T>) -> bool {
        let mut state = lock(&self.state);
        loop {
            if state.turn == Turn::Thread {
                if !state.waiting.is_empty() {
                    std::mem::swap(&mut state.waiting, taken);
                    return true;
                }
                if state.closed {
                    return false;
                }
                state.turn = Turn::Nobody;
            }
            state = self.turned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes nothing any more. What waits is still worked off, by the thread.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        if state.turn == Turn::Nobody {
            state.turn = Turn::Thread;
        }
        drop(state);
        self.turned.notify_one();
    }

    /// Takes nothing any more and drops what waits, for one that cannot go on with its turn.
    pub(super) fn abandon(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.turn = Turn::Thread;
        let dropped = std::mem::take(&mut state.waiting);
        drop(state);
        self.turned.notify_one();
        drop(dropped);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;

    #[test]
    fn the_turn_is_the_callers_only_while_nobody_works() {
        let inbox = Inbox::new(2);

        assert_eq!(inbox.put(1, true), Put::YourTurn(1));
        assert_eq!(inbox.put(2, true), Put::Queued);
        inbox.rest();
        assert_eq!(inbox.put(3, true), Put::Queued, "it is the thread's turn now");
        assert_eq!(inbox.put(4, true), Put::Full);
        let mut taken = VecDeque::new();
        assert!(inbox.wait(&mut taken));
        assert_eq!(taken, [2, 3]);
        assert_eq!(inbox.put(5, true), Put::Queued, "the thread has not rested");
    }

    #[test]
    fn what_waits_is_worked_off_after_the_close() {
        let inbox = Inbox::new(9);
        assert_eq!(inbox.put(1, true), Put::YourTurn(1));
        assert_eq!(inbox.put(2, true), Put::Queued);

        inbox.close();
        inbox.rest();

        assert_eq!(inbox.put(3, true), Put::Closed);
        let mut taken = VecDeque::new();
        assert!(inbox.wait(&mut taken));
        assert_eq!(taken, [2]);
        taken.clear();
        assert!(!inbox.wait(&mut taken) && taken.is_empty());
    }

    #[test]
    fn an_abandoned_inbox_drops_what_waits() {
        let inbox = Inbox::new(9);
        assert_eq!(inbox.put(1, true), Put::YourTurn(1));
        assert_eq!(inbox.put(2, true), Put::Queued);

        inbox.abandon();

        assert_eq!(inbox.put(3, true), Put::Closed);
        assert!(!inbox.wait(&mut VecDeque::new()));
    }

    #[test]
    fn one_works_at_a_time_and_nothing_is_left_or_done_twice() {
        const EACH: u64 = 20_000;
        let inbox = Inbox::new(usize::MAX);
        let (busy, done, sum) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let work = |request: u64| {
            assert!(!busy.swap(true, Ordering::AcqRel), "two at work");
            done.fetch_add(1, Ordering::Relaxed);
            sum.fetch_add(request, Ordering::Relaxed);
            busy.store(false, Ordering::Release);
        };

        std::thread::scope(|scope| {
            let callers: Vec<_> = (0..4)
                .map(|caller| {
                    let (inbox, work) = (&inbox, &work);
                    scope.spawn(move || {
                        for request in 0..EACH {
                            // One of them never works itself.
                            match inbox.put(request, caller > 0) {
                                Put::Queued => {}
                                Put::YourTurn(request) => {
                                    work(request);
                                    inbox.rest();
                                }
                                Put::Full | Put::Closed => panic!("neither full nor closed"),
                            }
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                let mut taken = VecDeque::new();
                while inbox.wait(&mut taken) {
                    taken.drain(..).for_each(&work);
                }
            });
            for caller in callers {
                caller.join().expect("a caller");
            }
            inbox.close();
        });

        assert_eq!(done.into_inner(), 4 * EACH);
        assert_eq!(sum.into_inner(), 4 * (EACH * (EACH - 1) / 2));
    }
}
