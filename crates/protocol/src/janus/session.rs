//! The session machine of the Janus door.
//!
//! A session is *attached* to a connection, *publishing* (its last deed there), *detached*, or
//! *over*; a topic of it is *absent*, *joining* or *joined*.
//!
//! | event | absent | joining | joined |
//! | --- | --- | --- | --- |
//! | subscribe | Join; joining | one answer more is due | ACK |
//! | unsubscribe | ACK | errors for the answers due, Leave, ACK; absent | Leave, ACK; absent |
//! | join accepted | – | ACK for each that is due; joined | – |
//! | join refused | – | an error for each that is due; absent | – |
//! | pushed | – | – | message |
//! | ended | – | an error for each that is due; absent | error; absent |
//!
//! | event | attached | publishing | detached |
//! | --- | --- | --- | --- |
//! | publish | Push; publishing | – | – |
//! | replied | – | Close; an error before it if it was refused | – |
//! | attach | Attach; requests are refused until it is answered | – | – |
//! | attached | – | – | ACK, then waiting frames; attached |
//! | attach refused | error "expired" | – | – |
//! | no frame, nonsense | error, Close | – | – |
//! | lost | detached if it has topics, else over | over once replied | – |
//! | tick | PING; unanswered since the last one: error, Close | error, Close | over |
//! | drain | Close | Close | over |
//!
//! The end emits Leave for every topic, then Close (unless no connection is left to close), then
//! Ended. Every subscribe and unsubscribe is answered once, in the order of its topic. Nothing of a
//! topic is written before its ACK, and nothing after Leave.
//!
//! A session that is taken over is told [`SharedEvent::Lost`] first, if its connection seems to
//! live, and then [`Event::Attached`]. The session that asked for it is dropped: it has no topics.

mod life;
#[cfg(test)]
mod tests;
mod topics;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use instep_model::limits::{self, MALFORMED_IN_A_ROW, UNANSWERED_PUSHES};
use serde::Deserialize;

use self::life::Life;
use self::topics::Entry;
use super::codec::{self, Frame};
use super::request::{self, Action, Publish, Rejected, Request};
use super::{Timestamp, Token};
use crate::encode::{self, Body};
use crate::session::{self, CLOSE_POLICY, CLOSE_RESTART, Channel, ChannelId, ReplyTo, SharedEvent};

/// Close code behind a publish. Plain TCP has none; it is for the log.
pub const CLOSE_PUBLISHED: u16 = 1000;

/// Options of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Between two questions whether the client is there; also the time to answer one.
    pub ping_ms: u64,
    /// Time for which a session with topics outlives its connection; 0: not at all.
    pub detached_ms: u64,
    /// Topics, the joining ones included.
    pub topics: usize,
    /// Subscribes that may wait for their answers.
    pub unanswered: usize,
    /// Malformed requests in a row that end the session.
    pub malformed_in_a_row: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ping_ms: limits::JANUS_PING_MS,
            detached_ms: limits::JANUS_DETACHED_MS,
            topics: limits::SOCKET_CHANNELS,
            unanswered: UNANSWERED_PUSHES,
            malformed_in_a_row: MALFORMED_IN_A_ROW,
        }
    }
}

/// Event of a session: its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// The client sent a frame.
    Received(Frame<'a>),
    /// Bytes of the client are no frame.
    Malformed(codec::DecodeError),
    /// Event that a session on any wire may have. Bytes that are pushed are left out: this wire has
    /// no form for them.
    Shared(SharedEvent<'a>),
    /// This detached session has a connection again.
    Attached,
    /// The session that this one asked for is not there.
    AttachRefused,
}

impl<'a> From<SharedEvent<'a>> for Event<'a> {
    fn from(event: SharedEvent<'a>) -> Self {
        Self::Shared(event)
    }
}

/// Effect of a session: an action for the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Effect that a session on any door may have. A frame to send is ready for the wire, its end
    /// included. A `Push` is a publish: its channel is none that was joined.
    Shared(session::Effect),
    /// Find the session of this token and give it this connection, or say that it is not there.
    Attach {
        /// Its token.
        token: Token,
    },
}

/// The session of one client, on one connection after another. See the module for its states.
#[derive(Debug)]
pub struct JanusSession {
    options: Options,
    token: Token,
    /// Time of its beginning, by the wall clock and by the monotonic clock.
    began: (Timestamp, u64),
    now: u64,
    key: Option<Box<str>>,
    /// By topic.
    topics: BTreeMap<Arc<str>, Entry>,
    effects: VecDeque<Effect>,
    /// Frames that could not be sent while it was detached.
    owed: VecDeque<Bytes>,
    owed_bytes: usize,
    /// Subscribes without an answer.
    unanswered: usize,
    malformed_in_a_row: u32,
    last_number: u64,
    life: Life,
}

