//! Frames of rings: what all subscribers of a topic are told alike, encoded once.

use bytes::Bytes;
use instep_model::feed::{BOOKMARK_EVENT, Notice};
use instep_model::position::Position;
use instep_model::ring::{Frame, Payload};

use crate::encode::encode_broadcast;
use crate::vsn::Vsn;

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
    let encoded = encode_broadcast(Vsn::V2, topic, event, &payload);
    let payload = Payload::Json(payload);
    Frame { event: event.into(), payload, position, offset: None, encoded }
}
