//! A message from a client, read from a text or a binary frame.
//!
//! ```text
//! V2 text    [join_ref, ref, topic, event, payload]            further elements are ignored
//! V1 text    {"topic", "event", "payload", "ref", "join_ref"}  further keys are ignored
//! V2 binary  0 | len join_ref | len ref | len topic | len event | the four strings | payload
//!            3 | len join_ref | len ref | len topic | len name | len meta | 1 | the five | JSON
//! ```
//!
//! Kind 3 is how `@supabase/realtime-js` packs `{"type":"broadcast","event":name,"payload":…}`, and
//! it means just that.
//!
//! Nothing is copied: a message borrows from its frame, and its payload is not looked into beyond
//! being a well-formed JSON object.

mod binary;
#[cfg(test)]
mod tests;
mod text;

use std::borrow::Cow;

use instep_model::limits::{self, REF_BYTES};
use instep_model::reserved;

use crate::encode::write_string;
use crate::reference::Ref;
use crate::vsn::Vsn;

/// The topic of the socket itself; no channel lives there.
pub const SOCKET_TOPIC: &str = "phoenix";

/// Message of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<'a> {
    /// The join that the message belongs to, if the client says so.
    pub join_ref: Option<Ref<'a>>,
    /// The name of the request; its answer carries it back.
    pub reference: Option<Ref<'a>>,
    /// The topic.
    pub topic: Cow<'a, str>,
    /// The event.
    pub event: Cow<'a, str>,
    /// The payload.
    pub payload: Payload<'a>,
}

/// Payload of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload<'a> {
    /// The text of a JSON object.
    Json(&'a str),
    /// Opaque bytes, from a binary frame.
    Binary(&'a [u8]),
    /// A JSON object in parts, from a binary frame.
    Named(Named<'a>),
}

/// A payload that has a name of its own within the event `broadcast`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named<'a> {
    /// The name.
    pub name: &'a str,
    /// The text of a JSON object, or nothing.
    pub meta: &'a str,
    /// The text of a JSON value.
    pub payload: &'a str,
}

impl Named<'_> {
    /// The object that the parts stand for, as a text frame would carry it.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = b"{\"type\":\"broadcast\",\"event\":".to_vec();
        write_string(&mut out, self.name);
        if !self.meta.is_empty() {
            out.extend_from_slice(b",\"meta\":");
            out.extend_from_slice(self.meta.as_bytes());
        }
        out.extend_from_slice(b",\"payload\":");
        out.extend_from_slice(self.payload.as_bytes());
        out.push(b'}');
        out
    }
}

/// Error in decoding a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The text is not JSON.
    #[error("the frame is not JSON: {0}")]
    BadJson(String),
    /// It is JSON, but not of the form of a message.
    #[error("the frame is not a message: {0}")]
    BadFrame(String),
    /// A text, or a name in a binary frame, is not UTF-8.
    #[error("the frame is not UTF-8")]
    BadUtf8,
    /// A line of long-poll is neither a text frame nor base64.
    #[error("the line is neither a text frame nor base64")]
    BadBase64,
    /// The frame is larger than the limit.
    #[error("the frame is larger than {} bytes", limits::FRAME_BYTES)]
    FrameTooLarge,
    /// The ref or the join_ref is too long.
    #[error("a ref is longer than {REF_BYTES} bytes")]
    RefTooLong,
    /// The topic is too long.
    #[error("the topic is longer than {} bytes", limits::TOPIC_BYTES)]
    TopicTooLong,
    /// The name of the event is too long.
    #[error("the event is longer than {} bytes", limits::EVENT_BYTES)]
    EventTooLong,
    /// The payload is JSON, but not an object.
    #[error("the payload must be a JSON object")]
    PayloadNotObject,
    /// The first byte of a binary frame is none that clients may send.
    #[error("binary frames of kind {0} are not accepted")]
    UnknownBinaryKind(u8),
}

impl DecodeError {
    /// The stable code that a client sees.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadJson(_) => "bad_json",
            Self::BadFrame(_) => "bad_frame",
            Self::BadUtf8 => "bad_utf8",
            Self::BadBase64 => "bad_base64",
            Self::FrameTooLarge => "frame_too_large",
            Self::RefTooLong => "ref_too_long",
            Self::TopicTooLong => "topic_too_long",
            Self::EventTooLong => "event_too_long",
            Self::PayloadNotObject => "payload_not_object",
            Self::UnknownBinaryKind(_) => "unknown_binary_kind",
        }
    }
}

/// A frame that is not a message, with the request it meant to make as far as that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Rejected {
    /// Error in the frame.
    pub error: DecodeError,
    /// Request to answer; `None` when no ref and topic could be read.
    pub origin: Option<Box<Origin>>,
}

/// The request that a rejected frame meant to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The join that the request belongs to.
    pub join_ref: Option<Ref<'static>>,
    /// The name of the request.
    pub reference: Ref<'static>,
    /// The topic; empty when no text can hold it.
    pub topic: String,
    /// The topic as the client sent it, as JSON, when no text can hold it: half of a surrogate
    /// pair. The client knows it again.
    pub topic_json: Option<String>,
}

impl From<DecodeError> for Rejected {
    fn from(error: DecodeError) -> Self {
        Self { error, origin: None }
    }
}

/// Reads a text frame.
///
/// # Errors
/// [`Rejected`] when the text is not a message or is beyond a limit.
pub fn decode_text(vsn: Vsn, frame: &str) -> Result<Message<'_>, Rejected> {
    text::decode(vsn, frame)
}

/// Reads a binary frame.
///
/// # Errors
/// [`Rejected`] when the bytes are not a message or are beyond a limit.
pub fn decode_binary(vsn: Vsn, frame: &[u8]) -> Result<Message<'_>, Rejected> {
    match vsn {
        // Version 1 has no binary messages: as in Phoenix, it is JSON however it travels.
        Vsn::V1 => text::decode(vsn, std::str::from_utf8(frame).map_err(|_| DecodeError::BadUtf8)?),
        Vsn::V2 => Ok(binary::decode(frame)?),
    }
}

/// Returns true if the event belongs to the protocol, so that no client may push it. A publish is
/// held to the longer list of [`reserved::is_event`].
#[must_use]
pub fn is_reserved_event(event: &str) -> bool {
    reserved::is_protocol_event(event)
}
