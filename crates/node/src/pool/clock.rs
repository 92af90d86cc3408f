//! The clock: one thread that wakes tasks at their deadlines.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Task;
use crate::sync::lock;

/// Tick of a task that has no deadline.
pub(super) const NEVER: u64 = u64::MAX;

/// Deadlines of tasks, one for each task at most, and the thread that keeps them. Cloning gives
/// another handle.
#[derive(Debug, Clone)]
pub(super) struct Clock(Arc<Face>);

#[derive(Debug)]
struct Face {
    began: Instant,
    deadlines: Mutex<Deadlines>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Deadlines {
    /// By tick and number of the task.
    tasks: BTreeMap<(u64, usize), Task>,
    stopped: bool,
}

impl Clock {
    pub(super) fn start() -> io::Result<Self> {
        let deadlines = Mutex::default();
        let clock =
            Self(Arc::new(Face { began: Instant::now(), deadlines, changed: Condvar::new() }));
        let thread = clock.clone();
        std::thread::Builder::new().name("clock".into()).spawn(move || thread.run())?;
        Ok(clock)
    }

    /// Sees to it that a task is woken at a time, or earlier.
    pub(super) fn arm(&self, task: &Task, at: Instant) {
        let tick = self.tick_behind(at);
        // The clock forgets a deadline before it wakes the task, so one that is seen here is kept.
        if task.due().load(Ordering::Acquire) <= tick {
            return;
        }
        let mut deadlines = lock(&self.0.deadlines);
        let before = task.due().load(Ordering::Relaxed);
        if before <= tick || deadlines.stopped {
            return;
        }
        deadlines.tasks.remove(&(before, task.number()));
        deadlines.tasks.insert((tick, task.number()), task.clone());
        task.due().store(tick, Ordering::Release);
        let is_next = deadlines.next() == Some((tick, task.number()));
        drop(deadlines);
        if is_next {
            self.0.changed.notify_one();
        }
    }

    /// Forgets the deadline of a task.
    pub(super) fn disarm(&self, task: &Task) {
        let mut deadlines = lock(&self.0.deadlines);
        let before = task.due().swap(NEVER, Ordering::AcqRel);
        let forgotten = deadlines.tasks.remove(&(before, task.number()));
        drop(deadlines);
        drop(forgotten);
    }

    /// Ends the thread, and forgets all deadlines.
    pub(super) fn stop(&self) {
        let mut deadlines = lock(&self.0.deadlines);
        deadlines.stopped = true;
        let forgotten = std::mem::take(&mut deadlines.tasks);
        drop(deadlines);
        drop(forgotten);
        self.0.changed.notify_one();
    }

    fn run(&self) {
        let mut deadlines = lock(&self.0.deadlines);
        while !deadlines.stopped {
            let due = deadlines.take_until(self.tick());
            if due.is_empty() {
                deadlines = self.wait(deadlines);
                continue;
            }
            drop(deadlines);
            for task in due {
                task.wake();
                task.pool().grow_if_short();
            }
            deadlines = lock(&self.0.deadlines);
        }
    }

    /// Waits for the next deadline, or for an earlier one.
    fn wait<'a>(&self, deadlines: MutexGuard<'a, Deadlines>) -> MutexGuard<'a, Deadlines> {
        let Some((tick, _)) = deadlines.next() else {
            return self.0.changed.wait(deadlines).unwrap_or_else(PoisonError::into_inner);
        };
        let left =
            (self.0.began + Duration::from_millis(tick)).saturating_duration_since(Instant::now());
        let waited = self.0.changed.wait_timeout(deadlines, left);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Ticks that have passed, of a millisecond each.
    fn tick(&self) -> u64 {
        u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }

    /// The first tick that is not before `at`.
    fn tick_behind(&self, at: Instant) -> u64 {
        let micros = at.saturating_duration_since(self.0.began).as_micros();
        u64::try_from(micros.div_ceil(1_000)).unwrap_or(NEVER - 1)
    }
}

impl Deadlines {
    fn next(&self) -> Option<(u64, usize)> {
        self.tasks.first_key_value().map(|(key, _)| *key)
    }

    /// Takes out the tasks that are due, and forgets their deadlines.
    fn take_until(&mut self, tick: u64) -> Vec<Task> {
        let later = self.tasks.split_off(&(tick + 1, 0));
        let due = std::mem::replace(&mut self.tasks, later);
        for task in due.values() {
            task.due().store(NEVER, Ordering::Release);
        }
        due.into_values().collect()
    }
}
