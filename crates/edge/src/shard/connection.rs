//! One socket of a shard: bytes in, bytes out, and how it ends.

mod detached;
mod ending;
mod flooding;
mod leaving;
mod reading;

use std::net::SocketAddr;
use std::sync::Arc;

use instep_model::limits;
use instep_protocol::session::{ChannelId, Event, Incoming};

use super::Arrival;
use super::core::{Core, Flags};
use super::stream::Stream;
use super::wire::{Form, Wire, write_ring_frame};
use super::write_queue::{WriteQueue, Written};
use crate::counts::DoorKind;
use crate::driver::{Answer, Completion, News, SessionDriver};
use crate::permits::Permit;
use crate::rates::Allowance;
use crate::raw::Raw;

/// Frames that one subscriber, which is behind, takes from one topic at a time.
const CATCH_UP_FRAMES: usize = 64;

/// Receiver of a client's messages.
#[expect(clippy::large_enum_variant, reason = "nearly all are clients; a box is a wait for memory")]
pub(crate) enum Side {
    /// A client of topics, by Channels or over the Janus wire.
    Channels(SessionDriver),
    /// A program's own function, message by message.
    Raw(Arc<Raw>),
}

/// Connection of a shard. Fields that every message to it needs come first, in as few lines of
/// memory as can be: with many connections each of them is out of the cache when its turn comes.
#[repr(C)]
pub(crate) struct Connection {
    pub(super) flags: Flags,
    form: Form,
    pub(super) out: WriteQueue,
    pub(super) stream: Stream,
    /// Bytes that were read, and are not decoded while too much waits to be written.
    held: Option<Box<[u8]>>,
    /// Time of the last progress of a socket that is blocked; none while it is not.
    blocked_since: Option<u64>,
    ending: Ending,
    pub(super) side: Side,
    /// Number of the connection: never used twice, unlike its slot.
    pub(super) number: u64,
    pub(super) peer: SocketAddr,
    pub(super) agent: Option<Arc<str>>,
    /// Time of arrival, in milliseconds of the clock of the edge.
    pub(super) since: u64,
    wire: Wire,
    /// The tick at which its deadline is looked at.
    timer: u32,
    /// Answers that others owe.
    awaited: u32,
    /// Rate state of its messages.
    allowance: Allowance,
    /// Place of its socket, or of its session while that waits for another connection.
    permit: Permit,
    /// Place of its connection, if there is one.
    line: Option<Permit>,
    /// Bytes of a frame that is not complete, as the shard counts them.
    unfinished: usize,
    /// Time at which that frame began, in milliseconds of the clock of the edge.
    unfinished_since: u64,
    /// Bytes of rows that a join owes it.
    owed: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Open.
    None,
    /// Leaving: nothing more of it is read, and it is closed once it has its answers, or at a time.
    Leaving { until: u64 },
    /// Closing: it is over once everything is written, or at a time.
    Closing { until: u64 },
    /// Written out; the client has until then to close its side.
    Finished { until: u64 },
}

/// Outcome of an event for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays.
    Stays,
    /// It has gone.
    Gone,
}

impl Connection {
    pub(super) fn new(arrival: Arrival, now: u64) -> Self {
        let Arrival { stream, wire, side, peer, agent, permit, line, early, .. } = arrival;
        let form = match &side {
            Side::Channels(driver) => wire.form(driver.vsn()),
            Side::Raw(_) => Form::WebSocketV2,
        };
        let flags = Flags { is_new: true, readable: stream.holds_bytes(), ..Flags::default() };
        Self {
            number: 0,
            peer,
            agent,
            since: now,
            stream,
            wire,
            side,
            out: WriteQueue::default(),
            held: (!early.is_empty()).then(|| early.into()),
            blocked_since: None,
            ending: Ending::None,
            timer: u32::MAX,
            awaited: 0,
            form,
            allowance: Allowance::default(),
            flags,
            permit,
            line,
            unfinished: 0,
            unfinished_since: 0,
            owed: 0,
        }
    }

