//! A topic's ring: the last frames, each encoded once, read by cursors.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    /// Position up to which a reader of this frame is complete.
    pub position: Option<Position>,
    /// Its number among the messages of a live topic.
    pub offset: Option<u64>,
    /// The whole message as Phoenix Channels V2 puts it on the wire.
    pub encoded: Bytes,
}

/// Payload of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// A JSON object.
    Json(Bytes),
    /// Opaque bytes; `Frame::encoded` is then a binary frame.
    Binary(Bytes),
}

/// A message that has no number yet.
#[derive(Debug)]
pub struct Message {
    /// Payload.
    pub payload: Payload,
    /// The whole of it, as in [`Frame`].
    pub encoded: Bytes,
}

/// Retention limits of a ring.
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

/// Budget of all rings together. While they have more than it, each keeps its equal part: whoever
/// fills many large rings makes those smaller, not the small ones of others.
#[derive(Debug, Default)]
pub struct RingBudget {
    bytes: AtomicUsize,
    rings: AtomicUsize,
}

impl RingBudget {
    /// Bytes that one ring may have now.
    fn part(&self) -> usize {
        match self.bytes.load(Ordering::Relaxed) > limits::RINGS_BYTES {
            true => limits::RINGS_BYTES / self.rings.load(Ordering::Relaxed).max(1),
            false => usize::MAX,
        }
    }
}

/// Bytes of one ring, counted in the budget that it shares, if it shares one.
#[derive(Debug, Default)]
struct Weight {
    bytes: usize,
    budget: Option<Arc<RingBudget>>,
}

impl Weight {
    fn set(&mut self, bytes: usize) {
        if let Some(RingBudget { bytes: all, .. }) = self.budget.as_deref() {
            match bytes.checked_sub(self.bytes) {
                Some(more) => all.fetch_add(more, Ordering::Relaxed),
                None => all.fetch_sub(self.bytes - bytes, Ordering::Relaxed),
            };
        }
        self.bytes = bytes;
    }

    fn most(&self) -> usize {
        self.budget.as_ref().map_or(usize::MAX, |budget| budget.part())
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.set(0);
        if let Some(budget) = &self.budget {
            budget.rings.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The last frames of a topic, bounded by count, bytes and age.
#[derive(Debug, Default)]
pub struct Ring {
    limits: RingLimits,
    frames: VecDeque<Kept>,
    weight: Weight,
    /// Number of the frame that comes next.
    next: u64,
    /// Messages so far, on a live topic; what is put between them is not counted.
    offset: u64,
    counts_messages: bool,
}

#[derive(Debug)]
struct Kept {
    frame: Arc<Frame>,
    since: u64,
}

/// A place in a ring: the number of the next frame to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    next: u64,
    offset: u64,
}

impl Cursor {
    /// Returns how many frames this place lies behind `earlier`; none when it does not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Option<u64> {
        self.next.checked_sub(earlier.next)
    }

    /// The number of the last message before this place, on a live topic.
    #[must_use]
    pub fn offset(self) -> u64 {
        self.offset
    }
}

/// Result of reading at a cursor.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// Frames, in order; none when the cursor is at the end.
    Frames(Vec<Arc<Frame>>),
    /// The cursor fell off the ring; it stands at the end now.
    Lagged {
        /// Frames missed; on a live topic, messages missed.
        missed: u64,
    },
}

