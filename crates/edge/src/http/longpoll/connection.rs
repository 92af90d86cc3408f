//! The talk of one long-poll session, with what waits for its next poll.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use instep_access::Credential;
use instep_model::limits;
use instep_model::ring::Payload;
use instep_node::Listener;
use instep_protocol::encode::{Frame, encode_broadcast};
use instep_protocol::session::{ChannelId, Event, Incoming, Options};
use instep_protocol::vsn::Vsn;
use tokio::sync::{Notify, watch};

use super::Visitor;
use super::revoked::Revocations;
use crate::permits::Permit;
use crate::rates::{Allowance, Meter, Refused};
use crate::state::EdgeState;
use crate::states::ConnectionState;
use crate::talk::{Answer, Joined, News, Outside, Revoked, Talk, Wait, Wants};

/// Frames taken from one topic before the next topic has its turn.
const FRAMES_PER_TURN: usize = 64;

pub(super) struct Connection {
    edge: Arc<EdgeState>,
    from: Option<IpAddr>,
    meter: Option<Meter>,
    allowance: Allowance,
    talk: Talk,
    wants: Wants,
    waker: Arc<Notify>,
    outside: FuturesUnordered<Wait>,
    outbox: VecDeque<Frame>,
    /// Topics whose right has ended since somebody asked.
    revoked: Vec<Revoked>,
    /// Its place, with the weight of what waits for a poll.
    permit: Permit,
}

impl Connection {
    pub(super) fn new(
        edge: Arc<EdgeState>,
        credential: Credential,
        vsn: Vsn,
        from: Option<IpAddr>,
        permit: Permit,
    ) -> Self {
        let options =
            Options { channels: edge.options().socket_channels, ..Options::longpoll(vsn) };
        let talk = Talk::new(Arc::new(options), credential, &edge);
        let counts = from.is_some_and(|from| !edge.rates().is_exempt(from));
        let meter = counts.then(|| edge.rates().messages()).flatten();
        Self {
            edge,
            from,
            meter,
            allowance: Allowance::default(),
            talk,
            wants: Wants::default(),
            waker: Arc::default(),
            outside: FuturesUnordered::new(),
            outbox: VecDeque::new(),
            revoked: Vec::new(),
            permit,
        }
    }

    /// Wakes the session when a topic has news.
    pub(super) fn waker(&self) -> Arc<Notify> {
        Arc::clone(&self.waker)
    }

    pub(super) fn receive(&mut self, frame: Incoming<'_>) {
        let now = self.edge.now();
        let may = self.meter.as_ref().map(|meter| meter.check(&mut self.allowance, now));
        if may.is_none_or(|may| may.is_ok()) {
            return self.tell(Event::Received(frame));
        }
        self.edge.rates().note(Refused::Message);
        self.tell(Event::Throttled(frame));
        if self.allowance.refused > self.edge.rates().refusals() {
            self.tell(Event::Lost);
        }
    }

    pub(super) fn tell(&mut self, event: Event<'_>) {
        self.talk.tell(event, self.edge.now(), &mut self.wants);
        self.serve();
    }

    /// Reviews the rights of the client, which may be fewer than before.
    pub(super) fn review(&mut self) {
        self.talk.review(&self.edge, self.edge.now(), &mut self.wants);
        self.serve();
    }

    /// Milliseconds until [`Event::Tick`] is due.
    pub(super) fn due_in(&self) -> u64 {
        let now = self.edge.now();
        self.talk.next_deadline().map_or(u64::MAX, |deadline| deadline.saturating_sub(now))
    }

    /// Waits for what was started elsewhere; for ever when nothing was. Cancel-safe.
    pub(super) async fn outside(&mut self) -> Outside {
        match self.outside.is_empty() {
            true => std::future::pending().await,
            false => match self.outside.next().await {
                Some(outside) => outside,
                None => std::future::pending().await,
            },
        }
    }

    pub(super) fn take_outside(&mut self, outside: Outside) {
        self.take(self.talk.ask_again(outside, &self.edge));
        self.serve();
    }

    fn take(&mut self, outside: Outside) {
        // What it does not fetch is bounded, whatever it asks for.
        let outside = match self.is_full() {
            true => outside.or_overloaded(),
            false => outside,
        };
        let listener = |_: &Arc<str>| Listener::Task(Arc::clone(&self.waker));
        if self.talk.take(outside, &self.edge, listener, &mut self.wants).is_some() {
            self.waker.notify_one();
        }
    }

    /// Takes what the topics have, after a look at what the client may, if that may have changed.
    pub(super) fn read_allowed(&mut self, reviewing: &mut watch::Receiver<u64>) {
        if reviewing.has_changed().unwrap_or(false) {
            reviewing.mark_unchanged();
            self.review();
        }
        self.read_topics(limits::LONGPOLL_FRAMES);
    }

