//! Frames of version 2: `[join_ref, ref, topic, event, payload]` as text, and payloads of bytes
//! behind their names.
//!
//! ```text
//! 0 | lengths of join_ref, topic, event            | the three | bytes    a push
//! 1 | lengths of join_ref, ref, topic, status      | the four  | bytes    a reply
//! 2 | lengths of topic, event                      | the two   | bytes    a broadcast
//! ```

use instep_protocol::encode::{Address, encode_message};
use instep_protocol::reference::Ref;
use instep_protocol::vsn::Vsn;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Utf8Bytes;

const PUSH: u8 = 0;
const REPLY: u8 = 1;
const BROADCAST: u8 = 2;

/// The event of an answer.
pub(super) const REPLY_EVENT: &str = "phx_reply";

/// Message from the server.
#[derive(Debug, PartialEq)]
pub(super) struct Frame {
    /// The join that it belongs to; none for broadcasts.
    pub(super) join_ref: Option<u64>,
    /// The request that it answers.
    pub(super) reference: Option<u64>,
    pub(super) topic: String,
    pub(super) event: String,
    pub(super) payload: Content,
}

/// Payload of a frame.
#[derive(Debug, PartialEq)]
pub(super) enum Content {
    Json(Value),
    Bytes(Vec<u8>),
    /// JSON that cannot be read here, and why.
    Unreadable(String),
}

/// Encodes a request.
pub(super) fn encode(
    join_ref: Option<u64>,
    reference: u64,
    topic: &str,
    event: &str,
    payload: &Value,
) -> Utf8Bytes {
    let join_ref = join_ref.map(|join_ref| Ref::string(join_ref.to_string()));
    let reference = Ref::string(reference.to_string());
    let to = Address { join_ref: join_ref.as_ref(), reference: Some(&reference), topic };
    let bytes = encode_message(Vsn::V2, &to, event, payload.to_string().as_bytes());
    Utf8Bytes::try_from(bytes).expect("names and JSON are UTF-8")
}

/// Error in a frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("the binary frame is empty")]
    Empty,
    #[error("binary frames of kind {0} are not known")]
    Kind(u8),
    #[error("the binary frame ends before its names do")]
    TooShort,
    #[error(transparent)]
    Name(#[from] std::str::Utf8Error),
}

/// Reads a frame of text.
pub(super) fn decode(text: &str) -> Result<Frame, FrameError> {
    type Parts<'a> = (Option<String>, Option<String>, String, String, &'a RawValue);
    let (join_ref, reference, topic, event, payload): Parts<'_> = serde_json::from_str(text)?;
    let payload = match serde_json::from_str(payload.get()) {
        Ok(payload) => Content::Json(payload),
        Err(error) => Content::Unreadable(error.to_string()),
    };
    Ok(Frame { join_ref: number(join_ref), reference: number(reference), topic, event, payload })
}

/// Reads a binary frame.
pub(super) fn decode_binary(frame: &[u8]) -> Result<Frame, FrameError> {
    let Some((&kind, rest)) = frame.split_first() else {
        return Err(FrameError::Empty);
    };
    let (join_ref, reference, topic, event, payload) = match kind {
        PUSH => {
            let ([join_ref, topic, event], payload) = names::<3>(rest)?;
            (Some(join_ref), None, topic, event, payload)
        }
        REPLY => {
            let ([join_ref, reference, topic, _], payload) = names::<4>(rest)?;
            (Some(join_ref), Some(reference), topic, REPLY_EVENT.to_owned(), payload)
        }
        BROADCAST => {
            let ([topic, event], payload) = names::<2>(rest)?;
            (None, None, topic, event, payload)
        }
        kind => return Err(FrameError::Kind(kind)),
    };
    let payload = Content::Bytes(payload.to_vec());
    Ok(Frame { join_ref: number(join_ref), reference: number(reference), topic, event, payload })
}

/// A ref of ours. Others match nothing.
fn number(text: Option<String>) -> Option<u64> {
    text.filter(|text| !text.is_empty()).map(|text| text.parse().unwrap_or(u64::MAX))
}

/// Texts behind their lengths, and what follows them.
fn names<const N: usize>(frame: &[u8]) -> Result<([String; N], &[u8]), FrameError> {
    let (lengths, mut rest) = frame.split_first_chunk::<N>().ok_or(FrameError::TooShort)?;
    let mut names = [const { String::new() }; N];
    for (name, length) in names.iter_mut().zip(lengths) {
        let parts = rest.split_at_checked(usize::from(*length));
        let (bytes, after) = parts.ok_or(FrameError::TooShort)?;
        std::str::from_utf8(bytes)?.clone_into(name);
        rest = after;
    }
    Ok((names, rest))
}

#[cfg(test)]
mod tests {
    use instep_protocol::encode::{binary_broadcast, binary_push, binary_reply};
    use serde_json::json;

    use super::*;

    #[test]
    fn encoded_frames_are_read_back() {
        let frame = encode(Some(1), 2, "room:\"é", "say", &json!({"a": [1, null]}));

        let heard = decode(&frame).unwrap();

        let (topic, event) = ("room:\"é".to_owned(), "say".to_owned());
        let payload = Content::Json(json!({"a": [1, null]}));
        let expected = Frame { join_ref: Some(1), reference: Some(2), topic, event, payload };
        assert_eq!(heard, expected);
    }

    #[test]
    fn bad_frames_are_refused_and_an_unreadable_payload_keeps_its_topic() {
        for bad in ["", "{}", "[]", "[1,2,3]", r#"["1","2","t","e"]"#] {
            assert!(decode(bad).is_err(), "{bad}");
        }
        for odd in ["{\"a\":1e999}".to_owned(), "[".repeat(200) + &"]".repeat(200)] {
            let heard = decode(&format!(r#"[null,null,"room:1","say",{odd}]"#)).unwrap();

            assert_eq!((&*heard.topic, &*heard.event), ("room:1", "say"));
            assert!(matches!(heard.payload, Content::Unreadable(_)), "{heard:?}");
        }
    }

    #[test]
    fn bytes_are_read_from_every_kind_of_frame_that_the_server_has() {
        let (one, two) = (Ref::string("1"), Ref::string("2"));
        let to = Address { join_ref: Some(&one), reference: Some(&two), topic: "t" };
        let told = |frame: &[u8]| {
            let Frame { join_ref, reference, topic, event, payload } =
                decode_binary(frame).unwrap();
            assert_eq!((&*topic, payload), ("t", Content::Bytes(vec![0xff])));
            (join_ref, reference, event)
        };

        let push = binary_push(Some(&one), "t", "e", b"\xff").unwrap();
        assert_eq!(told(&push), (Some(1), None, "e".to_owned()));
        let reply = binary_reply(&to, "ok", b"\xff").unwrap();
        assert_eq!(told(&reply), (Some(1), Some(2), REPLY_EVENT.to_owned()));
        let broadcast = binary_broadcast("t", "e", b"\xff").unwrap();
        assert_eq!(told(&broadcast), (None, None, "e".to_owned()));
        for bad in [&b""[..], b"\x02", b"\x02\x05\x01t", b"\x02\x01\x00\xff", b"\x09"] {
            assert!(decode_binary(bad).is_err(), "{bad:?}");
        }
    }
}
