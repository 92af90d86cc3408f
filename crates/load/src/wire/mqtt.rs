//! MQTT 3.1.1 at QoS 0.

use super::{Found, Kind, mark};

/// A clean session without keep-alive; the server gives the name.
pub(crate) const CONNECT: &[u8] = &[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 0];

pub(crate) fn subscribe(topic: &str) -> Vec<u8> {
    let mut packet = vec![0x82];
    push_length(&mut packet, 2 + 2 + topic.len() + 1);
    packet.extend_from_slice(&[0, 1]);
    push_name(&mut packet, topic);
    packet.push(0);
    packet
}

/// Bytes before and after a payload of so many bytes.
pub(crate) fn around(topic: &str, payload: usize) -> (Vec<u8>, Vec<u8>) {
    let mut before = vec![0x30];
    push_length(&mut before, 2 + topic.len() + payload);
    push_name(&mut before, topic);
    (before, vec![])
}

fn push_name(packet: &mut Vec<u8>, name: &str) {
    let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
    packet.extend_from_slice(&length.to_be_bytes());
    packet.extend_from_slice(name.as_bytes());
}

/// Seven bits a byte, the lowest first.
fn push_length(packet: &mut Vec<u8>, mut length: usize) {
    while length > 127 {
        packet.push(0x80 | (length & 0x7f) as u8);
        length >>= 7;
    }
    packet.push(length as u8);
}

#[inline]
pub(crate) fn find(bytes: &[u8], hint: &mut usize) -> Found {
    let Some((first, rest)) = bytes.split_first() else { return Found::Part };
    let (mut length, mut head) = (0_usize, 1);
    loop {
        let Some(byte) = rest.get(head - 1) else { return Found::Part };
        length |= usize::from(byte & 0x7f) << (7 * (head - 1));
        head += 1;
        match byte & 0x80 {
            0 => break,
            _ if head > 4 => return Found::Broken,
            _ => {}
        }
    }
    let Some(frame) = bytes.get(..head + length) else { return Found::Part };
    let kind = match (first >> 4, &frame[head..]) {
        (3, _) => mark(frame, head, hint).map_or(Kind::Other, Kind::Message),
        (2, [_, 0]) => Kind::Greeting,
        (9, [_, _, 0..=2, ..]) => Kind::Subscribed,
        (2 | 9, _) => Kind::Refused,
        _ => Kind::Other,
    };
    Found::Frame(head + length, kind)
}
