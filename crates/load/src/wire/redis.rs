//! RESP2: arrays of bulk strings, as far as subscribers and publishers get them.

use memchr::memchr;

use super::{Found, Kind, mark, number_line};

pub(crate) fn command(words: &[&str]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    text.into_bytes()
}

/// Bytes before and after a payload of so many bytes.
pub(crate) fn around(topic: &str, payload: usize) -> (Vec<u8>, Vec<u8>) {
    let mut before = command(&["PUBLISH", topic]);
    before[1] = b'3';
    before.extend_from_slice(format!("${payload}\r\n").as_bytes());
    (before, b"\r\n".to_vec())
}

#[inline]
pub(crate) fn find(bytes: &[u8], hint: &mut usize) -> Found {
    let Some(first) = bytes.first() else { return Found::Part };
    let line = || memchr(b'\n', bytes).map(|at| at + 1);
    match first {
        b'*' => array(bytes, hint),
        b':' | b'+' => line().map_or(Found::Part, |end| Found::Frame(end, Kind::Other)),
        b'-' => line().map_or(Found::Part, |end| Found::Frame(end, Kind::Refused)),
        _ => Found::Broken,
    }
}

#[inline]
fn array(bytes: &[u8], hint: &mut usize) -> Found {
    let Some((items, mut at)) = number_line(&bytes[1..]) else { return Found::Part };
    at += 1;
    for _ in 0..items {
        let Some(kind) = bytes.get(at) else { return Found::Part };
        let Some((number, line)) = number_line(&bytes[at + 1..]) else { return Found::Part };
        at += 1 + line;
        if *kind == b'$' {
            at += number + 2;
        }
    }
    let Some(frame) = bytes.get(..at) else { return Found::Part };
    // `*3\r\n$9\r\nsubscribe` or `*3\r\n$7\r\nmessage`
    match mark(frame, 0, hint) {
        Some(mark) => Found::Frame(at, Kind::Message(mark)),
        None if frame[4..].starts_with(b"$9\r\nsubscribe") => Found::Frame(at, Kind::Subscribed),
        None => Found::Frame(at, Kind::Other),
    }
}
