//! The threads of one pool, and the tasks that are ready for them.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::Task;
use super::clock::Clock;
use super::task::Outcome;
use crate::sync::lock;

/// After a system that gave no thread is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Threads of a pool.
#[derive(Debug)]
pub(super) struct Threads {
    name: &'static str,
    most: usize,
    idle: Duration,
    state: Mutex<State>,
    /// Length of the list of ready tasks, for readers that only ask whether there are any.
    ready: AtomicUsize,
    clock: Clock,
}

#[derive(Debug, Default)]
struct State {
    /// Tasks that no thread has taken, in their order.
    ready: VecDeque<Task>,
    /// Threads that wait for a task. The one that was busy last is the next.
    parked: Vec<Arc<Seat>>,
    /// Threads that are there or about to begin.
    count: usize,
    /// One of them has not begun yet. It makes the next one, if there is still need then: what is
    /// short is done before a thread has begun.
    begins: bool,
    closed: bool,
}

/// A thread of the pool, as the pool hands it tasks.
#[derive(Debug)]
struct Seat {
    thread: Thread,
    given: Mutex<Option<Given>>,
    /// It stays as long as the pool.
    is_kept: bool,
}

#[derive(Debug)]
enum Given {
    Task(Task),
    Leave,
}

impl Threads {
    /// Begins one thread; there are at most `most`, and more than one end after an `idle` time.
    ///
    /// # Errors
    /// When the system gives not even one thread.
    pub(super) fn start(
        name: &'static str,
        (most, idle): (usize, Duration),
        clock: Clock,
    ) -> io::Result<Arc<Self>> {
        let (state, ready) = (State { count: 1, ..State::default() }, AtomicUsize::new(0));
        let threads = Arc::new(Self { name, most, idle, state: Mutex::new(state), ready, clock });
        threads.spawn(true)?;
        Ok(threads)
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Gives a task to a thread that waits, or else to the next one that is done.
    pub(super) fn push(self: &Arc<Self>, task: Task) {
        let mut state = lock(&self.state);
        if let Some(seat) = state.parked.pop() {
            drop(state);
            seat.give(Given::Task(task));
            return;
        }
        // No thread would ever take it out.
        if state.closed && state.count == 0 {
            return;
        }
        self.queue(&mut state, task);
        self.grow(state);
    }

    /// Tries again to make a thread where tasks wait for one.
    pub(super) fn grow_if_short(self: &Arc<Self>) {
        if self.ready.load(Ordering::Relaxed) > 0 {
            self.grow(lock(&self.state));
        }
    }

    /// Ends the threads once nothing is ready.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        let parked = std::mem::take(&mut state.parked);
        drop(state);
        parked.iter().for_each(|seat| seat.give(Given::Leave));
    }

    /// Threads that are there.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        lock(&self.state).count
    }

    fn queue(&self, state: &mut State, task: Task) {
        state.ready.push_back(task);
        self.ready.store(state.ready.len(), Ordering::Relaxed);
    }

    /// Begins one thread more, if there may be more. A system that gives none is asked again a
    /// little later; until then the threads that are there do what is ready.
    fn grow(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let Some(next) = state.ready.front().cloned() else { return };
        if state.count >= self.most || state.begins || state.closed {
            return;
        }
        state.count += 1;
        state.begins = true;
        drop(state);
        if let Err(error) = self.spawn(false) {
            let mut state = lock(&self.state);
            state.count -= 1;
            state.begins = false;
            drop(state);
            tracing::warn!(pool = self.name, %error, "no thread begins; those there are go on");
            next.wake_at(Instant::now() + AGAIN);
        }
    }

    fn spawn(self: &Arc<Self>, is_kept: bool) -> io::Result<()> {
        let threads = Arc::clone(self);
        let run = move || threads.work(is_kept);
        std::thread::Builder::new().name(self.name.into()).spawn(run)?;
        Ok(())
    }

    /// Runs tasks until the pool is closed, or the thread has been idle for long.
    fn work(self: &Arc<Self>, is_kept: bool) {
        let (thread, given) = (std::thread::current(), Mutex::default());
        let seat = Arc::new(Seat { thread, given, is_kept });
        if !is_kept {
            self.begun();
        }
        while let Some(task) = self.next(&seat) {
            self.run(task);
        }
    }

    /// The thread that was to begin is there, and takes what has waited for longest: the next one
    /// is for what is behind that.
    fn begun(self: &Arc<Self>) {
        let mut state = lock(&self.state);
        state.begins = false;
        if state.ready.len() > 1 {
            self.grow(state);
        }
    }

    /// Steps of one task, until it rests or another one has its turn.
    fn run(&self, task: Task) {
        while let Outcome::Again = task.step() {
            if self.ready.load(Ordering::Relaxed) > 0 {
                let mut state = lock(&self.state);
                return self.queue(&mut state, task);
            }
        }
    }

    /// The next task; none when the thread is to end.
    fn next(&self, seat: &Arc<Seat>) -> Option<Task> {
        let mut state = lock(&self.state);
        if let Some(task) = state.ready.pop_front() {
            self.ready.store(state.ready.len(), Ordering::Relaxed);
            return Some(task);
        }
        if state.closed {
            state.count -= 1;
            return None;
        }
        state.parked.push(Arc::clone(seat));
        drop(state);
        match seat.wait(self.idle).or_else(|| self.leave(seat))? {
            Given::Task(task) => Some(task),
            Given::Leave => self.next(seat),
        }
    }

    /// Takes a thread out that has been idle for long. If it was found meanwhile by a task, it does
    /// that.
    fn leave(&self, seat: &Arc<Seat>) -> Option<Given> {
        let mut state = lock(&self.state);
        let parked = state.parked.len();
        state.parked.retain(|other| !Arc::ptr_eq(other, seat));
        if state.parked.len() < parked {
            state.count -= 1;
            return None;
        }
        drop(state);
        Some(seat.wait_for_ever())
    }
}

impl Seat {
    fn give(&self, given: Given) {
        *lock(&self.given) = Some(given);
        self.thread.unpark();
    }

    /// Waits for what it is given; none when that takes long.
    fn wait(&self, idle: Duration) -> Option<Given> {
        if self.is_kept {
            return Some(self.wait_for_ever());
        }
        let until = Instant::now() + idle;
        loop {
            if let Some(given) = lock(&self.given).take() {
                return Some(given);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            std::thread::park_timeout(left);
        }
    }

    fn wait_for_ever(&self) -> Given {
        loop {
            if let Some(given) = lock(&self.given).take() {
                return given;
            }
            std::thread::park();
        }
    }
}
