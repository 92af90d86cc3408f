//! Topic rings: the last frames of each joined topic, read by cursors.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use instep_model::position::Position;

/// Frames that a ring keeps: few, so that subscribers fall off often.
pub(crate) const RING_FRAMES: usize = 6;

/// An encoded frame, and the position that whoever has it is complete up to.
#[derive(Clone)]
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    pub(crate) position: Option<Position>,
}

/// The rings of the topics that somebody has joined.
#[derive(Default)]
pub(crate) struct Rings(BTreeMap<Arc<str>, Ring>);

#[derive(Default)]
struct Ring {
    frames: VecDeque<Frame>,
    next: u64,
}

/// Result of a read at a cursor.
pub(crate) enum Found {
    Frame(Frame),
    Nothing,
    Lagged,
}

impl Rings {
    /// A cursor behind everything on a topic's ring.
    pub(crate) fn end(&mut self, topic: &str) -> u64 {
        self.0.entry(topic.into()).or_default().next
    }

    /// Puts a frame on a topic's ring, if anybody has joined the topic; says how full it is.
    pub(crate) fn push(&mut self, topic: &str, frame: Frame, bounded: bool) -> usize {
        let Some(ring) = self.0.get_mut(topic) else {
            return 0;
        };
        ring.frames.push_back(frame);
        ring.next += 1;
        if bounded && ring.frames.len() > RING_FRAMES {
            ring.frames.pop_front();
        }
        ring.frames.len()
    }

    /// The frame at a cursor.
    pub(crate) fn read(&self, topic: &str, cursor: u64) -> Found {
        let Some(ring) = self.0.get(topic) else {
            return Found::Nothing;
        };
        let oldest = ring.next - ring.frames.len() as u64;
        if cursor < oldest {
            return Found::Lagged;
        }
        let at = usize::try_from(cursor - oldest).unwrap_or(usize::MAX);
        ring.frames.get(at).cloned().map_or(Found::Nothing, Found::Frame)
    }

    pub(crate) fn topics(&self) -> Vec<Arc<str>> {
        self.0.keys().cloned().collect()
    }
}
