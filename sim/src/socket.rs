//! The server's end of one connection: the session machine, a cursor, and a small buffer.

use std::collections::VecDeque;

use bytes::Bytes;
use instep_model::feed::{BOOKMARK_EVENT, JoinRefusal, Joined, Mode};
use instep_model::position::Position;
use instep_protocol::encode::{Body, Frame as Encoded};
use instep_protocol::session::{Channel, Effect, Event, Incoming, JoinOutcome, Options, Session};
use instep_protocol::vsn::Vsn;
use serde_json::{Value, json};

/// Frames that the kernel takes from a socket whose client does not read.
pub(crate) const SOCKET_FRAMES: usize = 5;
/// Rows that a join reply carries inline: few, so that both ways are taken.
const INLINE_ROWS: usize = 3;
/// The event by which a client that fell off the ring is told how it goes on.
pub(crate) const CATCH_UP_EVENT: &str = "catch_up";

/// One connection of one client.
pub(crate) struct Socket {
    session: Session,
    /// The channel that is joined, with its place on the ring.
    pub(crate) channel: Option<Joining>,
    /// Frames that come before the ring: answers, snapshots, what was missed.
    pending: VecDeque<Bytes>,
    /// Frames that the client can read.
    pub(crate) sent: VecDeque<Bytes>,
    pub(crate) open: bool,
}

/// A joined channel.
pub(crate) struct Joining {
    pub(crate) channel: Channel,
    /// The next frame of the ring; none until the first frame is wanted (a fault).
    pub(crate) cursor: Option<u64>,
    /// Everything up to here has been put on its way.
    pub(crate) told: Position,
}

/// A client's wish to join, for the node to decide.
pub(crate) struct Wish {
    pub(crate) channel: Channel,
    pub(crate) since: Option<Option<Position>>,
}

impl Socket {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self {
            session: Session::new(Options::websocket(Vsn::V2), now_ms),
            channel: None,
            pending: VecDeque::new(),
            sent: VecDeque::new(),
            open: true,
        }
    }

    /// Takes a text frame from the client; returns the joins to decide.
    pub(crate) fn receive(&mut self, text: &str, now_ms: u64) -> Vec<Wish> {
        self.handle(Event::Received(Incoming::Text(text)), now_ms)
    }

    /// Lets time pass.
    pub(crate) fn tick(&mut self, now_ms: u64) {
        self.handle(Event::Tick, now_ms);
    }

    fn handle(&mut self, event: Event<'_>, now_ms: u64) -> Vec<Wish> {
        self.session.handle(event, now_ms);
        let mut wishes = Vec::new();
        while let Some(effect) = self.session.next_effect() {
            match effect {
                Effect::Join { channel, params } => {
                    let params: Value = serde_json::from_slice(&params).unwrap_or_default();
                    let since = params.get("since").filter(|since| !since.is_null());
                    let since = since.map(|since| since.as_str().and_then(|s| s.parse().ok()));
                    wishes.push(Wish { channel, since });
                }
                Effect::Leave { channel } => {
                    let gone = |joining: &Joining| joining.channel == channel;
                    if self.channel.as_ref().is_some_and(gone) {
                        self.channel = None;
                    }
                }
                Effect::Send(Encoded::Text(bytes) | Encoded::Binary(bytes)) => {
                    self.pending.push_back(bytes);
                }
                Effect::Push { .. } => {}
                Effect::Close { .. } | Effect::Ended => self.open = false,
            }
        }
        wishes
    }

    /// Answers a join. `cursor` is the ring's end at the moment of the snapshot.
    pub(crate) fn answer(
        &mut self,
        channel: Channel,
        joined: Result<Joined, JoinRefusal>,
        cursor: Option<u64>,
        now_ms: u64,
    ) {
        let joined = match joined {
            Ok(joined) => joined,
            Err(refusal) => {
                let response = json!({"reason": refusal.to_string()}).to_string().into();
                let outcome = JoinOutcome::Refused { response };
                self.handle(Event::JoinAnswered { channel, outcome }, now_ms);
                return;
            }
        };
        let inline = joined.mode != Mode::Resume && joined.notices.len() <= INLINE_ROWS;
        let mut response = json!({"mode": joined.mode, "position": joined.position});
        if inline {
            let rows = joined.notices.iter().map(|notice| {
                let row: Value = serde_json::from_slice(&notice.payload()).unwrap_or_default();
                json!([&*notice.event, row])
            });
            response["rows"] = rows.collect();
        }
        let outcome = JoinOutcome::Accepted { response: response.to_string().into() };
        let answered = channel.clone();
        self.handle(Event::JoinAnswered { channel: answered, outcome }, now_ms);
        if !inline {
            self.push_all(&channel, &joined, now_ms);
        }
        self.channel = Some(Joining { channel, cursor, told: joined.position });
    }

    /// Tells a client that fell off the ring what it missed, and puts it at the ring's end.
    pub(crate) fn catch_up(&mut self, joined: &Joined, cursor: u64, now_ms: u64) {
        let Some(joining) = &mut self.channel else {
            return;
        };
        let since = joining.told;
        joining.cursor = Some(cursor);
        joining.told = joined.position;
        let channel = joining.channel.clone();
        let told = json!({"mode": joined.mode, "position": joined.position, "since": since});
        self.push(&channel, CATCH_UP_EVENT, told.to_string().into(), now_ms);
        self.push_all(&channel, joined, now_ms);
    }

    fn push_all(&mut self, channel: &Channel, joined: &Joined, now_ms: u64) {
        for notice in &joined.notices {
            self.push(channel, &notice.event, notice.payload().into(), now_ms);
        }
        let payload = json!({"position": joined.position}).to_string();
        self.push(channel, BOOKMARK_EVENT, payload.into(), now_ms);
    }

    fn push(&mut self, channel: &Channel, event: &str, payload: Bytes, now_ms: u64) {
        let (channel, payload) = (channel.clone(), Body::Json(payload));
        self.handle(Event::Pushed { channel, event, payload }, now_ms);
    }

    /// True when the socket takes no more.
    pub(crate) fn is_full(&self) -> bool {
        self.sent.len() >= SOCKET_FRAMES
    }

    /// Moves what comes before the ring to the client; true when all of it is there.
    pub(crate) fn flush(&mut self) -> bool {
        while !self.is_full()
            && let Some(bytes) = self.pending.pop_front()
        {
            self.sent.push_back(bytes);
        }
        self.pending.is_empty()
    }

    /// The joined channel, if broadcasts may be written to it.
    pub(crate) fn joined(&mut self) -> Option<&mut Joining> {
        let joining = self.channel.as_mut()?;
        self.session.is_joined(&joining.channel).then_some(joining)
    }
}
