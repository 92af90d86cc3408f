//! State of one task: who may run it, whether it was woken, and when it is due.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, TryLockError};
use std::time::Instant;

use super::Step;
use super::clock::NEVER;
use super::threads::Threads;
use crate::sync::lock;

/// There may be something to do that no step has seen.
const WOKEN: u8 = 1;
/// The task is ready or running, has not begun, or has ended: no thread has to put it into its
/// pool.
const BUSY: u8 = 2;

/// Work that a pool does in steps whenever it is woken. Cloning gives another handle.
#[derive(Clone)]
pub(crate) struct Task(Arc<Inner>);

struct Inner {
    name: Box<str>,
    state: AtomicU8,
    /// Time at which the clock wakes it, in the clock's ticks. Changed under the clock's lock only.
    due: AtomicU64,
    pool: Arc<Threads>,
    work: Mutex<Work>,
    ended: Condvar,
}

type Steps = Box<dyn FnMut() -> Step + Send>;

enum Work {
    /// Steps that were not given yet.
    Unknown,
    Steps(Steps),
    /// The steps are being released, with what they held.
    Ending,
    Ended,
}

/// Use of a thread for a task behind a step.
pub(super) enum Outcome {
    /// Another step.
    Again,
    /// Nothing: it is idle, or has ended.
    Done,
}

impl Task {
    pub(super) fn new(name: Box<str>, pool: Arc<Threads>) -> Self {
        Self(Arc::new(Inner {
            name,
            state: AtomicU8::new(BUSY),
            due: AtomicU64::new(NEVER),
            pool,
            work: Mutex::new(Work::Unknown),
            ended: Condvar::new(),
        }))
    }

    /// Says what the steps are, once. They run when the task is woken, or was woken before.
    pub(crate) fn begin(&self, steps: impl FnMut() -> Step + Send + 'static) {
        let mut work = lock(&self.0.work);
        assert!(matches!(*work, Work::Unknown), "a task begins once");
        *work = Work::Steps(Box::new(steps));
        drop(work);
        if !self.rests() {
            self.0.pool.push(self.clone());
        }
    }

    /// Wakes the task: a step begins after this, or one has not ended before this.
    pub(crate) fn wake(&self) {
        if self.0.state.fetch_or(WOKEN | BUSY, Ordering::AcqRel) & BUSY == 0 {
            self.0.pool.push(self.clone());
        }
    }

    /// Wakes the task at a time, unless it is woken earlier.
    pub(crate) fn wake_at(&self, at: Instant) {
        self.0.pool.clock().arm(self, at);
    }

    /// Waits until the task has ended. One that never began has.
    pub(crate) fn join(&self) {
        let mut work = lock(&self.0.work);
        while matches!(*work, Work::Steps(_) | Work::Ending) {
            work = self.0.ended.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// True when the task has ended, or never began. One that is in a step has not.
    pub(crate) fn has_ended(&self) -> bool {
        let work = match self.0.work.try_lock() {
            Ok(work) => work,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        match *work {
            Work::Unknown | Work::Ended => true,
            Work::Steps(_) | Work::Ending => false,
        }
    }

    /// One step, by a thread that has taken the task from its pool.
    pub(super) fn step(&self) -> Outcome {
        let mut work = lock(&self.0.work);
        let Work::Steps(steps) = &mut *work else { return Outcome::Done };
        self.0.state.fetch_and(!WOKEN, Ordering::AcqRel);
        let step = catch_unwind(AssertUnwindSafe(steps)).unwrap_or_else(|_| {
            tracing::error!(task = &*self.0.name, "a task panicked");
            Step::Ended
        });
        match step {
            Step::Again => return Outcome::Again,
            Step::Idle => {}
            Step::At(at) => self.wake_at(at),
            Step::Ended => {
                let steps = std::mem::replace(&mut *work, Work::Ending);
                drop(work);
                self.end(steps);
                return Outcome::Done;
            }
        }
        drop(work);
        if self.rests() { Outcome::Done } else { Outcome::Again }
    }

    /// Releases what the steps held before a thread that waits for the end goes on.
    fn end(&self, work: Work) {
        drop(work);
        self.0.pool.clock().disarm(self);
        *lock(&self.0.work) = Work::Ended;
        self.0.ended.notify_all();
    }

    /// Gives the task back to the thread that wakes it next; false when it was woken already.
    fn rests(&self) -> bool {
        self.0.state.compare_exchange(BUSY, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(super) fn due(&self) -> &AtomicU64 {
        &self.0.due
    }

    pub(super) fn pool(&self) -> &Arc<Threads> {
        &self.0.pool
    }

    /// A number that no other task has while this one is there.
    pub(super) fn number(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Task").field(&self.0.name).finish()
    }
}
