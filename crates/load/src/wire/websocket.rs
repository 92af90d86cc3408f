//! WebSocket frames, RFC 6455, as a client that masks with zeros.

use std::net::SocketAddr;

use memchr::memmem;

use super::{Found, Kind, phoenix};

/// An empty pong. Pings of servers carry nothing that they would check.
pub(crate) const PONG: &[u8] = &[0x8a, 0x80, 0, 0, 0, 0];

pub(crate) fn upgrade(address: SocketAddr, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A text frame of a client. The mask is zero: it protects proxies from scripts, and this is none.
pub(crate) fn text(body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u16::try_from(body.len()) {
        Ok(length @ 0..=125) => frame.push(0x80 | length as u8),
        Ok(length) => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(body.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(body);
    frame
}

/// The answer to the upgrade.
pub(crate) fn upgraded(bytes: &[u8]) -> Found {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else { return Found::Part };
    if bytes.starts_with(b"HTTP/1.1 101") {
        Found::Frame(end + 4, Kind::Greeting)
    } else {
        Found::Frame(end + 4, Kind::Refused)
    }
}

#[inline]
pub(crate) fn find(bytes: &[u8], hint: &mut usize) -> Found {
    let [first, second, rest @ ..] = bytes else { return Found::Part };
    let (head, length) = match (second, rest) {
        (0..=125, _) => (2, usize::from(*second)),
        (126, [high, low, ..]) => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        (127, [_, _, _, _, a, b, c, d, ..]) => (10, u32::from_be_bytes([*a, *b, *c, *d]) as usize),
        (126 | 127, _) => return Found::Part,
        (128.., _) => return Found::Broken,
    };
    let Some(frame) = bytes.get(..head + length) else { return Found::Part };
    let kind = match first & 0x0f {
        0x0..=0x2 => phoenix::kind(frame, head, hint),
        0x8 => Kind::Refused,
        0x9 => Kind::Ping,
        _ => Kind::Other,
    };
    Found::Frame(head + length, kind)
}
