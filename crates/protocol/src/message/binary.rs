//! Binary frames from clients. Every name has one byte of length, so no name can be too long.

use std::borrow::Cow;

use instep_model::limits;

use super::{DecodeError, Message, Payload};
use crate::reference::Ref;

const _: () = assert!(limits::TOPIC_BYTES == 255 && limits::EVENT_BYTES == 255);

pub(super) fn decode(frame: &[u8]) -> Result<Message<'_>, DecodeError> {
    if frame.len() > limits::FRAME_BYTES {
        return Err(DecodeError::FrameTooLarge);
    }
    let (&kind, rest) = frame.split_first().ok_or_else(too_short)?;
    if kind != 0 {
        return Err(DecodeError::UnknownBinaryKind(kind));
    }
    let (&[join_ref, reference, topic, event], mut rest) =
        rest.split_first_chunk::<4>().ok_or_else(too_short)?;
    let mut text = |length: u8| {
        let (text, after) = rest.split_at_checked(usize::from(length)).ok_or_else(too_short)?;
        rest = after;
        std::str::from_utf8(text).map_err(|_| DecodeError::BadUtf8)
    };
    // An empty ref stays the empty string: it equals no join_ref that a client ever made, so the
    // session takes such a message for a stale one.
    Ok(Message {
        join_ref: Some(Ref::string(text(join_ref)?)),
        reference: Some(Ref::string(text(reference)?)),
        topic: Cow::Borrowed(text(topic)?),
        event: Cow::Borrowed(text(event)?),
        payload: Payload::Binary(rest),
    })
}

fn too_short() -> DecodeError {
    DecodeError::BadFrame("the binary frame ends before its header does".to_owned())
}
