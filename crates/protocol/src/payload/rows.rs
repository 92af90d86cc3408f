//! Rows that follow a reply or a gap: changes, or a whole topic in chunks, cut as the client takes
//! them.
//!
//! Rows of tables are shared with the state of the dataset, so that a queue of them is little more
//! than a list of pointers; rows of views are made for the joiner.

use std::sync::Arc;
use std::vec::IntoIter;

use bytes::Bytes;
use instep_model::feed::{
    BOOKMARK_EVENT, Body, Joined, LAGGED_EVENT, Mode, Notice, SNAPSHOT_EVENT,
};
use instep_model::position::Position;
use serde_json::{Value, json};

use super::frame::bookmark_payload;
use super::join::JoinLimits;

/// Push to one subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// Event.
    pub event: Arc<str>,
    /// Payload, a JSON object.
    pub payload: Bytes,
    /// Position up to which the subscriber is complete with it, which stands in the payload.
    pub position: Option<Position>,
}

/// Pushes that one subscriber is told before it reads the ring on. The last one carries the
/// position.
#[derive(Debug)]
pub struct Pushes {
    /// Event that tells of a gap, before its rows.
    lagged: Option<Bytes>,
    notices: IntoIter<Notice>,
    /// Limits of the chunks; none for rows one by one.
    chunks: Option<JoinLimits>,
    /// Bookmark, unless the last notice carries the position.
    bookmark: Option<Position>,
    bytes: usize,
}

impl Pushes {
    /// Pushes behind a reply that is pending: changes, or rows in chunks that a bookmark closes.
    #[must_use]
    pub fn of_join(joined: Joined, limits: JoinLimits) -> Self {
        let chunks = match joined.mode {
            Mode::Resume => None,
            Mode::Snapshot | Mode::Reset => Some(limits),
        };
        Self::new(joined, None, chunks)
    }

    /// Pushes to a subscriber that missed so many frames of the ring: `lagged`, then row by row as
    /// if they had just changed.
    #[must_use]
    pub fn of_lagged(missed: u64, joined: Joined) -> Self {
        let lagged = json!({"missed": missed, "mode": joined.mode}).to_string();
        Self::new(joined, Some(lagged.into()), None)
    }

    fn new(joined: Joined, lagged: Option<Bytes>, chunks: Option<JoinLimits>) -> Self {
        let Joined { position, notices, .. } = joined;
        let bookmark = (chunks.is_some() || notices.is_empty()).then_some(position);
        let made = |notice: &Notice| match &notice.body {
            Body::Row(_) | Body::Gone | Body::Left { .. } => 0,
            Body::Fields(fields) => {
                fields.iter().map(|(name, value)| name.len() + 2 * length(value) + 64).sum()
            }
        };
        let listed = notices.capacity() * size_of::<Notice>();
        let bytes = listed + notices.iter().map(made).sum::<usize>();
        Self { lagged, notices: notices.into_iter(), chunks, bookmark, bytes }
    }

    /// Bytes of memory that they take, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn rows(&mut self) -> Option<Push> {
        let Some(limits) = self.chunks else {
            let notice = self.notices.next()?;
            let payload = notice.payload().into();
            return Some(Push { event: notice.event, payload, position: notice.position });
        };
        let mut chunk = Rows::default();
        for notice in self.notices.by_ref() {
            chunk.add(&notice);
            if chunk.is_full(limits.chunk_rows, limits.chunk_bytes) {
                break;
            }
        }
        let payload = (!chunk.is_empty()).then(|| chunk.finish_chunk())?;
        Some(Push { event: SNAPSHOT_EVENT.into(), payload, position: None })
    }

    fn bookmark(&mut self) -> Option<Push> {
        let position = self.bookmark.take()?;
        let payload = bookmark_payload(position);
        Some(Push { event: BOOKMARK_EVENT.into(), payload, position: Some(position) })
    }
}

impl Iterator for Pushes {
    type Item = Push;

    fn next(&mut self) -> Option<Push> {
        if let Some(payload) = self.lagged.take() {
            return Some(Push { event: LAGGED_EVENT.into(), payload, position: None });
        }
        self.rows().or_else(|| self.bookmark())
    }
}

/// Rows as a JSON list of `{"event", "payload"}`.
#[derive(Default)]
pub(super) struct Rows {
    json: Vec<u8>,
    count: usize,
}

impl Rows {
    pub(super) fn add(&mut self, notice: &Notice) {
        self.json.push(if self.count == 0 { b'[' } else { b',' });
        self.json.extend_from_slice(b"{\"event\":");
        self.json.extend_from_slice(Value::from(&*notice.event).to_string().as_bytes());
        self.json.extend_from_slice(b",\"payload\":");
        // The position belongs to the whole reply, not to its last row.
        let row = Notice { position: None, ..notice.clone() };
        self.json.extend_from_slice(&row.payload());
        self.json.push(b'}');
        self.count += 1;
    }

    pub(super) fn is_over(&self, rows: usize, bytes: usize) -> bool {
        self.count > rows || self.json.len() > bytes
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.count == 0 {
            self.json.push(b'[');
        }
        self.json.push(b']');
        self.json
    }

    fn is_full(&self, rows: usize, bytes: usize) -> bool {
        self.count >= rows || self.json.len() >= bytes
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn finish_chunk(self) -> Bytes {
        [b"{\"rows\":", &self.finish()[..], b"}"].concat().into()
    }
}

/// About as long as a value is in JSON.
fn length(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(list) => list.iter().map(|value| length(value) + 16).sum(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| name.len() + length(value) + 32).sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}