    /// Takes what the topics have, until about `most` frames wait to be written.
    fn read_topics(&mut self, most: usize) {
        let ids: Vec<ChannelId> = self.talk.joined().iter().map(|joined| joined.id()).collect();
        let mut news = true;
        while news && self.outbox.len() < most && !self.is_full() {
            news = false;
            for id in &ids {
                if self.is_full() {
                    news = true;
                    break;
                }
                news |= self.read_topic(*id);
            }
        }
        self.weigh();
        if news {
            self.waker.notify_one();
        }
    }

    /// Takes a turn of one topic's frames; true when there were any.
    fn read_topic(&mut self, id: ChannelId) -> bool {
        let vsn = self.talk.vsn();
        let Some(joined) = self.talk.find(id) else {
            return false;
        };
        if joined.is_server() {
            let (within, now) = ((FRAMES_PER_TURN, limits::BATCH_BYTES), self.edge.now());
            let (_, more) = self.talk.tell_server(id, within, now, &mut self.wants);
            self.serve();
            return more;
        }
        if joined.owes() {
            self.talk.tell_owed(id, limits::BATCH_BYTES, self.edge.now(), &mut self.wants);
            self.serve();
            return true;
        }
        match joined.read(FRAMES_PER_TURN, limits::BATCH_BYTES) {
            News::Frames(frames) => {
                let topic = joined.subscription.topic().name();
                self.outbox.extend(frames.iter().filter_map(|frame| {
                    Some(Frame::Text(match (&frame.payload, vsn) {
                        (Payload::Json(_), Vsn::V2) => frame.encoded.clone(),
                        (Payload::Json(json), Vsn::V1) => {
                            encode_broadcast(vsn, topic, &frame.event, json)
                        }
                        // There is no form for bytes inside a JSON string.
                        (Payload::Binary(_), _) => return None,
                    }))
                }));
                !frames.is_empty()
            }
            News::Missed(missed) => {
                if !self.talk.try_catch_up(id, missed, self.edge.now(), &mut self.wants) {
                    // It looks again when others have had a turn; whoever tells may need the core.
                    std::thread::yield_now();
                    self.waker.notify_one();
                    return false;
                }
                self.serve();
                true
            }
        }
    }

    /// Bytes that wait for a poll.
    fn waiting(&self) -> usize {
        self.outbox.iter().map(|frame| frame.bytes().len()).sum()
    }

    /// Returns true if the client has to fetch something first.
    fn is_full(&self) -> bool {
        let bytes = self.waiting();
        bytes > limits::OUTBOX_BYTES
            || bytes > limits::OUTBOX_SPARED_BYTES && self.permit.is_tight()
    }

    /// Counts anew what waits for it; what is more than any client that polls can have ends it.
    fn weigh(&mut self) {
        let bytes = self.waiting();
        self.permit.weigh(bytes + self.talk.owed());
        if bytes > limits::LONGPOLL_BYTES {
            self.outbox.clear();
            self.talk.tell(Event::Lost, self.edge.now(), &mut self.wants);
        }
    }

    /// Takes out what waits for a poll on topics whose right has ended: who polls late is not told
    /// more than who polls in time.
    fn revoke(&mut self) {
        if self.wants.revoked.is_empty() {
            return;
        }
        let topics = std::mem::take(&mut self.wants.revoked);
        let revocations = Revocations { vsn: self.talk.vsn(), topics };
        let outbox = std::mem::take(&mut self.outbox);
        self.outbox = revocations.of(outbox).collect();
        self.revoked.extend(revocations.topics);
    }

    /// Topics whose right has ended since this was asked last.
    pub(super) fn take_revoked(&mut self) -> Revocations {
        Revocations { vsn: self.talk.vsn(), topics: std::mem::take(&mut self.revoked) }
    }

    /// The frames to write; empty when there are none.
    pub(super) fn outbox(&mut self) -> &mut VecDeque<Frame> {
        &mut self.outbox
    }

    /// State of the session, for operators.
    pub(super) fn state(&self, visitor: &Visitor, now: u64) -> ConnectionState {
        ConnectionState {
            id: visitor.id.clone(),
            door: "longpoll",
            // Its requests may come on any number of connections.
            peer: self.from.map(|from| (from, 0).into()),
            principal: self.talk.principal().to_owned(),
            agent: visitor.agent.clone(),
            age_ms: now.saturating_sub(visitor.since),
            waiting_bytes: self.waiting(),
            blocked_ms: None,
            topics: self.talk.joined().iter().map(Joined::state).collect(),
        }
    }

    /// True when the session is over, once the outbox is written.
    pub(super) fn is_closed(&self) -> bool {
        self.talk.close().is_some()
    }

    /// Does what the talk wants.
    fn serve(&mut self) {
        loop {
            self.revoke();
            self.outbox.extend(self.wants.frames.drain(..));
            self.wants.left.clear();
            let Some(ask) = self.wants.asks.pop_front() else {
                break;
            };
            let answer = self.talk.answer(ask, &self.edge, self.from);
            self.talk.look_again(&self.edge, &mut self.wants);
            match answer {
                Answer::Now(outside) => self.take(outside),
                Answer::Awaited(wait) | Answer::Later(wait) => self.outside.push(wait),
            }
        }
        self.weigh();
    }
}
