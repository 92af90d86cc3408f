//! Session machine: the channels of one client, and the effects of each of its messages.
//!
//! The socket is *open* until it is *over*; a topic on it is *absent*, *joining* or *joined*.
//!
//! | event | absent | joining | joined |
//! | --- | --- | --- | --- |
//! | `phx_join` | Join; joining | error to the old join, Leave, Join | Leave, Join; joining |
//! | `phx_leave` | ok | error to the join, Leave, ok; absent | Leave, ok, `phx_close`; absent |
//! | the same, stale join_ref | ok | – | – |
//! | push | error "unmatched topic" | held | Push (no credit: error "overloaded") |
//! | the same, stale join_ref | error "unmatched topic" | – | – |
//! | join accepted | – | ok, close of the replaced, held messages; joined | – |
//! | join refused | – | error, close of the replaced, errors to held messages; absent | – |
//! | replied | – | – | reply |
//! | pushed | – | held | push |
//! | ended | – | error to the join; absent | `phx_close` or `phx_error`; absent |
//!
//! A new channel beyond the limit is refused: error "too many channels joined".
//! A message over the rate limit ([`Event::Throttled`]) is refused: error "rate_limited". On the
//! socket itself: a heartbeat is answered at once; a malformed frame is answered and counted, and
//! too many in a row end the session; so do silence, a drain and a lost connection. The end emits
//! Leave for every channel, then Close (unless the connection is lost), then Ended.
//!
//! Three rules hold for every order of events:
//! - Each request is answered exactly once, unless its join_ref is stale or the session ends. A
//!   request that its channel did not answer is answered when the channel ends.
//! - The answer to a join precedes every other frame of its channel.
//! - Nothing of a channel follows its `phx_close`, and Leave precedes it, so that the caller has
//!   stopped writing broadcasts by then.

mod answers;
mod channel;
mod channels;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use instep_model::limits::{self, HELD_MESSAGES, MALFORMED_IN_A_ROW, UNANSWERED_PUSHES};

pub use self::channel::{Channel, ChannelId, ReplyTo};
use self::channel::{Entries, Entry, Phase};
use crate::encode::{self, Address, Body, Frame};
use crate::message::{self, DecodeError, Message, Origin, Payload, Rejected, SOCKET_TOPIC};
use crate::vsn::Vsn;

/// Close code of a drain and of an idle socket. Every version of phoenix.js comes back after it;
/// after 1000 some stay away for ever, after 1001 some think that the page was left.
pub const CLOSE_RESTART: u16 = 1012;
/// Close code of a server that has no room for what a client sends just now.
pub const CLOSE_TRY_LATER: u16 = 1013;
/// Close code for a client that does not keep to the protocol.
pub const CLOSE_POLICY: u16 = 1008;

/// Options of a session. [`Options::websocket`] and [`Options::longpoll`] follow the limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The version that the client asked for.
    pub vsn: Vsn,
    /// True when binary frames can be sent.
    pub binary: bool,
    /// Silence that ends the session.
    pub idle_ms: u64,
    /// Channels, the joining ones included.
    pub channels: usize,
    /// Pushes that may wait for their replies.
    pub unanswered_pushes: usize,
    /// Messages that may wait for the answers to joins.
    pub held_messages: usize,
    /// Bytes that may wait for the answers to joins.
    pub held_bytes: usize,
    /// Malformed frames in a row that end the session.
    pub malformed_in_a_row: u32,
}

impl Options {
    /// For a session on a WebSocket.
    #[must_use]
    pub fn websocket(vsn: Vsn) -> Self {
        Self {
            vsn,
            binary: vsn == Vsn::V2,
            idle_ms: limits::SOCKET_IDLE_MS,
            channels: limits::SOCKET_CHANNELS,
            unanswered_pushes: UNANSWERED_PUSHES,
            held_messages: HELD_MESSAGES,
            held_bytes: limits::FRAME_BYTES,
            malformed_in_a_row: MALFORMED_IN_A_ROW,
        }
    }

    /// For a session on long-poll: text only, and each request is a sign of life.
    #[must_use]
    pub fn longpoll(vsn: Vsn) -> Self {
        Self { binary: false, idle_ms: limits::LONGPOLL_IDLE_MS, ..Self::websocket(vsn) }
    }
}

