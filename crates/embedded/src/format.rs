//! The bytes: the header of a file, the frame of an entry. Little-endian, checked by xxh3-64.
//!
//! ```text
//! header, 96 bytes, the same place and checksum in every version
//!  0        8       12      16               32                  48          56
//!  | magic  | version | zero | incarnation     | its predecessor   | revision  | chain ...
//!  56         64         72            88          96
//!  | chain    | bytes    | zero        | checksum  |
//!
//! frame, padded with zeros to a multiple of 8; the checksum covers everything behind it
//!  0          8        12      16            24          32         40
//!  | checksum | length | magic | incarnation | revision  | chain    | body ... padding
//!                              (its digest)              (checksum of the frame before)
//! ```

use instep_model::limits;
use instep_model::position::{Incarnation, Revision};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of a file's header.
pub(crate) const HEADER_BYTES: usize = 96;
/// Bytes of a frame before its body.
pub(crate) const FRAME_HEADER_BYTES: usize = 40;
/// The only version so far.
pub(crate) const VERSION: u32 = 1;
/// Frames begin at multiples of this, so that a search for them takes large steps.
pub(crate) const ALIGNMENT: usize = 8;
/// Magic bytes at the beginning of a segment of the log.
pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"INSTEPLG";
/// Magic bytes at the beginning of a snapshot.
pub(crate) const SNAPSHOT_MAGIC: [u8; 8] = *b"INSTEPSN";
const FRAME_MAGIC: [u8; 4] = *b"FRME";

/// The beginning of a segment or of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) magic: [u8; 8],
    pub(crate) incarnation: Incarnation,
    /// The incarnation of the file before: another one only behind a repair.
    pub(crate) predecessor: Incarnation,
    /// A segment's first revision, a snapshot's revision.
    pub(crate) revision: Revision,
    /// The checksum of the last frame before this segment.
    pub(crate) chain: u64,
    /// The bytes that the file was made with.
    pub(crate) bytes: u64,
}

/// Fault of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// Not the bytes that were written.
    Damaged(&'static str),
    /// Written by a newer Instep.
    Newer(u32),
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&self.magic);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(self.incarnation.0.as_bytes());
        bytes[32..48].copy_from_slice(self.predecessor.0.as_bytes());
        bytes[48..56].copy_from_slice(&self.revision.0.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.chain.to_le_bytes());
        bytes[64..72].copy_from_slice(&self.bytes.to_le_bytes());
        let checksum = xxh3_64(&bytes[..88]);
        bytes[88..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8], magic: [u8; 8]) -> Result<Self, HeaderFault> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(HeaderFault::Damaged("its header is cut off"));
        };
        if bytes[..8] != magic {
            return Err(HeaderFault::Damaged("it does not begin like a file of Instep"));
        }
        if xxh3_64(&bytes[..88]) != u64_at(bytes, 88) {
            return Err(HeaderFault::Damaged("the checksum of its header does not match"));
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(HeaderFault::Newer(version));
        }
        let id = |at: usize| {
            let raw = bytes[at..at + 16].first_chunk().expect("sixteen bytes were sliced");
            Incarnation(Uuid::from_bytes(*raw))
        };
        Ok(Self {
            magic,
            incarnation: id(16),
            predecessor: id(32),
            revision: Revision(u64_at(bytes, 48)),
            chain: u64_at(bytes, 56),
            bytes: u64_at(bytes, 64),
        })
    }
}

/// The part of an incarnation that every frame carries.
pub(crate) fn digest(incarnation: Incarnation) -> u64 {
    xxh3_64(incarnation.0.as_bytes())
}

/// Bytes that a body takes as a frame.
pub(crate) fn frame_bytes(body: usize) -> usize {
    (FRAME_HEADER_BYTES + body).next_multiple_of(ALIGNMENT)
}

/// One frame, as it lies in a buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) checksum: u64,
    pub(crate) incarnation: u64,
    pub(crate) revision: Revision,
    pub(crate) chain: u64,
    pub(crate) body: usize,
}

/// Result of decoding a frame at one place in a buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Found {
    /// A whole frame whose checksum holds.
    Frame(Frame),
    /// The beginning of something that needs this many bytes to tell.
    More(usize),
    /// No frame.
    Nothing,
}