impl JanusSession {
    /// Begins a session and greets its client. `at` is the time of the world, `now` the time in
    /// milliseconds of a clock that never goes back.
    #[must_use]
    pub fn new(options: Options, token: Token, at: Timestamp, now: u64) -> Self {
        let mut session = Self {
            options,
            token,
            began: (at, now),
            now,
            key: None,
            topics: BTreeMap::new(),
            effects: VecDeque::new(),
            owed: VecDeque::new(),
            owed_bytes: 0,
            unanswered: 0,
            malformed_in_a_row: 0,
            last_number: 0,
            life: Life::Over,
        };
        session.attach();
        session.send(codec::encode_greeting(at, token));
        session
    }

    /// Takes in an event. Drain [`JanusSession::next_effect`] before the next event.
    pub fn handle<'a>(&mut self, event: impl Into<Event<'a>>, now: u64) {
        self.now = self.now.max(now);
        if self.life == Life::Over {
            return;
        }
        match event.into() {
            Event::Received(frame) => self.receive(&frame),
            Event::Malformed(error) if self.is_attached() => {
                self.say_error(error.code(), &error.to_string(), None);
                self.close(CLOSE_POLICY, "no frame");
            }
            Event::Malformed(_) => {}
            Event::Shared(event) => self.handle_shared(event),
            Event::Attached => self.attached(),
            Event::AttachRefused => self.attach_refused(),
        }
    }

    fn handle_shared(&mut self, event: SharedEvent<'_>) {
        match event {
            SharedEvent::JoinAnswered { channel, outcome } => self.join_answered(&channel, outcome),
            SharedEvent::Replied { reply_to, status, response } => {
                self.replied(&reply_to, status, &response);
            }
            SharedEvent::Pushed { channel, event, payload } => {
                self.pushed(&channel, event, &payload);
            }
            SharedEvent::ChannelEnded { channel, how } => self.channel_ended(&channel, how),
            SharedEvent::Tick => self.tick(),
            SharedEvent::Drain => self.close(CLOSE_RESTART, "draining"),
            SharedEvent::Lost => self.lost(),
        }
    }

    /// The next thing to do.
    pub fn next_effect(&mut self) -> Option<Effect> {
        let next = self.effects.pop_front();
        if next.is_none() {
            // An idle session owns no buffers.
            self.effects = VecDeque::new();
        }
        next
    }

    /// Returns the deadline at which to send [`SharedEvent::Tick`] if nothing happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        match self.life {
            Life::Attached { due, .. } | Life::Publishing { due, .. } => Some(due),
            Life::Detached { until } => Some(until),
            Life::Over => None,
        }
    }

    /// The name under which the session can be taken over.
    #[must_use]
    pub fn token(&self) -> Token {
        self.token
    }

    /// The secret that the client has shown last.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Returns true if it waits for another connection. Its topics are not read meanwhile.
    #[must_use]
    pub fn is_detached(&self) -> bool {
        matches!(self.life, Life::Detached { .. })
    }

    /// Returns true if messages may be written to this channel.
    #[must_use]
    pub fn is_joined(&self, channel: &Channel) -> bool {
        let entry = self.topics.get(channel.topic()).filter(|entry| entry.channel == *channel);
        entry.is_some_and(|entry| entry.waiting == 0)
    }

    /// The channels, the joining ones included, in the order of their topics.
    pub fn channels(&self) -> impl Iterator<Item = &Channel> {
        self.topics.values().map(|entry| &entry.channel)
    }

    fn is_attached(&self) -> bool {
        matches!(self.life, Life::Attached { .. })
    }

    fn receive(&mut self, frame: &Frame<'_>) {
        let Life::Attached { is_asked, is_attaching, .. } = &mut self.life else {
            return;
        };
        let is_attaching = *is_attaching;
        match frame {
            Frame::Ping => {}
            Frame::Pong => *is_asked = false,
            Frame::Request(payload) => match request::read_request(payload) {
                Ok(_) if is_attaching => self.say_attaching(),
                Ok(request) => self.obey(request),
                Err(rejected) => self.reject(&rejected),
            },
            Frame::Publish(payload) => match request::read_publish(payload) {
                Ok(_) if is_attaching => self.say_attaching(),
                Ok(publish) => self.publish(publish),
                Err(rejected) => {
                    self.say_error(rejected.code(), &rejected.to_string(), None);
                    self.close(CLOSE_POLICY, "nothing to publish");
                }
            },
        }
    }

    fn obey(&mut self, Request { action, key }: Request<'_>) {
        self.malformed_in_a_row = 0;
        self.show(key.as_deref());
        match action {
            Action::Subscribe(topic) => self.subscribe(&topic),
            Action::Unsubscribe(topic) => self.unsubscribe(&topic),
            Action::Attach(token) => self.ask_for(token),
        }
    }

    /// Refuses a request while an attach is unanswered: its session is not known yet.
    fn say_attaching(&mut self) {
        self.say_error("attaching", "wait for the answer to attach", None);
    }

    fn reject(&mut self, rejected: &Rejected) {
        self.say_error(rejected.code(), &rejected.to_string(), None);
        self.malformed_in_a_row += 1;
        if rejected.is_nonsense() {
            self.close(CLOSE_POLICY, "nonsense");
        } else if self.malformed_in_a_row >= self.options.malformed_in_a_row {
            self.close(CLOSE_POLICY, "too many malformed frames");
        }
    }

    fn show(&mut self, key: Option<&str>) {
        if let Some(key) = key {
            self.key = Some(key.into());
        }
    }

    fn publish(&mut self, publish: Publish<'_>) {
        let Publish { topic, event, payload, key } = publish;
        self.show(key.as_deref());
        let channel = self.new_channel(&topic);
        let number = channel.id().0;
        let due = self.now.saturating_add(self.options.ping_ms);
        self.life = Life::Publishing { number, due, is_lost: false };
        let reply_to = Some(ReplyTo::unnamed(channel.clone(), number));
        let (event, payload) = (event.into_owned(), Body::Json(payload));
        self.want(session::Effect::Push { channel, reply_to, event, payload });
    }

    fn replied(&mut self, reply_to: &ReplyTo, status: &str, response: &Body) {
        let Life::Publishing { number, is_lost, .. } = self.life else {
            return;
        };
        if number != reply_to.number() {
            return;
        }
        if is_lost {
            return self.end();
        }
        if status == "ok" {
            return self.close(CLOSE_PUBLISHED, "published");
        }
        let refusal = refusal_in(response.as_bytes());
        let code = refusal.reason.as_deref().unwrap_or("publish_refused");
        let message = refusal.detail.as_deref().unwrap_or("the message was not published");
        self.say_error(code, message, Some(reply_to.channel().topic()));
        self.close(CLOSE_POLICY, "not published");
    }

    fn acknowledge(&mut self) {
        self.send(Bytes::from_static(codec::ACK));
    }

    fn say_error(&mut self, code: &str, message: &str, topic: Option<&str>) {
        self.send(codec::encode_error(self.time(), code, message, topic));
    }

    /// The time of the world, as far as it is of interest here.
    fn time(&self) -> Timestamp {
        let (at, then) = self.began;
        at.after_ms(self.now.saturating_sub(then))
    }

    fn send(&mut self, frame: Bytes) {
        match self.life {
            Life::Attached { .. } | Life::Publishing { .. } => {
                self.want(session::Effect::Send(encode::Frame::Text(frame)));
            }
            Life::Detached { .. } => self.owe(frame),
            Life::Over => {}
        }
    }

    /// Keeps a frame for the next connection. A client that leaves too many unread starts anew.
    fn owe(&mut self, frame: Bytes) {
        self.owed_bytes += frame.len();
        self.owed.push_back(frame);
        if self.owed.len() > limits::JANUS_OWED_FRAMES || self.owed_bytes > limits::JANUS_OWED_BYTES
        {
            self.end();
        }
    }

    fn want(&mut self, effect: session::Effect) {
        self.effects.push_back(Effect::Shared(effect));
    }

    fn new_channel(&mut self, topic: &str) -> Channel {
        self.last_number += 1;
        Channel::new(ChannelId(self.last_number), topic.into(), None, None)
    }
}

/// Reason of a refusal, as far as it can be shown on this wire.
#[derive(Default, Deserialize)]
struct Refusal {
    reason: Option<String>,
    detail: Option<String>,
}

fn refusal_in(response: &[u8]) -> Refusal {
    serde_json::from_slice(response).unwrap_or_default()
}
