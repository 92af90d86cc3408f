//! Stamp of a message, by which its way is measured: time, sequence, topic.
//!
//! ```text
//! ~ | nanoseconds: 16 letters | sequence: 8 letters | topic: 8 letters
//! ```
//!
//! A letter is four bits, `a` to `p`: text in every protocol, and cheap to read back.

/// Stands in front of a stamp and nowhere else in a message.
pub(crate) const MARK: u8 = b'~';
/// Bytes of the mark and the stamp.
pub(crate) const BYTES: usize = 33;

/// Stamp of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Nanoseconds since the run's clock began.
    pub(crate) at: u64,
    /// The number of the message on its topic.
    pub(crate) sequence: u32,
    /// The number of its topic.
    pub(crate) topic: u32,
}

impl Stamp {
    /// Writes mark and stamp over the beginning of `place`.
    pub(crate) fn write(self, place: &mut [u8]) {
        place[0] = MARK;
        place[1..9].copy_from_slice(&letters((self.at >> 32) as u32));
        place[9..17].copy_from_slice(&letters(self.at as u32));
        place[17..25].copy_from_slice(&letters(self.sequence));
        place[25..33].copy_from_slice(&letters(self.topic));
    }

    /// Reads a stamp whose mark stands at the beginning of `bytes`.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (mark, rest) = bytes.get(..BYTES)?.split_first()?;
        let (words, _) = rest.as_chunks::<8>();
        let [high, low, sequence, topic] = words else { return None };
        let at = u64::from(number(*high)) << 32 | u64::from(number(*low));
        let stamp = Self { at, sequence: number(*sequence), topic: number(*topic) };
        (*mark == MARK).then_some(stamp)
    }
}

/// A JSON object of exactly `bytes` bytes, or of as few as a stamp needs, and where the mark goes.
pub(crate) fn payload(bytes: usize) -> (Vec<u8>, usize) {
    let mut text = br#"{"at":""#.to_vec();
    let at = text.len();
    text.resize(at + BYTES, b'a');
    text.extend_from_slice(br#"","fill":""#);
    text.resize(text.len().max(bytes.saturating_sub(2)), b'x');
    text.extend_from_slice(br#""}"#);
    (text, at)
}

/// Eight letters, the highest four bits first.
fn letters(number: u32) -> [u8; 8] {
    std::array::from_fn(|at| b'a' + (number >> (28 - 4 * at) & 15) as u8)
}

/// The number of eight letters, all at once.
fn number(letters: [u8; 8]) -> u32 {
    let nibbles = u64::from_be_bytes(letters).wrapping_sub(0x6161_6161_6161_6161);
    let nibbles = nibbles & 0x0f0f_0f0f_0f0f_0f0f;
    let bytes = (nibbles | nibbles >> 4) & 0x00ff_00ff_00ff_00ff;
    let pairs = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff;
    (pairs | pairs >> 16) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back_as_it_was_written() {
        let stamp = Stamp { at: 0x0123_4567_89ab_cdef, sequence: u32::MAX, topic: 0x1234_5678 };
        let mut place = [0; BYTES + 3];

        stamp.write(&mut place);

        assert_eq!(Stamp::read(&place), Some(stamp));
        assert!(place[1..BYTES].iter().all(u8::is_ascii_lowercase));
    }

    #[test]
    fn bytes_without_the_mark_are_no_stamp() {
        assert_eq!(Stamp::read(&[b'a'; BYTES]), None);
        assert_eq!(Stamp::read(b"~abc"), None);
    }

    #[test]
    fn a_payload_is_json_of_the_length_that_was_asked_for() {
        for bytes in [64, 128, 4096] {
            let (mut text, at) = payload(bytes);
            Stamp { at: 7, sequence: 8, topic: 9 }.write(&mut text[at..]);

            assert_eq!(text.len(), bytes);
            assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok());
        }
    }
}
