//! The text protocol of NATS.

use memchr::memchr;

use super::{Found, Kind, mark};

pub(crate) const CONNECT: &[u8] = b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";
pub(crate) const PONG: &[u8] = b"PONG\r\n";

/// The server answers the ping once it has taken everything before it.
pub(crate) fn subscribe(topic: &str) -> Vec<u8> {
    format!("SUB {topic} 1\r\nPING\r\n").into_bytes()
}

/// Bytes before and after a payload of so many bytes.
pub(crate) fn around(topic: &str, payload: usize) -> (Vec<u8>, Vec<u8>) {
    (format!("PUB {topic} {payload}\r\n").into_bytes(), b"\r\n".to_vec())
}

#[inline]
pub(crate) fn find(bytes: &[u8], hint: &mut usize) -> Found {
    let Some(line) = memchr(b'\n', bytes) else { return Found::Part };
    let kind = match bytes {
        [b'M', ..] => return message(bytes, line, hint),
        [b'P', b'I', ..] => Kind::Ping,
        [b'P', b'O', ..] => Kind::Subscribed,
        [b'I', ..] => Kind::Greeting,
        [b'-', ..] => Kind::Refused,
        _ => Kind::Other,
    };
    Found::Frame(line + 1, kind)
}

/// `MSG topic 1 128`, then so many bytes.
#[inline]
fn message(bytes: &[u8], line: usize, hint: &mut usize) -> Found {
    let mut length = 0;
    let mut ten = 1;
    for byte in bytes[..line].iter().rev().skip(1).take_while(|byte| **byte != b' ') {
        length += usize::from(byte.wrapping_sub(b'0')) * ten;
        ten *= 10;
    }
    let end = line + 1 + length + 2;
    let Some(frame) = bytes.get(..end) else { return Found::Part };
    let kind = mark(frame, 0, hint).map_or(Kind::Other, Kind::Message);
    Found::Frame(end, kind)
}
