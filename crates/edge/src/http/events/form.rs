//! Events of a topic, in the form of their stream.

use std::fmt::{self, Display};

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use instep_model::limits;
use instep_model::position::Position;
use instep_node::live::LivePlace;
use instep_protocol::payload::ended::StreamEnded;
use serde_json::{Value, json};

use crate::http::event_stream::{EventId, Form, write_event, write_line, write_retry};

/// Resume point of a reader that has the event.
pub(super) enum Id<'a> {
    /// Complete up to a position.
    Position(Position),
    /// Has a message of a live topic, and those before it.
    Live(&'a LivePlace),
}

impl Display for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Position(position) => position.fmt(f),
            Self::Live(place) => place.fmt(f),
        }
    }
}

impl Form {
    /// An event with a payload of JSON.
    pub(super) fn event(self, id: Option<Id<'_>>, event: &str, payload: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(payload.len() + event.len() + 128);
        match self {
            Self::Events => {
                write_event(&mut out, id.as_ref().map(|id| EventId::At(id)), event, payload);
            }
            Self::Lines => write_line(&mut out, |out| {
                out.extend_from_slice(b"{\"event\":");
                out.extend_from_slice(Value::from(event).to_string().as_bytes());
                out.extend_from_slice(b",\"payload\":");
                out.extend_from_slice(payload);
                if let Some(id) = id {
                    out.extend_from_slice(format!(",\"id\":\"{id}\"").as_bytes());
                }
                out.push(b'}');
            }),
        }
        out.into()
    }

    /// An event with a payload of bytes.
    pub(super) fn binary(self, id: Option<Id<'_>>, event: &str, payload: &[u8]) -> Bytes {
        let payload = json!({"base64": BASE64.encode(payload)}).to_string();
        self.event(id, event, payload.as_bytes())
    }

    /// Preamble of the stream, if it has one.
    pub(super) fn begin(self) -> Option<Bytes> {
        match self {
            Self::Events => {
                let mut out = vec![];
                write_retry(&mut out, limits::EVENTS_RETRY_MS);
                Some(out.into())
            }
            Self::Lines => None,
        }
    }

    /// Heartbeat.
    pub(super) fn beat(self) -> Bytes {
        match self {
            Self::Events => Bytes::from_static(b":\n\n"),
            Self::Lines => self.event(None, "heartbeat", b"{}"),
        }
    }

    /// Last event of a server that drains, with the time to reconnect after: not the same for
    /// all clients.
    pub(super) fn end(self) -> Bytes {
        let spread = u64::from(std::time::UNIX_EPOCH.elapsed().unwrap_or_default().subsec_micros());
        let retry_ms = limits::EVENTS_RETRY_MS * (100 + spread % 400) / 100;
        let ended = StreamEnded { detail: None, reason: "draining", retry_ms: Some(retry_ms) };
        let end = self.event(None, "ended", &ended.encode());
        match self {
            Self::Events => {
                let mut out = vec![];
                write_retry(&mut out, retry_ms);
                out.extend_from_slice(&end);
                out.into()
            }
            Self::Lines => end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_event_whatever_is_in_it() {
        let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let place = LivePlace { epoch: "ab".into(), offset: 7 };
        let event = "a\nid: 9\r\ndata: x";

        let events = text(Form::Events.event(Some(Id::Live(&place)), event, b"{\n \"a\":\r1}"));
        let lines = text(Form::Lines.event(Some(Id::Live(&place)), event, b"{\n \"a\":\r1}"));

        assert_eq!(events, "id: ab-7\nevent: a id: 9  data: x\ndata: {  \"a\": 1}\n\n");
        let expected = json!({"event": event, "payload": {"a": 1}, "id": "ab-7"});
        assert_eq!(serde_json::from_str::<Value>(&lines).unwrap(), expected);
        assert_eq!(lines.matches('\n').count(), 1);
    }
}
