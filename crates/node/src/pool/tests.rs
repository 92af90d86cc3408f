use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Condvar, Mutex};

use super::*;
use crate::sync::lock;

/// Longer than any test: what is to be seen is seen before, or the test hangs.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

struct Fixture {
    clock: Clock,
}

impl Fixture {
    fn open() -> Self {
        Self { clock: Clock::start().unwrap() }
    }

    fn pool(&self, most: usize) -> Pool {
        self.pool_that_idles(most, NEVER)
    }

    fn pool_that_idles(&self, most: usize, idle: Duration) -> Pool {
        Pool(Threads::start("test", (most, idle), self.clock.clone()).unwrap())
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.clock.stop();
    }
}

/// A gate that a step waits at.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *lock(&self.0) = true;
        self.1.notify_all();
    }

    fn pass(&self) {
        drop(self.1.wait_while(lock(&self.0), |open| !*open).unwrap());
    }
}

fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        std::thread::yield_now();
    }
}

#[test]
fn no_wake_is_lost_and_one_thread_at_a_time_runs_a_task() {
    const PUTS: usize = 20_000;
    let house = Fixture::open();
    let pool = house.pool(4);
    let inboxes: Vec<_> = (0..3).map(|_| Arc::new(Mutex::new(VecDeque::new()))).collect();
    let (taken, inside) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let tasks: Vec<_> = inboxes.iter().map(|_| pool.task("task")).collect();
    for (inbox, task) in inboxes.iter().zip(&tasks) {
        let (inbox, taken) = (Arc::clone(inbox), Arc::clone(&taken));
        let running = AtomicBool::new(false);
        let overlapped = Arc::clone(&inside);
        task.begin(move || {
            overlapped.fetch_or(running.swap(true, Ordering::SeqCst), Ordering::SeqCst);
            let found: Option<usize> = lock(&inbox).pop_front();
            running.store(false, Ordering::SeqCst);
            found.map_or(Step::Idle, |_| {
                taken.fetch_add(1, Ordering::SeqCst);
                Step::Again
            })
        });
    }

    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for number in 0..PUTS {
                    let at = number % tasks.len();
                    lock(&inboxes[at]).push_back(number);
                    tasks[at].wake();
                }
            });
        }
    });

    until(|| taken.load(Ordering::SeqCst) == 2 * PUTS);
    assert!(!inside.load(Ordering::SeqCst), "two threads ran one task");
}

#[test]
fn a_task_that_was_woken_before_it_begins_runs_and_others_do_not() {
    let house = Fixture::open();
    let pool = house.pool(1);
    let (woken, other) = (pool.task("woken"), pool.task("other"));
    let (told, runs) = mpsc::channel();

    woken.wake();
    for (name, task) in [("other", &other), ("woken", &woken)] {
        let told = told.clone();
        task.begin(move || {
            told.send(name).unwrap();
            Step::Ended
        });
    }
    woken.join();

    assert_eq!(runs.try_iter().collect::<Vec<_>>(), ["woken"]);
    other.wake();
    other.join();
    assert_eq!(runs.try_iter().collect::<Vec<_>>(), ["other"]);
}

#[test]
fn who_waits_for_a_thread_has_a_step_though_others_never_rest() {
    let house = Fixture::open();
    let pool = house.pool(2);
    let stop = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = (0..2).map(|_| pool.task("busy")).collect();
    for task in &busy {
        let stop = Arc::clone(&stop);
        task.begin(move || if stop.load(Ordering::SeqCst) { Step::Ended } else { Step::Again });
        task.wake();
    }
    let late = pool.task("late");
    late.begin(|| Step::Ended);

    late.wake();
    late.join();

    assert_eq!(pool.0.count(), 2, "the bound");
    stop.store(true, Ordering::SeqCst);
    busy.iter().for_each(Task::join);
}

