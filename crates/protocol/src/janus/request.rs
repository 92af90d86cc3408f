//! Requests of clients, one in a frame. The keys of their JSON come in any order.
//!
//! ```text
//! {"action":"subscribe"|"unsubscribe","data":topic}    answered by ACK
//! {"action":"attach","data":token}                     answered by ACK and the missed messages
//! {"topic","event","message_id","data"}                after PUBLISH; then the server hangs up
//! ```
//!
//! Each of them may have a `key` as well: the secret of a client with more rights.

use std::borrow::Cow;

use bytes::Bytes;
use instep_model::limits;
use instep_model::reserved;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::Token;
use super::codec::payload_of;
use crate::reference::string_of;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// Action that is requested.
    pub action: Action<'a>,
    /// The secret that the client shows.
    pub key: Option<Cow<'a, str>>,
}

/// Action of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<'a> {
    /// Messages of this topic.
    Subscribe(Cow<'a, str>),
    /// No more messages of this topic.
    Unsubscribe(Cow<'a, str>),
    /// The session of this token.
    Attach(Token),
}

/// A message to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The topic.
    pub topic: Cow<'a, str>,
    /// The event.
    pub event: Cow<'a, str>,
    /// The JSON object that travels on the topic: message_id and data.
    pub payload: Bytes,
    /// The secret that the client shows.
    pub key: Option<Cow<'a, str>>,
}

/// Error in a frame that is no valid request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The payload is not UTF-8.
    #[error("the frame is not UTF-8")]
    BadUtf8,
    /// The payload is not JSON.
    #[error("the frame is not JSON: {0}")]
    BadJson(String),
    /// It is JSON, but not of the form of a request.
    #[error("the frame is no request: {0}")]
    BadFrame(String),
    /// Unknown action.
    #[error("the actions are subscribe, unsubscribe and attach")]
    UnknownAction,
    /// A topic has a name.
    #[error("the topic is empty")]
    TopicEmpty,
    /// The topic is too long.
    #[error("the topic is longer than {} bytes", limits::TOPIC_BYTES)]
    TopicTooLong,
    /// The name of the event is too long.
    #[error("the event is longer than {} bytes", limits::EVENT_BYTES)]
    EventTooLong,
    /// Only the server says this event.
    #[error("events that begin with phx_ or chan_reply_ are the server's")]
    ReservedEvent,
    /// The secret is too long.
    #[error("the key is longer than {} bytes", limits::JANUS_KEY_BYTES)]
    KeyTooLong,
    /// The text names no session, and never did.
    #[error("a token is 32 hexadecimal digits")]
    BadToken,
}

impl Rejected {
    /// The stable code that a client sees.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadUtf8 => "bad_utf8",
            Self::BadJson(_) => "bad_json",
            Self::BadFrame(_) => "bad_frame",
            Self::UnknownAction => "unknown_action",
            Self::TopicEmpty => "topic_empty",
            Self::TopicTooLong => "topic_too_long",
            Self::EventTooLong => "event_too_long",
            Self::ReservedEvent => "reserved_event",
            Self::KeyTooLong => "key_too_long",
            Self::BadToken => "bad_token",
        }
    }

    /// Returns true if the frame cannot be understood at all, so that the connection is closed.
    #[must_use]
    pub fn is_nonsense(&self) -> bool {
        matches!(self, Self::BadUtf8 | Self::BadJson(_))
    }
}

/// Reads a request.
///
/// # Errors
/// [`Rejected`] when the bytes are not a request or are beyond a limit.
pub fn read_request(payload: &[u8]) -> Result<Request<'_>, Rejected> {
    let RequestJson { action, data, key } = read(payload)?;
    let subject = || {
        let wrong = || Rejected::BadFrame("data must be a string".to_owned());
        data.and_then(string_of).ok_or_else(wrong)
    };
    let action = match &*action {
        "subscribe" => Action::Subscribe(topic(subject()?)?),
        "unsubscribe" => Action::Unsubscribe(topic(subject()?)?),
        "attach" => Action::Attach(Token::parse(&subject()?).ok_or(Rejected::BadToken)?),
        _ => return Err(Rejected::UnknownAction),
    };
    Ok(Request { action, key: bounded(key)? })
}

/// Reads a message to publish.
///
/// # Errors
/// [`Rejected`] when the bytes are not a message or are beyond a limit.
pub fn read_publish(payload: &[u8]) -> Result<Publish<'_>, Rejected> {
    let PublishJson { topic: name, event, message_id, data, key } = read(payload)?;
    if event.len() > limits::EVENT_BYTES {
        return Err(Rejected::EventTooLong);
    }
    if reserved::is_event(&event) {
        return Err(Rejected::ReservedEvent);
    }
    let payload = payload_of(message_id, data);
    Ok(Publish { topic: topic(name)?, event, payload, key: bounded(key)? })
}

#[derive(Deserialize)]
struct RequestJson<'a> {
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct PublishJson<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    message_id: &'a RawValue,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
}

fn read<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Rejected> {
    let rejected = |error: serde_json::Error| match error.classify() {
        Category::Data => Rejected::BadFrame(error.to_string()),
        Category::Io | Category::Syntax | Category::Eof => Rejected::BadJson(error.to_string()),
    };
    let text = std::str::from_utf8(payload).map_err(|_| Rejected::BadUtf8)?;
    // A list would do for the fields of a struct, but names are what makes this readable.
    if !text.trim_start().starts_with('{') {
        let IgnoredAny = serde_json::from_str(text).map_err(rejected)?;
        return Err(Rejected::BadFrame("it must be an object".to_owned()));
    }
    serde_json::from_str(text).map_err(rejected)
}

fn topic(name: Cow<'_, str>) -> Result<Cow<'_, str>, Rejected> {
    match name.len() {
        0 => Err(Rejected::TopicEmpty),
        bytes if bytes > limits::TOPIC_BYTES => Err(Rejected::TopicTooLong),
        _ => Ok(name),
    }
}

fn bounded(key: Option<Cow<'_, str>>) -> Result<Option<Cow<'_, str>>, Rejected> {
    match key {
        Some(key) if key.len() > limits::JANUS_KEY_BYTES => Err(Rejected::KeyTooLong),
        key => Ok(key),
    }
}
