//! Joining: who may, what the reply carries, and what is pushed after it.
//!
//! A client that adopts every `position` it sees never misses anything: a position is only given
//! where everything up to it has been told. So the reply carries one when it is complete in
//! itself. When rows follow as pushes it carries the client's own position, or none, and
//! `pending: true`; the last push carries the new one.

use bytes::Bytes;
use instep_access::Action;
use instep_model::feed::{
    self, BOOKMARK_EVENT, JoinRefusal, Joined as FeedJoined, Mode, Notice, SNAPSHOT_EVENT,
};
use instep_model::limits;
use instep_model::position::Position;
use instep_node::{Listener, NodeJoined};
use instep_protocol::session::{Channel, ChannelId, Event, JoinOutcome};
use serde_json::{Value, json};

use super::{Answer, Joined, Outside, TOKEN_EVENT, Talk, Wants};
use crate::door::House;
use crate::rules::JoinRequest;

impl Talk {
    /// Asks for the right, with the token that a join may bring along.
    pub(super) fn ask_join(&mut self, channel: Channel, params: &[u8], house: &House) -> Answer {
        let params: Value = serde_json::from_slice(params).unwrap_or_default();
        let brought = params.get(TOKEN_EVENT).and_then(Value::as_str);
        let renewed = brought.map_or(Ok(()), |token| self.renew(token, house));
        let may = renewed.and_then(|()| {
            let may = house.may(&self.credential, Action::Join, channel.topic(), false);
            may.map_err(|refusal| super::refused(&refusal))
        });
        match may {
            Ok(()) => ask(channel, params, house),
            Err(reason) => Answer::Now(Outside::Refused(channel, reason)),
        }
    }
}

/// Asks the rules, and waits for a topic that is not settled. Where nobody has a say and nothing
/// is to be waited for, the answer is there at once.
fn ask(channel: Channel, params: Value, house: &House) -> Answer {
    let since = since_of(&params);
    let rule = house.rules_for(channel.topic()).and_then(|rules| rules.join.clone());
    let node = house.node().clone();
    if rule.is_none() && node.is_settled(channel.topic()) {
        return Answer::Now(Outside::Allowed(channel, since));
    }
    Answer::Later(Box::pin(async move {
        let topic = channel.topic().to_string();
        if let Some(rule) = rule {
            let request = JoinRequest { topic: topic.clone(), params };
            if let Err(reason) = rule(node.clone(), request).await {
                return Outside::Refused(channel, reason);
            }
        }
        node.settled(&topic).await;
        Outside::Allowed(channel, since)
    }))
}

impl Talk {
    /// Joins the topic and answers, then tells what did not fit the answer.
    pub(super) fn enter(
        &mut self,
        channel: Channel,
        since: Option<Option<Position>>,
        house: &House,
        listener: &Listener,
        wants: &mut Wants,
    ) -> Option<ChannelId> {
        let (topic, now) = (channel.topic(), house.now());
        let (subscription, view) = match house.node().join(topic, since, listener) {
            Ok(NodeJoined::View { dataset, joined, subscription }) => {
                (subscription, Some((dataset, joined)))
            }
            Ok(NodeJoined::Live { subscription }) => (subscription, None),
            Err(refusal) => {
                let response = Bytes::from(refused(topic, &refusal).to_string());
                let outcome = JoinOutcome::Refused { response };
                self.tell(Event::JoinAnswered { channel, outcome }, now, wants);
                return None;
            }
        };
        let anyone_publishes = view.is_none() && house.node().anyone_publishes(topic);
        let (dataset, joined) = view.unzip();
        let (response, rest) = match &joined {
            None => (Bytes::from_static(b"{\"mode\":\"live\"}"), false),
            Some(joined) => reply(joined, since.flatten()),
        };
        let outcome = JoinOutcome::Accepted { response };
        self.tell(Event::JoinAnswered { channel: channel.clone(), outcome }, now, wants);
        if !self.speaker.is_joined(&channel) {
            return None;
        }
        let (id, position) = (channel.id(), joined.as_ref().map(|joined| joined.position));
        if self.joined.len() < 4 {
            self.joined.reserve_exact(1);
        }
        self.joined.push(Joined {
            channel: channel.clone(),
            subscription,
            dataset,
            position,
            anyone_publishes,
            mark: 0,
            place: 0,
        });
        if let Some(joined) = joined.filter(|_| rest) {
            match joined.mode {
                Mode::Resume => self.push_notices(&channel, &joined, now, wants),
                Mode::Snapshot | Mode::Reset => self.push_chunks(&channel, &joined, now, wants),
            }
        }
        Some(id)
    }

    /// Pushes notices one by one; the last one carries the position, or a bookmark does.
    pub(super) fn push_notices(
        &mut self,
        channel: &Channel,
        joined: &FeedJoined,
        now: u64,
        wants: &mut Wants,
    ) {
        for notice in &joined.notices {
            self.push(channel, &notice.event, notice.payload().into(), now, wants);
        }
        if joined.notices.is_empty() {
            self.push_bookmark(channel, joined.position, now, wants);
        }
    }

    /// Pushes a snapshot in chunks, closed by a bookmark.
    fn push_chunks(&mut self, channel: &Channel, joined: &FeedJoined, now: u64, wants: &mut Wants) {
        let mut chunk = Rows::default();
        for notice in &joined.notices {
            chunk.add(notice);
            if chunk.is_full(limits::JOIN_CHUNK_ROWS, limits::JOIN_CHUNK_BYTES) {
                let payload = std::mem::take(&mut chunk).finish_chunk();
                self.push(channel, SNAPSHOT_EVENT, payload, now, wants);
            }
        }
        if !chunk.is_empty() {
            self.push(channel, SNAPSHOT_EVENT, chunk.finish_chunk(), now, wants);
        }
        self.push_bookmark(channel, joined.position, now, wants);
    }

    fn push_bookmark(
        &mut self,
        channel: &Channel,
        position: Position,
        now: u64,
        wants: &mut Wants,
    ) {
        let payload = json!({"position": position}).to_string();
        self.push(channel, BOOKMARK_EVENT, payload.into(), now, wants);
    }
}

/// A refused join as the client sees it.
fn refused(topic: &str, refusal: &JoinRefusal) -> Value {
    match refusal {
        JoinRefusal::Unmatched => json!({"reason": "unmatched topic"}),
        JoinRefusal::Ahead { head } => json!({
            "reason": "position_ahead", "detail": refusal.to_string(), "position": head,
        }),
        JoinRefusal::TooLarge { rows, bytes } => {
            let path = topic.strip_prefix("table:").and_then(|name| name.split_once('/'));
            let snapshot = path
                .map(|(dataset, table)| format!("/v1/datasets/{dataset}/tables/{table}/snapshot"));
            json!({
                "reason": "too_large", "detail": refusal.to_string(),
                "rows": rows, "bytes": bytes, "snapshot": snapshot,
            })
        }
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

    fn finish_chunk(self) -> Bytes {
        [b"{\"rows\":", &self.finish()[..], b"}"].concat().into()
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
