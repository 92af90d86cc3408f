//! Encoder of server messages: replies, pushes, broadcasts, errors and closes, as bytes.
//!
//! Payloads are JSON already and are copied as they are. A broadcast names no subscriber, so it
//! is encoded once for each version and shared by all of them.
//!
//! ```text
//! V2 text    [join_ref, ref, topic, event, payload]
//! V1 text    {"topic", "event", "payload", "ref"}
//! V2 binary  push       0 | len join_ref | len topic | len event | strings | payload
//!            reply      1 | len join_ref | len ref | len topic | len status | strings | payload
//!            broadcast  2 | len topic | len event | strings | payload
//!            the same   4 | len topic | len event | 0 | 0 | strings | payload    to Supabase's
//! ```

mod binary;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use self::binary::{
    FieldTooLong, binary_broadcast, binary_client_push, binary_named_broadcast, binary_push,
    binary_reply,
};
use crate::reference::Ref;
use crate::vsn::Vsn;

/// The bytes of one frame, and how they travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A text frame; the bytes are UTF-8 as long as the payload was.
    Text(Bytes),
    /// A binary frame.
    Binary(Bytes),
}

impl Frame {
    /// Returns the bytes of the frame.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Text(bytes) | Self::Binary(bytes) => bytes,
        }
    }
}

/// Payload of a reply or a push of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// The text of a JSON value.
    Json(Bytes),
    /// Opaque bytes, which travel in a binary frame.
    Binary(Bytes),
}

impl Body {
    /// The bytes, whatever they are.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Json(bytes) | Self::Binary(bytes) => bytes,
        }
    }
}

/// Address of a frame: the join, the request, the topic.
#[derive(Debug, Clone, Copy)]
pub struct Address<'a> {
    /// The join; `None` for broadcasts and for the socket itself.
    pub join_ref: Option<&'a Ref<'a>>,
    /// The request that is answered.
    pub reference: Option<&'a Ref<'a>>,
    /// The topic.
    pub topic: &'a str,
}

/// Encodes a broadcast: one encoding for all subscribers of a version.
#[must_use]
pub fn encode_broadcast(vsn: Vsn, topic: &str, event: &str, payload_json: &[u8]) -> Bytes {
    encode_message(vsn, &Address { join_ref: None, reference: None, topic }, event, payload_json)
}

/// Encodes a push to one channel.
#[must_use]
pub fn encode_push(
    vsn: Vsn,
    join_ref: Option<&Ref<'_>>,
    topic: &str,
    event: &str,
    payload_json: &[u8],
) -> Bytes {
    encode_message(vsn, &Address { join_ref, reference: None, topic }, event, payload_json)
}

/// Encodes the answer to a request.
#[must_use]
pub fn encode_reply(vsn: Vsn, to: &Address<'_>, status: &str, response_json: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(capacity(to, "phx_reply", response_json) + status.len() + 32);
    write_message(&mut out, vsn, to, "phx_reply", |out| {
        out.extend_from_slice(b"{\"status\":");
        write_string(out, status);
        out.extend_from_slice(b",\"response\":");
        out.extend_from_slice(response_json);
        out.push(b'}');
    });
    out.into()
}

/// Encodes the answer to a request that failed, on a topic that is JSON already.
#[must_use]
pub(crate) fn encode_error_reply(
    vsn: Vsn,
    (join_ref, reference): (Option<&Ref<'_>>, Option<&Ref<'_>>),
    topic_json: &str,
    response_json: &[u8],
) -> Bytes {
    let to = Address { join_ref, reference, topic: "" };
    let mut out = Vec::with_capacity(capacity(&to, "phx_reply", response_json));
    let topic = |out: &mut Vec<u8>| out.extend_from_slice(topic_json.as_bytes());
    write_parts(&mut out, vsn, (&to, topic), "phx_reply", |out| {
        out.extend_from_slice(b"{\"status\":\"error\",\"response\":");
        out.extend_from_slice(response_json);
        out.push(b'}');
    });
    out.into()
}

/// Encodes "this channel is over, do not come back".
#[must_use]
pub fn encode_close(vsn: Vsn, channel: &Address<'_>) -> Bytes {
    encode_message(vsn, channel, "phx_close", b"{}")
}

/// Encodes "this channel has failed, join again".
#[must_use]
pub fn encode_error(vsn: Vsn, channel: &Address<'_>) -> Bytes {
    encode_message(vsn, channel, "phx_error", b"{}")
}

/// Encodes any message, as either side would. Clients and the load generator use it too; in
/// version 1 the join_ref does not travel.
#[must_use]
pub fn encode_message(vsn: Vsn, to: &Address<'_>, event: &str, payload_json: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(capacity(to, event, payload_json));
    write_message(&mut out, vsn, to, event, |out| out.extend_from_slice(payload_json));
    out.into()
}

/// Room for the frame unless names need escapes.
fn capacity(to: &Address<'_>, event: &str, payload: &[u8]) -> usize {
    let length = |reference: Option<&Ref<'_>>| reference.map_or(4, |r| r.as_str().len() + 2);
    length(to.join_ref) + length(to.reference) + to.topic.len() + event.len() + payload.len() + 48
}

fn write_message(
    out: &mut Vec<u8>,
    vsn: Vsn,
    to: &Address<'_>,
    event: &str,
    payload: impl FnOnce(&mut Vec<u8>),
) {
    let topic = |out: &mut Vec<u8>| write_string(out, to.topic);
    write_parts(out, vsn, (to, topic), event, payload);
}

fn write_parts(
    out: &mut Vec<u8>,
    vsn: Vsn,
    (to, topic): (&Address<'_>, impl FnOnce(&mut Vec<u8>)),
    event: &str,
    payload: impl FnOnce(&mut Vec<u8>),
) {
    match vsn {
        Vsn::V1 => {
            out.extend_from_slice(b"{\"topic\":");
            topic(out);
            out.extend_from_slice(b",\"event\":");
            write_string(out, event);
            out.extend_from_slice(b",\"payload\":");
            payload(out);
            out.extend_from_slice(b",\"ref\":");
            write_reference(out, to.reference);
            out.push(b'}');
        }
        Vsn::V2 => {
            out.push(b'[');
            write_reference(out, to.join_ref);
            out.push(b',');
            write_reference(out, to.reference);
            out.push(b',');
            topic(out);
            out.push(b',');
            write_string(out, event);
            out.push(b',');
            payload(out);
            out.push(b']');
        }
    }
}

fn write_reference(out: &mut Vec<u8>, reference: Option<&Ref<'_>>) {
    match reference {
        Some(reference) => reference.write_json(out),
        None => out.extend_from_slice(b"null"),
    }
}

/// Appends a JSON string.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut written = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[written..at]);
        written = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&digits);
            }
        }
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}