    pub(super) fn kind(&self) -> DoorKind {
        self.wire.kind()
    }

    /// Span of the begin and of the end of a connection. Its frames have none: it costs a look at
    /// the level where it is disabled, and as much as a frame where it is not.
    pub(super) fn span(&self, shard: usize) -> tracing::Span {
        tracing::debug_span!(
            "connection",
            id = %format_args!("{shard}-{}", self.number),
            peer = %self.peer,
            door = self.kind().word(),
        )
    }

    pub(super) fn form(&self) -> Form {
        self.form
    }

    /// Milliseconds since the socket last took something, while something waits for it.
    pub(super) fn blocked_ms(&self, now: u64) -> Option<u64> {
        self.blocked_since.map(|since| now.saturating_sub(since))
    }

    /// Looks at what came with it, and sets its first deadline.
    pub(super) fn begin(&mut self, slot: u32, core: &mut Core) {
        core.read(slot, &mut self.flags);
        if self.token().is_some() {
            // Nothing has happened; it is greeted.
            self.tell(slot, Event::Alive, core);
        }
        self.arm(slot, core);
    }

    /// Reviews the rights of this client, which may be fewer than before.
    pub(super) fn review(&mut self, slot: u32, core: &mut Core) {
        if let Side::Channels(driver) = &mut self.side {
            driver.review(&core.edge, core.now, &mut core.actions);
            self.serve(slot, core);
            self.arm(slot, core);
        }
    }