#[test]
fn owners_that_all_wait_for_their_views_go_on_at_the_bound_of_every_pool() {
    const OWNERS: usize = 50;
    let house = Fixture::open();
    let (owners, delivery) = (house.pool(2), house.pool(1));
    let waiting = Arc::new(AtomicUsize::new(0));
    let all: Vec<_> = (0..OWNERS)
        .map(|_| {
            let (owner, views) = (owners.task("owner"), delivery.task("views"));
            let gate = Arc::new(Gate::default());
            let (told, waiting) = (Arc::clone(&gate), Arc::clone(&waiting));
            views.begin(move || {
                told.open();
                Step::Ended
            });
            owner.begin(move || {
                waiting.fetch_add(1, Ordering::SeqCst);
                views.wake();
                gate.pass();
                Step::Ended
            });
            owner
        })
        .collect();

    all.iter().for_each(Task::wake);

    all.iter().for_each(Task::join);
    assert_eq!(waiting.load(Ordering::SeqCst), OWNERS);
}

#[test]
fn a_task_is_woken_at_its_deadline_and_at_an_earlier_one_that_comes_later() {
    let house = Fixture::open();
    let pool = house.pool(1);
    let task = pool.task("task");
    let (told, runs) = mpsc::channel();
    let mut left = 3;
    task.begin(move || {
        left -= 1;
        told.send(Instant::now()).unwrap();
        match left {
            2 => Step::At(Instant::now() + NEVER),
            1 => Step::At(Instant::now() + Duration::from_millis(20)),
            _ => Step::Ended,
        }
    });
    task.wake();
    let first = runs.recv().unwrap();
    let wanted = first + Duration::from_millis(20);

    task.wake_at(wanted);
    task.wake_at(first + NEVER);

    let second = runs.recv().unwrap();
    assert!(second >= wanted, "not before it is time");
    let third = runs.recv().unwrap();
    assert!(third >= second + Duration::from_millis(20));
    task.join();
}

#[test]
fn threads_are_made_when_all_are_busy_and_end_when_they_idle_but_for_one() {
    let house = Fixture::open();
    let pool = house.pool_that_idles(8, Duration::from_millis(1));
    let gate = Arc::new(Gate::default());
    let inside = Arc::new(AtomicUsize::new(0));
    let blocked: Vec<_> = (0..5).map(|_| pool.task("blocked")).collect();
    for task in &blocked {
        let (gate, inside) = (Arc::clone(&gate), Arc::clone(&inside));
        task.begin(move || {
            inside.fetch_add(1, Ordering::SeqCst);
            gate.pass();
            Step::Idle
        });
        task.wake();
    }

    until(|| inside.load(Ordering::SeqCst) == blocked.len());
    assert!((5..=8).contains(&pool.0.count()));
    gate.open();

    until(|| pool.0.count() == 1);
    blocked.iter().for_each(Task::wake);
    until(|| inside.load(Ordering::SeqCst) == 2 * blocked.len());
}

#[test]
fn the_end_of_a_task_comes_behind_the_release_of_what_it_held() {
    let house = Fixture::open();
    let pool = house.pool(2);
    for _ in 0..200 {
        let (task, held) = (pool.task("task"), Arc::new(()));
        let holds = Arc::clone(&held);
        task.begin(move || {
            let _ = &holds;
            Step::Ended
        });

        task.wake();
        task.join();

        assert_eq!(Arc::strong_count(&held), 1);
        task.wake();
    }
}

#[test]
fn a_task_that_panics_ends_and_its_thread_goes_on() {
    let house = Fixture::open();
    let pool = house.pool(1);
    let (broken, sound) = (pool.task("broken"), pool.task("sound"));
    broken.begin(|| panic!("as it is told"));
    sound.begin(|| Step::Ended);

    for task in [&broken, &sound] {
        task.wake();
        task.join();
    }

    assert_eq!(pool.0.count(), 1);
}

#[test]
fn threads_end_with_their_pool_behind_what_is_ready() {
    let house = Fixture::open();
    let pool = house.pool(3);
    let threads = Arc::downgrade(&pool.0);
    let runs = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let (task, runs) = (pool.task("task"), Arc::clone(&runs));
        task.begin(move || {
            runs.fetch_add(1, Ordering::SeqCst);
            Step::Ended
        });
        task.wake();
    }

    drop(pool);

    until(|| threads.strong_count() == 0);
    assert_eq!(runs.load(Ordering::SeqCst), 100);
}
