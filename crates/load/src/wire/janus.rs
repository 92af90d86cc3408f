//! The legacy frames: a tag, 0x00, the payload, 0x00 from clients; a payload and 0x01 from servers.

use memchr::memchr;

use super::{Found, Kind, mark};

pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    [b"<regular-socket/>\0", payload, b"\0"].concat()
}

pub(crate) fn subscribe(topic: &str) -> Vec<u8> {
    frame(format!(r#"{{"action":"subscribe","data":"{topic}"}}"#).as_bytes())
}

#[inline]
pub(crate) fn find(greeted: bool, bytes: &[u8], hint: &mut usize) -> Found {
    let Some(end) = memchr(1, bytes) else { return Found::Part };
    let frame = &bytes[..end];
    let kind = match mark(frame, 0, hint) {
        Some(mark) => Kind::Message(mark),
        None if !greeted => Kind::Greeting,
        None if frame == b"ACK" => Kind::Subscribed,
        None if frame == b"PING" => Kind::Ping,
        None if memchr::memmem::find(frame, b"error").is_some() => Kind::Refused,
        None => Kind::Other,
    };
    Found::Frame(end + 1, kind)
}
