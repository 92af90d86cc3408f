//! Outbox of one registration: events that wait until its connection has room.
//!
//! Its writer bounds them: a machine gives no more than the window of the registration,
//! and what is taken from the registration is withdrawn here rather than followed by a word about
//! it.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::sync::lock;
use crate::topics::Subscriber;

/// Events for one registration, in order.
pub(crate) struct Outbox<T>(Mutex<State<T>>);

struct State<T> {
    events: VecDeque<T>,
    ended: bool,
    listener: Option<Subscriber>,
}

impl<T> Default for Outbox<T> {
    fn default() -> Self {
        Self(Mutex::new(State { events: VecDeque::new(), ended: false, listener: None }))
    }
}

impl<T> Outbox<T> {
    /// Tells events, and wakes the listener. What comes behind the end is dropped.
    pub(crate) fn tell(&self, events: impl IntoIterator<Item = T>) {
        let mut state = lock(&self.0);
        if !state.ended {
            state.events.extend(events);
            state.wake();
        }
    }

    /// Tells the last event.
    pub(crate) fn end(&self, event: T) {
        let mut state = lock(&self.0);
        if !std::mem::replace(&mut state.ended, true) {
            state.events.push_back(event);
            state.wake();
        }
    }

    /// Wakes `listener` from now on, and at once if there is anything.
    pub(crate) fn listen(&self, listener: Subscriber) {
        let mut state = lock(&self.0);
        state.listener = Some(listener);
        if !state.events.is_empty() {
            state.wake();
        }
    }

    pub(crate) fn take(&self) -> Option<T> {
        lock(&self.0).events.pop_front()
    }

    /// Takes the events out that are not to be fetched any more.
    pub(crate) fn withdraw(&self, is_meant: impl Fn(&T) -> bool) -> Vec<T> {
        let mut state = lock(&self.0);
        if !state.events.iter().any(&is_meant) {
            return vec![];
        }
        let all = std::mem::take(&mut state.events);
        let (withdrawn, left): (Vec<T>, Vec<T>) = all.into_iter().partition(is_meant);
        state.events = left.into();
        withdrawn
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.0).events.is_empty()
    }
}

impl<T> State<T> {
    fn wake(&self) {
        if let Some(listener) = &self.listener {
            listener.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn what_was_told_before_a_listener_comes_wakes_it_at_once() {
        let (outbox, notify) = (Outbox::default(), Arc::new(Notify::new()));
        outbox.tell([1, 2]);

        outbox.listen(Subscriber::Task(Arc::clone(&notify)));

        notify.notified().await;
        assert_eq!((outbox.take(), outbox.take()), (Some(1), Some(2)));
        assert!(outbox.is_empty());
    }

    #[test]
    fn nothing_follows_the_end() {
        let outbox = Outbox::default();

        outbox.tell([1]);
        outbox.end(2);
        outbox.tell([3]);
        outbox.end(4);

        let all: Vec<i32> = std::iter::from_fn(|| outbox.take()).collect();
        assert_eq!(all, [1, 2]);
    }

    #[test]
    fn what_is_withdrawn_is_given_back_and_the_others_keep_their_order() {
        let outbox = Outbox::default();
        outbox.tell(1..=6);

        assert_eq!(outbox.withdraw(|event| event % 2 == 0), [2, 4, 6]);
        assert_eq!(outbox.withdraw(|event| event % 2 == 0), [0; 0]);

        let all: Vec<i32> = std::iter::from_fn(|| outbox.take()).collect();
        assert_eq!(all, [1, 3, 5]);
    }
}