impl Frame {
    /// Bytes of the frame in the file.
    pub(crate) fn bytes(&self) -> usize {
        frame_bytes(self.body)
    }

    /// Looks at the beginning of `bytes`.
    pub(crate) fn decode(bytes: &[u8]) -> Found {
        if bytes.len() < FRAME_HEADER_BYTES {
            return Found::More(FRAME_HEADER_BYTES);
        }
        let body = u32_at(bytes, 8) as usize;
        if bytes[12..16] != FRAME_MAGIC || body > limits::LOG_FRAME_BYTES {
            return Found::Nothing;
        }
        let whole = frame_bytes(body);
        if bytes.len() < whole {
            return Found::More(whole);
        }
        let checksum = u64_at(bytes, 0);
        if xxh3_64(&bytes[8..whole]) != checksum {
            return Found::Nothing;
        }
        Found::Frame(Self {
            checksum,
            incarnation: u64_at(bytes, 16),
            revision: Revision(u64_at(bytes, 24)),
            chain: u64_at(bytes, 32),
            body,
        })
    }
}

/// Replaces the content of `buffer` by one frame, and returns its checksum.
pub(crate) fn encode_frame(
    buffer: &mut Vec<u8>,
    incarnation: u64,
    revision: Revision,
    chain: u64,
    body: &[u8],
) -> u64 {
    let length = u32::try_from(body.len()).expect("the limit of a frame fits 32 bits");
    buffer.clear();
    buffer.extend_from_slice(&[0; 8]);
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(&FRAME_MAGIC);
    buffer.extend_from_slice(&incarnation.to_le_bytes());
    buffer.extend_from_slice(&revision.0.to_le_bytes());
    buffer.extend_from_slice(&chain.to_le_bytes());
    buffer.extend_from_slice(body);
    buffer.resize(frame_bytes(body.len()), 0);
    let checksum = xxh3_64(&buffer[8..]);
    buffer[..8].copy_from_slice(&checksum.to_le_bytes());
    checksum
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let raw = bytes[at..at + 4].first_chunk().expect("four bytes were sliced");
    u32::from_le_bytes(*raw)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let raw = bytes[at..at + 8].first_chunk().expect("eight bytes were sliced");
    u64::from_le_bytes(*raw)
}

const _: () = assert!(limits::LOG_FRAME_BYTES <= u32::MAX as usize);
const _: () = assert!(HEADER_BYTES.is_multiple_of(ALIGNMENT));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> Header {
        Header {
            magic: SEGMENT_MAGIC,
            incarnation: Incarnation(Uuid::from_u128(1)),
            predecessor: Incarnation(Uuid::from_u128(2)),
            revision: Revision(3),
            chain: 4,
            bytes: 5,
        }
    }

    #[test]
    fn a_header_with_any_byte_changed_is_refused() {
        let good = header().encode();
        assert_eq!(Header::decode(&good, SEGMENT_MAGIC), Ok(header()));
        for at in 0..HEADER_BYTES {
            let mut bad = good;
            bad[at] ^= 0x10;
            assert!(
                matches!(Header::decode(&bad, SEGMENT_MAGIC), Err(HeaderFault::Damaged(_))),
                "byte {at}"
            );
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut newer = header().encode();
        newer[8] = 2;
        let checksum = xxh3_64(&newer[..88]);
        newer[88..].copy_from_slice(&checksum.to_le_bytes());

        assert_eq!(Header::decode(&newer, SEGMENT_MAGIC), Err(HeaderFault::Newer(2)));
    }

    proptest! {
        #[test]
        fn a_frame_with_any_byte_changed_is_no_frame(body: Vec<u8>, at: prop::sample::Index) {
            let mut buffer = Vec::new();
            let checksum = encode_frame(&mut buffer, 7, Revision(8), 9, &body);
            let Found::Frame(frame) = Frame::decode(&buffer) else { panic!("not a frame") };
            prop_assert_eq!((frame.checksum, frame.body), (checksum, body.len()));
            prop_assert_eq!((frame.incarnation, frame.revision, frame.chain), (7, Revision(8), 9));

            let at = at.index(buffer.len());
            buffer[at] ^= 1;
            prop_assert!(!matches!(Frame::decode(&buffer), Found::Frame(_)));
        }
    }
}
