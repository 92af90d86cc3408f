//! Rest of a join, behind its answer: changes, or rows in chunks, cut as the client takes them.
//!
//! Rows of tables are shared with the state of the dataset, so that what waits here is little more
//! than a list of them; what views show is made for the joiner.

use std::sync::Arc;
use std::vec::IntoIter;

use bytes::Bytes;
use instep_model::feed::{
    BOOKMARK_EVENT, Body, Joined as FeedJoined, Mode, Notice, SNAPSHOT_EVENT,
};
use instep_model::limits;
use instep_model::position::Position;
use instep_model::presence::{After, Greeting};
use instep_node::Topic;
use serde_json::json;

use super::joining::Rows;

/// Event, payload, and the position up to which a client that has it is complete.
pub(crate) type Told = (Arc<str>, Bytes, Option<Position>);

/// Rest of a join: what a client is sent of a topic before its news.
pub(crate) enum Rest {
    /// Rows and changes.
    Rows(RowsLeft),
    /// Presence list, behind a place.
    Present(Arc<Topic>, Option<After>),
}

/// Rest of a join of a topic with a log.
pub(crate) struct RowsLeft {
    notices: IntoIter<Notice>,
    in_chunks: bool,
    /// Bookmark, sent at the end unless the last notice carries it.
    bookmark: Option<Position>,
    bytes: usize,
}

impl Rest {
    /// Presence list of a topic, behind a place: as it is when its turn comes, because later
    /// changes wait in the ring behind it.
    pub(crate) fn of_presence(topic: Arc<Topic>, after: After) -> Self {
        Self::Present(topic, Some(after))
    }

    /// Rest behind the answer to a join: changes, or rows in chunks that a bookmark closes.
    pub(crate) fn of_join(joined: FeedJoined) -> Self {
        let in_chunks = match joined.mode {
            Mode::Resume => false,
            Mode::Snapshot | Mode::Reset => true,
        };
        Self::of(joined, in_chunks)
    }

    /// Row by row as if they had just changed. The last one carries the position, or a bookmark
    /// does.
    pub(crate) fn one_by_one(joined: FeedJoined) -> Self {
        Self::of(joined, false)
    }

    fn of(joined: FeedJoined, in_chunks: bool) -> Self {
        let FeedJoined { position, notices, .. } = joined;
        let bookmark = (in_chunks || notices.is_empty()).then_some(position);
        let made = |notice: &Notice| match &notice.body {
            Body::Row(_) | Body::Gone | Body::Left { .. } => 0,
            Body::Fields(fields) => {
                fields.iter().map(|(name, value)| name.len() + 2 * length(value) + 64).sum()
            }
        };
        let listed = notices.capacity() * size_of::<Notice>();
        let bytes = listed + notices.iter().map(made).sum::<usize>();
        Self::Rows(RowsLeft { notices: notices.into_iter(), in_chunks, bookmark, bytes })
    }

    /// Bytes of memory that it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Rows(left) => left.bytes,
            // It is cut from what everybody shares.
            Self::Present(..) => size_of::<After>(),
        }
    }
}

impl RowsLeft {
    fn bookmark(&mut self) -> Option<Told> {
        let position = self.bookmark.take()?;
        let payload = json!({"position": position}).to_string();
        Some((BOOKMARK_EVENT.into(), payload.into(), Some(position)))
    }

    fn chunk(&mut self) -> Option<Told> {
        let mut chunk = Rows::default();
        for notice in self.notices.by_ref() {
            chunk.add(&notice);
            if chunk.is_full(limits::JOIN_CHUNK_ROWS, limits::JOIN_CHUNK_BYTES) {
                break;
            }
        }
        (!chunk.is_empty()).then(|| (SNAPSHOT_EVENT.into(), chunk.finish_chunk(), None))
    }
}

impl Iterator for Rest {
    type Item = Told;

    fn next(&mut self) -> Option<Told> {
        match self {
            Self::Rows(left) => left.next(),
            Self::Present(topic, after) => {
                let Greeting { told, rest } = topic.greet_on(&after.take()?)?;
                *after = rest;
                Some((told.event.into(), told.payload.into(), None))
            }
        }
    }
}

impl Iterator for RowsLeft {
    type Item = Told;

    fn next(&mut self) -> Option<Told> {
        let told = match self.in_chunks {
            true => self.chunk(),
            false => self.notices.next().map(|notice| {
                let payload = notice.payload().into();
                (notice.event, payload, notice.position)
            }),
        };
        told.or_else(|| self.bookmark())
    }
}

/// About as long as a value is in JSON.
fn length(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::String(text) => text.len(),
        serde_json::Value::Array(list) => list.iter().map(|value| length(value) + 16).sum(),
        serde_json::Value::Object(fields) => {
            fields.iter().map(|(name, value)| name.len() + length(value) + 32).sum()
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => 8,
    }
}
