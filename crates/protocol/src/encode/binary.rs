//! Binary frames of version 2. One byte of length for each name.

use bytes::Bytes;

use super::Address;
use crate::reference::Ref;

const PUSH: u8 = 0;
const REPLY: u8 = 1;
const BROADCAST: u8 = 2;
const NAMED_BROADCAST: u8 = 4;
/// No metadata, and a payload of bytes.
const NAMED_HEAD: [u8; 2] = [0, 0];

/// A name does not fit its byte of length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name in a binary frame is {bytes} bytes long, the limit is 255")]
pub struct FieldTooLong {
    /// Bytes of the name.
    pub bytes: usize,
}

/// Encodes a push of bytes to one channel. It has no ref, unlike the push of a client.
///
/// # Errors
/// [`FieldTooLong`] when a name is longer than 255 bytes.
pub fn binary_push(
    join_ref: Option<&Ref<'_>>,
    topic: &str,
    event: &str,
    payload: &[u8],
) -> Result<Bytes, FieldTooLong> {
    frame(PUSH, [text(join_ref), topic, event], payload)
}

/// Encodes a reply of bytes to a request.
///
/// # Errors
/// [`FieldTooLong`] when a name is longer than 255 bytes.
pub fn binary_reply(to: &Address<'_>, status: &str, payload: &[u8]) -> Result<Bytes, FieldTooLong> {
    frame(REPLY, [text(to.join_ref), text(to.reference), to.topic, status], payload)
}

/// Encodes a broadcast of bytes.
///
/// # Errors
/// [`FieldTooLong`] when a name is longer than 255 bytes.
pub fn binary_broadcast(topic: &str, event: &str, payload: &[u8]) -> Result<Bytes, FieldTooLong> {
    frame(BROADCAST, [topic, event], payload)
}

/// Encodes a broadcast of bytes for Supabase's clients, which know no other kind.
///
/// # Errors
/// [`FieldTooLong`] when a name is longer than 255 bytes.
pub fn binary_named_broadcast(
    topic: &str,
    event: &str,
    payload: &[u8],
) -> Result<Bytes, FieldTooLong> {
    framed(NAMED_BROADCAST, [topic, event], &NAMED_HEAD, payload)
}

/// Encodes a push of bytes as a client sends it.
///
/// # Errors
/// [`FieldTooLong`] when a name is longer than 255 bytes.
pub fn binary_client_push(
    from: &Address<'_>,
    event: &str,
    payload: &[u8],
) -> Result<Bytes, FieldTooLong> {
    frame(PUSH, [text(from.join_ref), text(from.reference), from.topic, event], payload)
}

fn text<'a>(reference: Option<&'a Ref<'_>>) -> &'a str {
    reference.map_or("", Ref::as_str)
}

fn frame<const N: usize>(
    kind: u8,
    names: [&str; N],
    payload: &[u8],
) -> Result<Bytes, FieldTooLong> {
    framed(kind, names, &[], payload)
}

fn framed<const N: usize>(
    kind: u8,
    names: [&str; N],
    rest_of_head: &[u8],
    payload: &[u8],
) -> Result<Bytes, FieldTooLong> {
    let names_bytes: usize = names.iter().map(|name| name.len()).sum();
    let mut out = Vec::with_capacity(1 + N + rest_of_head.len() + names_bytes + payload.len());
    out.push(kind);
    for name in names {
        out.push(u8::try_from(name.len()).map_err(|_| FieldTooLong { bytes: name.len() })?);
    }
    out.extend_from_slice(rest_of_head);
    for name in names {
        out.extend_from_slice(name.as_bytes());
    }
    out.extend_from_slice(payload);
    Ok(out.into())
}
