//! Phoenix Channels V2 as JSON, and the four bytes of length in front of it over TCP.

use memchr::memmem;

use super::{Found, Kind, mark};

pub(crate) const HEARTBEAT: &[u8] = br#"[null,"h","phoenix","heartbeat",{}]"#;

/// A name is at most 255 bytes, so the event begins early; the rest of a frame is payload.
const HEAD: usize = 600;

pub(crate) fn join(topic: &str) -> String {
    format!(r#"["1","1","{topic}","phx_join",{{}}]"#)
}

/// Bytes before and after the payload of a push that wants no reply.
pub(crate) fn around(topic: &str) -> (Vec<u8>, Vec<u8>) {
    (format!(r#"["1",null,"{topic}","m","#).into_bytes(), b"]".to_vec())
}

pub(crate) fn with_length(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], body].concat()
}

#[inline]
pub(crate) fn find(bytes: &[u8], hint: &mut usize) -> Found {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Found::Part };
    let length = u32::from_be_bytes(*length) as usize;
    match rest.get(..length) {
        Some(_) => Found::Frame(4 + length, kind(&bytes[..4 + length], 4, hint)),
        None => Found::Part,
    }
}

/// Meaning of a whole frame whose message begins at `body`.
#[inline]
pub(crate) fn kind(frame: &[u8], body: usize, hint: &mut usize) -> Kind {
    match mark(frame, body, hint) {
        Some(mark) => Kind::Message(mark),
        None => kind_of_control(&frame[body..]),
    }
}

fn kind_of_control(message: &[u8]) -> Kind {
    let head = &message[..message.len().min(HEAD)];
    let has = |text: &[u8]| memmem::find(head, text).is_some();
    if has(br#""phx_reply""#) {
        if !has(br#""status":"ok""#) {
            return Kind::Refused;
        }
        return if has(br#""phoenix""#) { Kind::Other } else { Kind::Subscribed };
    }
    if has(br#""phx_error""#) || has(br#""phx_close""#) { Kind::Refused } else { Kind::Other }
}
