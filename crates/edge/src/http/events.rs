//! Topics over plain HTTP: server-sent events, or lines of JSON.
//!
//! A reader is a cursor in the topic's ring, as a channel is, and owns no task: the HTTP server
//! asks for more when the socket has taken what it was given. Who does not take it falls off the
//! ring and is told so.

mod form;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream;
use instep_access::{Action, Credential, Refusal};
use instep_model::feed::JoinRefusal;
use instep_model::limits;
use instep_model::position::Position;
use instep_model::presence::Greeting;
use instep_model::ring::{Frame, Payload, Read, complete_up_to};
use instep_node::live::{GAP_EVENT, LivePlace};
use instep_node::{Dataset, NodeJoined, Subscriber, Subscription};
use instep_protocol::payload::ended::StreamEnded;
use instep_protocol::payload::join::{JoinLimits, Reply, reply};
use instep_protocol::payload::live::Gap;
use instep_protocol::payload::rows::{Push, Pushes};
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use self::form::Id;
use super::Http;
use super::event_stream::Form;
use crate::driver::presence::{Joiner, PresenceHandle};
use crate::driver::rest::Rest;
use crate::permits::{NoPermit, Permit};
use crate::rules::JoinRequest;
use crate::state::EdgeState;
use crate::wall_clock::left_ms;

/// Name of the first event.
const JOINED_EVENT: &str = "joined";

/// Refusal to follow a topic.
#[derive(Debug, Clone, PartialEq)]
pub enum Refused {
    /// The right was lost while the topic, or the application's rule, was waited for.
    Right(Refusal),
    /// The application's rule says so; its answer.
    Rule(Value),
    /// The topic cannot be joined.
    Topic(JoinRefusal),
    /// The reader cannot be present there.
    Presence(Absent),
    /// There is no place for another reader.
    Full(NoPermit),
}

/// Refusal of a reader's presence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    /// The stable code that clients see.
    pub code: &'static str,
    /// Explanation, for people.
    pub detail: String,
}

/// Request to follow a topic.
#[derive(Debug, Clone)]
pub struct Request {
    /// The parameters, as those of a join; `since` may be in them.
    pub params: Value,
    /// Format of the events.
    pub form: Form,
    /// Credential of the request.
    pub credential: Credential,
    /// Address of the client.
    pub from: Option<IpAddr>,
}

/// Joins a topic and follows it.
///
/// # Errors
/// [`Refused`]; nothing is joined then.
pub async fn follow(http: &Http, topic: &str, request: Request) -> Result<Body, Refused> {
    let Request { params, form, credential, from } = request;
    let permit = http.enter(from).map_err(Refused::Full)?;
    if permit.is_tight() {
        return Err(Refused::Full(NoPermit::Server));
    }
    let edge = http.edge();
    let node = edge.node();
    let join = Joiner::of(&params, &credential, edge, from);
    if let Some(rule) = edge.rules_for(topic).and_then(|rules| rules.join.clone()) {
        let request = JoinRequest { topic: topic.to_owned(), params };
        rule(node.clone(), request).await.map_err(Refused::Rule)?;
    }
    let waker = Arc::new(Notify::new());
    let listener = Subscriber::Task(Arc::clone(&waker));
    let mut tries = 0;
    let joined = loop {
        node.settled(topic).await;
        // It was asked before; since then it may have been lost.
        edge.may(&credential, Action::Join, topic, false).map_err(Refused::Right)?;
        let since = &join.params.since;
        let tried = match tries {
            limits::JOIN_TRIES.. => Some(node.join(topic, since, &listener)),
            _ => node.try_join(topic, since, &listener),
        };
        match tried {
            Some(joined) => break joined.map_err(Refused::Topic)?,
            None => tries += 1,
        }
    };
    let mut reader = Reader::new(joined, &join, form, edge)?;
    if let Some(begin) = form.begin() {
        reader.out.push_front(begin);
    }
    let (draining, reviewing) = (edge.draining(), edge.reviewing());
    let edge = Arc::clone(edge);
    let mut following = Following { reader, waker, draining, reviewing, edge, credential, permit };
    following.weigh();
    let chunks = stream::unfold(following, |mut following| async move {
        let chunk = following.next().await?;
        Some((Ok::<_, Infallible>(chunk), following))
    });
    Ok(Body::from_stream(chunks))
}

