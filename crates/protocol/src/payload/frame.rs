//! Frames of rings: messages to all subscribers of a topic, encoded once, with the payload kept
//! once inside the encoded bytes.

use bytes::Bytes;
use instep_model::feed::{BOOKMARK_EVENT, Notice};
use instep_model::position::Position;
use instep_model::ring::{Frame, Message, Payload};

use crate::encode::{binary_broadcast, encode_broadcast};
use crate::vsn::Vsn;

/// End of an encoded message behind its payload.
const CLOSING: &str = "]";

/// Frame of a notice, which carries its position.
#[must_use]
pub fn of_notice(notice: &Notice) -> Frame {
    of_json(&notice.topic, &notice.event, notice.payload().into(), notice.position)
}

/// Bookmark of a topic that is complete up to `position` (I16).
#[must_use]
pub fn bookmark(topic: &str, position: Position) -> Frame {
    of_json(topic, BOOKMARK_EVENT, bookmark_payload(position), Some(position))
}

/// Payload of a bookmark.
pub(super) fn bookmark_payload(position: Position) -> Bytes {
    format!("{{\"position\":\"{position}\"}}").into()
}

/// Frame of a JSON object. `position` is the one that stands in the object, if one does.
#[must_use]
pub fn of_json(topic: &str, event: &str, payload: Bytes, position: Option<Position>) -> Frame {
    let Message { payload, encoded } = message(topic, event, Payload::Json(payload));
    Frame { event: event.into(), payload, position, offset: None, encoded }
}

/// Message of a live topic.
#[must_use]
pub fn message(topic: &str, event: &str, payload: Payload) -> Message {
    let (encoded, behind) = match &payload {
        Payload::Json(json) => (encode_broadcast(Vsn::V2, topic, event, json), CLOSING.len()),
        Payload::Binary(bytes) => (binary_broadcast(topic, event, bytes).unwrap_or_default(), 0),
    };
    let within = |payload: Bytes| {
        let end = encoded.len().saturating_sub(behind);
        let start = end.saturating_sub(payload.len());
        let is_there = encoded.get(start..end) == Some(&payload[..]);
        if is_there { encoded.slice(start..end) } else { payload }
    };
    let payload = match payload {
        Payload::Json(json) => Payload::Json(within(json)),
        Payload::Binary(bytes) => Payload::Binary(within(bytes)),
    };
    Message { payload, encoded }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// True when one lies inside the other in memory.
    fn lies_within(payload: &Bytes, encoded: &Bytes) -> bool {
        encoded.as_ptr_range().contains(&payload.as_ptr())
    }

    #[test]
    fn every_maker_of_frames_keeps_the_payload_once_inside_the_encoded_bytes() {
        let json = Bytes::from_static(br#"{"a":"]"}"#);

        let frame = of_json("room:a", "said", json.clone(), None);
        let live = message("room:a", "said", Payload::Json(json.clone()));
        let binary = message("room:a", "said", Payload::Binary(json.clone()));

        assert_eq!(frame.encoded, r#"[null,null,"room:a","said",{"a":"]"}]"#);
        for (payload, encoded) in [
            (frame.payload, frame.encoded),
            (live.payload, live.encoded),
            (binary.payload, binary.encoded),
        ] {
            let (Payload::Json(bytes) | Payload::Binary(bytes)) = payload;
            assert_eq!(bytes, json);
            assert!(lies_within(&bytes, &encoded));
        }
    }

    #[test]
    fn bytes_whose_event_is_too_long_for_a_binary_frame_are_kept_by_themselves() {
        let bytes = Bytes::from_static(b"\0\xff");

        let Message { payload, encoded } =
            message("room:a", &"e".repeat(300), Payload::Binary(bytes.clone()));

        assert_eq!((payload, encoded), (Payload::Binary(bytes), Bytes::new()));
    }
}
