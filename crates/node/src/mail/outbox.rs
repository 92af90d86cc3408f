//! Outbox of one registration of a server: what it is to be told, until its connection has room.
//!
//! It is bounded by the credit that the server gave: the delivery machine tells no more than that.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::topics::{Listener, lock};

/// A message on its way to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its number in the dataset.
    pub seq: u64,
    /// Its permanent id.
    pub id: String,
    /// The queue that it is in.
    pub queue: String,
    /// The endpoint that it is for.
    pub to: String,
    /// The generation of the route that brought it here.
    pub route: u32,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// End of the lease, in milliseconds since 1970.
    pub lease_until: u64,
    /// Duration of the lease, in milliseconds from when the message was written.
    pub lease_ms: u64,
    /// The body, as JSON.
    pub body: Bytes,
}

/// Event for a registration, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Message to work on.
    Message(Box<Delivery>),
    /// Query: which of these have arrived?
    Ask(Vec<u64>),
    /// Messages that it does not hold any more: they were moved, or have ended.
    Gone(Vec<u64>),
    /// Another registration of the same server has taken over; nothing follows.
    Replaced,
}

/// The end of a registration at which it is told.
#[derive(Default)]
pub(crate) struct Outbox(Mutex<State>);

#[derive(Default)]
struct State {
    told: VecDeque<Told>,
    closed: bool,
    listener: Option<Listener>,
}

impl Outbox {
    /// Tells something, and wakes whoever listens. What comes after the end is dropped.
    pub(crate) fn tell(&self, told: impl IntoIterator<Item = Told>) {
        let mut state = lock(&self.0);
        if state.closed {
            return;
        }
        for told in told {
            state.closed |= told == Told::Replaced;
            state.told.push_back(told);
        }
        if let Some(listener) = &state.listener {
            listener.wake();
        }
    }

    /// Wakes `listener` from now on, and at once if there is anything.
    pub(crate) fn listen(&self, listener: Listener) {
        let mut state = lock(&self.0);
        if !state.told.is_empty() {
            listener.wake();
        }
        state.listener = Some(listener);
    }

    pub(crate) fn take(&self) -> Option<Told> {
        lock(&self.0).told.pop_front()
    }

    /// Takes the messages out that nobody fetches any more.
    pub(crate) fn take_back(&self) -> Vec<u64> {
        let mut state = lock(&self.0);
        let (messages, others): (VecDeque<Told>, VecDeque<Told>) =
            std::mem::take(&mut state.told).into_iter().partition(|told| told.is_message());
        state.told = others;
        let seqs = messages.into_iter().filter_map(|told| match told {
            Told::Message(delivery) => Some(delivery.seq),
            Told::Ask(_) | Told::Gone(_) | Told::Replaced => None,
        });
        seqs.collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.0).told.is_empty()
    }
}

impl Told {
    fn is_message(&self) -> bool {
        matches!(self, Self::Message(_))
    }

    /// The event, and its payload as JSON.
    #[must_use]
    pub fn event(&self) -> (&'static str, Bytes) {
        let seqs = |seqs: &[u64]| Bytes::from(json!({"seqs": seqs}).to_string());
        match self {
            Self::Message(delivery) => ("message", delivery.to_json()),
            Self::Ask(asked) => ("ask", seqs(asked)),
            Self::Gone(gone) => ("gone", seqs(gone)),
            Self::Replaced => {
                let detail = "another registration of this server has taken over";
                (
                    "replaced",
                    Bytes::from(json!({"reason": "replaced", "detail": detail}).to_string()),
                )
            }
        }
    }
}

impl Delivery {
    /// The message as JSON.
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        let Self { seq, id, queue, to, attempt, lease_until, lease_ms, body, .. } = self;
        // What else is in it has nothing that JSON would escape.
        let to = Value::from(to.as_str());
        let mut text = String::with_capacity(160 + body.len());
        let _ = write!(
            text,
            r#"{{"seq":{seq},"id":"{id}","queue":"{queue}","to":{to},"attempt":{attempt},"#
        );
        let _ = write!(text, r#""lease_ms":{lease_ms},"lease_until":{lease_until},"body":"#);
        let mut text = text.into_bytes();
        text.extend_from_slice(body);
        text.push(b'}');
        text.into()
    }
}

/// Shares an outbox.
pub(crate) type SharedOutbox = Arc<Outbox>;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Notify;

    use super::*;

    fn message(seq: u64) -> Told {
        Told::Message(Box::new(Delivery {
            seq,
            id: "an id".into(),
            queue: "mail".into(),
            to: "org/\"42\"".into(),
            route: 1,
            attempt: 1,
            lease_until: 9,
            lease_ms: 9,
            body: Bytes::from_static(br#"{"a":"}\""}"#),
        }))
    }

    #[tokio::test]
    async fn what_was_told_before_somebody_listens_wakes_it_at_once() {
        let (outbox, notify) = (Outbox::default(), Arc::new(Notify::new()));
        outbox.tell([message(1), Told::Ask(vec![1])]);

        outbox.listen(Listener::Task(Arc::clone(&notify)));

        notify.notified().await;
        assert_eq!(outbox.take(), Some(message(1)));
        assert_eq!(outbox.take(), Some(Told::Ask(vec![1])));
        assert!(outbox.is_empty());
    }

    #[test]
    fn nothing_follows_the_end() {
        let outbox = Outbox::default();

        outbox.tell([Told::Replaced, message(2)]);
        outbox.tell([message(3)]);

        let first = outbox.take();
        assert_eq!(first, Some(Told::Replaced));
    }

    #[test]
    fn a_message_is_json_with_its_body_as_it_was_sent() {
        let (event, payload) = message(7).event();

        let read: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(event, "message");
        assert_eq!(read["body"], json!({"a": "}\""}));
        assert_eq!((&read["seq"], &read["to"]), (&json!(7), &json!("org/\"42\"")));
    }
}
