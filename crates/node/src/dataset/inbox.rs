//! Queue of requests to a dataset's owner, and the turn: who may be the owner now.
//!
//! | turn | works now | ends with |
//! | --- | --- | --- |
//! | `Free` | none, and nothing waits | `put`: its caller's turn if it may, else the task's |
//! | `Caller` | the caller of a `put`, on what it put | `rest`: free, or the task's |
//! | | | `hand_over`: the task's |
//! | `Task` | the owner's task, on all that waits | `take`: free once nothing waits |
//!
//! So at most one thread works at a time, and nothing waits while the turn is free. The task is
//! woken when the turn becomes its own.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::pool::Task;
use crate::sync::lock;

/// Bounded queue, worked off by the thread that has the turn.
pub(super) struct Inbox<T> {
    state: Mutex<State<T>>,
    owner: Task,
    limit: usize,
}

struct State<T> {
    waiting: VecDeque<T>,
    turn: Turn,
    closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Free,
    Caller,
    Task,
}

/// Work for the owner's task.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Requests.
    Some,
    /// Nothing, until the task is woken.
    Nothing,
    /// Nothing, and nothing comes any more.
    Closed,
}

/// Outcome of putting a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Put<T> {
    /// Queued for the thread that works.
    Queued,
    /// The caller works on it now, and calls [`Inbox::rest`] behind that.
    YourTurn(T),
    /// Refused: the queue is full.
    Full,
    /// Refused: the queue is closed.
    Closed,
}

impl<T> Inbox<T> {
    pub(super) fn new(limit: usize, owner: Task) -> Self {
        let state = State { waiting: VecDeque::new(), turn: Turn::Free, closed: false };
        Self { state: Mutex::new(state), owner, limit }
    }

    /// The task that works when it is its turn.
    pub(super) fn owner(&self) -> &Task {
        &self.owner
    }

