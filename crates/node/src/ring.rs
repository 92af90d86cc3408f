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

/// How much a ring keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingLimits {
    /// Frames.
    pub frames: usize,
    /// Bytes of encoded frames.
    pub bytes: usize,
    /// Age of a frame, in milliseconds.
    pub ms: u64,
}

impl Default for RingLimits {
    fn default() -> Self {
        Self { frames: limits::RING_FRAMES, bytes: limits::RING_BYTES, ms: limits::RING_MS }
    }
}

/// The last frames of a topic, bounded by count, bytes and age.
#[derive(Debug, Default)]
pub struct Ring {
    limits: RingLimits,
    frames: VecDeque<Kept>,
    bytes: usize,
    /// Number of the frame that comes next.
    next: u64,
}

#[derive(Debug)]
struct Kept {
    frame: Arc<Frame>,
    since: u64,
}

/// A place in a ring: the number of the next frame to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(u64);

impl Cursor {
    /// How many frames this place lies behind `earlier`; none when it does not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }
}

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
    /// An empty ring.
    #[must_use]
    pub fn new(limits: RingLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Puts a frame at the end, at `now` in milliseconds; the oldest ones go when a limit is
    /// passed.
    pub fn push(&mut self, frame: Arc<Frame>, now: u64) {
        self.bytes += frame.encoded.len();
        self.frames.push_back(Kept { frame, since: now });
        self.next += 1;
        // The newest frame stays whatever its size: a single large one must not loop everybody.
        while self.frames.len() > self.limits.frames
            || (self.bytes > self.limits.bytes && self.frames.len() > 1)
        {
            self.forget_oldest();
        }
        self.expire(now);
    }

    /// Forgets frames that are too old.
    pub fn expire(&mut self, now: u64) {
        let oldest_kept = now.saturating_sub(self.limits.ms);
        while self.frames.front().is_some_and(|kept| kept.since < oldest_kept) {
            self.forget_oldest();
        }
        if self.frames.is_empty() {
            // A topic that is quiet owns no buffer.
            self.frames = VecDeque::new();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.frames.pop_front() {
            self.bytes -= oldest.frame.encoded.len();
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

    /// Frames and bytes that are kept now.
    #[must_use]
    pub fn occupancy(&self) -> (usize, usize) {
        (self.frames.len(), self.bytes)
    }

    /// Reads at most `most` frames and moves the cursor behind them.
    pub fn read(&self, cursor: &mut Cursor, most: usize) -> Read {
        self.read_within(cursor, most, usize::MAX)
    }

    /// Reads at most `most` frames and about `bytes` bytes, and moves the cursor behind them.
    pub fn read_within(&self, cursor: &mut Cursor, most: usize, bytes: usize) -> Read {
        let oldest = self.next - self.frames.len() as u64;
        if cursor.0 < oldest {
            let missed = self.next - cursor.0;
            cursor.0 = self.next;
            return Read::Lagged { missed };
        }
        let from = usize::try_from(cursor.0 - oldest).unwrap_or(usize::MAX);
        let mut taken = 0;
        let within = |kept: &&Kept| {
            let fits = taken < bytes;
            taken += kept.frame.encoded.len();
            fits
        };
        let kept = self.frames.iter().skip(from).take(most).take_while(within);
        let frames: Vec<_> = kept.map(|kept| Arc::clone(&kept.frame)).collect();
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
        (0..5).for_each(|number| ring.push(frame(number, 1), 0));

        assert_eq!(numbers(ring.read(&mut cursor, 3)), [0, 1, 2]);
        assert_eq!(numbers(ring.read(&mut cursor, 3)), [3, 4]);
        assert_eq!(numbers(ring.read(&mut cursor, 3)), [] as [usize; 0]);
    }

    #[test]
    fn law_9_a_cursor_that_falls_off_is_told_how_much_it_missed_and_goes_on() {
        let mut ring = Ring::default();
        let mut cursor = ring.end();
        (0..=limits::RING_FRAMES).for_each(|number| ring.push(frame(number, 1), 0));

        let missed = limits::RING_FRAMES as u64 + 1;
        assert_eq!(ring.read(&mut cursor, 3), Read::Lagged { missed });
        ring.push(frame(7, 1), 0);
        assert_eq!(numbers(ring.read(&mut cursor, 3)), [7]);
    }

    #[test]
    fn law_6_a_ring_is_bounded_by_age() {
        let mut ring = Ring::new(RingLimits { ms: 10, ..RingLimits::default() });
        let mut cursor = ring.end();
        (0..3).for_each(|number| ring.push(frame(number, 1), number as u64));

        ring.push(frame(3, 1), 12);
        assert_eq!(ring.occupancy(), (2, 2));
        ring.expire(30);

        assert_eq!(ring.occupancy(), (0, 0));
        assert_eq!(ring.read(&mut cursor, 9), Read::Lagged { missed: 4 });
    }

    #[test]
    fn a_read_takes_about_as_many_bytes_as_asked_for_and_at_least_one_frame() {
        let mut ring = Ring::default();
        let mut cursor = ring.end();
        (0..4).for_each(|number| ring.push(frame(number, 10), 0));

        assert_eq!(numbers(ring.read_within(&mut cursor, 9, 1)), [0]);
        assert_eq!(numbers(ring.read_within(&mut cursor, 9, 11)), [1, 2]);
        assert_eq!(numbers(ring.read_within(&mut cursor, 9, 11)), [3]);
    }

    #[test]
    fn law_6_a_ring_is_bounded_by_bytes_but_always_holds_the_newest_frame() {
        let mut ring = Ring::default();
        let mut cursor = ring.end();

        ring.push(frame(0, 10), 0);
        ring.push(frame(1, limits::RING_BYTES + 1), 0);

        assert_eq!((ring.frames.len(), ring.bytes), (1, limits::RING_BYTES + 1));
        assert_eq!(ring.read(&mut cursor, 9), Read::Lagged { missed: 2 });
    }
}