/// A reader and what it waits for.
struct Following {
    reader: Reader,
    waker: Arc<Notify>,
    draining: watch::Receiver<bool>,
    /// Notified when the rights of the reader may be fewer than before (I24).
    reviewing: watch::Receiver<u64>,
    edge: Arc<EdgeState>,
    credential: Credential,
    /// Held until the reader has gone, with the weight of what it is owed.
    permit: Permit,
}

struct Reader {
    form: Form,
    presence: Option<Box<PresenceHandle>>,
    subscription: Subscription,
    /// Dataset behind the topic; none for live topics.
    dataset: Option<Dataset>,
    /// The reader is complete up to here.
    position: Option<Position>,
    /// Bytes to be sent before the topic is read on.
    out: VecDeque<Bytes>,
    /// Rest of the join to be sent before the topic is read on, cut as it is taken.
    rest: Option<Box<Rest>>,
    /// True when nothing comes any more.
    ended: bool,
}

impl Following {
    /// The next bytes; none at the end.
    async fn next(&mut self) -> Option<Bytes> {
        let beat = Duration::from_millis(limits::EVENTS_BEAT_MS);
        loop {
            let beat_at = Instant::now() + beat;
            // By the clock of the wall, which may have been set.
            let left = left_ms(&self.credential).map(Duration::from_millis);
            let until = left.map_or(beat_at, |left| beat_at.min(Instant::now() + left));
            let is_over = left.is_some_and(|left| left.is_zero());
            if !self.reader.ended && (is_over || self.reviewing.has_changed().unwrap_or(false)) {
                self.review();
            }
            let bytes = self.reader.take();
            self.weigh();
            if bytes.is_some() {
                return bytes;
            }
            if self.reader.ended {
                return None;
            }
            if *self.draining.borrow() {
                self.reader.ended = true;
                return Some(self.reader.form.end());
            }
            tokio::select! {
                () = self.waker.notified() => {}
                // Looked at above.
                Ok(()) = self.reviewing.changed() => self.reviewing.mark_changed(),
                changed = self.draining.changed() => self.reader.ended |= changed.is_err(),
                () = tokio::time::sleep_until(until) => {
                    if until == beat_at {
                        return Some(self.reader.form.beat());
                    }
                }
            }
        }
    }
}

impl Following {
    /// Counts anew what the reader is owed.
    fn weigh(&mut self) {
        let owed = self.reader.owed();
        if owed != self.permit.bytes() {
            self.permit.weigh(owed);
        }
    }

    /// Ends it if the reader may not read on.
    fn review(&mut self) {
        self.reviewing.mark_unchanged();
        let topic = self.reader.subscription.topic().name().clone();
        if let Err(refusal) = self.edge.may(&self.credential, Action::Join, &topic, false) {
            let ended = StreamEnded { detail: None, reason: refusal.code(), retry_ms: None };
            // Nothing that was there before is told behind the end.
            self.reader.out.clear();
            self.reader.rest = None;
            self.reader.put(None, "ended", &ended.encode());
            self.reader.ended = true;
        }
    }
}

