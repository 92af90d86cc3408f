//! A topic's ring: the last frames, each encoded once, read by cursors.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits;
use crate::position::Position;
use bytes::Bytes;

#[cfg(test)]
mod tests;

/// A frame, encoded once and shared by all its receivers.
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

/// Position up to which a reader of these frames is complete, if one of them says so.
#[must_use]
pub fn complete_up_to(frames: &[Arc<Frame>]) -> Option<Position> {
    frames.iter().rev().find_map(|frame| frame.position)
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

/// Budget of all rings together. While they have more than it, each keeps its equal part: a client
/// that fills many large rings makes these smaller, not the small ones of others.
#[derive(Debug, Default)]
pub struct RingBudget {
    bytes: AtomicUsize,
    rings: AtomicUsize,
}

impl RingBudget {
    /// Bytes that one ring may have now.
    fn part(&self) -> usize {
        if self.bytes.load(Ordering::Relaxed) > limits::RINGS_BYTES {
            limits::RINGS_BYTES / self.rings.load(Ordering::Relaxed).max(1)
        } else {
            usize::MAX
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
    frames: VecDeque<KeptFrame>,
    weight: Weight,
    /// Number of the frame that comes next.
    next: u64,
    /// Messages so far, on a live topic; what is put between them is not counted.
    offset: u64,
    counts_messages: bool,
}

#[derive(Debug)]
struct KeptFrame {
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
        self.frames.push_back(KeptFrame { frame, since: now });
        self.next += 1;
        let most = self.limits.bytes.min(self.weight.most());
        // The newest frame stays whatever its size: a single large one must not loop all
        // subscribers.
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
            let missed = if self.counts_messages {
                self.offset - cursor.offset
            } else {
                self.next - cursor.next
            };
            *cursor = self.end();
            return Read::Lagged { missed };
        }
        let from = usize::try_from(cursor.next - oldest).unwrap_or(usize::MAX);
        let mut taken = 0;
        let within = |kept: &&KeptFrame| {
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