    /// Takes a request; gives it back to a caller that `may_work` when the turn is free.
    pub(super) fn put(&self, request: T, may_work: bool) -> Put<T> {
        let mut state = lock(&self.state);
        if state.closed {
            return Put::Closed;
        }
        if state.waiting.len() >= self.limit {
            return Put::Full;
        }
        if state.turn == Turn::Free && may_work {
            state.turn = Turn::Caller;
            return Put::YourTurn(request);
        }
        state.waiting.push_back(request);
        if state.turn == Turn::Free {
            state.turn = Turn::Task;
            drop(state);
            self.owner.wake();
        }
        Put::Queued
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.state).waiting.len()
    }

    /// Ends a caller's turn. What has come meanwhile is left to the task.
    pub(super) fn rest(&self) {
        let mut state = lock(&self.state);
        if state.waiting.is_empty() && !state.closed {
            state.turn = Turn::Free;
            return;
        }
        state.turn = Turn::Task;
        drop(state);
        self.owner.wake();
    }

    /// Ends a caller's turn before it began: its request is the task's, in its place.
    pub(super) fn hand_over(&self, request: T) {
        let mut state = lock(&self.state);
        state.waiting.push_front(request);
        state.turn = Turn::Task;
        drop(state);
        self.owner.wake();
    }

    /// Swaps everything that waits into `taken`, if it is the task's turn; else ends that turn.
    pub(super) fn take(&self, taken: &mut VecDeque<T>) -> Taken {
        let mut state = lock(&self.state);
        if state.turn != Turn::Task {
            return Taken::Nothing;
        }
        if !state.waiting.is_empty() {
            std::mem::swap(&mut state.waiting, taken);
            return Taken::Some;
        }
        if state.closed {
            return Taken::Closed;
        }
        state.turn = Turn::Free;
        Taken::Nothing
    }

    /// Takes nothing any more. What waits is still worked off, by the task.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        if state.turn == Turn::Free {
            state.turn = Turn::Task;
        }
        drop(state);
        self.owner.wake();
    }

    /// Takes nothing any more and drops what waits, for one that cannot go on with its turn.
    pub(super) fn abandon(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.turn = Turn::Task;
        let dropped = std::mem::take(&mut state.waiting);
        drop(state);
        self.owner.wake();
        drop(dropped);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;
    use crate::pool::{Pools, Step};

    fn inbox<T>(limit: usize) -> Inbox<T> {
        Inbox::new(limit, Pools::new().unwrap().owners().task("owner"))
    }

    #[test]
    fn the_turn_is_the_callers_only_while_it_is_free() {
        let inbox = inbox(2);

        assert_eq!(inbox.put(1, true), Put::YourTurn(1));
        assert_eq!(inbox.put(2, true), Put::Queued);
        inbox.rest();
        assert_eq!(inbox.put(3, true), Put::Queued, "it is the task's turn now");
        assert_eq!(inbox.put(4, true), Put::Full);
        let mut taken = VecDeque::new();
        assert_eq!(inbox.take(&mut taken), Taken::Some);
        assert_eq!(taken, [2, 3]);
        assert_eq!(inbox.put(5, true), Put::Queued, "the task has not rested");
    }

    #[test]
    fn a_turn_that_is_handed_over_leaves_its_request_in_front_of_what_came_behind_it() {
        let inbox = inbox(9);
        assert_eq!(inbox.put(1, true), Put::YourTurn(1));
        assert_eq!(inbox.put(2, true), Put::Queued);

        inbox.hand_over(1);

        let mut taken = VecDeque::new();
        assert_eq!(inbox.take(&mut taken), Taken::Some);
        assert_eq!(taken, [1, 2]);
    }

    #[test]
    fn what_waits_is_worked_off_after_the_close() {
        let inbox = inbox(9);
        assert_eq!(inbox.put(1, true), Put::YourTurn(1));
        assert_eq!(inbox.put(2, true), Put::Queued);

        inbox.close();
        inbox.rest();

        assert_eq!(inbox.put(3, true), Put::Closed);
        let mut taken = VecDeque::new();
        assert_eq!(inbox.take(&mut taken), Taken::Some);
        assert_eq!(taken, [2]);
        taken.clear();
        assert_eq!(inbox.take(&mut taken), Taken::Closed);
        assert!(taken.is_empty());
    }

    #[test]
    fn an_abandoned_inbox_drops_what_waits() {
        let inbox = inbox(9);
        assert_eq!(inbox.put(1, true), Put::YourTurn(1));
        assert_eq!(inbox.put(2, true), Put::Queued);

        inbox.abandon();

        assert_eq!(inbox.put(3, true), Put::Closed);
        assert_eq!(inbox.take(&mut VecDeque::new()), Taken::Closed);
    }

    #[test]
    fn one_works_at_a_time_and_nothing_is_left_or_done_twice() {
        const EACH: u64 = 20_000;
        let pools = Pools::new().unwrap();
        let inbox = Arc::new(Inbox::new(usize::MAX, pools.owners().task("owner")));
        let works = Arc::new(Works::default());
        let (owned, working) = (Arc::clone(&inbox), Arc::clone(&works));
        let mut taken = VecDeque::new();
        inbox.owner().begin(move || match owned.take(&mut taken) {
            Taken::Some => {
                taken.drain(..).for_each(|request| working.work(request));
                Step::Again
            }
            Taken::Nothing => Step::Idle,
            Taken::Closed => Step::Ended,
        });

        std::thread::scope(|scope| {
            for caller in 0..4 {
                let (inbox, works) = (&inbox, &works);
                scope.spawn(move || {
                    for request in 0..EACH {
                        // One of them never works itself.
                        match inbox.put(request, caller > 0) {
                            Put::Queued => {}
                            Put::YourTurn(request) => {
                                works.work(request);
                                inbox.rest();
                            }
                            Put::Full | Put::Closed => panic!("neither full nor closed"),
                        }
                    }
                });
            }
        });
        inbox.close();
        inbox.owner().join();

        assert_eq!(works.done.load(Ordering::Relaxed), 4 * EACH);
        assert_eq!(works.sum.load(Ordering::Relaxed), 4 * (EACH * (EACH - 1) / 2));
    }

    #[derive(Default)]
    struct Works {
        busy: AtomicBool,
        done: AtomicU64,
        sum: AtomicU64,
    }

    impl Works {
        fn work(&self, request: u64) {
            assert!(!self.busy.swap(true, Ordering::AcqRel), "two at work");
            self.done.fetch_add(1, Ordering::Relaxed);
            self.sum.fetch_add(request, Ordering::Relaxed);
            self.busy.store(false, Ordering::Release);
        }
    }
}
