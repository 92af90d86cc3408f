//! A topic's ring: the last frames, each encoded once, read by cursors.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use instep_model::limits;
use instep_model::position::Position;

/// A frame, encoded once and shared by everybody who gets it.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// The event.
    pub event: Arc<str>,
    /// The payload: JSON, or opaque bytes.
    pub payload: Payload,
    /// Who has this frame is complete up to here.
    pub position: Option<Position>,
    /// The whole message as Phoenix Channels V2 puts it on the wire.
    pub encoded: Bytes,
}

/// What a frame carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// A JSON object.
    Json(Bytes),
    /// Opaque bytes; `Frame::encoded` is then a binary frame.
    Binary(Bytes),
}

/// The last frames of a topic, bounded by count and bytes.
#[derive(Debug, Default)]
pub struct Ring {
    frames: VecDeque<Arc<Frame>>,
    bytes: usize,
    /// Number of the frame that comes next.
    next: u64,
}

/// A place in a ring: the number of the next frame to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor(u64);

/// What a cursor finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// Frames, in order; none when the cursor is at the end.
    Frames(Vec<Arc<Frame>>),
    /// The cursor fell off the ring; it stands at the end now.
    Lagged {
        /// How many frames it missed.
        missed: u64,
    },
}

impl Ring {
    /// Puts a frame at the end; the oldest ones go when a limit is passed.
    pub fn push(&mut self, frame: Arc<Frame>) {
        self.bytes += frame.encoded.len();
        self.frames.push_back(frame);
        self.next += 1;
        // The newest frame stays whatever its size: a single large one must not loop everybody.
        while self.frames.len() > limits::RING_FRAMES
            || (self.bytes > limits::RING_BYTES && self.frames.len() > 1)
        {
            let Some(oldest) = self.frames.pop_front() else {
                break;
            };
            self.bytes -= oldest.encoded.len();
        }
    }

    /// Forgets its frames, as if the next one had been missed: every cursor has to catch up.
    pub fn cut(&mut self) {
        self.frames.clear();
        self.bytes = 0;
        self.next += 1;
    }

    /// A cursor behind the newest frame.
    #[must_use]
    pub fn end(&self) -> Cursor {
        Cursor(self.next)
    }

    /// Reads at most `most` frames and moves the cursor behind them.
    pub fn read(&self, cursor: &mut Cursor, most: usize) -> Read {
        let oldest = self.next - self.frames.len() as u64;
        if cursor.0 < oldest {
            let missed = self.next - cursor.0;
            cursor.0 = self.next;
            return Read::Lagged { missed };
        }
        let from = usize::try_from(cursor.0 - oldest).unwrap_or(usize::MAX);
        let frames: Vec<_> = self.frames.iter().skip(from).take(most).cloned().collect();
        cursor.0 += frames.len() as u64;
        Read::Frames(frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: usize, bytes: usize) -> Arc<Frame> {
        let payload = Payload::Json(Bytes::from(number.to_string()));
        Arc::new(Frame {
            event: "e".into(),
            payload,
            position: None,
            encoded: Bytes::from(vec![0; bytes]),
        })
    }

    fn numbers(read: Read) -> Vec<usize> {
        let Read::Frames(frames) = read else { panic!("lagged") };
        let number = |frame: &Arc<Frame>| match &frame.payload {
            Payload::Json(text) => std::str::from_utf8(text).unwrap().parse().unwrap(),
            Payload::Binary(_) => unreachable!(),
        };
        frames.iter().map(number).collect()
    }

    #[test]
    fn cursors_read_every_frame_once_and_in_order() {
        let mut ring = Ring::default();
        let mut cursor = ring.end();
        (0..5).for_each(|number| ring.push(frame(number, 1)));

        assert_eq!(numbers(ring.read(&mut cursor, 3)), [0, 1, 2]);
        assert_eq!(numbers(ring.read(&mut cursor, 3)), [3, 4]);
        assert_eq!(numbers(ring.read(&mut cursor, 3)), [] as [usize; 0]);
    }

    #[test]
    fn law_9_a_cursor_that_falls_off_is_told_how_much_it_missed_and_goes_on() {
        let mut ring = Ring::default();
        let mut cursor = ring.end();
        (0..=limits::RING_FRAMES).for_each(|number| ring.push(frame(number, 1)));

        let missed = limits::RING_FRAMES as u64 + 1;
        assert_eq!(ring.read(&mut cursor, 3), Read::Lagged { missed });
        ring.push(frame(7, 1));
        assert_eq!(numbers(ring.read(&mut cursor, 3)), [7]);
    }

    #[test]
    fn law_6_a_ring_is_bounded_by_bytes_but_always_holds_the_newest_frame() {
        let mut ring = Ring::default();
        let mut cursor = ring.end();

        ring.push(frame(0, 10));
        ring.push(frame(1, limits::RING_BYTES + 1));

        assert_eq!((ring.frames.len(), ring.bytes), (1, limits::RING_BYTES + 1));
        assert_eq!(ring.read(&mut cursor, 9), Read::Lagged { missed: 2 });
    }
}
