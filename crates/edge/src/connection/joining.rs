//! Joining: who may, what the reply carries, and what is pushed after it.
//!
//! A client that adopts every `position` it sees never misses anything: a position is only given
//! where everything up to it has been told. So the reply carries one when it is complete in
//! itself. When rows follow as pushes it carries the client's own position, or none, and
//! `pending: true`; the last push carries the new one.

use std::sync::Arc;

use bytes::Bytes;
use instep_model::feed::{
    self, BOOKMARK_EVENT, Joined as FeedJoined, Mode, Notice, SNAPSHOT_EVENT,
};
use instep_model::limits;
use instep_model::position::Position;
use instep_node::{Dataset, Listener, NodeJoined, Subscription};
use instep_protocol::session::{Channel, Event, JoinOutcome};
use serde_json::{Value, json};

use super::{Connection, Joined, Outside, join_refusal};
use crate::rules::JoinRequest;

/// A join that was allowed, with what the topic gave.
pub(crate) struct Accepted {
    since: Option<Position>,
    subscription: Subscription,
    view: Option<(Dataset, FeedJoined)>,
}

impl Connection {
    pub(super) fn begin_join(&mut self, channel: Channel, params: &[u8]) {
        let topic = channel.topic().to_string();
        let params: Value = serde_json::from_slice(params).unwrap_or_default();
        let since = since_of(&params);
        let node = self.door.node().clone();
        let rule = self.door.rules_for(&topic).and_then(|rules| rules.join);
        let listener = Listener::Task(Arc::clone(&self.waker));
        self.outside.push(Box::pin(async move {
            if let Some(rule) = rule {
                let request = JoinRequest { topic: topic.clone(), params };
                if let Err(reason) = rule(node.clone(), request).await {
                    return Outside::Joined(channel, Err(reason));
                }
            }
            node.settled(&topic).await;
            let joined = node.join(&topic, since, &listener);
            let accepted = joined.map(|joined| {
                let since = since.flatten();
                Box::new(match joined {
                    NodeJoined::View { dataset, joined, subscription } => {
                        Accepted { since, subscription, view: Some((dataset, joined)) }
                    }
                    NodeJoined::Live { subscription } => {
                        Accepted { since, subscription, view: None }
                    }
                })
            });
            Outside::Joined(channel, accepted.map_err(|refusal| join_refusal(&topic, &refusal)))
        }));
    }

    /// Answers the join, then tells what did not fit the answer, then follows the topic.
    pub(super) fn accept(&mut self, channel: Channel, accepted: Accepted) {
        let Accepted { since, subscription, view } = accepted;
        let (dataset, joined) = view.unzip();
        let (response, rest) = match &joined {
            None => (json!({"mode": "live"}).to_string().into(), false),
            Some(joined) => reply(joined, since),
        };
        let outcome = JoinOutcome::Accepted { response };
        self.tell(Event::JoinAnswered { channel: channel.clone(), outcome });
        if !self.session.is_joined(&channel) {
            return;
        }
        let position = joined.as_ref().map(|joined| joined.position);
        let id = channel.id();
        self.joined
            .insert(id, Joined { channel: channel.clone(), subscription, dataset, position });
        if let Some(joined) = joined.filter(|_| rest) {
            match joined.mode {
                Mode::Resume => self.push_notices(&channel, &joined),
                Mode::Snapshot | Mode::Reset => self.push_chunks(&channel, &joined),
            }
        }
        self.waker.notify_one();
    }

    /// Pushes notices one by one; the last one carries the position, or a bookmark does.
    pub(super) fn push_notices(&mut self, channel: &Channel, joined: &FeedJoined) {
        for notice in &joined.notices {
            self.push(channel, &notice.event, notice.payload().into());
        }
        if joined.notices.is_empty() {
            self.push_bookmark(channel, joined.position);
        }
    }

    /// Pushes a snapshot in chunks, closed by a bookmark.
    fn push_chunks(&mut self, channel: &Channel, joined: &FeedJoined) {
        let mut chunk = Rows::default();
        for notice in &joined.notices {
            chunk.add(notice);
            if chunk.is_full(limits::JOIN_CHUNK_ROWS, limits::JOIN_CHUNK_BYTES) {
                let rows = std::mem::take(&mut chunk).finish();
                self.push(
                    channel,
                    SNAPSHOT_EVENT,
                    [b"{\"rows\":", &rows[..], b"}"].concat().into(),
                );
            }
        }
        if !chunk.is_empty() {
            let rows = chunk.finish();
            self.push(channel, SNAPSHOT_EVENT, [b"{\"rows\":", &rows[..], b"}"].concat().into());
        }
        self.push_bookmark(channel, joined.position);
    }

    fn push_bookmark(&mut self, channel: &Channel, position: Position) {
        self.push(channel, BOOKMARK_EVENT, json!({"position": position}).to_string().into());
    }
}

/// The reply to a join, and whether something follows it.
fn reply(joined: &FeedJoined, since: Option<Position>) -> (Bytes, bool) {
    let FeedJoined { mode, position, notices } = joined;
    let pending = |position: Option<Position>| {
        let reply = json!({"mode": mode, "position": position, "pending": true});
        (Bytes::from(reply.to_string()), true)
    };
    if *mode == Mode::Resume {
        return match notices.is_empty() {
            true => (json!({"mode": mode, "position": position}).to_string().into(), false),
            false => pending(since),
        };
    }
    let mut rows = Rows::default();
    for notice in notices {
        rows.add(notice);
        if rows.is_over(limits::JOIN_INLINE_ROWS, limits::JOIN_INLINE_BYTES) {
            return pending(None);
        }
    }
    let mut reply = json!({"mode": mode, "position": position}).to_string().into_bytes();
    reply.pop();
    reply.extend_from_slice(b",\"rows\":");
    reply.extend_from_slice(&rows.finish());
    reply.push(b'}');
    (reply.into(), false)
}

/// Rows as a JSON list of `{"event", "payload"}`.
#[derive(Default)]
struct Rows {
    json: Vec<u8>,
    count: usize,
}

impl Rows {
    fn add(&mut self, notice: &Notice) {
        self.json.push(if self.count == 0 { b'[' } else { b',' });
        self.json.extend_from_slice(b"{\"event\":");
        self.json.extend_from_slice(Value::from(&*notice.event).to_string().as_bytes());
        self.json.extend_from_slice(b",\"payload\":");
        // The position belongs to the whole reply, not to its last row.
        let row = feed::Notice { position: None, ..notice.clone() };
        self.json.extend_from_slice(&row.payload());
        self.json.push(b'}');
        self.count += 1;
    }

    fn is_full(&self, rows: usize, bytes: usize) -> bool {
        self.count >= rows || self.json.len() >= bytes
    }

    fn is_over(&self, rows: usize, bytes: usize) -> bool {
        self.count > rows || self.json.len() > bytes
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn finish(mut self) -> Vec<u8> {
        if self.count == 0 {
            self.json.push(b'[');
        }
        self.json.push(b']');
        self.json
    }
}

/// The position that a joiner says to be complete up to. What is no position is `Some(None)`: the
/// joiner has something, but nobody can say what.
fn since_of(params: &Value) -> Option<Option<Position>> {
    match params.get("since") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.parse().ok()),
        Some(_) => Some(None),
    }
}
