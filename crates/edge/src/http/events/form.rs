//! Format of events: server-sent events, or lines of JSON.

use std::fmt::{self, Display};

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use instep_model::limits;
use instep_model::position::Position;
use instep_node::live::LivePlace;
use serde_json::{Value, json};

/// Content type of server-sent events.
const EVENTS: &str = "text/event-stream";

/// Format of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `text/event-stream`, which a browser resumes by itself.
    Events,
    /// `application/x-ndjson`: `{event, payload, id?}`.
    Lines,
}

/// Returns true if a request asks for server-sent events by name, as every `EventSource` does.
#[must_use]
pub fn is_for_events(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains(EVENTS))
}

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
    /// The form that a client accepts.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        match accept.contains("application/x-ndjson") && !accept.contains(EVENTS) {
            true => Self::Lines,
            false => Self::Events,
        }
    }

    /// Its content type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Events => EVENTS,
            Self::Lines => "application/x-ndjson",
        }
    }

    /// An event with a payload of JSON.
    pub(super) fn event(self, id: Option<Id<'_>>, event: &str, payload: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(payload.len() + event.len() + 128);
        match self {
            Self::Events => {
                if let Some(id) = id {
                    out.extend_from_slice(format!("id: {id}\n").as_bytes());
                }
                out.extend_from_slice(b"event: ");
                // A line break would begin a field of the publisher's own.
                out.extend(event.bytes().map(|byte| if is_break(byte) { b' ' } else { byte }));
                out.extend_from_slice(b"\ndata: ");
                put_on_one_line(&mut out, payload);
                out.extend_from_slice(b"\n\n");
            }
            Self::Lines => {
                out.extend_from_slice(b"{\"event\":");
                out.extend_from_slice(Value::from(event).to_string().as_bytes());
                out.extend_from_slice(b",\"payload\":");
                put_on_one_line(&mut out, payload);
                if let Some(id) = id {
                    out.extend_from_slice(format!(",\"id\":\"{id}\"").as_bytes());
                }
                out.extend_from_slice(b"}\n");
            }
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
            Self::Events => Some(format!("retry: {}\n", limits::EVENTS_RETRY_MS).into()),
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
    /// everybody.
    pub(super) fn end(self) -> Bytes {
        let spread = u64::from(std::time::UNIX_EPOCH.elapsed().unwrap_or_default().subsec_micros());
        let retry_ms = limits::EVENTS_RETRY_MS * (100 + spread % 400) / 100;
        let payload = json!({"reason": "draining", "retry_ms": retry_ms}).to_string();
        let end = self.event(None, "ended", payload.as_bytes());
        match self {
            Self::Events => [format!("retry: {retry_ms}\n").as_bytes(), &end].concat().into(),
            Self::Lines => end,
        }
    }
}

fn is_break(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r' | 0)
}

/// Line breaks in JSON stand between its tokens only, where a space does as well.
fn put_on_one_line(out: &mut Vec<u8>, json: &[u8]) {
    let start = out.len();
    out.extend_from_slice(json);
    out[start..].iter_mut().filter(|byte| is_break(**byte)).for_each(|byte| *byte = b' ');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Bytes) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn an_event_is_one_event_whatever_is_in_it() {
        let place = LivePlace { epoch: "ab".into(), offset: 7 };
        let event = "a\nid: 9\r\ndata: x";

        let events = text(Form::Events.event(Some(Id::Live(&place)), event, b"{\n \"a\":\r1}"));
        let lines = text(Form::Lines.event(Some(Id::Live(&place)), event, b"{\n \"a\":\r1}"));

        assert_eq!(events, "id: ab-7\nevent: a id: 9  data: x\ndata: {  \"a\": 1}\n\n");
        let expected = json!({"event": event, "payload": {"a": 1}, "id": "ab-7"});
        assert_eq!(serde_json::from_str::<Value>(&lines).unwrap(), expected);
        assert_eq!(lines.matches('\n').count(), 1);
    }

    #[test]
    fn the_form_is_what_the_client_accepts() {
        assert_eq!(Form::accepted("application/x-ndjson"), Form::Lines);
        for accept in ["", "*/*", "text/event-stream", "text/event-stream, application/x-ndjson"] {
            assert_eq!(Form::accepted(accept), Form::Events, "{accept}");
        }
    }
}
