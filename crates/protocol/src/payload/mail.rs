//! Mail: what servers are told about their messages, and what they say about them ([`words`]).
//!
//! Fields stand in the order in which they always did: bytes that clients get do not change.

pub mod words;

use bytes::Bytes;
use instep_model::mail::{Seq, outcome};
use instep_model::registration::Generation;
use serde::Serialize;

/// Reply to a server that has registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Registered<'a> {
    /// The dataset that keeps its mail.
    pub dataset: &'a str,
    /// Generation of the registration.
    pub generation: Generation,
    /// Number of its messages that are pending.
    pub pending: u64,
    /// The server.
    pub server: &'a str,
}

impl Registered<'_> {
    /// The JSON object.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(self).into()
    }
}

/// Message to work on, but for its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Message<'a> {
    /// Its number in the dataset.
    pub seq: Seq,
    /// Its permanent id.
    pub id: &'a str,
    /// The queue that it is in.
    pub queue: &'a str,
    /// The endpoint that it is for.
    pub to: &'a str,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Duration of the lease, in milliseconds from when the message was written.
    pub lease_ms: u64,
    /// End of the lease, in milliseconds since 1970.
    pub lease_until: u64,
}

impl Message<'_> {
    /// The JSON object, with a body that is JSON already: it is not read again.
    #[must_use]
    pub fn encode(&self, body: &[u8]) -> Bytes {
        let mut text = encode(self);
        text.pop();
        text.reserve_exact(body.len() + 9);
        text.extend_from_slice(br#","body":"#);
        text.extend_from_slice(body);
        text.push(b'}');
        text.into()
    }
}

/// Messages by their numbers: those that a server is asked about, or does not hold any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Messages<'a> {
    /// Their numbers.
    pub seqs: &'a [Seq],
}

impl Messages<'_> {
    /// The JSON object.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(self).into()
    }
}

/// End of a registration: another one of the same server has taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Replaced {
    detail: &'static str,
    reason: &'static str,
}

impl Default for Replaced {
    fn default() -> Self {
        let detail = "another registration of this server has taken over";
        Self { detail, reason: "replaced" }
    }
}

impl Replaced {
    /// The JSON object.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(self).into()
    }
}

/// Outcomes of answers, one for each message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcomes {
    outcomes: Vec<Outcome>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Outcome {
    seq: Seq,
    outcome: &'static str,
}

impl Outcomes {
    /// Outcomes of messages by their numbers, each one of [`outcome`].
    #[must_use]
    pub fn new(all: impl IntoIterator<Item = (Seq, i64)>) -> Self {
        let outcome = |(seq, outcome)| Outcome { seq, outcome: outcome::word(outcome) };
        Self { outcomes: all.into_iter().map(outcome).collect() }
    }

    /// The JSON object.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(self).into()
    }
}

fn encode(payload: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(payload).expect("numbers and texts become JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_json_with_its_body_as_it_was_sent() {
        let message = Message {
            seq: Seq(7),
            id: "an id",
            queue: "mail",
            to: "org/\"42\"",
            attempt: 1,
            lease_ms: 8,
            lease_until: 9,
        };

        let expected = concat!(
            r#"{"seq":7,"id":"an id","queue":"mail","to":"org/\"42\"","attempt":1,"#,
            r#""lease_ms":8,"lease_until":9,"body":{"a":"}\""}}"#,
        );
        assert_eq!(message.encode(br#"{"a":"}\""}"#), expected);
    }

    #[test]
    fn what_servers_are_told_keeps_its_bytes() {
        let generation = Generation(3);
        let told = Registered { dataset: "d", generation, pending: 2, server: "server/7" };
        let expected = r#"{"dataset":"d","generation":3,"pending":2,"server":"server/7"}"#;
        assert_eq!(told.encode(), expected);
        assert_eq!(Messages { seqs: &[1, 2].map(Seq) }.encode(), r#"{"seqs":[1,2]}"#);
        let expected = concat!(
            r#"{"detail":"another registration of this server has taken over","#,
            r#""reason":"replaced"}"#,
        );
        assert_eq!(Replaced::default().encode(), expected);
        let told = Outcomes::new([(Seq(1), outcome::OK), (Seq(2), outcome::FENCED)]);
        let (ok, fenced) = (outcome::word(outcome::OK), outcome::word(outcome::FENCED));
        let expected = format!(
            r#"{{"outcomes":[{{"seq":1,"outcome":"{ok}"}},{{"seq":2,"outcome":"{fenced}"}}]}}"#
        );
        assert_eq!(told.encode(), expected);
        assert_eq!(Outcomes::new([]).encode(), r#"{"outcomes":[]}"#);
    }
}
