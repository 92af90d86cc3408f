//! Driver of one client's session: the session machine with the topics that it has joined.
//!
//! Nothing here does I/O or waits. A shard or a long-poll session hands events in, takes frames and
//! requests out ([`Actions`]), and brings the answers back ([`Completion`]). A shard has thousands
//! of these, a long-poll session one.

mod joined;
pub(crate) mod joining;
mod machine;
mod mail;
pub(crate) mod presence;
mod pushing;
mod refusal;
mod request;
pub(crate) mod rest;
mod rights;
mod role;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use instep_access::Credential;
use instep_model::presence::{Announcement, Greeting};
use instep_node::live::GAP_EVENT;
use instep_node::{Subscriber, now_us};
use instep_protocol::encode::Body;
use instep_protocol::janus::session::{self as janus, JanusSession};
use instep_protocol::janus::{Timestamp, Token};
use instep_protocol::payload::live::Gap;
use instep_protocol::payload::params::TOKEN_FIELD;
use instep_protocol::payload::rows::Pushes;
use instep_protocol::session::{
    Channel, ChannelId, Effect, Ending, Event, JoinOutcome, Options, Session, SharedEvent,
};
use instep_protocol::vsn::Vsn;
use serde_json::json;
use smallvec::SmallVec;

pub(crate) use self::joined::{Joined, News};
use self::machine::SessionMachine;
use self::refusal::Refusal;
pub(crate) use self::request::{
    Actions, Answer, Close, Completion, PushRequest, Request, Revoked, Wait,
};
use self::rest::Rest;
use self::role::Role;
use crate::state::EdgeState;
use crate::wall_clock::left_ms;

/// The event by which a client that is told to renew its token does so.
const TOKEN_EVENT: &str = TOKEN_FIELD;
/// The event by which a client is told, once, why a channel is closed to it.
pub(crate) const ENDED_EVENT: &str = "access_ended";

/// One client's side of its channels. First what every message needs.
#[repr(C)]
pub(crate) struct SessionDriver {
    /// Mostly one, and then at hand with the rest.
    joined: SmallVec<[Joined; 1]>,
    machine: SessionMachine,
    close: Option<Close>,
    credential: Credential,
    /// Time at which the credential ends, in milliseconds of the clock of the edge.
    ends: Option<u64>,
    /// Rights may be others than those by which topics were joined.
    renewed: bool,
}

impl SessionDriver {
    /// A client on a socket.
    pub(crate) fn on_socket(vsn: Vsn, credential: Credential, edge: &EdgeState) -> Self {
        Self::new(Arc::clone(edge.session_options(vsn)), credential, edge)
    }

