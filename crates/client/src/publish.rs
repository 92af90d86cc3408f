//! Publishing to live topics.

use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::backoff::Backoff;
use crate::error::Error;
use crate::http::Client;

/// Most times that messages with ids are sent.
const ATTEMPTS: u32 = 8;
/// Waits between two of them: some six seconds in all.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Message for all subscribers of a live topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// The topic.
    pub topic: String,
    /// The event.
    pub event: String,
    /// The payload, a JSON object.
    pub payload: Value,
    /// An id of your own: the same one on the same topic publishes once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// The reply to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Subscribers that had joined the topic.
    pub subscribers: u64,
    /// Identity of the topic since it came to be; none when it had no subscribers and nothing is
    /// kept.
    pub epoch: Option<String>,
    /// The message's number in the epoch.
    pub offset: Option<u64>,
    /// A message with the same id had been published before; now nothing was.
    pub replayed: bool,
}

#[derive(Deserialize)]
struct Results {
    results: Vec<Published>,
}

impl Client {
    /// Publishes to a live topic.
    ///
    /// # Errors
    /// [`Error::Refused`] with `unmatched_topic`, `payload_too_large`, `bad_event` …
    pub async fn publish(
        &self,
        topic: &str,
        event: &str,
        payload: &Value,
    ) -> Result<Published, Error> {
        let body = json!({"event": event, "payload": payload});
        self.request(Method::POST, &["v1", "topics", topic], Some(&body)).await
    }

    /// Publishes messages in their order: all of them, or none when one is refused. If all have
    /// ids they are sent again when the answer is lost, and take effect once all the same.
    ///
    /// # Errors
    /// [`Error::Refused`] with `unmatched_topic`, `payload_too_large`, `bad_event`,
    /// `too_many_messages`, `id_conflict` …
    pub async fn publish_all(&self, messages: &[Message]) -> Result<Vec<Published>, Error> {
        let body = json!({ "messages": messages });
        let may_repeat = messages.iter().all(|message| message.id.is_some());
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            match self.request::<Results>(Method::POST, &["v1", "topics"], Some(&body)).await {
                Ok(Results { results }) => return Ok(results),
                Err(error)
                    if may_repeat
                        && error.is_transient()
                        && !matches!(error, Error::Unreachable { .. })
                        && backoff.attempts() + 1 < ATTEMPTS =>
                {
                    tokio::time::sleep(backoff.next_wait()).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}
