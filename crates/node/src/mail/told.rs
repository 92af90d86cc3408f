//! Events for a registration of a server, and the JSON of them.

use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::outbox::Outbox;

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
pub enum Push {
    /// Message to work on.
    Message(Box<Delivery>),
    /// Query: which of these have arrived?
    Ask(Vec<u64>),
    /// Messages that it does not hold any more: they were moved, or have ended.
    Gone(Vec<u64>),
    /// Another registration of the same server has taken over; nothing follows.
    Replaced,
}

impl Push {
    /// The message, if it is one.
    pub(crate) fn seq(&self) -> Option<u64> {
        match self {
            Self::Message(delivery) => Some(delivery.seq),
            Self::Ask(_) | Self::Gone(_) | Self::Replaced => None,
        }
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

/// Outbox of a registration.
pub(crate) type SharedOutbox = Arc<Outbox<Push>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_json_with_its_body_as_it_was_sent() {
        let message = Push::Message(Box::new(Delivery {
            seq: 7,
            id: "an id".into(),
            queue: "mail".into(),
            to: "org/\"42\"".into(),
            route: 1,
            attempt: 1,
            lease_until: 9,
            lease_ms: 9,
            body: Bytes::from_static(br#"{"a":"}\""}"#),
        }));

        let (event, payload) = message.event();

        let read: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(event, "message");
        assert_eq!(read["body"], json!({"a": "}\""}));
        assert_eq!((&read["seq"], &read["to"]), (&json!(7), &json!("org/\"42\"")));
    }
}
