//! Sending: messages as their sender writes them, and what the sender is told.

use std::sync::Arc;

use instep_model::commit::Operation;
use instep_model::json::{ExactObject, FieldError};
use instep_model::mail::{NewMessage, Seq, sender};
use instep_model::name::Name;
use instep_model::owner::Refusal;
use instep_model::position::Position;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::dataset::Dataset;

/// Prefix of the topics on which messages are sent: `mail:DATASET/QUEUE`.
pub const QUEUE_PREFIX: &str = "mail:";

/// Messages that are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// Complete up to here.
    pub position: Position,
    /// In the order in which they were sent.
    pub messages: Vec<SentMessage>,
}

/// A message that is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SentMessage {
    /// Its number in the dataset.
    pub seq: Seq,
    /// Its permanent id.
    pub id: Uuid,
    /// The server that it is routed to.
    pub server: Option<Arc<str>>,
}

/// Messages of one request, as their sender writes them: one by itself, or a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Letters {
    messages: Vec<NewMessage>,
    are_listed: bool,
}

/// A list of messages.
impl From<Vec<NewMessage>> for Letters {
    fn from(messages: Vec<NewMessage>) -> Self {
        Self { messages, are_listed: true }
    }
}

impl Letters {
    /// Reads one message, or `{"messages": […]}`.
    ///
    /// # Errors
    /// [`FieldError`]: what is wrong with the JSON, or with a field, which is named.
    pub fn read(queue: &Name, principal: &str, text: &[u8]) -> Result<Self, FieldError> {
        #[derive(Deserialize)]
        struct Either {
            #[serde(default)]
            messages: Option<IgnoredAny>,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Several {
            messages: Vec<One>,
        }
        let object = ExactObject::check(text)?;
        let are_listed = object.read::<Either>()?.messages.is_some();
        let ones = if are_listed {
            object.read::<Several>()?.messages
        } else {
            vec![object.read::<One>()?]
        };
        let sender = sender(principal);
        let messages = ones.into_iter().map(|one| one.to(queue, sender)).collect();
        Ok(Self { messages, are_listed })
    }
}

/// Refusal of the messages of a request: none of them is stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct SendRefusal {
    /// Refusal of the commit that would have stored them.
    pub refusal: Box<Refusal>,
    /// Explanation, in the words of the request: of a list it names the message.
    pub detail: String,
}

impl SendRefusal {
    fn new(refusal: Refusal, are_listed: bool) -> Self {
        let detail = match (&refusal, refusal.operation()) {
            (Refusal::Empty, _) => "messages: an empty list".to_owned(),
            (Refusal::TooManyOperations { found, limit }, _) => {
                format!("messages: {found} of them, the limit is {limit}")
            }
            (_, Some(at)) if are_listed => format!("messages[{at}]: {}", refusal.detail()),
            (_, Some(_) | None) => refusal.detail(),
        };
        Self { refusal: Box::new(refusal), detail }
    }
}

/// A [`NewMessage`] of a queue that is said elsewhere.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    to: String,
    body: Value,
    #[serde(default)]
    id: Option<Uuid>,
    #[serde(default)]
    priority: Option<u8>,
    #[serde(default)]
    ttl_ms: Option<u64>,
    #[serde(default)]
    not_before: Option<u64>,
}

impl One {
    fn to(self, queue: &Name, sender: u64) -> NewMessage {
        let Self { to, body, id, priority, ttl_ms, not_before } = self;
        NewMessage { queue: queue.clone(), to, body, id, priority, ttl_ms, not_before, sender }
    }
}

