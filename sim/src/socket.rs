//! The server's end of one connection: the session machine, a place on the ring, and a small
//! buffer. The product's own code decides the messages.

use std::collections::VecDeque;

use bytes::Bytes;
use instep_model::feed::{JoinRefusal, Joined};
use instep_model::position::Position;
use instep_model::ring::Cursor;
use instep_protocol::encode::{Body, Frame as Encoded};
use instep_protocol::payload::join::{JoinLimits, Reply, refusal, reply};
use instep_protocol::payload::rows::{Push, Pushes};
use instep_protocol::payload::since::Since;
use instep_protocol::session::{
    Channel, Effect, Ending, Event, Incoming, JoinOutcome, Options, Session, SharedEvent,
};
use instep_protocol::vsn::Vsn;
use serde_json::Value;

use crate::fault::Fault;

/// Frames that the kernel takes from a socket whose client does not read.
pub(crate) const SOCKET_FRAMES: usize = 5;
/// Few rows in a reply and in a chunk, so that every way is taken.
const LIMITS: JoinLimits =
    JoinLimits { inline_rows: 3, inline_bytes: 150, chunk_rows: 2, chunk_bytes: 150 };

/// One connection of one client.
pub(crate) struct Socket {
    session: Session,
    /// The channel that is joined, with its place on the ring.
    pub(crate) channel: Option<Joining>,
    /// Frames that come before the rest of a join and the ring.
    pending: VecDeque<Bytes>,
    /// Frames that the client can read.
    pub(crate) sent: VecDeque<Bytes>,
    pub(crate) open: bool,
}

/// A joined channel.
pub(crate) struct Joining {
    pub(crate) channel: Channel,
    /// The next frame of the ring; none until the first frame is wanted (a fault).
    pub(crate) cursor: Option<Cursor>,
    /// Everything up to here is told once the rest is.
    pub(crate) position: Option<Position>,
    /// Pushes that come before the ring.
    rest: Option<Pushes>,
}

/// A client's request to join, for the node to decide.
pub(crate) struct JoinRequest {
    pub(crate) channel: Channel,
    pub(crate) since: Option<Option<Position>>,
}

impl Socket {
    pub(crate) fn new(steady_ms: u64) -> Self {
        Self {
            session: Session::new(Options::websocket(Vsn::V2), steady_ms),
            channel: None,
            pending: VecDeque::new(),
            sent: VecDeque::new(),
            open: true,
        }
    }

    /// Takes a text frame from the client; returns the joins to decide.
    pub(crate) fn receive(&mut self, text: &str, steady_ms: u64) -> Vec<JoinRequest> {
        self.handle(Event::Received(Incoming::Text(text)), steady_ms)
    }

    /// Lets time pass.
    pub(crate) fn tick(&mut self, steady_ms: u64) {
        self.handle(SharedEvent::Tick, steady_ms);
    }

    fn handle<'a>(&mut self, event: impl Into<Event<'a>>, steady_ms: u64) -> Vec<JoinRequest> {
        self.session.handle(event, steady_ms);
        let mut requests = Vec::new();
        while let Some(effect) = self.session.next_effect() {
            match effect {
                Effect::Join { channel, params } => {
                    let params: Value = serde_json::from_slice(&params).unwrap_or_default();
                    let since = Since::of(&params).position();
                    requests.push(JoinRequest { channel, since });
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
        requests
    }

    /// Answers a join. `cursor` is the ring's end at the moment of the snapshot.
    pub(crate) fn answer(
        &mut self,
        JoinRequest { channel, since }: JoinRequest,
        joined: Result<Joined, JoinRefusal>,
        cursor: Option<Cursor>,
        (fault, steady_ms): (Option<Fault>, u64),
    ) {
        let joined = match joined {
            Ok(joined) => joined,
            Err(refused) => {
                let response = refusal(channel.topic(), &refused).to_string().into();
                let outcome = JoinOutcome::Refused { response };
                self.handle(SharedEvent::JoinAnswered { channel, outcome }, steady_ms);
                return;
            }
        };
        let Reply { mut response, is_pending } = reply(&joined, since.flatten(), LIMITS);
        if fault == Some(Fault::PositionBeforeRows) {
            response = with_position(&response, joined.position);
        }
        let outcome = JoinOutcome::Accepted { response };
        let answered = channel.clone();
        self.handle(SharedEvent::JoinAnswered { channel: answered, outcome }, steady_ms);
        let position = Some(joined.position);
        let rest = is_pending.then(|| Pushes::of_join(joined, LIMITS));
        self.channel = Some(Joining { channel, cursor, position, rest });
    }

    /// Tells a client that fell off the ring what it missed, and puts it at the ring's end.
    pub(crate) fn catch_up(&mut self, missed: u64, joined: Joined, cursor: Cursor) {
        if let Some(joining) = &mut self.channel {
            joining.cursor = Some(cursor);
            joining.position = Some(joined.position);
            joining.rest = Some(Pushes::of_lagged(missed, joined));
        }
    }

    /// Tells the next of the pushes before the ring; false when there is none.
    pub(crate) fn tell_rest(&mut self, steady_ms: u64) -> bool {
        let Some(joining) = &mut self.channel else { return false };
        let Some(rest) = &mut joining.rest else { return false };
        match rest.next() {
            Some(Push { event, payload, .. }) => {
                let (channel, payload) = (joining.channel.clone(), Body::Json(payload));
                self.handle(SharedEvent::Pushed { channel, event: &event, payload }, steady_ms);
            }
            None => joining.rest = None,
        }
        true
    }

    /// Ends the channel: the client joins again and is told why.
    pub(crate) fn end_channel(&mut self, steady_ms: u64) {
        if let Some(Joining { channel, .. }) = self.channel.take() {
            self.handle(SharedEvent::ChannelEnded { channel, how: Ending::Crashed }, steady_ms);
        }
    }

    /// True when the socket takes no more.
    pub(crate) fn is_full(&self) -> bool {
        self.sent.len() >= SOCKET_FRAMES
    }

    /// Moves the first frames to the client; true when all are there.
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

/// A reply with another position, whatever follows it.
fn with_position(response: &[u8], position: Position) -> Bytes {
    let mut response: Value = serde_json::from_slice(response).unwrap_or_default();
    response["position"] = position.to_string().into();
    response.to_string().into()
}
