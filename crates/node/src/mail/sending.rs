//! Sending: messages as their sender writes them, and what the sender is told.

use std::sync::Arc;

use instep_model::commit::Operation;
use instep_model::json::read_object;
use instep_model::mail::{NewMessage, sender};
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
    pub seq: u64,
    /// Its permanent id.
    pub id: Uuid,
    /// The server that it is routed to.
    pub server: Option<Arc<str>>,
}

/// Reads one message, or `{"messages": […]}`.
///
/// # Errors
/// What is wrong with the JSON, or with a field.
pub fn letters(queue: &Name, principal: &str, text: &[u8]) -> serde_json::Result<Vec<NewMessage>> {
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
    let ones = match read_object::<Either>(text)?.messages {
        Some(_) => serde_json::from_slice::<Several>(text)?.messages,
        None => vec![serde_json::from_slice::<One>(text)?],
    };
    let sender = sender(principal);
    Ok(ones.into_iter().map(|one| one.to(queue, sender)).collect())
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
    /// [`Refusal`].
    pub async fn store_mail(
        &self,
        letters: Vec<NewMessage>,
        operation: fn(NewMessage) -> Operation,
    ) -> Result<Sent, Refusal> {
        let operations: Vec<_> = letters.into_iter().map(operation).collect();
        let receipt = self.commit(operations.into()).await?;
        let state = self.state();
        let sent = receipt.results.iter().flatten().filter_map(|seq| u64::try_from(*seq).ok());
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
        let read = letters(&queue, "ann", text.to_string().as_bytes());
        read.map(|all| all.into_iter().map(|letter| letter.to).collect())
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
