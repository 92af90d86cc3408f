//! Frames with their length in front: how messages travel over plain TCP, both ways.
//!
//! ```text
//! length, 4 bytes, big-endian | a message: JSON text from '[' on, or a binary kind (0, 1, 2, …)
//! ```

use std::borrow::Cow;

use crate::encode::Frame;
use crate::message::DecodeError;
use crate::session::Incoming;

/// Bytes of the length.
pub const HEAD_BYTES: usize = 4;

/// A frame is over the limit. Nothing behind it can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the frame has {bytes} bytes, the limit is {limit}")]
pub struct TooLarge {
    /// Bytes that the frame says to have.
    pub bytes: usize,
    /// Bytes allowed.
    pub limit: usize,
}

/// Result of decoding the front of the input.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// Bytes that are done with.
    pub consumed: usize,
    /// A frame without its length; without one the whole input is consumed.
    pub frame: Option<Cow<'a, [u8]>>,
}

/// Decoder of the other side's frames. It owns memory only while a frame is unfinished.
#[derive(Debug, Default)]
#[allow(clippy::box_collection, reason = "an idle connection has one word for it")]
pub struct Decoder(Option<Box<Vec<u8>>>);

impl Decoder {
    /// Takes the next frame from the front of `input`. Frames may have up to `limit` bytes.
    ///
    /// # Errors
    /// [`TooLarge`] as soon as the length has come; the decoder is of no use after it.
    pub fn decode<'a>(&mut self, input: &'a [u8], limit: usize) -> Result<Decoded<'a>, TooLarge> {
        let Some(unfinished) = &mut self.0 else {
            if let Some(end) = end_of(input, limit)?
                && let Some(frame) = input.get(HEAD_BYTES..end)
            {
                return Ok(Decoded { consumed: end, frame: Some(Cow::Borrowed(frame)) });
            }
            if !input.is_empty() {
                self.0 = Some(Box::new(input.to_vec()));
            }
            return Ok(Decoded { consumed: input.len(), frame: None });
        };
        let mut consumed = 0;
        if unfinished.len() < HEAD_BYTES {
            consumed = (HEAD_BYTES - unfinished.len()).min(input.len());
            unfinished.extend_from_slice(&input[..consumed]);
        }
        let Some(end) = end_of(unfinished, limit)? else {
            return Ok(Decoded { consumed, frame: None });
        };
        let more = (end - unfinished.len()).min(input.len() - consumed);
        if unfinished.capacity() < unfinished.len() + more {
            // Twice as much, as vectors grow, but no more than the frame will have.
            let left = end - unfinished.len();
            unfinished.reserve_exact(unfinished.len().max(more).min(left));
        }
        unfinished.extend_from_slice(&input[consumed..consumed + more]);
        consumed += more;
        if unfinished.len() < end {
            return Ok(Decoded { consumed, frame: None });
        }
        let mut frame = std::mem::take(&mut **unfinished);
        frame.drain(..HEAD_BYTES);
        self.0 = None;
        Ok(Decoded { consumed, frame: Some(Cow::Owned(frame)) })
    }

    /// Bytes of an unfinished frame that are kept.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |unfinished| unfinished.capacity())
    }

    /// True when nothing is unfinished, and no memory is owned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// Finds the end of the frame in front, its length included; none while the length is not complete.
fn end_of(input: &[u8], limit: usize) -> Result<Option<usize>, TooLarge> {
    let Some(length) = input.first_chunk::<HEAD_BYTES>() else {
        return Ok(None);
    };
    let bytes = u32::from_be_bytes(*length) as usize;
    if bytes > limit { Err(TooLarge { bytes, limit }) } else { Ok(Some(HEAD_BYTES + bytes)) }
}

/// Appends the length of a frame that follows. Frames of 4 GiB do not exist here.
pub fn write_head(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}

/// Encodes a whole frame.
#[must_use]
pub fn encode(frame: &Frame) -> Vec<u8> {
    let (Frame::Text(bytes) | Frame::Binary(bytes)) = frame;
    let mut out = Vec::with_capacity(HEAD_BYTES + bytes.len());
    write_head(&mut out, bytes.len());
    out.extend_from_slice(bytes);
    out
}

/// Decodes the kind of a frame: a control character in front makes it a binary one.
#[must_use]
pub fn incoming(frame: &[u8]) -> Incoming<'_> {
    match frame.first() {
        Some(0..=8) => Incoming::Binary(frame),
        _ => match std::str::from_utf8(frame) {
            Ok(text) => Incoming::Text(text),
            Err(_) => Incoming::Malformed(DecodeError::BadUtf8),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1000;

    fn read(stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, Result<(), TooLarge>) {
        let mut decoder = Decoder::default();
        let mut frames = vec![];
        for piece in stream.chunks(piece) {
            let mut at = 0;
            while at < piece.len() {
                match decoder.decode(&piece[at..], LIMIT) {
                    Ok(Decoded { consumed, frame }) => {
                        at += consumed;
                        frames.extend(frame.map(Cow::into_owned));
                    }
                    Err(error) => return (frames, Err(error)),
                }
            }
        }
        (frames, Ok(()))
    }

    #[test]
    fn ins_18_a_stream_means_the_same_however_it_is_cut() {
        let frames = [vec![b'['; 3], vec![], vec![0; LIMIT], vec![b'x'], vec![1; 300]];
        let framed = |frame: &Vec<u8>| encode(&Frame::Binary(frame.clone().into()));
        let stream: Vec<u8> = frames.iter().flat_map(framed).collect();

        for piece in (1..20).chain([64, 301, 1003, 1004, 1005, stream.len()]) {
            assert_eq!(read(&stream, piece), (frames.to_vec(), Ok(())), "pieces of {piece}");
        }
    }

    #[test]
    fn law_6_a_frame_over_the_limit_is_refused_when_its_length_is_said() {
        let mut stream = encode(&Frame::Text("[]".into()));
        write_head(&mut stream, LIMIT + 1);
        let refused = Err(TooLarge { bytes: LIMIT + 1, limit: LIMIT });

        for piece in [1, 3, stream.len()] {
            assert_eq!(read(&stream, piece), (vec![b"[]".to_vec()], refused));
        }
    }

    #[test]
    fn a_decoder_owns_memory_only_while_a_frame_is_unfinished() {
        let mut decoder = Decoder::default();
        assert_eq!(size_of::<Decoder>(), size_of::<usize>());

        decoder.decode(&[0, 0, 0, 1, b'['], LIMIT).unwrap();
        assert!(decoder.is_empty());
        decoder.decode(&[0, 0], LIMIT).unwrap();
        assert!(!decoder.is_empty());
        decoder.decode(&[0, 1, b'['], LIMIT).unwrap();

        assert!(decoder.is_empty());
    }

    #[test]
    fn the_first_byte_tells_text_from_binary() {
        assert_eq!(incoming(b"[1]"), Incoming::Text("[1]"));
        assert_eq!(incoming(b"\0rest"), Incoming::Binary(b"\0rest"));
        assert_eq!(incoming(b"\xff"), Incoming::Malformed(DecodeError::BadUtf8));
        assert_eq!(incoming(b""), Incoming::Text(""));
    }
}
