//! The frames of the Janus wire, in both directions.
//!
//! ```text
//! client   <regular-socket/> 00 payload 00
//!          <regular-socket/> 00 PUBLISH 00 {…} 00     the last 00 may be missing
//! server   payload 01
//! ```
//!
//! A publisher of old ended its object with nothing and hung up, so what it publishes is complete
//! with the brace that closes it. The answers `PING` and `PONG` need no tag, and empty frames
//! mean nothing. JSON has neither 00 nor 01 in it, so no payload can be taken for two.

use std::borrow::Cow;

use bytes::Bytes;
use instep_model::limits;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Timestamp, Token};
use crate::encode::write_string;

/// Tag at the beginning of each frame of a client.
pub const TAG: &[u8] = b"<regular-socket/>";
/// Terminator of each frame of a client.
pub const CLIENT_END: u8 = 0;
/// Terminator of each frame of the server.
pub const SERVER_END: u8 = 1;
/// The acknowledgement of a request.
pub const ACK: &[u8] = b"ACK\x01";
/// The question whether the client is there; it answers `PONG`.
pub const PING: &[u8] = b"PING\x01";

/// A frame of a client. The bytes are not looked into yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<'a> {
    /// `PING`: the client is there. It is not answered: clients of old take no `PONG`.
    Ping,
    /// `PONG`: the client is still there.
    Pong,
    /// Payload that should be the JSON of a request.
    Request(Cow<'a, [u8]>),
    /// Payload that should be the JSON of a message to publish.
    Publish(Cow<'a, [u8]>),
}

/// Error in decoding a frame. It ends the stream: where the next frame begins is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A frame does not begin with the tag.
    #[error("a frame begins with <regular-socket/> and a zero byte")]
    NoTag,
    /// The frame is larger than the limit.
    #[error("the frame is larger than {} bytes", limits::FRAME_BYTES)]
    FrameTooLarge,
}

impl DecodeError {
    /// The stable code that a client sees.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NoTag => "no_tag",
            Self::FrameTooLarge => "frame_too_large",
        }
    }
}

/// Cuts a stream into frames, wherever the network has cut it. Between frames it owns no memory.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Bytes that have arrived of an unfinished frame.
    begun: Vec<u8>,
    part: StreamPart,
}

/// Part of the stream that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum StreamPart {
    #[default]
    Tag,
    Payload,
    Published(Braces),
    /// Nothing: the stream is broken.
    Broken,
}

impl Decoder {
    /// The next frame of `input`, which moves behind it. With `None` all of `input` is taken in.
    pub fn decode<'a>(&mut self, input: &mut &'a [u8]) -> Option<Result<Frame<'a>, DecodeError>> {
        while !input.is_empty() {
            let decoded = match &mut self.part {
                StreamPart::Broken => {
                    *input = &[];
                    return None;
                }
                StreamPart::Tag => self.take_tag(input),
                StreamPart::Payload => self.take_payload(input),
                StreamPart::Published(braces) => {
                    let end = braces.end_of(input);
                    self.take_published(input, end)
                }
            };
            match decoded {
                Ok(None) => {}
                Ok(Some(frame)) => return Some(Ok(frame)),
                Err(error) => {
                    *self = Self { begun: Vec::new(), part: StreamPart::Broken };
                    *input = &[];
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// Bytes of an unfinished frame that are kept.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.begun.capacity()
    }

    /// A stream that goes wrong here is told at the first wrong byte: there may be no end of it.
    fn take_tag<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Frame<'a>>, DecodeError> {
        let Some(word) = self.take(input, end_of(input), TAG.len())? else {
            let is_begun = |word: &[u8]| word.starts_with(&self.begun);
            let is_known = [TAG, b"PING", b"PONG"].into_iter().any(is_begun);
            return if is_known { Ok(None) } else { Err(DecodeError::NoTag) };
        };
        match &*word {
            TAG => self.part = StreamPart::Payload,
            b"PING" => return Ok(Some(Frame::Ping)),
            b"PONG" => return Ok(Some(Frame::Pong)),
            b"" => {}
            _ => return Err(DecodeError::NoTag),
        }
        Ok(None)
    }

    fn take_payload<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Frame<'a>>, DecodeError> {
        let Some(payload) = self.take(input, end_of(input), limits::FRAME_BYTES)? else {
            return Ok(None);
        };
        self.part = StreamPart::Tag;
        Ok(match &*payload {
            b"" => None,
            b"PING" => Some(Frame::Ping),
            b"PONG" => Some(Frame::Pong),
            b"PUBLISH" => {
                self.part = StreamPart::Published(Braces::default());
                None
            }
            _ => Some(Frame::Request(payload)),
        })
    }

    fn take_published<'a>(
        &mut self,
        input: &mut &'a [u8],
        end: Option<End>,
    ) -> Result<Option<Frame<'a>>, DecodeError> {
        let Some(message) = self.take(input, end, limits::FRAME_BYTES)? else {
            return Ok(None);
        };
        self.part = StreamPart::Tag;
        Ok(Some(Frame::Publish(message)))
    }

    /// The bytes up to `end`, together with those from before; without an end they are kept.
    fn take<'a>(
        &mut self,
        input: &mut &'a [u8],
        end: Option<End>,
        most: usize,
    ) -> Result<Option<Cow<'a, [u8]>>, DecodeError> {
        let End { bytes, skipped } = end.unwrap_or(End { bytes: input.len(), skipped: 0 });
        let too_long = self.begun.len() + bytes > most;
        if too_long {
            let is_tag = self.part == StreamPart::Tag;
            return Err(if is_tag { DecodeError::NoTag } else { DecodeError::FrameTooLarge });
        }
        let (taken, rest) = input.split_at(bytes);
        *input = &rest[skipped..];
        if end.is_some() && self.begun.is_empty() {
            return Ok(Some(Cow::Borrowed(taken)));
        }
        self.begun.extend_from_slice(taken);
        Ok(end.map(|_| Cow::Owned(std::mem::take(&mut self.begun))))
    }
}