impl Ring {
    /// An empty ring.
    #[must_use]
    pub fn new(limits: RingLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// An empty ring that shares a budget with others.
    #[must_use]
    pub fn within(limits: RingLimits, budget: &Arc<RingBudget>) -> Self {
        budget.rings.fetch_add(1, Ordering::Relaxed);
        let weight = Weight { bytes: 0, budget: Some(Arc::clone(budget)) };
        Self { limits, weight, ..Self::default() }
    }

    /// Counts messages from here on: the topic is a live one.
    pub fn become_live(&mut self, limits: RingLimits) {
        self.limits = limits;
        self.counts_messages = true;
    }

    /// Puts a message at the end, at `now` in milliseconds, under its number.
    pub fn push_message(&mut self, event: &str, message: Message, now: u64) -> Arc<Frame> {
        let Message { payload, encoded } = message;
        let offset = Some(self.offset + 1);
        let frame = Frame { event: event.into(), payload, position: None, offset, encoded };
        let frame = Arc::new(frame);
        self.push(Arc::clone(&frame), now);
        frame
    }

    /// Puts a frame at the end, at `now` in milliseconds; the oldest ones go when a limit is
    /// passed.
    pub fn push(&mut self, frame: Arc<Frame>, now: u64) {
        self.weight.set(self.weight.bytes + frame.encoded.len());
        self.offset = frame.offset.unwrap_or(self.offset);
        self.frames.push_back(Kept { frame, since: now });
        self.next += 1;
        let most = self.limits.bytes.min(self.weight.most());
        // The newest frame stays whatever its size: a single large one must not loop everybody.
        while self.frames.len() > self.limits.frames
            || (self.weight.bytes > most && self.frames.len() > 1)
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

    /// Keeps no more than that of what it has now; nothing if that is no frames.
    pub fn trim(&mut self, limits: RingLimits, now: u64) {
        let oldest_kept = now.saturating_sub(limits.ms);
        while self.frames.front().is_some_and(|oldest| {
            self.frames.len() > limits.frames
                || self.weight.bytes > limits.bytes
                || oldest.since < oldest_kept
        }) {
            self.forget_oldest();
        }
        self.frames.shrink_to_fit();
    }

    /// The place behind message number `offset`; none when some of what follows is not known any
    /// more, or nothing of that number was.
    #[must_use]
    pub fn behind(&self, offset: u64) -> Option<Cursor> {
        let missed = usize::try_from(self.offset.checked_sub(offset)?).ok()?;
        if missed == 0 {
            return Some(self.end());
        }
        let messages = self.frames.iter().rev().enumerate();
        let messages = messages.filter(|(_, kept)| kept.frame.offset.is_some());
        let (first, _) = messages.take(missed).nth(missed - 1)?;
        Some(Cursor { next: self.next - 1 - first as u64, offset })
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.frames.pop_front() {
            self.weight.set(self.weight.bytes - oldest.frame.encoded.len());
        }
    }

    /// Forgets its frames, as if the next one had been missed: every cursor has to catch up.
    pub fn cut(&mut self) {
        self.frames.clear();
        self.weight.set(0);
        self.next += 1;
    }

    /// A cursor behind the newest frame.
    #[must_use]
    pub fn end(&self) -> Cursor {
        Cursor { next: self.next, offset: self.offset }
    }

    /// Frames and bytes that are kept now.
    #[must_use]
    pub fn occupancy(&self) -> (usize, usize) {
        (self.frames.len(), self.weight.bytes)
    }

    /// Reads at most `most` frames and moves the cursor behind them.
    pub fn read(&self, cursor: &mut Cursor, most: usize) -> Read {
        self.read_within(cursor, most, usize::MAX)
    }

    /// Reads at most `most` frames and about `bytes` bytes, and moves the cursor behind them.
    pub fn read_within(&self, cursor: &mut Cursor, most: usize, bytes: usize) -> Read {
        let oldest = self.next - self.frames.len() as u64;
        if cursor.next < oldest {
            let missed = match self.counts_messages {
                true => self.offset - cursor.offset,
                false => self.next - cursor.next,
            };
            *cursor = self.end();
            return Read::Lagged { missed };
        }
        let from = usize::try_from(cursor.next - oldest).unwrap_or(usize::MAX);
        let mut taken = 0;
        let within = |kept: &&Kept| {
            let fits = taken < bytes;
            taken += kept.frame.encoded.len();
            fits
        };
        let kept = self.frames.range(from.min(self.frames.len())..).take(most).take_while(within);
        let frames: Vec<_> = kept.map(|kept| Arc::clone(&kept.frame)).collect();
        cursor.next += frames.len() as u64;
        let counted = frames.iter().rev().find_map(|frame| frame.offset);
        cursor.offset = counted.unwrap_or(cursor.offset);
        Read::Frames(frames)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(number: usize, bytes: usize) -> Arc<Frame> {
        let payload = Payload::Json(Bytes::from(number.to_string()));
        Arc::new(Frame {
            event: "e".into(),
            payload,
            position: None,
            offset: None,
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

        assert_eq!((ring.frames.len(), ring.occupancy().1), (1, limits::RING_BYTES + 1));
        assert_eq!(ring.read(&mut cursor, 9), Read::Lagged { missed: 2 });
    }

    fn message(number: usize) -> Message {
        let Frame { payload, encoded, .. } = Arc::into_inner(frame(number, 1)).unwrap();
        Message { payload, encoded }
    }

    #[test]
    fn messages_of_a_live_topic_are_counted_and_what_stands_between_them_is_not() {
        let mut ring = Ring::new(RingLimits { frames: 3, ..RingLimits::default() });
        let limits = ring.limits;
        ring.become_live(limits);
        let mut slow = ring.end();
        let mut quick = slow;

        ring.push_message("e", message(1), 0);
        ring.push(frame(0, 1), 0);
        ring.push_message("e", message(2), 0);
        ring.read(&mut quick, 9);
        ring.push_message("e", message(3), 0);

        assert_eq!((quick.offset(), ring.end().offset()), (2, 3));
        assert_eq!(ring.read(&mut slow, 9), Read::Lagged { missed: 3 });
        assert_eq!(slow, ring.end());
    }

    #[derive(Debug, Clone)]
    enum Put {
        Message(usize),
        Other,
        Passes(u64),
    }

    fn puts() -> impl Strategy<Value = Vec<Put>> {
        let put = prop_oneof![
            4 => (1_usize..40).prop_map(Put::Message),
            1 => Just(Put::Other),
            1 => (0_u64..20).prop_map(Put::Passes),
        ];
        proptest::collection::vec(put, 0..60)
    }

    proptest! {
        /// History replays exactly what was missed, or says that it cannot.
        #[test]
        fn history_is_whole_or_refused(
            puts in puts(),
            frames in 1_usize..20,
            bytes in 20_usize..400,
        ) {
            let mut ring = Ring::new(RingLimits { frames, bytes, ms: 30 });
            let limits = ring.limits;
        ring.become_live(limits);
            let (mut now, mut told) = (0, vec![]);
            for put in puts {
                match put {
                    Put::Message(bytes) => {
                        let number = told.len() + 1;
                        let Frame { payload, encoded, .. } =
                            Arc::into_inner(frame(number, bytes)).unwrap();
                        ring.push_message("e", Message { payload, encoded }, now);
                        told.push(number);
                    }
                    Put::Other => ring.push(frame(0, 1), now),
                    Put::Passes(ms) => {
                        now += ms;
                        ring.expire(now);
                    }
                }
            }

            let mut whole = true;
            for since in (0..=told.len()).rev() {
                let replayed = ring.behind(since as u64).map(|mut cursor| {
                    let read = ring.read(&mut cursor, usize::MAX);
                    assert_eq!(cursor, ring.end());
                    let Read::Frames(mut frames) = read else { panic!("lagged") };
                    frames.retain(|frame| frame.offset.is_some());
                    numbers(Read::Frames(frames))
                });
                // From some number on downwards nothing is known any more.
                whole &= replayed.is_some();
                prop_assert_eq!(replayed, whole.then(|| told[since..].to_vec()));
            }
            prop_assert_eq!(ring.behind(told.len() as u64 + 1), None);
        }
    }

    #[test]
    fn rings_that_are_large_together_become_smaller_and_small_ones_of_others_do_not() {
        let budget = Arc::default();
        let limits = RingLimits { bytes: usize::MAX, ..RingLimits::default() };
        let large = limits::RINGS_BYTES / 16;
        let frame = |bytes: usize| {
            let encoded = Bytes::from(vec![0; bytes]);
            let payload = Payload::Binary(Bytes::new());
            Arc::new(Frame { event: "e".into(), payload, position: None, offset: None, encoded })
        };
        let mut small = Ring::within(limits, &budget);
        (0..10).for_each(|_| small.push(frame(100), 0));
        let mut many: Vec<_> = (0..7).map(|_| Ring::within(limits, &budget)).collect();

        for _ in 0..8 {
            many.iter_mut().for_each(|ring| ring.push(frame(large), 0));
        }
        small.push(frame(100), 0);

        assert_eq!(small.occupancy(), (11, 1_100));
        let all: usize = many.iter().map(|ring| ring.occupancy().1).sum();
        assert!(all <= limits::RINGS_BYTES + large, "{all}");
        assert!(many.iter().all(|ring| ring.occupancy().0 >= 1), "the newest frame stays");
        drop(many);
        assert_eq!(budget.bytes.load(Ordering::Relaxed), 1_100);
    }
}