impl Reader {
    fn new(
        joined: NodeJoined,
        join: &Joiner,
        form: Form,
        edge: &EdgeState,
    ) -> Result<Self, Refused> {
        let mut out = VecDeque::new();
        let mut put = |id: Option<Id<'_>>, event: &str, payload: &[u8]| {
            out.push_back(form.event(id, event, payload));
        };
        match joined {
            NodeJoined::View { dataset, joined, subscription } => {
                let since = join.params.since.position().flatten();
                let limits = JoinLimits::default();
                let Reply { response, is_pending } = reply(&joined, since, limits);
                let id = (!is_pending).then_some(Id::Position(joined.position));
                put(id, JOINED_EVENT, &response);
                let position = Some(joined.position);
                let rest =
                    is_pending.then(|| Box::new(Rest::Rows(Pushes::of_join(joined, limits))));
                let (presence, dataset, ended) = (None, Some(dataset), false);
                Ok(Self { form, presence, subscription, dataset, position, out, rest, ended })
            }
            NodeJoined::Live(joined) => {
                let presence = PresenceHandle::take(joined.subscription.topic(), join, edge);
                let presence = presence.map_err(|refusal| {
                    let (code, detail) = (refusal.code(), refusal.detail());
                    Refused::Presence(Absent { code, detail })
                })?;
                let place = &joined.place;
                put(Some(Id::Live(place)), JOINED_EVENT, &joined.reply());
                let epoch = place.epoch.clone();
                let (subscription, dataset) = (joined.subscription, None);
                let (position, rest, ended) = (None, None, false);
                let mut reader =
                    Self { form, presence, subscription, dataset, position, out, rest, ended };
                reader.put_frames(joined.last.as_slice(), Some(&epoch));
                reader.greet();
                Ok(reader)
            }
        }
    }

    /// Bytes that it has yet to be sent, about.
    fn owed(&self) -> usize {
        self.rest.as_ref().map_or(0, |rest| rest.bytes())
    }

    /// Returns the bytes that wait to be sent, in one piece; none when there are none.
    fn take(&mut self) -> Option<Bytes> {
        if self.out.is_empty() && !self.ended {
            if self.rest.is_some() { self.read_rest() } else { self.read() }
        }
        let mut chunk = Vec::new();
        while let Some(next) = self.out.pop_front() {
            if chunk.is_empty() && (self.out.is_empty() || next.len() >= limits::BATCH_BYTES) {
                return Some(next);
            }
            chunk.extend_from_slice(&next);
            if chunk.len() >= limits::BATCH_BYTES {
                break;
            }
        }
        (!chunk.is_empty()).then(|| chunk.into())
    }

    /// Takes a piece of what a join owes the reader.
    fn read_rest(&mut self) {
        let Some(mut rest) = self.rest.take() else { return };
        let mut bytes = 0;
        while bytes < limits::BATCH_BYTES {
            let Some(Push { event, payload, position }) = rest.next() else { return self.read() };
            bytes += payload.len();
            self.put(position.map(Id::Position), &event, &payload);
        }
        self.rest = Some(rest);
    }

    fn read(&mut self) {
        match self.subscription.read_within(limits::BATCH_FRAMES, limits::BATCH_BYTES) {
            Read::Frames(frames) if frames.is_empty() => {}
            Read::Frames(frames) => {
                self.position = complete_up_to(&frames).or(self.position);
                let counted = frames.iter().any(|frame| frame.offset.is_some());
                let place = counted.then(|| self.subscription.place()).flatten();
                self.put_frames(&frames, place.as_ref().map(|place| &*place.epoch));
            }
            Read::Lagged { missed } => self.catch_up(missed),
        }
    }

    fn put_frames(&mut self, frames: &[Arc<Frame>], epoch: Option<&str>) {
        for frame in frames {
            let live = epoch.zip(frame.offset);
            let place = live.map(|(epoch, offset)| LivePlace { epoch: epoch.to_owned(), offset });
            let id = frame.position.map(Id::Position).or(place.as_ref().map(Id::Live));
            self.out.push_back(match &frame.payload {
                Payload::Json(json) => self.form.event(id, &frame.event, json),
                Payload::Binary(bytes) => self.form.binary(id, &frame.event, bytes),
            });
        }
    }

    /// The reader fell off the ring: it is told, and gets what it missed in another form.
    fn catch_up(&mut self, missed: u64) {
        let Some(dataset) = &self.dataset else {
            if let Some(place) = self.subscription.place().filter(|_| missed > 0) {
                let gap = Gap::new(missed, &place).encode();
                self.put(Some(Id::Live(&place)), GAP_EVENT, &gap);
            }
            return self.greet();
        };
        match dataset.catch_up(&mut self.subscription, self.position) {
            Ok(joined) => {
                self.position = Some(joined.position);
                self.rest = Some(Box::new(Rest::Rows(Pushes::of_lagged(missed, joined))));
                self.read_rest();
            }
            // The topic is gone or has grown too large: a client that joins again is told why.
            Err(refusal) => {
                let reason = refusal.to_string();
                let ended = StreamEnded { detail: None, reason: &reason, retry_ms: None };
                self.put(None, "ended", &ended.encode());
                self.ended = true;
            }
        }
    }

    fn greet(&mut self) {
        let topic = self.subscription.topic();
        let Some(Greeting { told, rest }) = self.presence.as_ref().and_then(|_| topic.greet())
        else {
            return;
        };
        let rest = rest.map(|after| Box::new(Rest::of_presence(Arc::clone(topic), after)));
        self.put(None, told.event, told.payload.as_bytes());
        self.rest = rest;
    }

    fn put(&mut self, id: Option<Id<'_>>, event: &str, payload: &[u8]) {
        let bytes = self.form.event(id, event, payload);
        self.out.push_back(bytes);
    }
}
