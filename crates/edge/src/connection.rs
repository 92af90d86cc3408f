//! One connection: a session machine, the topics it has joined, and what waits to be written.
//!
//! The transport feeds frames in and takes frames out; nothing here knows which one it is.

mod joining;

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use instep_model::feed::JoinRefusal;
use instep_model::position::Position;
use instep_node::ring::{Frame as RingFrame, Payload, Read};
use instep_node::{Dataset, LiveError, Subscription};
use instep_protocol::encode::{Body, Frame, encode_broadcast};
use instep_protocol::session::{
    Channel, ChannelId, Effect, Ending, Event, Incoming, JoinOutcome, Options, ReplyTo, Session,
};
use instep_protocol::vsn::Vsn;
use serde_json::{Value, json};
use tokio::sync::Notify;

use self::joining::Accepted;
use crate::door::Door;
use crate::rules::Push;

/// Frames taken from one topic before the next topic has its turn.
const FRAMES_PER_TURN: usize = 64;

/// What happened outside, to be handed to the connection.
pub(crate) enum Outside {
    /// A join was decided.
    Joined(Channel, Result<Box<Accepted>, Value>),
    /// A push was answered.
    Answered(Option<ReplyTo>, Result<Value, Value>),
}

/// How the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Close {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
}

pub(crate) struct Connection {
    door: Door,
    session: Session,
    waker: Arc<Notify>,
    joined: BTreeMap<ChannelId, Joined>,
    outside: FuturesUnordered<Pin<Box<dyn Future<Output = Outside> + Send>>>,
    outbox: VecDeque<Frame>,
    close: Option<Close>,
    binary: bool,
}

/// A topic that the connection has joined.
struct Joined {
    channel: Channel,
    subscription: Subscription,
    /// None for live topics.
    dataset: Option<Dataset>,
    /// The client is complete up to here.
    position: Option<Position>,
}

impl Connection {
    pub(crate) fn new(door: Door, options: Options) -> Self {
        let now = door.now();
        Self {
            door,
            binary: options.binary,
            session: Session::new(options, now),
            waker: Arc::new(Notify::new()),
            joined: BTreeMap::new(),
            outside: FuturesUnordered::new(),
            outbox: VecDeque::new(),
            close: None,
        }
    }

    /// Wakes the transport when a topic has news.
    pub(crate) fn waker(&self) -> Arc<Notify> {
        Arc::clone(&self.waker)
    }

    pub(crate) fn receive(&mut self, frame: Incoming<'_>) {
        self.tell(Event::Received(frame));
    }

    pub(crate) fn alive(&mut self) {
        self.tell(Event::Alive);
    }

    pub(crate) fn tick(&mut self) {
        self.tell(Event::Tick);
    }

    pub(crate) fn drain(&mut self) {
        self.tell(Event::Drain);
    }

    pub(crate) fn lost(&mut self) {
        self.tell(Event::Lost);
    }

    /// Milliseconds until [`Connection::tick`] is due.
    pub(crate) fn due_in(&self) -> u64 {
        let now = self.door.now();
        self.session.next_deadline().map_or(u64::MAX, |deadline| deadline.saturating_sub(now))
    }

    /// Waits for what was started elsewhere; for ever when nothing was. Cancel-safe.
    pub(crate) async fn outside(&mut self) -> Outside {
        match self.outside.is_empty() {
            true => std::future::pending().await,
            false => match self.outside.next().await {
                Some(outside) => outside,
                None => std::future::pending().await,
            },
        }
    }

    pub(crate) fn take_outside(&mut self, outside: Outside) {
        match outside {
            Outside::Joined(channel, Ok(accepted)) => self.accept(channel, *accepted),
            Outside::Joined(channel, Err(reason)) => {
                let response = Bytes::from(reason.to_string());
                let outcome = JoinOutcome::Refused { response };
                self.tell(Event::JoinAnswered { channel, outcome });
            }
            Outside::Answered(None, _) => {}
            Outside::Answered(Some(reply_to), answer) => {
                let (status, response) = match answer {
                    Ok(response) => ("ok", response),
                    Err(response) => ("error", response),
                };
                let response = Body::Json(response.to_string().into());
                self.tell(Event::Replied { reply_to, status, response });
            }
        }
    }

    /// Takes what the topics have, until about `most` frames wait to be written.
    pub(crate) fn read_topics(&mut self, most: usize) {
        let ids: Vec<ChannelId> = self.joined.keys().copied().collect();
        let mut news = true;
        while news && self.outbox.len() < most {
            news = false;
            for id in &ids {
                news |= self.read_topic(*id);
            }
        }
        if news {
            self.waker.notify_one();
        }
    }

    /// Takes a turn of one topic's frames; true when there were any.
    fn read_topic(&mut self, id: ChannelId) -> bool {
        let Some(joined) = self.joined.get_mut(&id) else {
            return false;
        };
        match joined.subscription.read(FRAMES_PER_TURN) {
            Read::Frames(frames) => {
                for frame in &frames {
                    joined.position = frame.position.or(joined.position);
                    let topic = joined.channel.topic();
                    let encoded = encoded(self.session.vsn(), self.binary, topic, frame);
                    self.outbox.extend(encoded);
                }
                !frames.is_empty()
            }
            Read::Lagged { missed } => {
                self.catch_up(id, missed);
                true
            }
        }
    }