impl Dataset {
    /// Stores messages: all, or none. They are durable when it returns. [`Operation::Send`] gives
    /// them their routes, [`Operation::Import`] does not ask for those.
    ///
    /// # Errors
    /// [`SendRefusal`].
    pub async fn store_mail(
        &self,
        letters: Letters,
        operation: fn(NewMessage) -> Operation,
    ) -> Result<Sent, SendRefusal> {
        let Letters { messages, are_listed } = letters;
        let operations: Vec<_> = messages.into_iter().map(operation).collect();
        let receipt = self.commit(operations.into()).await;
        let receipt = receipt.map_err(|refusal| SendRefusal::new(refusal, are_listed))?;
        let state = self.state();
        let sent =
            receipt.results.iter().flatten().filter_map(|seq| u64::try_from(*seq).ok().map(Seq));
        let messages = sent.map(|seq| {
            let message = state.mail.message(seq);
            let server = message.and_then(|message| state.mail.server(message.server));
            SentMessage {
                seq,
                id: message.map_or(Uuid::nil(), |message| message.id),
                server: server.map(|server| Arc::clone(&server.server)),
            }
        });
        Ok(Sent { position: receipt.position, messages: messages.collect() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &Value) -> Result<Vec<String>, String> {
        let queue = Name::new("mail").unwrap();
        let read = Letters::read(&queue, "ann", text.to_string().as_bytes());
        read.map(|all| all.messages.into_iter().map(|letter| letter.to).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn one_message_or_several_are_read() {
        assert_eq!(read(&json!(["org/1", 1])).unwrap_err(), "not a JSON object");
        let one = json!({"to": "org/1", "body": null, "priority": 9});
        assert_eq!(read(&one).unwrap(), ["org/1"]);
        let several = json!({"messages": [one, {"to": "org/2", "body": 1}]});
        assert_eq!(read(&several).unwrap(), ["org/1", "org/2"]);
        assert_eq!(read(&json!({"messages": []})).unwrap(), [""; 0]);
    }

    #[test]
    fn an_error_of_a_message_names_the_field_and_of_a_list_the_message_too() {
        let fault = |text: &Value| read(text).unwrap_err();
        let good = json!({"to": "org/1", "body": 1});

        for (field, wrong) in [
            ("to", json!(5)),
            ("id", json!("zz")),
            ("priority", json!("x")),
            ("priority", json!(-1)),
            ("ttl_ms", json!(-1)),
            ("not_before", json!(1.5)),
        ] {
            let mut letter = good.clone();
            letter[field] = wrong;
            let alone = fault(&letter);
            assert!(alone.starts_with(&format!("{field}: ")), "{alone}");
            let listed = fault(&json!({"messages": [good, letter]}));
            assert!(listed.starts_with(&format!("messages[1]: {field}: ")), "{listed}");
        }
        assert!(fault(&json!({"messages": 5})).starts_with("messages: "));
        let missing = fault(&json!({"messages": [{"to": "org/1"}]}));
        assert!(missing.starts_with("messages[0]: missing field `body`"), "{missing}");
    }

    #[test]
    fn a_refusal_speaks_of_the_request_and_of_no_commit() {
        let unknown = || Refusal::UnknownQueue { operation: 2, queue: Name::new("mail").unwrap() };
        let said = |refusal, are_listed| SendRefusal::new(refusal, are_listed).to_string();

        assert_eq!(said(unknown(), false), "there is no queue \"mail\"");
        assert_eq!(said(unknown(), true), "messages[2]: there is no queue \"mail\"");
        let many = Refusal::TooManyOperations { found: 1_001, limit: 1_000 };
        assert_eq!(said(many, true), "messages: 1001 of them, the limit is 1000");
        assert_eq!(said(Refusal::Empty, true), "messages: an empty list");
    }

    #[test]
    fn smq_16_what_a_sender_may_not_say_is_refused_by_name() {
        for text in [
            json!({"to": "org/1", "body": 1, "server": "7"}),
            json!({"messages": [{"to": "org/1", "body": 1, "server": "7"}]}),
        ] {
            let refused = read(&text).unwrap_err();
            assert!(refused.contains("unknown field `server`"), "{refused}");
        }
        let refused = read(&json!({"to": "org/1"})).unwrap_err();
        assert!(refused.contains("missing field `body`"), "{refused}");
        let both = json!({"messages": [], "to": "org/1"});
        assert!(read(&both).unwrap_err().contains("unknown field `to`"));
    }
}