/// End of a part of a frame: its length, and the length of the terminator behind it.
#[derive(Debug, Clone, Copy)]
struct End {
    bytes: usize,
    skipped: usize,
}

fn end_of(input: &[u8]) -> Option<End> {
    let end = input.iter().position(|&byte| byte == CLIENT_END);
    end.map(|bytes| End { bytes, skipped: 1 })
}

/// Finds the brace that closes an object, a piece at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Braces {
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// It is no object: only a zero byte ends it.
    other: bool,
}

impl Braces {
    fn end_of(&mut self, input: &[u8]) -> Option<End> {
        for (at, &byte) in input.iter().enumerate() {
            if byte == CLIENT_END {
                return Some(End { bytes: at, skipped: 1 });
            }
            if self.closes(byte) {
                return Some(End { bytes: at + 1, skipped: 0 });
            }
        }
        None
    }

    fn closes(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.other => {}
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_string => self.escaped = true,
            b'"' if self.depth > 0 => self.in_string = !self.in_string,
            _ if self.in_string => {}
            b'{' => self.depth += 1,
            b'}' if self.depth > 0 => {
                self.depth -= 1;
                return self.depth == 0;
            }
            b' ' | b'\t' | b'\n' | b'\r' => {}
            _ if self.depth == 0 => self.other = true,
            _ => {}
        }
        false
    }
}

/// Encodes the first frame of the server.
#[must_use]
pub fn encode_greeting(at: Timestamp, token: Token) -> Bytes {
    format!("{{\"timestamp\":{at},\"token\":\"{token}\"}}\u{1}").into()
}

/// Encodes a message of a live topic, once for all its subscribers.
///
/// `payload` is the JSON object that travels on the topic. One of exactly `message_id` and
/// `data`, as publishers on this wire make it ([`payload_of`]), is taken apart; any other is the
/// data, and the message_id is empty.
#[must_use]
pub fn encode_message(at: Timestamp, topic: &str, event: &str, payload: &[u8]) -> Bytes {
    let parts = serde_json::from_slice(payload).ok();
    let (message_id, data) =
        parts.as_ref().map_or((&b"\"\""[..], payload), |PublishedPayload { message_id, data }| {
            (message_id.get().as_bytes(), data.get().as_bytes())
        });
    let mut out = Vec::with_capacity(topic.len() + event.len() + payload.len() + 96);
    out.extend_from_slice(format!("{{\"timestamp\":{at},\"topic\":").as_bytes());
    write_string(&mut out, topic);
    write_members(&mut out, event, message_id, data);
    out.push(SERVER_END);
    out.into()
}

/// The payload under which a message of this wire travels on its topic.
#[must_use]
pub fn payload_of(message_id: &RawValue, data: &RawValue) -> Bytes {
    let (message_id, data) = (message_id.get(), data.get());
    format!("{{\"message_id\":{message_id},\"data\":{data}}}").into()
}

/// Both parts of a payload. Nothing else may be in it, or something would be lost.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishedPayload<'a> {
    #[serde(borrow)]
    message_id: &'a RawValue,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// Encodes an error, with the topic if it is about one.
#[must_use]
pub fn encode_error(at: Timestamp, code: &str, message: &str, topic: Option<&str>) -> Bytes {
    let mut out = format!("{{\"timestamp\":{at},\"error\":{{\"code\":").into_bytes();
    write_string(&mut out, code);
    out.extend_from_slice(b",\"message\":");
    write_string(&mut out, message);
    if let Some(topic) = topic {
        out.extend_from_slice(b",\"topic\":");
        write_string(&mut out, topic);
    }
    out.extend_from_slice(b"}}\x01");
    out.into()
}

/// Encodes a request as a client sends it.
#[must_use]
pub fn encode_request(action: &str, subject: &str) -> Bytes {
    let mut out = [TAG, &[CLIENT_END], b"{\"action\":"].concat();
    write_string(&mut out, action);
    out.extend_from_slice(b",\"data\":");
    write_string(&mut out, subject);
    out.extend_from_slice(&[b'}', CLIENT_END]);
    out.into()
}

/// Encodes a message to publish as a client sends it. `message_id` and `data` are JSON.
#[must_use]
pub fn encode_publish(topic: &str, event: &str, message_id: &[u8], data: &[u8]) -> Bytes {
    let mut out = [TAG, b"\0PUBLISH\0{\"topic\":"].concat();
    write_string(&mut out, topic);
    write_members(&mut out, event, message_id, data);
    out.push(CLIENT_END);
    out.into()
}

/// The rest of a message, in the order that clients of old compare by.
fn write_members(out: &mut Vec<u8>, event: &str, message_id: &[u8], data: &[u8]) {
    out.extend_from_slice(b",\"event\":");
    write_string(out, event);
    out.extend_from_slice(b",\"message_id\":");
    out.extend_from_slice(message_id);
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(data);
    out.push(b'}');
}

#[cfg(test)]
mod tests;