    /// The subscriber fell off the ring: it is told, and gets what it missed in another form.
    fn catch_up(&mut self, id: ChannelId, missed: u64) {
        let Some(joined) = self.joined.get_mut(&id) else {
            return;
        };
        let channel = joined.channel.clone();
        let Some(dataset) = &joined.dataset else {
            self.push(&channel, "gap", json!({"missed": missed}).to_string().into());
            return;
        };
        match dataset.catch_up(&mut joined.subscription, joined.position) {
            Ok(caught_up) => {
                joined.position = Some(caught_up.position);
                let told = json!({"missed": missed, "mode": caught_up.mode});
                self.push(&channel, "lagged", told.to_string().into());
                self.push_notices(&channel, &caught_up);
            }
            // The topic is gone or has grown too large: the client joins again and is told why.
            Err(_) => {
                self.joined.remove(&id);
                self.tell(Event::ChannelEnded { channel, how: Ending::Crashed });
            }
        }
    }

    /// The frames to write; empty when there are none.
    pub(crate) fn outbox(&mut self) -> &mut VecDeque<Frame> {
        &mut self.outbox
    }

    /// How to end, once the outbox is written.
    pub(crate) fn close(&self) -> Option<Close> {
        self.close
    }

    fn push(&mut self, channel: &Channel, event: &str, payload: Bytes) {
        let (channel, payload) = (channel.clone(), Body::Json(payload));
        self.tell(Event::Pushed { channel, event, payload });
    }

    /// Hands an event to the session and does what it wants.
    fn tell(&mut self, event: Event<'_>) {
        self.session.handle(event, self.door.now());
        while let Some(effect) = self.session.next_effect() {
            match effect {
                Effect::Send(frame) => self.outbox.push_back(frame),
                Effect::Join { channel, params } => self.begin_join(channel, &params),
                Effect::Leave { channel } => {
                    self.joined.remove(&channel.id());
                }
                Effect::Push { channel, reply_to, event, payload } => {
                    self.begin_push(&channel, reply_to, event, payload);
                }
                Effect::Close { code, reason } => self.close = Some(Close { code, reason }),
                Effect::Ended => {
                    self.joined.clear();
                    self.outside.clear();
                    self.close.get_or_insert(Close { code: 1012, reason: "ended" });
                }
            }
        }
    }

    fn begin_push(
        &mut self,
        channel: &Channel,
        reply_to: Option<ReplyTo>,
        event: String,
        payload: Body,
    ) {
        let topic = channel.topic().to_string();
        let node = self.door.node().clone();
        let rule = self.door.rules_for(&topic).and_then(|rules| rules.push);
        let answer: Pin<Box<dyn Future<Output = Result<Value, Value>> + Send>> =
            match (rule, payload) {
                (Some(rule), Body::Json(text)) => match serde_json::from_slice(&text) {
                    Ok(payload) => rule(node, Push { topic, event, payload }),
                    Err(error) => {
                        ready(Err(json!({"reason": "bad_json", "detail": error.to_string()})))
                    }
                },
                (Some(_), Body::Binary(_)) => ready(Err(json!({"reason": "json_wanted"}))),
                (None, payload) if node.anyone_publishes(&topic) => {
                    let payload = match payload {
                        Body::Json(bytes) => Payload::Json(bytes),
                        Body::Binary(bytes) => Payload::Binary(bytes),
                    };
                    let published = node.publish(&topic, &event, payload);
                    ready(published.map(|_| json!({})).map_err(|error| live_refusal(&error)))
                }
                (None, _) => ready(Err(json!({
                    "reason": "push_refused", "detail": "this topic takes nothing from clients",
                }))),
            };
        self.outside.push(Box::pin(async move { Outside::Answered(reply_to, answer.await) }));
    }
}

fn ready<T: Send + 'static>(value: T) -> Pin<Box<dyn Future<Output = T> + Send>> {
    Box::pin(std::future::ready(value))
}

fn live_refusal(error: &LiveError) -> Value {
    let reason = match error {
        LiveError::Unmatched { .. } => "unmatched_topic",
        LiveError::TooLarge { .. } => "payload_too_large",
        LiveError::Event { .. } => "bad_event",
    };
    json!({"reason": reason, "detail": error.to_string()})
}

/// A refused join as the client sees it.
fn join_refusal(topic: &str, refusal: &JoinRefusal) -> Value {
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

/// A ring's frame for a client of this version; none where its transport has no form for it.
fn encoded(vsn: Vsn, binary: bool, topic: &str, frame: &RingFrame) -> Option<Frame> {
    match (&frame.payload, vsn) {
        (Payload::Json(_), Vsn::V2) => Some(Frame::Text(frame.encoded.clone())),
        (Payload::Json(json), Vsn::V1) => {
            Some(Frame::Text(encode_broadcast(vsn, topic, &frame.event, json)))
        }
        (Payload::Binary(_), _) => binary.then(|| Frame::Binary(frame.encoded.clone())),
    }
}
