//! The bytes of each protocol, as far as a load generator needs them.
//!
//! A frame is looked at just closely enough to know its length and whether it carries a stamp.

pub(crate) mod janus;
pub(crate) mod mqtt;
pub(crate) mod nats;
pub(crate) mod phoenix;
pub(crate) mod redis;
pub(crate) mod websocket;

use memchr::memchr;

use crate::stamp::MARK;

/// A message whose stamp is written over for each publish.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) bytes: Vec<u8>,
    pub(crate) mark: usize,
}

/// Result of a search for the first frame in received bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Not yet a whole frame.
    Part,
    /// A frame of so many bytes.
    Frame(usize, Kind),
    /// Nothing that this protocol knows.
    Broken,
}

/// Meaning of a frame to a load generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A message; the mark of its stamp stands here.
    Message(usize),
    /// The client may subscribe.
    Greeting,
    /// A subscription was taken.
    Subscribed,
    /// The server wants to know whether the client is there.
    Ping,
    /// The server refuses, or closes.
    Refused,
    /// Of no interest.
    Other,
}

/// Offset of the mark in a frame: mostly the same as in the frame before. The bytes before `body`
/// may be anything.
#[inline]
pub(crate) fn mark(frame: &[u8], body: usize, hint: &mut usize) -> Option<usize> {
    if *hint >= body && frame.get(*hint) == Some(&MARK) {
        return Some(*hint);
    }
    let found = body + memchr(MARK, &frame[body..])?;
    *hint = found;
    Some(found)
}

/// The number before a line's end, and where the next line begins.
#[inline]
pub(crate) fn number_line(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut number = 0_usize;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'0'..=b'9' => number = number * 10 + usize::from(byte - b'0'),
            b'\r' => return (bytes.len() > at + 1).then_some((number, at + 2)),
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Door;
    use crate::stamp::{BYTES, Stamp};

    const DOORS: [Door; 6] =
        [Door::WebSocket, Door::Tcp, Door::Redis, Door::Nats, Door::Mqtt, Door::PlainWebSocket];

    #[test]
    fn a_message_is_found_however_its_bytes_are_cut() {
        for door in [Door::WebSocket, Door::Tcp, Door::Redis, Door::Nats, Door::Mqtt, Door::Janus] {
            let frame = delivered(door);
            let mut hint = 0;

            for cut in 0..frame.len() {
                let found = door.find(true, &frame[..cut], &mut hint);
                assert_eq!(found, Found::Part, "{door:?} cut at {cut}");
            }
            let twice = [&frame[..], &frame].concat();
            let Found::Frame(length, Kind::Message(mark)) = door.find(true, &twice, &mut hint)
            else {
                panic!("{door:?}: no message in {:?}", String::from_utf8_lossy(&frame));
            };

            assert_eq!(length, frame.len(), "{door:?}");
            assert_eq!(Stamp::read(&frame[mark..]), Some(STAMP), "{door:?}");
        }
    }

    #[test]
    fn the_stamp_of_a_template_is_inside_its_payload() {
        for door in DOORS {
            let Template { bytes, mark } = door.message("t:1", 128);
            let text = String::from_utf8_lossy(&bytes[mark - 7..mark + BYTES + 2]).into_owned();

            assert!(text.starts_with(r#"{"at":""#) && text.ends_with(r#"","#), "{door:?}: {text}");
        }
    }

    #[test]
    fn a_phoenix_reply_is_a_subscription_or_a_refusal() {
        let ok = br#"["1","1","t","phx_reply",{"status":"ok","response":{}}]"#;
        let error = br#"["1","1","t","phx_reply",{"status":"error","response":{}}]"#;

        let kind = |body: &[u8]| match Door::Tcp.find(true, &phoenix::with_length(body), &mut 0) {
            Found::Frame(_, kind) => kind,
            other => panic!("{other:?}"),
        };

        assert_eq!(kind(ok), Kind::Subscribed);
        assert_eq!(kind(error), Kind::Refused);
        assert_eq!(kind(br#"["1","1","t","phx_close",{}]"#), Kind::Refused);
    }

    #[test]
    fn a_length_that_looks_like_the_mark_is_none() {
        let (mut payload, mark) = crate::stamp::payload(126);
        STAMP.write(&mut payload[mark..]);
        let frame = [&[0x81, 126, 0, 126], &payload[..]].concat();

        let found = Door::WebSocket.find(true, &frame, &mut 0);

        assert_eq!(found, Found::Frame(frame.len(), Kind::Message(4 + mark)));
    }

    const STAMP: Stamp = Stamp { at: 5, sequence: 6, topic: 7 };

    /// A message as a subscriber gets it.
    fn delivered(door: Door) -> Vec<u8> {
        let (mut payload, mark) = crate::stamp::payload(200);
        STAMP.write(&mut payload[mark..]);
        let text = String::from_utf8(payload).unwrap();
        let body = format!(r#"[null,null,"t:1","m",{text}]"#);
        match door {
            Door::WebSocket | Door::PlainWebSocket => {
                let length = u16::try_from(body.len()).unwrap().to_be_bytes();
                [&[0x81, 126], &length[..], body.as_bytes()].concat()
            }
            Door::Tcp => phoenix::with_length(body.as_bytes()),
            Door::Redis => {
                format!("*3\r\n$7\r\nmessage\r\n$3\r\nt:1\r\n${}\r\n{text}\r\n", 200).into_bytes()
            }
            Door::Nats => format!("MSG t:1 1 200\r\n{text}\r\n").into_bytes(),
            Door::Mqtt => [&[0x30, 0xcd, 0x01, 0, 3], &b"t:1"[..], text.as_bytes()].concat(),
            Door::Janus => [text.as_bytes(), &[1]].concat(),
        }
    }
}