/// Event of a session: its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// The client sent a frame.
    Received(Incoming<'a>),
    /// The client sent a frame, and too many before it: heartbeats and leaves are as always, every
    /// other request is answered with the error "rate_limited".
    Throttled(Incoming<'a>),
    /// The client showed that it lives without saying anything: a ping, a pong, a poll.
    Alive,
    /// Event that a session on any wire may have.
    Shared(SharedEvent<'a>),
}

/// Event of a session on any wire: from its channels, from the clock, and from the end of its
/// connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SharedEvent<'a> {
    /// A join has been decided. Every [`Effect::Join`] is answered by this or by `ChannelEnded`,
    /// except after [`Effect::Leave`].
    JoinAnswered {
        /// The channel that was to be joined.
        channel: Channel,
        /// The decision.
        outcome: JoinOutcome,
    },
    /// A push has been answered.
    Replied {
        /// The push.
        reply_to: ReplyTo,
        /// `ok`, `error`, or any other text that the client waits for.
        status: &'a str,
        /// The response.
        response: Body,
    },
    /// A channel has something to say to this client alone.
    Pushed {
        /// The channel.
        channel: Channel,
        /// The event.
        event: &'a str,
        /// The payload.
        payload: Body,
    },
    /// The server's side of a channel has ended.
    ChannelEnded {
        /// The channel.
        channel: Channel,
        /// Ending, which says whether the client should come back.
        how: Ending,
    },
    /// Time has passed; due at the next deadline of the session.
    Tick,
    /// The server wants the client to connect again, elsewhere or later.
    Drain,
    /// The connection is gone.
    Lost,
}

impl<'a> From<SharedEvent<'a>> for Event<'a> {
    fn from(event: SharedEvent<'a>) -> Self {
        Self::Shared(event)
    }
}

/// Frame that came from the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A text frame.
    Text(&'a str),
    /// A binary frame.
    Binary(&'a [u8]),
    /// Something that the door could not even make a frame of.
    Malformed(DecodeError),
}

/// The decision about a join. The responses are JSON objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinOutcome {
    /// The channel is joined.
    Accepted {
        /// The response.
        response: Bytes,
    },
    /// It is not, and the channel is gone.
    Refused {
        /// The reason.
        response: Bytes,
    },
}

/// Ending of the server's side of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// For good: clients do not join again.
    Closed,
    /// By a fault: clients join again after a while.
    Crashed,
}

/// Effect of a session: an action for the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Decide about a join, and answer it. Broadcasts may be written once the acceptance has
    /// been handled and its effects are done.
    Join {
        /// The channel to be.
        channel: Channel,
        /// The text of the JSON object that came with the join.
        params: Bytes,
    },
    /// Allow a channel's request.
    Push {
        /// The channel.
        channel: Channel,
        /// Request to reply to; `None` when the client waits for no reply.
        reply_to: Option<ReplyTo>,
        /// The event.
        event: String,
        /// The payload.
        payload: Body,
    },
    /// Forget a channel. From here on nothing of it may be written.
    Leave {
        /// The channel.
        channel: Channel,
    },
    /// Send a frame.
    Send(Frame),
    /// Close the connection.
    Close {
        /// The close code.
        code: u16,
        /// The reason, for people.
        reason: &'static str,
    },
    /// The session is over. Nothing follows.
    Ended,
}

/// The session of one client on one connection. See the module for its states.
#[derive(Debug)]
pub struct Session {
    /// Shared by sessions that are alike.
    options: Arc<Options>,
    channels: Entries,
    effects: VecDeque<Effect>,
    /// Pushes without an answer, in all channels.
    unanswered: usize,
    /// Messages and bytes held, in all channels.
    held_messages: usize,
    held_bytes: usize,
    malformed_in_a_row: u32,
    last_number: u64,
    heard_at: u64,
    is_over: bool,
}

impl Session {
    /// Begins a session at `now`, in milliseconds of a clock that never goes back.
    #[must_use]
    pub fn new(options: impl Into<Arc<Options>>, now: u64) -> Self {
        Self {
            options: options.into(),
            channels: Entries::default(),
            effects: VecDeque::new(),
            unanswered: 0,
            held_messages: 0,
            held_bytes: 0,
            malformed_in_a_row: 0,
            last_number: 0,
            heard_at: now,
            is_over: false,
        }
    }

