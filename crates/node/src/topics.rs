//! The topics of a node that somebody has joined: a ring each, and whom to wake.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::ring::{Cursor, Frame, Read, Ring};

/// Wakes one connection. A wake-up carries no data and is only a hint.
pub type Waker = Arc<Notify>;

/// Every topic that has subscribers.
#[derive(Default, Clone)]
pub struct Topics(Arc<Mutex<HashMap<Arc<str>, Arc<Topic>>>>);

/// One topic.
pub struct Topic {
    name: Arc<str>,
    state: Mutex<TopicState>,
}

#[derive(Default)]
struct TopicState {
    ring: Ring,
    subscribers: HashMap<u64, Waker>,
    next_subscriber: u64,
}

/// A subscriber's place in a topic. Dropping it leaves the topic.
pub struct Subscription {
    topics: Topics,
    topic: Arc<Topic>,
    number: u64,
    cursor: Cursor,
}

impl Topics {
    /// Subscribes to what is pushed from now on.
    #[must_use]
    pub fn subscribe(&self, name: &str, waker: Waker) -> Subscription {
        let mut topics = lock(&self.0);
        let topic = match topics.get(name) {
            Some(topic) => Arc::clone(topic),
            None => {
                let name: Arc<str> = name.into();
                let topic = Topic { name: Arc::clone(&name), state: Mutex::default() };
                Arc::clone(topics.entry(name).or_insert(Arc::new(topic)))
            }
        };
        let mut state = lock(&topic.state);
        let number = state.next_subscriber;
        state.next_subscriber += 1;
        state.subscribers.insert(number, waker);
        let cursor = state.ring.end();
        drop(state);
        Subscription { topics: self.clone(), topic, number, cursor }
    }

    /// The topic, if anybody has joined it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Topic>> {
        lock(&self.0).get(name).cloned()
    }

    /// The topics that somebody has joined.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Topic>> {
        lock(&self.0).values().cloned().collect()
    }
}

impl Topic {
    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts frames on the ring and wakes the subscribers.
    pub fn push(&self, frames: impl IntoIterator<Item = Arc<Frame>>) {
        let mut state = lock(&self.state);
        frames.into_iter().for_each(|frame| state.ring.push(frame));
        state.subscribers.values().for_each(|waker| waker.notify_one());
    }

    /// Makes every subscriber catch up, and wakes it.
    pub fn cut(&self) {
        let mut state = lock(&self.state);
        state.ring.cut();
        state.subscribers.values().for_each(|waker| waker.notify_one());
    }

    /// How many have joined.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        lock(&self.state).subscribers.len()
    }
}

impl Subscription {
    /// The next frames, at most `most`.
    pub fn read(&mut self, most: usize) -> Read {
        lock(&self.topic.state).ring.read(&mut self.cursor, most)
    }

    /// Goes to the end: what is on the ring now is known from elsewhere.
    pub fn skip_to_end(&mut self) {
        self.cursor = lock(&self.topic.state).ring.end();
    }

    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic.name
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // The registry first, so that nobody joins a topic that is being forgotten.
        let mut topics = lock(&self.topics.0);
        let mut state = lock(&self.topic.state);
        state.subscribers.remove(&self.number);
        if state.subscribers.is_empty() {
            topics.remove(&self.topic.name);
        }
    }
}

/// Takes a lock. A panic elsewhere leaves these structures whole: every change is one step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
