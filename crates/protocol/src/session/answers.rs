//! Answers that the session makes itself.

use crate::encode::write_string;
use crate::message::DecodeError;

pub(super) const EMPTY: &[u8] = b"{}";
pub(super) const UNMATCHED_TOPIC: &[u8] = br#"{"reason":"unmatched topic"}"#;
pub(super) const TOO_MANY_CHANNELS: &[u8] = br#"{"reason":"too many channels joined"}"#;
pub(super) const JOIN_CRASHED: &[u8] = br#"{"reason":"join crashed"}"#;
pub(super) const JOIN_CANCELLED: &[u8] = br#"{"reason":"join cancelled"}"#;
pub(super) const CHANNEL_CLOSED: &[u8] = br#"{"reason":"channel closed"}"#;
pub(super) const RESERVED_EVENT: &[u8] = br#"{"reason":"reserved event"}"#;
pub(super) const OVERLOADED: &[u8] = br#"{"reason":"overloaded"}"#;
pub(super) const RATE_LIMITED: &[u8] = br#"{"reason":"rate_limited"}"#;
pub(super) const NOT_ENCODABLE: &[u8] = br#"{"reason":"reply cannot be encoded"}"#;

/// Encodes the error in a frame as the response to the request that it meant to make.
pub(super) fn rejection(error: &DecodeError) -> Vec<u8> {
    described("reason", error)
}

/// Encodes the error in a frame that named no request.
pub(super) fn complaint(error: &DecodeError) -> Vec<u8> {
    described("message", error)
}

fn described(noun: &str, error: &DecodeError) -> Vec<u8> {
    let mut out = b"{\"code\":".to_vec();
    write_string(&mut out, error.code());
    out.push(b',');
    write_string(&mut out, noun);
    out.push(b':');
    write_string(&mut out, &error.to_string());
    out.push(b'}');
    out
}