    /// A client of the Janus wire, under a token that cannot be guessed.
    pub(crate) fn on_janus(edge: &EdgeState) -> io::Result<Self> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let token = Token::new(u128::from_be_bytes(random));
        Ok(Self::janus(edge.options().janus, token, edge))
    }

    pub(crate) fn new(options: Arc<Options>, credential: Credential, edge: &EdgeState) -> Self {
        Self {
            ends: edge.end_of(&credential),
            credential,
            ..Self::of(SessionMachine::Channels(Session::new(options, edge.now())))
        }
    }

    /// A client of the Janus wire. It is greeted with whatever it is told first.
    fn janus(options: janus::Options, token: Token, edge: &EdgeState) -> Self {
        let at = Timestamp(now_us());
        Self::of(SessionMachine::janus(JanusSession::new(options, token, at, edge.now())))
    }

    fn of(machine: SessionMachine) -> Self {
        Self {
            machine,
            joined: SmallVec::new(),
            close: None,
            credential: Credential::anonymous(),
            ends: None,
            renewed: false,
        }
    }

    /// The token by which this session is found, on the Janus wire.
    pub(crate) fn token(&self) -> Option<Token> {
        self.machine.token()
    }

    /// Returns true if the session waits for another connection.
    pub(crate) fn is_detached(&self) -> bool {
        self.machine.is_detached()
    }

    /// Milliseconds of the clock at which [`SharedEvent::Tick`] is due.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.machine.next_deadline().into_iter().chain(self.ends).min()
    }

    pub(crate) fn vsn(&self) -> Vsn {
        self.machine.vsn()
    }

    /// Returns true if the wire can carry bytes: neither version 1 nor the Janus wire can.
    fn takes_bytes(&self) -> bool {
        self.token().is_none() && self.vsn() == Vsn::V2
    }

    /// Principal, as far as it was authenticated.
    pub(crate) fn principal(&self) -> &str {
        self.credential.principal().name()
    }

    /// Close code and reason, to be sent once everything is written.
    pub(crate) fn close(&self) -> Option<Close> {
        self.close
    }

    pub(crate) fn joined(&self) -> &[Joined] {
        &self.joined
    }

    pub(crate) fn find(&mut self, channel: ChannelId) -> Option<&mut Joined> {
        self.joined.iter_mut().find(|joined| joined.id == channel)
    }

    /// Hands an event to the session and sorts what it wants.
    pub(crate) fn tell<'a>(
        &mut self,
        event: impl Into<Event<'a>>,
        now: u64,
        actions: &mut Actions,
    ) {
        self.step(event, now, actions);
        self.look_at_end(now, actions);
    }

    /// The same for what only clients of the Janus wire say.
    pub(crate) fn hear(&mut self, event: janus::Event<'_>, now: u64, actions: &mut Actions) {
        self.machine.hear(event, now);
        self.sort(actions);
        self.look_at_end(now, actions);
    }

    fn look_at_end(&mut self, now: u64, actions: &mut Actions) {
        if self.ends.is_some_and(|ends| now >= ends) {
            // It ends at a time of day, and the clock may have been set back.
            self.ends = left_ms(&self.credential).filter(|left| *left > 0).map(|left| now + left);
            if self.ends.is_none() {
                self.end_access(|_| Err(instep_access::Refusal::TokenExpired), now, actions);
            }
        }
    }

    fn step<'a>(&mut self, event: impl Into<Event<'a>>, now: u64, actions: &mut Actions) {
        self.machine.handle(event.into(), now);
        self.sort(actions);
    }

    fn sort(&mut self, actions: &mut Actions) {
        while let Some(effect) = self.machine.next_effect(&mut actions.attach) {
            match effect {
                Effect::Send(frame) => actions.frames.push(frame),
                Effect::Join { channel, params } => {
                    actions.requests.push_back(Request::Join { channel, params });
                }
                Effect::Leave { channel } => actions.left.extend(self.leave(channel.id())),
                Effect::Push { channel, reply_to, event, payload } => {
                    let push = PushRequest { channel, reply_to, event, payload };
                    actions.requests.push_back(Request::Push(push));
                }
                Effect::Close { code, reason } => self.close = Some(Close { code, reason }),
                Effect::Ended => {
                    actions.left.extend(self.joined.drain(..));
                    actions.requests.clear();
                    self.close.get_or_insert(Close { code: 1012, reason: "ended" });
                }
            }
        }
    }

    /// Answers a question, or says how the answer will come.
    pub(crate) fn answer(
        &mut self,
        request: Request,
        edge: &EdgeState,
        from: Option<IpAddr>,
    ) -> Answer {
        if let Err(reason) = self.look_at_key(edge, from) {
            return Answer::Now(request.refused(reason));
        }
        match request {
            Request::Join { channel, params } => self.ask_join(channel, &params, edge, from),
            Request::Enter { channel, join } => joining::wait(channel, join, edge),
            // Who publishes over Janus has joined nothing.
            Request::Push(push) if self.token().is_some() => {
                Answer::Now(pushing::announce(push, &self.credential, edge))
            }
            Request::Push(PushRequest { reply_to, event, payload, .. }) if event == TOKEN_EVENT => {
                let renewed =
                    pushing::token(payload).and_then(|token| self.renew(&token, edge, from));
                Answer::Now(Completion::answered(reply_to, renewed.map(|()| json!({}))))
            }
            Request::Push(push) => {
                let id = push.channel.id();
                let joined = self.joined.iter_mut().find(|joined| joined.id == id);
                pushing::ask(joined, push, &self.credential, edge)
            }
        }
    }

    /// Looks again at what was joined before, if another token has come since: whatever the answer
    /// to the message that brought it waits for.
    pub(crate) fn look_again(&mut self, edge: &EdgeState, actions: &mut Actions) {
        if std::mem::take(&mut self.renewed) {
            self.review(edge, edge.now(), actions);
        }
    }

    /// Asks for the right again by which an answer was waited for: what was allowed before the wait
    /// may not be allowed any more.
    pub(crate) fn ask_again(&self, completion: Completion, edge: &EdgeState) -> Completion {
        let (channel, role) = match &completion {
            Completion::Allowed(channel, _) => {
                (channel, Role::of(channel.topic(), self.machine.is_channels()))
            }
            Completion::Entered(channel, mail_role) => (channel, mail_role.role()),
            Completion::Refused(..) | Completion::Answered(..) | Completion::Crashed(_) => {
                return completion;
            }
        };
        match role.may(channel.topic(), &self.credential, edge) {
            Ok(()) => completion,
            Err(refusal) => Completion::Refused(channel.clone(), refusal.into()),
        }
    }

    /// Takes an answer in. The channel that the client has joined by it, if it has.
    pub(crate) fn take(
        &mut self,
        completion: Completion,
        edge: &EdgeState,
        listener: impl FnOnce(&Arc<str>) -> Subscriber,
        actions: &mut Actions,
    ) -> Option<ChannelId> {
        let now = edge.now();
        match completion {
            Completion::Allowed(channel, join) => {
                let listener = listener(channel.topic());
                self.enter(channel, join, edge, &listener, actions)
            }
            Completion::Entered(channel, mail_role) => {
                let listener = listener(channel.topic());
                self.enter_mail(channel, mail_role, edge, &listener, actions)
            }
            Completion::Refused(channel, refusal) => {
                edge.refusals().count(refusal.reason());
                let outcome = JoinOutcome::Refused { response: refusal.payload() };
                self.tell(SharedEvent::JoinAnswered { channel, outcome }, now, actions);
                None
            }
            Completion::Answered(None, _) => None,
            Completion::Answered(Some(reply_to), answer) => {
                let (status, response) = match answer {
                    Ok(response) => ("ok", response),
                    Err(refusal) => ("error", refusal.payload()),
                };
                let response = Body::Json(response);
                self.tell(SharedEvent::Replied { reply_to, status, response }, now, actions);
                None
            }
            Completion::Crashed(channel) => {
                self.end_channel(channel, now, actions);
                None
            }
        }
    }

    /// Tells a subscriber that it fell off the ring, and what it missed in another form. False: not
    /// now, because others are being told of an entry.
    pub(crate) fn try_catch_up(
        &mut self,
        id: ChannelId,
        missed: u64,
        now: u64,
        actions: &mut Actions,
    ) -> bool {
        let Some(joined) = self.find(id) else {
            return true;
        };
        let channel = joined.channel.clone();
        let Some(dataset) = &joined.dataset else {
            let (place, greeting) = (joined.subscription.place(), joined.greeting());
            if let Some(place) = place.filter(|_| missed > 0) {
                let gap = Gap::new(missed, &place).encode();
                self.push(&channel, GAP_EVENT, gap, now, actions);
            }
            self.greet(&channel, greeting, now, actions);
            return true;
        };
        let Some(caught_up) = dataset.try_catch_up(&mut joined.subscription, joined.position)
        else {
            return false;
        };
        match caught_up {
            Ok(caught_up) => {
                joined.position = Some(caught_up.position);
                let pushes = Pushes::of_lagged(missed, caught_up);
                joined.rest = Some(Box::new(Rest::Rows(pushes)));
            }
            // The topic is gone or has grown too large: the client joins again and is told why.
            Err(_) => self.end_channel(channel, now, actions),
        }
        true
    }

    /// Takes a new token. Nothing changes when it is refused.
    fn renew(
        &mut self,
        token: &str,
        edge: &EdgeState,
        from: Option<IpAddr>,
    ) -> Result<(), Refusal> {
        let shown = edge.shown(token, from)?;
        // Before anything is configured a token means nothing, as on other doors.
        let Some(new) = shown else { return Ok(()) };
        self.credential.renew(new)?;
        self.ends = edge.end_of(&self.credential);
        self.renewed = true;
        Ok(())
    }

    /// A key that came with a frame holds from there on, if it is good.
    fn look_at_key(&mut self, edge: &EdgeState, from: Option<IpAddr>) -> Result<(), Refusal> {
        let Some(key) = self.machine.new_key() else {
            return Ok(());
        };
        if let Some(credential) = edge.shown(key, from)? {
            self.ends = edge.end_of(&credential);
            self.credential = credential;
            self.renewed = true;
        }
        self.machine.know_key();
        Ok(())
    }

    fn push(
        &mut self,
        channel: &Channel,
        event: &str,
        payload: Bytes,
        now: u64,
        actions: &mut Actions,
    ) {
        let (channel, payload) = (channel.clone(), Body::Json(payload));
        self.tell(SharedEvent::Pushed { channel, event, payload }, now, actions);
    }

    /// Tells who is present on the topic: the first of them now, the others as the client takes
    /// them.
    fn greet(
        &mut self,
        channel: &Channel,
        greeting: Option<Greeting>,
        now: u64,
        actions: &mut Actions,
    ) {
        let Some(Greeting { told: Announcement { event, payload }, rest }) = greeting else {
            return;
        };
        self.push(channel, event, payload.into(), now, actions);
        if let Some(after) = rest
            && let Some(joined) = self.find(channel.id())
        {
            let topic = Arc::clone(joined.subscription.topic());
            joined.rest = Some(Box::new(Rest::of_presence(topic, after)));
        }
    }

    fn end_channel(&mut self, channel: Channel, now: u64, actions: &mut Actions) {
        actions.left.extend(self.leave(channel.id()));
        self.tell(SharedEvent::ChannelEnded { channel, how: Ending::Crashed }, now, actions);
    }

    fn leave(&mut self, id: ChannelId) -> Option<Joined> {
        let at = self.joined.iter().position(|joined| joined.id == id)?;
        Some(self.joined.swap_remove(at))
    }
}
