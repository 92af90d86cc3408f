//! Long-poll: the bodies of its requests and answers.
//!
//! Every answer travels with HTTP status 200; the status that counts is in its JSON. A session on
//! long-poll is the same machine as on a WebSocket ([`Options::longpoll`]).
//!
//! [`Options::longpoll`]: crate::session::Options::longpoll

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use instep_model::limits;

use crate::encode::write_string;
use crate::message::DecodeError;
use crate::session::Incoming;

/// The header that carries the token of a session, from phoenix.js 1.9 on.
pub const TOKEN_HEADER: &str = "x-phoenix-longpoll-token";
/// The query parameter that carries it in older clients.
pub const TOKEN_PARAMETER: &str = "token";
/// The header that carries the token of a user.
pub const AUTH_TOKEN_HEADER: &str = "x-phoenix-authtoken";

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The token of a session: the header wins over the query parameter.
#[must_use]
pub fn session_token<'a>(header: Option<&'a str>, parameter: Option<&'a str>) -> Option<&'a str> {
    header.or(parameter)
}

/// One frame of the body of a POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostedFrame<'a> {
    /// A text frame.
    Text(&'a str),
    /// A binary frame.
    Binary(Vec<u8>),
    /// Error in a line that should have been a frame.
    Malformed(DecodeError),
}

impl PostedFrame<'_> {
    /// The frame as the session takes it.
    #[must_use]
    pub fn incoming(&self) -> Incoming<'_> {
        match self {
            Self::Text(text) => Incoming::Text(text),
            Self::Binary(bytes) => Incoming::Binary(bytes),
            Self::Malformed(error) => Incoming::Malformed(error.clone()),
        }
    }
}

/// Reads the body of a POST.
///
/// With `application/x-ndjson` each line is a frame: text if it begins with `[`, else base64 of
/// a binary one; lines beyond [`limits::LONGPOLL_LINES`] are ignored. With any other type the
/// whole body is one text frame.
#[must_use]
pub fn decode_body<'a>(content_type: Option<&str>, body: &'a [u8]) -> Vec<PostedFrame<'a>> {
    if !content_type.is_some_and(is_ndjson) {
        return vec![
            std::str::from_utf8(body)
                .map_or_else(|_| PostedFrame::Malformed(DecodeError::BadUtf8), PostedFrame::Text),
        ];
    }
    body.split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
        .take(limits::LONGPOLL_LINES)
        .map(decode_line)
        .collect()
}

fn is_ndjson(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/x-ndjson")
}

fn decode_line(line: &[u8]) -> PostedFrame<'_> {
    let decoded = if line.starts_with(b"[") {
        std::str::from_utf8(line).map(PostedFrame::Text).map_err(|_| DecodeError::BadUtf8)
    } else if line.len() / 4 * 3 > limits::FRAME_BYTES {
        Err(DecodeError::FrameTooLarge)
    } else {
        BASE64.decode(line).map(PostedFrame::Binary).map_err(|_| DecodeError::BadBase64)
    };
    decoded.unwrap_or_else(PostedFrame::Malformed)
}

/// An answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// To the first GET, and to one with a dead token: a new session.
    Opened {
        /// The token of the new session.
        token: &'a str,
    },
    /// To a GET: the frames that have come, or none within the window.
    Polled {
        /// The token of the session.
        token: &'a str,
        /// Text frames; there are no others on long-poll.
        frames: &'a [Bytes],
    },
    /// To a POST: its frames have been taken.
    Posted,
    /// The server was not done with the frames within the window.
    TimedOut,
    /// To a POST: the session is gone.
    Gone,
    /// The connection is refused.
    Refused,
}

impl Answer<'_> {
    /// The status inside the JSON. The HTTP status is 200 always.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Polled { frames: [], .. } => 204,
            Self::Polled { .. } | Self::Posted => 200,
            Self::Refused => 403,
            Self::TimedOut => 408,
            Self::Opened { .. } | Self::Gone => 410,
        }
    }

    /// The body of the answer.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = format!("{{\"status\":{}", self.status()).into_bytes();
        match self {
            Self::Opened { token } => write_messages(&mut out, token, &[]),
            Self::Polled { token, frames } => write_messages(&mut out, token, frames),
            Self::Posted | Self::TimedOut | Self::Gone | Self::Refused => {}
        }
        out.push(b'}');
        out
    }
}