    /// The system says that something has changed.
    pub(super) fn woken(&mut self, slot: u32, event: &mio::event::Event, core: &mut Core) {
        self.flags.is_new &= core.now.saturating_sub(self.since) < limits::NEWCOMER_MS;
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.flags.readable = true;
            self.flags.read_closed |= event.is_read_closed() || event.is_error();
            core.read(slot, &mut self.flags);
        }
        if self.flags.blocked && (event.is_writable() || event.is_write_closed()) {
            self.flags.blocked = false;
            core.write(slot, &mut self.flags);
        }
    }

    /// Back-pressure: too much waits for this client to take it, or for applications to answer it.
    /// One that leaves is not read any more.
    fn is_paused(&self) -> bool {
        let waits = self.is_full() || self.awaited > limits::AWAITED_ANSWERS || self.owed > 0;
        waits || self.is_leaving()
    }

    /// Returns true if its socket has to take something first. The limit is lower while its address
    /// has more waiting than it may.
    fn is_full(&self) -> bool {
        let bytes = self.out.bytes();
        bytes > limits::OUTBOX_BYTES
            || bytes > limits::OUTBOX_SPARED_BYTES && self.flags.blocked && self.permit.is_tight()
    }

    /// Counts anew what waits for it: what its socket does not take, what joins owe it, and what
    /// it has not finished.
    fn weigh_all(&mut self) {
        let out = if self.flags.blocked { self.out.bytes() } else { 0 };
        let bytes = out + self.owed + self.unfinished;
        if bytes != self.permit.bytes() {
            self.permit.weigh(bytes);
        }
    }

    /// Reads on when nothing stands against it any more.
    fn resume(&mut self, slot: u32, core: &mut Core) {
        if (self.flags.readable || self.held.is_some()) && !self.is_paused() {
            core.read(slot, &mut self.flags);
        }
    }

    /// Takes in a message of the client.
    fn receive(&mut self, slot: u32, incoming: Incoming<'_>, core: &mut Core) {
        core.counters.frames_in.add(1);
        if self.may_say(core) {
            self.tell(slot, Event::Received(incoming), core)
        } else {
            self.tell(slot, Event::Throttled(incoming), core);
            self.end_flood(slot, core);
        }
    }

    pub(super) fn tell<'a>(&mut self, slot: u32, event: impl Into<Event<'a>>, core: &mut Core) {
        if let Side::Channels(driver) = &mut self.side {
            driver.tell(event, core.now, &mut core.actions);
            self.serve(slot, core);
        }
    }

    /// Takes an answer that it waited for.
    pub(super) fn answered(&mut self, slot: u32, completion: Completion, core: &mut Core) {
        self.awaited -= 1;
        let completion = match &self.side {
            Side::Channels(driver) => driver.ask_again(completion, &core.edge),
            Side::Raw(_) => completion,
        };
        self.take(slot, completion, core);
        self.serve(slot, core);
        self.leave_if_answered(slot, core);
        self.resume(slot, core);
    }

    fn take(&mut self, slot: u32, completion: Completion, core: &mut Core) {
        let completion =
            if self.permit.is_tight() { completion.or_overloaded() } else { completion };
        let Side::Channels(driver) = &mut self.side else {
            return;
        };
        if let Completion::Allowed(_, join) = &completion
            && join.params.takes_named
        {
            self.form = self.form.named();
        }
        let mut mark = None;
        let topics = &mut core.topics;
        let subscriber = |topic: &Arc<str>| {
            let (subscriber, at) = topics.subscriber(topic);
            mark = Some(at);
            subscriber
        };
        let joined = driver.take(completion, &core.edge, subscriber, &mut core.actions);
        if let Some(mark) = mark {
            match joined.and_then(|id| driver.find(id)) {
                Some(joined) => {
                    core.topics.enter(mark, slot, joined);
                    if joined.subscription.lag() > 0 || joined.owes() {
                        // It has come back to what it missed, and reads that by itself; rows that
                        // did not fit the answer come as its socket takes them.
                        self.flags.behind = true;
                        core.catch_up(slot, &mut self.flags);
                    }
                }
                None => core.topics.forget_unused(mark),
            }
            self.look_at_owed();
        }
    }

    /// Counts anew what joins owe it.
    fn look_at_owed(&mut self) {
        if let Side::Channels(driver) = &self.side {
            self.owed = driver.owed();
            self.weigh_all();
        }
    }

    /// Does what the session driver wants.
    fn serve(&mut self, slot: u32, core: &mut Core) {
        let mut asked = false;
        loop {
            for frame in core.actions.frames.drain(..) {
                self.out.append(|out| self.wire.write(out, &frame));
            }
            core.left.extend(core.actions.left.drain(..).map(|joined| (slot, joined)));
            // What is laid out for its socket is as good as written.
            core.actions.revoked.clear();
            core.attaching.extend(core.actions.attach.take().map(|token| (slot, token)));
            let Some(request) = core.actions.requests.pop_front() else {
                break;
            };
            let Side::Channels(driver) = &mut self.side else {
                break;
            };
            asked = true;
            let channel = request.channel().clone();
            let answer = driver.answer(request, &core.edge, Some(self.peer.ip()));
            driver.look_again(&core.edge, &mut core.actions);
            match answer {
                Answer::Now(completion) => self.take(slot, completion, core),
                Answer::Awaited(wait) => {
                    self.awaited += 1;
                    core.pending.push(slot, self.number, wait);
                }
                Answer::Later(answer) => {
                    self.awaited += 1;
                    core.start(slot, self.number, channel, answer);
                }
            }
        }
        if asked {
            // A token that has come may end before everything else.
            self.arm(slot, core);
        }
        if !self.out.is_empty() {
            core.write(slot, &mut self.flags);
        }
        if let Side::Channels(driver) = &self.side
            && let Some(close) = driver.close()
        {
            self.end(slot, Some(close.code), close.reason, core);
        }
    }

    /// Writes what waits.
    pub(super) fn write(&mut self, slot: u32, core: &mut Core) -> Fate {
        if self.flags.blocked {
            return Fate::Stays;
        }
        match self.out.write(&mut self.stream) {
            Ok(Written::All(bytes)) => {
                core.counters.bytes_out.add(bytes as u64);
                if self.blocked_since.take().is_some() {
                    self.weigh_all();
                }
                self.flushed(slot, core);
                Fate::Stays
            }
            Ok(Written::Blocked(bytes)) => {
                core.counters.bytes_out.add(bytes as u64);
                self.flags.blocked = true;
                self.weigh_all();
                if bytes > 0 || self.blocked_since.is_none() {
                    self.blocked_since = Some(core.now);
                    self.arm(slot, core);
                }
                Fate::Stays
            }
            // What it has sent counts even if it is reset behind it: read to the end first.
            Err(_) if self.token().is_some() && !self.is_over() && !self.is_paused() => {
                self.flags.blocked = true;
                self.flags.readable = true;
                self.flags.read_closed = true;
                self.blocked_since = Some(core.now);
                core.read(slot, &mut self.flags);
                self.arm(slot, core);
                Fate::Stays
            }
            Err(_) => Fate::Gone,
        }
    }

    fn flushed(&mut self, slot: u32, core: &mut Core) {
        if let Ending::Closing { until } = self.ending {
            self.stream.finish();
            self.ending = Ending::Finished { until: until.min(self.last_word_until(core)) };
            self.arm(slot, core);
            // The client may have ended before; nothing is left to wait for then.
            self.flags.readable |= self.flags.read_closed;
            if self.flags.readable {
                core.read(slot, &mut self.flags);
            }
            return;
        }
        if self.flags.behind {
            core.catch_up(slot, &mut self.flags);
        }
        self.resume(slot, core);
    }

    /// Takes a turn of what each topic has for this connection alone, because it was behind.
    pub(super) fn catch_up(&mut self, slot: u32, core: &mut Core) {
        if self.flags.blocked || self.is_full() {
            // It goes on when everything is written.
            return;
        }
        self.flags.behind = false;
        let Side::Channels(driver) = &self.side else {
            return;
        };
        let ids: Vec<ChannelId> = driver.joined().iter().map(|joined| joined.id()).collect();
        for id in ids {
            if self.out.bytes() > limits::OUTBOX_BYTES {
                self.flags.behind = true;
                break;
            }
            self.flags.behind |= self.read_topic(slot, id, core);
        }
        if self.owed > 0 {
            self.look_at_owed();
            self.resume(slot, core);
        }
        if !self.out.is_empty() {
            core.write(slot, &mut self.flags);
        } else if self.flags.behind {
            core.catch_up(slot, &mut self.flags);
        }
    }

    /// Reads one topic; true when it may have more.
    fn read_topic(&mut self, slot: u32, id: ChannelId, core: &mut Core) -> bool {
        let Side::Channels(driver) = &mut self.side else {
            return false;
        };
        let Some(joined) = driver.find(id) else {
            return false;
        };
        if joined.is_server() {
            let within = (CATCH_UP_FRAMES, limits::BATCH_BYTES);
            let (told, more) = driver.tell_server(id, within, core.now, &mut core.actions);
            core.counters.deliveries.add(told as u64);
            self.serve(slot, core);
            return more;
        }
        if joined.owes() {
            driver.tell_owed(id, limits::BATCH_BYTES, core.now, &mut core.actions);
            self.serve(slot, core);
            return true;
        }
        match joined.read(CATCH_UP_FRAMES, limits::BATCH_BYTES) {
            News::Frames(frames) => {
                let (form, topic) = (self.form, joined.subscription.topic().name());
                core.counters.deliveries.add(frames.len() as u64);
                for frame in &frames {
                    self.out.append(|out| write_ring_frame(out, form, topic, frame));
                }
                !frames.is_empty()
            }
            News::Missed(missed) => {
                if !driver.try_catch_up(id, missed, core.now, &mut core.actions) {
                    // The shard's others go on; a publisher may need the core.
                    std::thread::yield_now();
                    return true;
                }
                core.counters.lagged.add(1);
                core.counters.missed.add(missed);
                self.serve(slot, core);
                self.look_at_owed();
                true
            }
        }
    }
}
