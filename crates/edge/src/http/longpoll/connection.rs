//! Session driver of one long-poll session, with what waits for its next poll.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use instep_access::Credential;
use instep_model::limits;
use instep_model::ring::Payload;
use instep_node::Subscriber;
use instep_protocol::encode::{Frame, encode_broadcast};
use instep_protocol::session::{ChannelId, Event, Incoming, Options, SharedEvent};
use instep_protocol::vsn::Vsn;
use tokio::sync::{Notify, watch};

use super::Visitor;
use super::revoked::Revocations;
use crate::driver::{Actions, Answer, Completion, Joined, News, Revoked, SessionDriver, Wait};
use crate::permits::Permit;
use crate::rates::{Allowance, Meter, Refused};
use crate::state::EdgeState;
use crate::states::ConnectionState;

/// Frames taken from one topic before the next topic has its turn.
const FRAMES_PER_TURN: usize = 64;

pub(super) struct Connection {
    edge: Arc<EdgeState>,
    from: Option<IpAddr>,
    meter: Option<Meter>,
    allowance: Allowance,
    driver: SessionDriver,
    actions: Actions,
    waker: Arc<Notify>,
    completion: FuturesUnordered<Wait>,
    outbox: VecDeque<Frame>,
    /// Topics whose right has ended since they were last asked for.
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
        let driver = SessionDriver::new(Arc::new(options), credential, &edge);
        let counts = from.is_some_and(|from| !edge.rates().is_exempt(from));
        let meter = counts.then(|| edge.rates().messages()).flatten();
        Self {
            edge,
            from,
            meter,
            allowance: Allowance::default(),
            driver,
            actions: Actions::default(),
            waker: Arc::default(),
            completion: FuturesUnordered::new(),
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
            self.tell(SharedEvent::Lost);
        }
    }

    pub(super) fn tell<'a>(&mut self, event: impl Into<Event<'a>>) {
        self.driver.tell(event, self.edge.now(), &mut self.actions);
        self.serve();
    }

    /// Reviews the rights of the client, which may be fewer than before.
    pub(super) fn review(&mut self) {
        self.driver.review(&self.edge, self.edge.now(), &mut self.actions);
        self.serve();
    }

    /// Milliseconds until [`SharedEvent::Tick`] is due.
    pub(super) fn due_in(&self) -> u64 {
        let now = self.edge.now();
        self.driver.next_deadline().map_or(u64::MAX, |deadline| deadline.saturating_sub(now))
    }

    /// Waits for what was started elsewhere; for ever when nothing was. Cancel-safe.
    pub(super) async fn completion(&mut self) -> Completion {
        if self.completion.is_empty() {
            std::future::pending().await
        } else {
            match self.completion.next().await {
                Some(completion) => completion,
                None => std::future::pending().await,
            }
        }
    }

    pub(super) fn take_outside(&mut self, completion: Completion) {
        self.take(self.driver.ask_again(completion, &self.edge));
        self.serve();
    }

    fn take(&mut self, completion: Completion) {
        // What it does not fetch is bounded, whatever it asks for.
        let completion = if self.is_full() { completion.or_overloaded() } else { completion };
        let listener = |_: &Arc<str>| Subscriber::Task(Arc::clone(&self.waker));
        if self.driver.take(completion, &self.edge, listener, &mut self.actions).is_some() {
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
        let ids: Vec<ChannelId> = self.driver.joined().iter().map(|joined| joined.id()).collect();
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
        let vsn = self.driver.vsn();
        let Some(joined) = self.driver.find(id) else {
            return false;
        };
        if joined.is_server() {
            let (within, now) = ((FRAMES_PER_TURN, limits::BATCH_BYTES), self.edge.now());
            let (_, more) = self.driver.tell_server(id, within, now, &mut self.actions);
            self.serve();
            return more;
        }
        if joined.owes() {
            self.driver.tell_owed(id, limits::BATCH_BYTES, self.edge.now(), &mut self.actions);
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
                if !self.driver.try_catch_up(id, missed, self.edge.now(), &mut self.actions) {
                    // It looks again when others have had a turn; a publisher may need the core.
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
        self.permit.weigh(bytes + self.driver.owed());
        if bytes > limits::LONGPOLL_BYTES {
            self.outbox.clear();
            self.driver.tell(SharedEvent::Lost, self.edge.now(), &mut self.actions);
        }
    }

    /// Takes out what waits for a poll on topics whose right has ended: who polls late is not told
    /// more than who polls in time.
    fn revoke(&mut self) {
        if self.actions.revoked.is_empty() {
            return;
        }
        let topics = std::mem::take(&mut self.actions.revoked);
        let revocations = Revocations { vsn: self.driver.vsn(), topics };
        let outbox = std::mem::take(&mut self.outbox);
        self.outbox = revocations.of(outbox).collect();
        self.revoked.extend(revocations.topics);
    }

    /// Topics whose right has ended since this was asked last.
    pub(super) fn take_revoked(&mut self) -> Revocations {
        Revocations { vsn: self.driver.vsn(), topics: std::mem::take(&mut self.revoked) }
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
            principal: self.driver.principal().to_owned(),
            agent: visitor.agent.clone(),
            age_ms: now.saturating_sub(visitor.since),
            waiting_bytes: self.waiting(),
            blocked_ms: None,
            topics: self.driver.joined().iter().map(Joined::state).collect(),
        }
    }

    /// True when no answer is awaited any more.
    pub(super) fn is_answered(&self) -> bool {
        self.completion.is_empty()
    }

    /// True when the session is over, once the outbox is written.
    pub(super) fn is_closed(&self) -> bool {
        self.driver.close().is_some()
    }

    /// Does what the session driver wants.
    fn serve(&mut self) {
        loop {
            self.revoke();
            self.outbox.extend(self.actions.frames.drain(..));
            self.actions.left.clear();
            let Some(request) = self.actions.requests.pop_front() else {
                break;
            };
            let answer = self.driver.answer(request, &self.edge, self.from);
            self.driver.look_again(&self.edge, &mut self.actions);
            match answer {
                Answer::Now(completion) => self.take(completion),
                Answer::Awaited(wait) | Answer::Later(wait) => self.completion.push(wait),
            }
        }
        self.weigh();
    }
}
