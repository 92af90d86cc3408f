//! Notifier of a thread that serves many connections: tells it which of its topics have news.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sync::lock;

/// Wakes a thread, if it sleeps, and keeps the marks of the topics that it should look at.
pub struct Notifier {
    marks: Mutex<Vec<u32>>,
    asleep: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Notifier {
    /// A notifier whose thread is woken by `wake`.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self { marks: Mutex::default(), asleep: AtomicBool::new(false), wake: Box::new(wake) }
    }

    /// Marks a topic, and wakes the thread.
    pub(super) fn mark(&self, mark: u32) {
        lock(&self.marks).push(mark);
        self.ring();
    }

    /// Wakes the thread if it sleeps.
    pub fn ring(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            (self.wake)();
        }
    }

    /// Says that the thread is about to sleep. False: it must not, there are marks. The thread
    /// looks at whatever else it is rung for after this, and before it sleeps.
    pub fn falls_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        let quiet = lock(&self.marks).is_empty();
        if !quiet {
            self.is_awake();
        }
        quiet
    }

    /// Notes that the thread is awake: it needs no wake-up.
    pub fn is_awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Appends the marks to `into`.
    pub fn take(&self, into: &mut impl Extend<u32>) {
        into.extend(lock(&self.marks).drain(..));
    }
}
