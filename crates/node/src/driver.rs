//! Driver: a task around one machine. Inputs come in, bounded; they are worked off in turns; a turn
//! also comes when its deadline is there.
//!
//! | input | bound | at its bound |
//! | --- | --- | --- |
//! | a committed entry | by number | the owner waits: what is durable is never dropped |
//! | an event of a client | a permit of its quota | it is refused before it happens |
//! | the end of what has begun | the permit that its beginning took, or one to each beginning | – |

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::pool::{Step, Task};
use crate::quota::Permit;
use crate::sync::lock;

/// Inputs of a machine, and the task that works them off.
pub(crate) struct Driver<I> {
    inbox: Mutex<Inbox<I>>,
    task: Task,
    left: Condvar,
    /// Limit of committed entries that wait.
    limit: usize,
}

struct Inbox<I> {
    inputs: VecDeque<(I, Option<Permit>)>,
    entries: usize,
    closed: bool,
    broken: bool,
}

/// Guard of a turn: one that panics closes the inputs, so that their sources do not wait for ever.
struct Broken<'a, I>(&'a Driver<I>);

impl<I> Drop for Broken<'_, I> {
    fn drop(&mut self) {
        lock(&self.0.inbox).broken = true;
        self.0.close();
    }
}

impl<I> Driver<I> {
    pub(crate) fn new(limit: usize, task: Task) -> Self {
        let inbox = Inbox { inputs: VecDeque::new(), entries: 0, closed: false, broken: false };
        Self { inbox: Mutex::new(inbox), task, left: Condvar::new(), limit }
    }

    /// The task whose steps are those of [`Driver::step`].
    pub(crate) fn task(&self) -> &Task {
        &self.task
    }

    /// Takes an event that was permitted, or the end of something.
    pub(crate) fn put(&self, event: I, permit: Option<Permit>) {
        let mut inbox = lock(&self.inbox);
        if !inbox.closed {
            inbox.inputs.push_back((event, permit));
            self.task.wake();
        }
    }

    /// Takes a committed entry. Waits while too many wait.
    pub(crate) fn put_entry(&self, entry: I) {
        let is_full = |inbox: &mut Inbox<I>| inbox.entries >= self.limit && !inbox.closed;
        let waited = self.left.wait_while(lock(&self.inbox), is_full);
        let mut inbox = waited.unwrap_or_else(PoisonError::into_inner);
        if inbox.closed {
            return;
        }
        inbox.entries += 1;
        inbox.inputs.push_back((entry, None));
        drop(inbox);
        self.task.wake();
    }

    /// True when [`Driver::put_entry`] would not wait.
    pub(crate) fn has_room(&self) -> bool {
        lock(&self.inbox).entries < self.limit
    }

    /// True when a turn panicked: the task has ended, and no entry waits for it any more.
    pub(crate) fn is_broken(&self) -> bool {
        lock(&self.inbox).broken
    }

    /// Ends the task. What waits is dropped.
    pub(crate) fn close(&self) {
        lock(&self.inbox).closed = true;
        self.task.wake();
        self.left.notify_all();
    }

    /// One step of the task: a turn takes what has come, maybe nothing, and says after which time
    /// the next one comes at the latest.
    pub(crate) fn step(&self, turn: impl FnOnce(VecDeque<I>) -> Duration) -> Step {
        let Some(inputs) = self.take() else { return Step::Ended };
        let broken = Broken(self);
        let patience = turn(inputs);
        std::mem::forget(broken);
        Step::At(Instant::now() + patience)
    }

    fn take(&self) -> Option<VecDeque<I>> {
        let mut inbox = lock(&self.inbox);
        if inbox.closed {
            return None;
        }
        inbox.entries = 0;
        let inputs = std::mem::take(&mut inbox.inputs);
        drop(inbox);
        self.left.notify_all();
        Some(inputs.into_iter().map(|(input, _)| input).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;
    use crate::pool::Pools;
    use crate::quota::{Most, Quota};

    const LONG: Duration = Duration::from_secs(60);

    fn driver(limit: usize, pools: &Pools) -> Arc<Driver<i32>> {
        Arc::new(Driver::new(limit, pools.delivery().task("driver")))
    }

    #[test]
    fn a_turn_takes_all_that_has_come_in_order_and_gives_its_permits_back() {
        let driver = driver(2, &Pools::new().unwrap());
        let quota = Quota::new(Most { events: 1, bytes: 10 });
        driver.put_entry(1);
        driver.put(2, quota.permit(10));
        driver.put_entry(3);
        assert!(!driver.has_room() && quota.permit(0).is_none());

        let step = driver.step(|inputs| {
            assert_eq!(inputs, [1, 2, 3]);
            assert!(driver.has_room() && quota.permit(10).is_some());
            LONG
        });

        assert!(matches!(step, Step::At(_)));
        driver.close();
        assert_eq!(driver.step(|_| panic!("it is closed")), Step::Ended);
    }

    #[test]
    fn an_entry_waits_for_room_and_an_event_does_not() {
        let pools = Pools::new().unwrap();
        let (driver, (told, taken)) = (driver(1, &pools), mpsc::channel());
        driver.put_entry(1);
        driver.put(2, None);
        let (third, own) = (Arc::clone(&driver), Arc::clone(&driver));

        let waiting = std::thread::spawn(move || third.put_entry(3));
        driver.task().begin(move || {
            own.step(|inputs| {
                inputs.into_iter().for_each(|input| told.send(input).unwrap());
                LONG
            })
        });

        let all: Vec<i32> = taken.iter().take(3).collect();
        waiting.join().unwrap();
        driver.close();
        driver.task().join();
        assert_eq!(all, [1, 2, 3]);
    }

    #[test]
    fn a_turn_that_panics_lets_no_entry_wait_for_ever() {
        let pools = Pools::new().unwrap();
        let driver = driver(1, &pools);
        driver.put_entry(1);
        let own = Arc::clone(&driver);

        driver.task().begin(move || own.step(|_| panic!("a fault")));
        driver.task().join();
        driver.put_entry(2);
        driver.put_entry(3);

        assert!(driver.is_broken());
        assert!(lock(&driver.inbox).inputs.is_empty(), "a closed driver keeps nothing");
    }

    #[test]
    fn a_turn_comes_when_its_deadline_is_there_though_nothing_came() {
        let pools = Pools::new().unwrap();
        let (driver, mut turns) = (driver(1, &pools), 0);
        let own = Arc::clone(&driver);

        driver.task().begin(move || {
            own.step(|inputs| {
                assert!(inputs.is_empty());
                turns += 1;
                if turns == 3 {
                    own.close();
                }
                Duration::from_millis(1)
            })
        });
        driver.task().wake();

        driver.task().join();
    }
}
