//! Binary frames from clients. Every name has one byte of length, so no name can be too long.

use std::borrow::Cow;

use instep_model::limits;
use serde::de::IgnoredAny;

use super::{DecodeError, Message, Named, Payload};
use crate::reference::Ref;

const _: () = assert!(limits::TOPIC_BYTES == 255 && limits::EVENT_BYTES == 255);

const PUSH: u8 = 0;
const NAMED_PUSH: u8 = 3;
const NAMED_EVENT: &str = "broadcast";
/// Encodings of the payload of a named push.
const BYTES: u8 = 0;
const JSON: u8 = 1;

pub(super) fn decode(frame: &[u8]) -> Result<Message<'_>, DecodeError> {
    if frame.len() > limits::FRAME_BYTES {
        return Err(DecodeError::FrameTooLarge);
    }
    match frame.split_first() {
        Some((&PUSH, rest)) => decode_push(rest),
        Some((&NAMED_PUSH, rest)) => decode_named(rest),
        Some((&kind, _)) => Err(DecodeError::UnknownBinaryKind(kind)),
        None => Err(too_short()),
    }
}

fn decode_push(rest: &[u8]) -> Result<Message<'_>, DecodeError> {
    let ([join_ref, reference, topic, event], payload) = texts::<4>(rest, 0)?;
    // An empty ref stays the empty string: it equals no join_ref that a client ever made, so the
    // session takes such a message for a stale one.
    Ok(Message {
        join_ref: Some(Ref::string(join_ref)),
        reference: Some(Ref::string(reference)),
        topic: Cow::Borrowed(topic),
        event: Cow::Borrowed(event),
        payload: Payload::Binary(payload),
    })
}

/// Here an empty ref is none: that is how the client writes null. Bytes have no place in the object
/// of a `broadcast`, so that they are a push of their name, and the metadata is dropped.
fn decode_named(rest: &[u8]) -> Result<Message<'_>, DecodeError> {
    let ([join_ref, reference, topic, name, meta], payload) = texts::<5>(rest, 1)?;
    let some = |text| (!str::is_empty(text)).then(|| Ref::string(text));
    let message = Message {
        join_ref: some(join_ref),
        reference: some(reference),
        topic: Cow::Borrowed(topic),
        event: Cow::Borrowed(name),
        payload: Payload::Binary(payload),
    };
    match rest[5] {
        BYTES => return Ok(message),
        JSON => {}
        encoding => {
            let why = format!("a broadcast of kind 3 carries bytes or JSON, not {encoding}");
            return Err(DecodeError::BadFrame(why));
        }
    }
    let payload = std::str::from_utf8(payload).map_err(|_| DecodeError::BadUtf8)?;
    check_json(payload)?;
    if !meta.is_empty() {
        check_json(meta)?;
        if !meta.starts_with('{') {
            return Err(DecodeError::BadFrame("the metadata must be a JSON object".to_owned()));
        }
    }
    let payload = Payload::Named(Named { name, meta, payload });
    Ok(Message { event: Cow::Borrowed(NAMED_EVENT), payload, ..message })
}

fn check_json(text: &str) -> Result<(), DecodeError> {
    let IgnoredAny =
        serde_json::from_str(text).map_err(|error| DecodeError::BadJson(error.to_string()))?;
    Ok(())
}

/// Strings behind their lengths and `skipped` bytes more, and what follows them.
fn texts<const N: usize>(frame: &[u8], skipped: usize) -> Result<([&str; N], &[u8]), DecodeError> {
    let (lengths, rest) = frame.split_first_chunk::<N>().ok_or_else(too_short)?;
    let mut rest = rest.get(skipped..).ok_or_else(too_short)?;
    let mut texts = [""; N];
    for (text, length) in texts.iter_mut().zip(lengths) {
        let (bytes, after) = rest.split_at_checked(usize::from(*length)).ok_or_else(too_short)?;
        rest = after;
        *text = std::str::from_utf8(bytes).map_err(|_| DecodeError::BadUtf8)?;
    }
    Ok((texts, rest))
}

fn too_short() -> DecodeError {
    DecodeError::BadFrame("the binary frame ends before its header does".to_owned())
}
