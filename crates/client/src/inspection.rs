//! Connections and topics of a server: principals, subscriptions and lag.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::http::Client;

/// Connections of a server, the furthest behind first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Connections in all.
    pub count: u64,
    /// Connections listed, at most as many as were asked for.
    pub connections: Vec<ConnectionStatus>,
}

/// A connection of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// Its name while it lasts.
    pub id: String,
    /// `websocket`, `tcp`, `janus` or `longpoll`.
    pub door: String,
    /// The other end.
    pub peer: Option<String>,
    /// Principal, as far as it was authenticated.
    pub principal: String,
    /// User agent, as the client gives it.
    pub user_agent: Option<String>,
    /// Milliseconds since it came.
    pub age_ms: u64,
    /// Frames that it is behind on the topic where it is the furthest.
    pub lag_frames: u64,
    /// Bytes that wait for its socket.
    pub waiting_bytes: u64,
    /// Milliseconds since its socket last took something, while something waits.
    pub blocked_ms: Option<u64>,
    /// Topics joined.
    pub topics: Vec<JoinedTopic>,
}

/// A topic that a connection has joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedTopic {
    /// The topic.
    pub topic: String,
    /// Frames that the connection has not been given.
    pub lag_frames: u64,
}

/// Topics of a server, in descending order of subscribers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topics {
    /// Topics in all.
    pub count: u64,
    /// Topics listed, at most as many as were asked for.
    pub topics: Vec<TopicStatus>,
}

/// A topic of a server that is joined, or kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicStatus {
    /// The topic.
    pub topic: String,
    /// Subscribers.
    pub subscribers: u64,
    /// Frames that it keeps.
    pub frames: u64,
    /// Bytes of them.
    pub bytes: u64,
}

impl Client {
    /// Reads the connections: at most `top`, the furthest behind first.
    ///
    /// # Errors
    /// [`Error::Refused`] with `key_required` or `forbidden`.
    pub async fn connections(&self, top: usize) -> Result<Connections, Error> {
        self.top("connections", top).await
    }

    /// Topics that are joined or kept: at most `top`, in descending order of subscribers.
    ///
    /// # Errors
    /// [`Error::Refused`] with `key_required` or `forbidden`.
    pub async fn topics(&self, top: usize) -> Result<Topics, Error> {
        self.top("topics", top).await
    }

    /// A connection by its id, or a long-poll session by its token.
    ///
    /// # Errors
    /// [`Error::Refused`] with `unknown_session` when it is not, or no longer, there.
    pub async fn session(&self, id: &str) -> Result<ConnectionStatus, Error> {
        self.request(Method::GET, &["v1", "sessions", id], None).await
    }

    async fn top<T: serde::de::DeserializeOwned>(
        &self,
        what: &str,
        top: usize,
    ) -> Result<T, Error> {
        let mut url = self.url(&["v1", what])?;
        url.query_pairs_mut().append_pair("top", &top.to_string());
        self.read(self.send(Method::GET, url, None).await?).await
    }
}