    /// Takes in an event. Drain [`Session::next_effect`] before the next event.
    pub fn handle<'a>(&mut self, event: impl Into<Event<'a>>, now: u64) {
        if self.is_over {
            return;
        }
        match event.into() {
            Event::Received(frame) => {
                self.heard_at = self.heard_at.max(now);
                self.receive(frame, true);
            }
            Event::Throttled(frame) => {
                self.heard_at = self.heard_at.max(now);
                self.receive(frame, false);
            }
            Event::Alive => self.heard_at = self.heard_at.max(now),
            Event::Shared(event) => self.handle_shared(event, now),
        }
    }

    fn handle_shared(&mut self, event: SharedEvent<'_>, now: u64) {
        match event {
            SharedEvent::JoinAnswered { channel, outcome } => self.join_answered(&channel, outcome),
            SharedEvent::Replied { reply_to, status, response } => {
                self.replied(&reply_to, status, &response);
            }
            SharedEvent::Pushed { channel, event, payload } => {
                self.pushed(&channel, event, &payload);
            }
            SharedEvent::ChannelEnded { channel, how } => self.channel_ended(&channel, how),
            SharedEvent::Tick => {
                if self.next_deadline().is_some_and(|deadline| now >= deadline) {
                    self.close(CLOSE_RESTART, "idle");
                }
            }
            SharedEvent::Drain => self.close(CLOSE_RESTART, "draining"),
            SharedEvent::Lost => self.end(),
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
        (!self.is_over).then(|| self.heard_at.saturating_add(self.options.idle_ms))
    }

    /// Returns true if broadcasts may be written to this channel.
    #[must_use]
    pub fn is_joined(&self, channel: &Channel) -> bool {
        let entry = self.channels.get(channel.topic()).filter(|entry| entry.channel == *channel);
        entry.is_some_and(|entry| matches!(entry.phase, Phase::Joined { .. }))
    }

    /// The channels, the joining ones included, in the order of their topics.
    pub fn channels(&self) -> impl Iterator<Item = &Channel> {
        self.channels.iter().map(|entry| &entry.channel)
    }

    /// The version that the client speaks: it chooses the encoding of broadcasts.
    #[must_use]
    pub fn vsn(&self) -> Vsn {
        self.options.vsn
    }

    fn receive(&mut self, frame: Incoming<'_>, may: bool) {
        let decoded = match frame {
            Incoming::Text(text) => message::decode_text(self.options.vsn, text),
            Incoming::Binary(bytes) => message::decode_binary(self.options.vsn, bytes),
            Incoming::Malformed(error) => Err(error.into()),
        };
        match decoded {
            Ok(message) => {
                self.malformed_in_a_row = 0;
                self.dispatch(&message, may);
            }
            Err(rejected) => self.reject(&rejected),
        }
    }

    fn dispatch(&mut self, message: &Message<'_>, may: bool) {
        let is_socket = message.topic == SOCKET_TOPIC;
        match (&*message.event, message.payload) {
            ("heartbeat", _) if is_socket => {
                // The socket has no join that the answer could belong to.
                let to = Address { join_ref: None, ..address(message) };
                self.reply(&to, "ok", answers::EMPTY);
            }
            _ if is_socket => self.unmatched(message),
            ("phx_leave", _) => self.leave(message),
            _ if !may => self.answer(&address(message), answers::RATE_LIMITED),
            ("phx_join", Payload::Json(params)) => self.join(message, params),
            ("phx_join", Payload::Binary(_) | Payload::Named(_)) => {
                let response = answers::rejection(&DecodeError::PayloadNotObject);
                self.answer(&address(message), &response);
            }
            _ => self.push(message),
        }
    }

    /// Tells the client its mistake, in the form it can make most of, and lives on.
    fn reject(&mut self, rejected: &Rejected) {
        let Rejected { error, origin } = rejected;
        match origin.as_deref() {
            Some(Origin { topic_json: Some(topic), join_ref, reference, .. }) => {
                let (vsn, refs) = (self.options.vsn, (join_ref.as_ref(), Some(reference)));
                let response = answers::rejection(error);
                self.send(encode::encode_error_reply(vsn, refs, topic, &response));
            }
            Some(origin) => {
                let to = Address {
                    join_ref: origin.join_ref.as_ref(),
                    reference: Some(&origin.reference),
                    topic: &origin.topic,
                };
                self.answer(&to, &answers::rejection(error));
            }
            None => {
                let payload = answers::complaint(error);
                let vsn = self.options.vsn;
                self.send(encode::encode_broadcast(vsn, SOCKET_TOPIC, "error", &payload));
            }
        }
        self.malformed_in_a_row += 1;
        if self.malformed_in_a_row >= self.options.malformed_in_a_row {
            self.close(CLOSE_POLICY, "too many malformed frames");
        }
    }

    /// The join_ref of this answer is null, whatever the client said.
    fn unmatched(&mut self, message: &Message<'_>) {
        let to = Address { join_ref: None, ..address(message) };
        self.reply(&to, "error", answers::UNMATCHED_TOPIC);
    }

    fn reply(&mut self, to: &Address<'_>, status: &str, response: &[u8]) {
        self.send(encode::encode_reply(self.options.vsn, to, status, response));
    }

    fn send(&mut self, text: Bytes) {
        self.effects.push_back(Effect::Send(Frame::Text(text)));
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn close(&mut self, code: u16, reason: &'static str) {
        if self.is_over {
            return;
        }
        self.leave_all();
        self.effects.push_back(Effect::Close { code, reason });
        self.end();
    }

    fn end(&mut self) {
        self.leave_all();
        self.effects.push_back(Effect::Ended);
        self.is_over = true;
    }

    fn leave_all(&mut self) {
        for Entry { channel, .. } in std::mem::take(&mut self.channels) {
            self.effects.push_back(Effect::Leave { channel });
        }
        (self.unanswered, self.held_messages, self.held_bytes) = (0, 0, 0);
    }
}

fn address<'a>(message: &'a Message<'_>) -> Address<'a> {
    Address {
        join_ref: message.join_ref.as_ref(),
        reference: message.reference.as_ref(),
        topic: &message.topic,
    }
}