fn write_messages(out: &mut Vec<u8>, token: &str, frames: &[Bytes]) {
    out.extend_from_slice(b",\"token\":");
    write_string(out, token);
    out.extend_from_slice(b",\"messages\":[");
    for (at, frame) in frames.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_string(out, &String::from_utf8_lossy(frame));
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    const NDJSON: Option<&str> = Some("application/x-ndjson");

    #[test]
    fn each_line_of_ndjson_is_a_text_frame_or_base64_of_a_binary_one() {
        let body = b"[null,\"1\",\"phoenix\",\"heartbeat\",{}]\r\nAAEBAWE=\n\nAAEBAWE";

        let frames = decode_body(Some("Application/X-NDJSON; charset=utf-8"), body);

        assert_eq!(
            frames,
            [
                PostedFrame::Text(r#"[null,"1","phoenix","heartbeat",{}]"#),
                PostedFrame::Binary(vec![0, 1, 1, 1, b'a']),
                PostedFrame::Binary(vec![0, 1, 1, 1, b'a']),
            ]
        );
    }

    #[test]
    fn a_body_of_another_type_is_one_text_frame_even_with_newlines() {
        for content_type in [None, Some("text/plain"), Some("application/json")] {
            assert_eq!(decode_body(content_type, b"[1,\n2]"), [PostedFrame::Text("[1,\n2]")]);
        }
    }

    #[test]
    fn lines_beyond_the_limit_are_ignored() {
        let body = "[]\n".repeat(limits::LONGPOLL_LINES + 1);

        assert_eq!(decode_body(NDJSON, body.as_bytes()).len(), limits::LONGPOLL_LINES);
    }

    #[test]
    fn a_line_that_is_no_frame_is_reported_and_the_others_live() {
        let frames = decode_body(NDJSON, b"%%\n[\xff\n[]");

        assert_eq!(
            frames,
            [
                PostedFrame::Malformed(DecodeError::BadBase64),
                PostedFrame::Malformed(DecodeError::BadUtf8),
                PostedFrame::Text("[]"),
            ]
        );
        let large = vec![b'A'; limits::FRAME_BYTES * 2];
        let too_large = [PostedFrame::Malformed(DecodeError::FrameTooLarge)];
        assert_eq!(decode_body(NDJSON, &large), too_large);
        let no_text = [PostedFrame::Malformed(DecodeError::BadUtf8)];
        assert_eq!(decode_body(None, b"\xff"), no_text);
    }

    #[test]
    fn the_status_that_counts_is_inside_the_json() {
        let frames = [Bytes::from_static(br#"[null,null,"a","b",{}]"#)];

        for (answer, json) in [
            (Answer::Opened { token: "T" }, r#"{"status":410,"token":"T","messages":[]}"#),
            (
                Answer::Polled { token: "T", frames: &[] },
                r#"{"status":204,"token":"T","messages":[]}"#,
            ),
            (
                Answer::Polled { token: "T", frames: &frames },
                r#"{"status":200,"token":"T","messages":["[null,null,\"a\",\"b\",{}]"]}"#,
            ),
            (Answer::Posted, r#"{"status":200}"#),
            (Answer::TimedOut, r#"{"status":408}"#),
            (Answer::Gone, r#"{"status":410}"#),
            (Answer::Refused, r#"{"status":403}"#),
        ] {
            assert_eq!(String::from_utf8(answer.to_json()).unwrap(), json);
        }
    }

    #[test]
    fn the_token_in_the_header_wins_over_the_one_in_the_query() {
        assert_eq!(session_token(Some("new"), Some("old")), Some("new"));
        assert_eq!(session_token(None, Some("old")), Some("old"));
        assert_eq!(session_token(None, None), None);
    }
}
