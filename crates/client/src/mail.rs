//! Mail: sending, looking, moving, and taking it without a socket.

use instep_model::mail::Seq;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::Error;
use crate::http::Client;

/// A message to be sent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewMessage {
    /// The endpoint, `kind/id`.
    pub to: String,
    /// The body, any JSON.
    pub body: Value,
    /// Permanent id, a UUID, which makes sending idempotent: the same one is stored once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Higher ones are given first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Time to live, in milliseconds: a message that is undelivered then ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// Earliest time of delivery, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<u64>,
}

/// A message that was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Its number in the dataset.
    pub seq: Seq,
    /// Its permanent id.
    pub id: String,
    /// The server that it is routed to.
    #[serde(default)]
    pub server: Option<String>,
}

/// A message and how it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MessageStatus {
    /// Its number in the dataset.
    pub seq: Seq,
    /// Its permanent id.
    pub id: String,
    /// Its queue.
    pub queue: String,
    /// The endpoint.
    pub to: String,
    /// The server that it is routed to.
    pub server: Option<String>,
    /// `pending`, `delayed`, `unrouted`, `dead`, `confirmed`, `expired` …
    pub state: String,
    /// Other fields of the server's answer.
    #[serde(flatten)]
    pub more: serde_json::Map<String, Value>,
}

/// Some messages, in the order of their numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MessagePage {
    /// The messages.
    pub messages: Vec<MessageStatus>,
    /// Pass it as `after` for the next page; none on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Seq>,
}

/// Filter for messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageQuery {
    /// Endpoint.
    pub endpoint: Option<String>,
    /// Server that they are routed to.
    pub server: Option<String>,
    /// State.
    pub state: Option<String>,
    /// Minimum age, in milliseconds.
    pub older_than_ms: Option<u64>,
    /// Number behind which the page begins.
    pub after: Option<Seq>,
    /// Messages on the page.
    pub limit: Option<usize>,
}

/// A server and its mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// The server.
    pub server: String,
    /// Messages that are routed to it and not finished.
    pub pending: u64,
    /// Milliseconds since the oldest of them was stored.
    pub oldest_ms: Option<u64>,
    /// True while a registration takes its mail.
    pub registered: bool,
    /// Generation of its newest registration.
    pub generation: u64,
}

/// Result of a move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// The endpoint.
    pub endpoint: String,
    /// Previous server.
    pub from: Option<String>,
    /// New server.
    pub to: String,
    /// The generation of its route.
    pub generation: u64,
    /// Complete up to here.
    pub position: String,
}

/// Result of one turn of routing messages that had no route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfilled {
    /// Messages that have a route now.
    pub routed: u64,
    /// Messages that have none, and why.
    pub failed: Vec<Unroutable>,
    /// Pass it as `after` for the next turn; none when everything was looked at.
    pub next: Option<Seq>,
}

/// A message for which there is no route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unroutable {
    /// Its number.
    pub seq: Seq,
    /// Its endpoint.
    pub to: String,
    /// Reason why there is none.
    pub reason: String,
}

/// An endpoint whose messages are routed elsewhere than its route says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stale {
    /// The endpoint.
    pub endpoint: String,
    /// Server that its messages are routed to.
    pub stored: Option<String>,
    /// Server that they would be routed to now.
    pub mapped: Option<String>,
    /// Number of those messages.
    pub messages: u64,
    /// Command that routes them anew: `move` or `readdress`; none while there is no route.
    #[serde(default)]
    pub way: Option<String>,
}

/// An endpoint whose messages have its route of now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readdressed {
    /// The endpoint.
    pub endpoint: String,
    /// Its server.
    pub to: Option<String>,
    /// The generation of its route.
    pub generation: u64,
    /// Complete up to here.
    pub position: String,
}

/// Messages taken over HTTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pulled {
    /// Show it with the next pull and with every answer.
    pub registration: u64,
    /// The messages.
    pub messages: Vec<Taken>,
    /// Messages of earlier pulls about which nothing was said: say it with the answers, `ack` or
    /// `not`.
    #[serde(default)]
    pub ask: Vec<Seq>,
}

/// A message that a server works on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Taken {
    /// Its number in the dataset.
    pub seq: Seq,
    /// Its permanent id.
    pub id: String,
    /// Its queue.
    pub queue: String,
    /// The endpoint.
    pub to: String,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Duration of the lease, in milliseconds from when the message was given.
    pub lease_ms: u64,
    /// End of the lease, in milliseconds since 1970 by the server's clock.
    pub lease_until: u64,
    /// The body.
    pub body: Value,
}

