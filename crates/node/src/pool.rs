//! Thread pools that all datasets of a node share, and the tasks that run on them.
//!
//! A task is work that is done in steps, by one thread at a time: an owner, the views, mail. While
//! it has nothing to do it has no thread. A [`Pool`] makes threads on demand up to its bound, keeps
//! one for good, and ends the others when they idle. Deadlines of all tasks are kept by one
//! [`Clock`].
//!
//! | a task is | until | becomes |
//! | --- | --- | --- |
//! | idle | [`Task::wake`], or its deadline | ready |
//! | ready | a thread of its pool takes it | running |
//! | running | its step is [`Step::Idle`] or [`Step::At`], and it was not woken meanwhile | idle |
//! | running | its step is [`Step::Again`], or it was woken | running; ready if others wait |
//! | running | its step is [`Step::Ended`], or panics | ended |
//!
//! A step may wait for disks, and for tasks of the pools *behind* its own in [`Pools`]. Every pool
//! has a thread that no other pool takes, and the last one waits for disks only, so that no wait
//! goes round in a circle, also when every pool is at its bound (decision 10).

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use instep_model::limits;

use self::clock::Clock;
use self::threads::Threads;

mod clock;
mod task;
mod threads;

pub(crate) use self::task::Task;

/// A thread that had nothing to do for this long ends, unless it is the one that is kept.
const IDLE: Duration = Duration::from_millis(limits::POOL_IDLE_MS);

/// Result of a step of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is more to do. Tasks that wait for a thread have one before that.
    Again,
    /// Nothing is left to do until the task is woken.
    Idle,
    /// Nothing is left to do until the task is woken, or until then.
    At(Instant),
    /// Nothing will ever be to do: the task lets go of what it holds.
    Ended,
}

/// Thread pools and clock of a node. Cloning gives another handle; the threads end with the last.
#[derive(Debug, Clone)]
pub struct Pools(Arc<All>);

/// The pools, in the order in which a step may wait for tasks of another one.
#[derive(Debug)]
struct All {
    owners: Pool,
    delivery: Pool,
    storage: Pool,
    clock: Clock,
}

impl Pools {
    /// Starts the clock, and one thread for each pool.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new() -> io::Result<Self> {
        let clock = Clock::start()?;
        let pool = |name, most| Pool::start(name, most, &clock);
        let pools = || -> io::Result<_> {
            let owners = pool("owners", limits::OWNER_THREADS)?;
            let delivery = pool("delivery", limits::DELIVERY_THREADS)?;
            Ok((owners, delivery, pool("storage", limits::STORAGE_THREADS)?))
        };
        let (owners, delivery, storage) = pools().inspect_err(|_| clock.stop())?;
        Ok(Self(Arc::new(All { owners, delivery, storage, clock })))
    }

    /// Pool of owners of datasets: a step waits for the log, and for the two pools below.
    pub(crate) fn owners(&self) -> &Pool {
        &self.0.owners
    }

    /// Pool of what tells others: views and mail. A step may read bodies from the disk.
    pub(crate) fn delivery(&self) -> &Pool {
        &self.0.delivery
    }

    /// Pool of work that waits for disks and for no other task: snapshots, segments that are
    /// prepared, bodies.
    pub(crate) fn storage(&self) -> &Pool {
        &self.0.storage
    }
}

impl Drop for All {
    fn drop(&mut self) {
        self.clock.stop();
    }
}

/// Bounded set of threads that run tasks. Dropping it ends them when nothing is ready any more; it
/// does not wait for them.
#[derive(Debug)]
pub(crate) struct Pool(Arc<Threads>);

impl Pool {
    fn start(name: &'static str, most: usize, clock: &Clock) -> io::Result<Self> {
        Threads::start(name, (most, IDLE), clock.clone()).map(Self)
    }

    /// A task of this pool. It runs once [`Task::begin`] has said what its steps are.
    pub(crate) fn task(&self, name: impl Into<Box<str>>) -> Task {
        Task::new(name.into(), Arc::clone(&self.0))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests;
