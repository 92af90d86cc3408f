//! Refusals of joins and pushes: the reason by which they are counted, and what the client is told.

use bytes::Bytes;
use instep_model::feed::JoinRefusal;
use instep_model::json::{INEXACT, Inexact};
use instep_node::LiveError;
use instep_node::mail::MailError;
use instep_protocol::payload::join;
use instep_protocol::payload::refusal::RefusalPayload;
use serde_json::Value;

use super::presence::PresenceRefusal;

/// Refusal of a join or a push.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The client has no right to it, or its token is none.
    Access(instep_access::Refusal),
    /// The topic cannot be joined.
    Topic(Box<str>, JoinRefusal),
    /// The request about mail is refused.
    Mail(MailError),
    /// The message cannot be published.
    Live(LiveError),
    /// The client cannot be present there.
    Presence(PresenceRefusal),
    /// The JSON is none, or holds what would not come back as it was sent.
    Inexact(Inexact),
    /// The parameters of a join are such JSON.
    InexactParams(Inexact),
    /// The payload has to be JSON.
    JsonWanted,
    /// The push has to bring a token.
    TokenWanted,
    /// The push says neither that the client is present nor that it is not.
    UnknownPresence,
    /// The topic takes nothing from clients.
    Closed,
    /// Too much waits for the client's address, or for all clients.
    Overloaded,
    /// The dataset of a queue is not open.
    DatasetUnavailable(Box<str>),
    /// There is no such dataset.
    UnknownDataset(Box<str>),
    /// There is no such queue.
    UnknownQueue(Box<str>),
    /// The rule of the application refuses; its answer.
    Rule(Value),
}

impl Refusal {
    /// The stable code that clients see.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Access(refusal) => refusal.code(),
            Self::Topic(_, refusal) => join::reason(refusal),
            Self::Mail(error) => error.code(),
            Self::Live(error) => error.code(),
            Self::Presence(refusal) => refusal.code(),
            Self::Inexact(_) | Self::InexactParams(_) => INEXACT,
            Self::JsonWanted => "json_wanted",
            Self::TokenWanted => "bad_json",
            Self::UnknownPresence => "bad_presence",
            Self::Closed => "push_refused",
            Self::Overloaded => "overloaded",
            Self::DatasetUnavailable(_) => "dataset_unavailable",
            Self::UnknownDataset(_) => "unknown_dataset",
            Self::UnknownQueue(_) => "unknown_queue",
            Self::Rule(answer) => answer.get("reason").and_then(Value::as_str).unwrap_or_default(),
        }
    }

    /// The refusal as the client sees it: a JSON object.
    pub(crate) fn payload(&self) -> Bytes {
        match self {
            Self::Topic(topic, refusal) => join::refusal(topic, refusal).to_string().into(),
            Self::Rule(answer) => answer.to_string().into(),
            other => RefusalPayload { detail: other.detail().as_deref(), reason: other.reason() }
                .encode(),
        }
    }

    fn detail(&self) -> Option<String> {
        Some(match self {
            Self::Topic(_, refusal) => refusal.to_string(),
            Self::Access(refusal) => refusal.to_string(),
            Self::Mail(error) => error.to_string(),
            Self::Live(error) => error.to_string(),
            Self::Presence(refusal) => refusal.detail(),
            Self::Inexact(inexact) => inexact.to_string(),
            Self::InexactParams(inexact) => format!("the parameters of the join: {inexact}"),
            Self::TokenWanted => "access_token: a text is wanted".to_owned(),
            Self::UnknownPresence => "event: track or untrack".to_owned(),
            Self::Closed => "this topic takes nothing from clients".to_owned(),
            Self::Overloaded => {
                "too much waits for this address to take it; try again when it has".to_owned()
            }
            Self::DatasetUnavailable(name) => format!("dataset {name} is not open"),
            Self::UnknownDataset(name) => format!("no dataset {name:?}"),
            Self::UnknownQueue(name) => format!("there is no queue {name:?}"),
            Self::JsonWanted | Self::Rule(_) => return None,
        })
    }
}

impl From<instep_access::Refusal> for Refusal {
    fn from(refusal: instep_access::Refusal) -> Self {
        Self::Access(refusal)
    }
}

impl From<MailError> for Refusal {
    fn from(error: MailError) -> Self {
        Self::Mail(error)
    }
}

impl From<LiveError> for Refusal {
    fn from(error: LiveError) -> Self {
        Self::Live(error)
    }
}

impl From<PresenceRefusal> for Refusal {
    fn from(refusal: PresenceRefusal) -> Self {
        Self::Presence(refusal)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::refusals::{JOIN_REFUSALS, Refusals};

    #[test]
    fn what_an_application_says_is_one_reason_whatever_it_is() {
        let refusals = Refusals::default();

        for told in [json!({"reason": "sold out"}), json!(7), json!({"reason": "forbidden"})] {
            refusals.count(Refusal::Rule(told).reason());
        }

        let told: Vec<_> = JOIN_REFUSALS.into_iter().zip(refusals.read()).collect();
        assert!(told.contains(&("forbidden", 1)) && told.contains(&("other", 2)), "{told:?}");
    }

    #[test]
    fn a_refusal_reads_as_its_reason_and_a_detail_where_there_is_one() {
        let told = |refusal: Refusal| String::from_utf8(refusal.payload().to_vec()).unwrap();

        assert_eq!(told(Refusal::JsonWanted), r#"{"reason":"json_wanted"}"#);
        assert_eq!(
            told(Refusal::Closed),
            r#"{"detail":"this topic takes nothing from clients","reason":"push_refused"}"#
        );
        assert_eq!(
            told(Refusal::UnknownQueue("q".into())),
            r#"{"detail":"there is no queue \"q\"","reason":"unknown_queue"}"#
        );
        assert_eq!(told(Refusal::Rule(json!({"why": 1}))), r#"{"why":1}"#);
        let unmatched = Refusal::Topic("x".into(), JoinRefusal::Unmatched);
        assert_eq!(told(unmatched), r#"{"reason":"unmatched topic"}"#);
    }
}