/// Answers of a server about messages: acks, nacks and rejections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// The registration.
    pub registration: u64,
    /// Messages that are done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ack: Vec<Seq>,
    /// Messages to be given again later.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nack: Vec<Nack>,
    /// Messages that are never to be given again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reject: Vec<Reject>,
    /// Messages that were asked about and did not arrive: given again, in their places.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not: Vec<Seq>,
}

/// Negative acknowledgement: the message is given again later.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nack {
    /// The message.
    pub seq: Seq,
    /// Delay until the retry, in milliseconds.
    #[serde(default)]
    pub delay_ms: u64,
    /// True for a failed attempt, which counts.
    #[serde(default)]
    pub failed: bool,
}

/// Rejection: the message becomes a dead letter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// The message.
    pub seq: Seq,
    /// Reason of the rejection.
    pub reason: String,
}

/// Outcome of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The message.
    pub seq: Seq,
    /// `ok`, `done` when it had ended already, or why the answer was refused: `fenced`,
    /// `not_yours`, `unknown_message`, `not_given`.
    pub outcome: String,
}

#[derive(Deserialize)]
struct SentAll {
    messages: Vec<Sent>,
}

#[derive(Deserialize)]
struct AnsweredAll {
    outcomes: Vec<Answered>,
}

#[derive(Deserialize)]
struct Servers<T> {
    servers: Vec<T>,
}

#[derive(Deserialize)]
struct AuditReply {
    stale: Vec<Stale>,
}

impl Client {
    /// Creates a queue; no error when it exists.
    ///
    /// # Errors
    /// [`Error::Refused`] with `bad_name`, `unknown_dataset` …
    pub async fn create_queue(&self, dataset: &str, queue: &str) -> Result<(), Error> {
        let path = ["v1", "datasets", dataset, "queues", queue];
        self.request::<Value>(Method::PUT, &path, None).await.map(drop)
    }

    /// Status of a dataset's mail: its queues with their counters, and its faults.
    ///
    /// # Errors
    /// [`Error::Refused`] with `unknown_dataset` …
    pub async fn mail(&self, dataset: &str) -> Result<Value, Error> {
        self.request(Method::GET, &["v1", "datasets", dataset, "mail"], None).await
    }

    /// Sends messages: all of them are stored, or none.
    ///
    /// # Errors
    /// [`Error::Refused`] with `no_route`, `bad_endpoint`, `message_too_large`, `unknown_queue` …
    pub async fn send_mail(
        &self,
        dataset: &str,
        queue: &str,
        letters: &[NewMessage],
    ) -> Result<Vec<Sent>, Error> {
        let path = ["v1", "datasets", dataset, "queues", queue, "messages"];
        let body = json!({"messages": letters});
        let sent: SentAll = self.request(Method::POST, &path, Some(&body)).await?;
        Ok(sent.messages)
    }

