//! Streams of events: server-sent events (`text/event-stream`) or lines of JSON (NDJSON).

use std::fmt::Display;

use axum::http::{HeaderMap, header};

/// Format of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `text/event-stream`, which a browser resumes by itself.
    Events,
    /// `application/x-ndjson`: a JSON object a line.
    Lines,
}

/// Id of an event, from which its reader goes on.
#[derive(Clone, Copy)]
pub enum EventId<'a> {
    /// Position or place.
    At(&'a dyn Display),
    /// Removal of the reader's id: what it has is of no use from here on.
    Forget,
}

impl Form {
    /// The form that a client accepts, of a stream that is mostly read by browsers.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let lines = accept.contains(Self::Lines.content_type());
        if lines && !accept.contains(Self::Events.content_type()) {
            Self::Lines
        } else {
            Self::Events
        }
    }

    /// Its content type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Events => "text/event-stream",
            Self::Lines => "application/x-ndjson",
        }
    }
}

/// Returns true if a request asks for server-sent events by name, as every `EventSource` does.
#[must_use]
pub fn is_for_events(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains(Form::Events.content_type()))
}

/// Writes the time after which a reader that was cut off comes back, in milliseconds.
pub fn write_retry(out: &mut Vec<u8>, retry_ms: u64) {
    out.extend_from_slice(format!("retry: {retry_ms}\n").as_bytes());
}

/// Writes a server-sent event with JSON.
pub fn write_event(out: &mut Vec<u8>, id: Option<EventId<'_>>, event: &str, json: &[u8]) {
    match id {
        Some(EventId::At(id)) => out.extend_from_slice(format!("id: {id}\n").as_bytes()),
        Some(EventId::Forget) => out.extend_from_slice(b"id\n"),
        None => {}
    }
    out.extend_from_slice(b"event: ");
    // A line break would begin a field of the publisher's own.
    out.extend(event.bytes().map(|byte| if is_break(byte) { b' ' } else { byte }));
    out.extend_from_slice(b"\ndata: ");
    write_on_one_line(out, |out| out.extend_from_slice(json));
    out.extend_from_slice(b"\n\n");
}

/// Writes a line: what `write` appends is JSON.
pub fn write_line(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    write_on_one_line(out, write);
    out.push(b'\n');
}

/// Line breaks in JSON stand between its tokens only, where a space does as well.
fn write_on_one_line(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write(out);
    out[start..].iter_mut().filter(|byte| is_break(**byte)).for_each(|byte| *byte = b' ');
}

fn is_break(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r' | 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = vec![];
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_event_is_one_event_and_a_line_one_line_whatever_is_in_it() {
        let event = "a\nid: 9\r\ndata: x";

        let at = text(|out| write_event(out, Some(EventId::At(&7)), event, b"{\n \"a\":\r1}"));
        assert_eq!(at, "id: 7\nevent: a id: 9  data: x\ndata: {  \"a\": 1}\n\n");
        let none = text(|out| write_event(out, Some(EventId::Forget), "reset", b"{}"));
        assert_eq!(none, "id\nevent: reset\ndata: {}\n\n");
        assert_eq!(text(|out| write_line(out, |out| out.extend_from_slice(b"{\n}"))), "{ }\n");
        assert_eq!(text(|out| write_retry(out, 250)), "retry: 250\n");
    }

    #[test]
    fn the_form_is_what_the_client_accepts() {
        assert_eq!(Form::accepted("application/x-ndjson"), Form::Lines);
        for accept in ["", "*/*", "text/event-stream", "text/event-stream, application/x-ndjson"] {
            assert_eq!(Form::accepted(accept), Form::Events, "{accept}");
        }
    }
}