    /// Messages that fit a query.
    ///
    /// # Errors
    /// [`Error::Refused`] with `unknown_queue`, `bad_query` …
    pub async fn messages(
        &self,
        dataset: &str,
        queue: &str,
        query: &MessageQuery,
    ) -> Result<MessagePage, Error> {
        let mut url = self.url(&["v1", "datasets", dataset, "queues", queue, "messages"])?;
        let MessageQuery { endpoint, server, state, older_than_ms, after, limit } = query;
        let pairs = [
            ("endpoint", endpoint.clone()),
            ("server", server.clone()),
            ("state", state.clone()),
            ("older_than_ms", older_than_ms.map(|ms| ms.to_string())),
            ("after", after.map(|seq| seq.to_string())),
            ("limit", limit.map(|limit| limit.to_string())),
        ];
        for (name, value) in pairs {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, &value);
            }
        }
        self.read(self.send(Method::GET, url, None).await?).await
    }

    /// A message by its number or its id, with its body while there is one.
    ///
    /// # Errors
    /// [`Error::Refused`] with `unknown_message` …
    pub async fn message(&self, dataset: &str, queue: &str, name: &str) -> Result<Value, Error> {
        let path = ["v1", "datasets", dataset, "queues", queue, "messages", name];
        self.request(Method::GET, &path, None).await
    }

    /// Queues a dead letter again.
    ///
    /// # Errors
    /// [`Error::Refused`] with `unknown_message`, `no_route` …
    pub async fn retry_message(
        &self,
        dataset: &str,
        queue: &str,
        name: &str,
    ) -> Result<Value, Error> {
        let path = ["v1", "datasets", dataset, "queues", queue, "messages", name, "retry"];
        self.request(Method::POST, &path, None).await
    }

    /// The ids of servers that have mail or have registered.
    ///
    /// # Errors
    /// [`Error::Refused`] with `unknown_dataset` …
    pub async fn mail_servers(&self, dataset: &str) -> Result<Vec<String>, Error> {
        let path = ["v1", "datasets", dataset, "servers"];
        let all: Servers<String> = self.request(Method::GET, &path, None).await?;
        Ok(all.servers)
    }

    /// The servers that have mail or have registered, and how they are.
    ///
    /// # Errors
    /// [`Error::Refused`] with `unknown_dataset` …
    pub async fn mail_servers_in_detail(&self, dataset: &str) -> Result<Vec<ServerStatus>, Error> {
        let mut url = self.url(&["v1", "datasets", dataset, "servers"])?;
        url.query_pairs_mut().append_pair("detail", "true");
        let response = self.send(Method::GET, url, None).await?;
        let all: Servers<ServerStatus> = self.read(response).await?;
        Ok(all.servers)
    }

    /// Moves an endpoint to a server, with its unfinished messages: from then on the old server's
    /// confirmations are refused.
    ///
    /// # Errors
    /// [`Error::Refused`] with `bad_endpoint`, `not_movable`, `condition_failed` …
    pub async fn move_endpoint(
        &self,
        dataset: &str,
        endpoint: &str,
        to: &str,
        generation: Option<u64>,
    ) -> Result<Moved, Error> {
        let body = json!({"endpoint": endpoint, "to": to, "generation": generation});
        self.request(Method::POST, &["v1", "datasets", dataset, "moves"], Some(&body)).await
    }

    /// Gives messages without a route theirs, behind number `after`.
    ///
    /// # Errors
    /// [`Error::Refused`] with `unknown_queue` …
    pub async fn backfill(
        &self,
        dataset: &str,
        queue: &str,
        after: Option<Seq>,
    ) -> Result<Backfilled, Error> {
        let path = ["v1", "datasets", dataset, "queues", queue, "backfill"];
        self.request(Method::POST, &path, Some(&json!({"after": after}))).await
    }

    /// Stores messages without looking at their routes: they wait for a backfill.
    ///
    /// # Errors
    /// [`Error::Refused`] with `bad_endpoint`, `unknown_queue` …
    pub async fn import_mail(
        &self,
        dataset: &str,
        queue: &str,
        letters: &[NewMessage],
    ) -> Result<Vec<Sent>, Error> {
        let path = ["v1", "datasets", dataset, "queues", queue, "import"];
        let body = json!({"messages": letters});
        let sent: SentAll = self.request(Method::POST, &path, Some(&body)).await?;
        Ok(sent.messages)
    }

    /// Endpoints whose messages are routed elsewhere than the directory says now.
    ///
    /// # Errors
    /// [`Error::Refused`] with `unknown_dataset` …
    pub async fn audit_mail(&self, dataset: &str) -> Result<Vec<Stale>, Error> {
        let audit: AuditReply =
            self.request(Method::GET, &["v1", "datasets", dataset, "audit"], None).await?;
        Ok(audit.stale)
    }

    /// Gives the unfinished messages of an endpoint the route that it has now: for a mapping that
    /// has changed.
    ///
    /// # Errors
    /// [`Error::Refused`] with `no_route`, `bad_endpoint` …
    pub async fn readdress(&self, dataset: &str, endpoint: &str) -> Result<Readdressed, Error> {
        let body = json!({"endpoint": endpoint});
        let path = ["v1", "datasets", dataset, "readdress"];
        self.request(Method::POST, &path, Some(&body)).await
    }

    /// Takes up to `max` messages of a server, and waits up to `wait_ms` for the first. Without a
    /// `registration` a new one replaces the server's present one.
    ///
    /// # Errors
    /// [`Error::Refused`] with `fenced` when another registration has taken over,
    /// `not_registered` when there was no such registration …
    pub async fn pull(
        &self,
        dataset: &str,
        server: &str,
        registration: Option<u64>,
        (max, wait_ms): (usize, u64),
    ) -> Result<Pulled, Error> {
        let path = ["v1", "datasets", dataset, "servers", server, "pull"];
        let body = json!({"registration": registration, "max": max, "wait_ms": wait_ms});
        self.request(Method::POST, &path, Some(&body)).await
    }

    /// Answers messages that were pulled: acks, nacks and rejections.
    ///
    /// # Errors
    /// [`Error::Refused`] with `bad_json` …; what became of each message is in the outcomes.
    pub async fn answer_mail(
        &self,
        dataset: &str,
        server: &str,
        answers: &Answers,
    ) -> Result<Vec<Answered>, Error> {
        let path = ["v1", "datasets", dataset, "servers", server, "answers"];
        let all: AnsweredAll = self.request(Method::POST, &path, Some(&json!(answers))).await?;
        Ok(all.outcomes)
    }
}
