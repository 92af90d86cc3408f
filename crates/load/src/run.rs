//! A run: connect, wait until all have subscribed, publish, drain, report.
//!
//! ```text
//! connect ─▶ barrier ─▶ warm-up ─▶ measured ─▶ drain
//!            (all have             [begin, end) until all is there, or patience ends
//!             subscribed)
//! ```

mod publishing;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};

use self::publishing::Publishing;
pub use self::publishing::{Load, Pace};
use crate::Door;
use crate::bot::{Bot, State};
use crate::process;
use crate::report::{Measured, SetUp};
use crate::traffic::Traffic;

/// Bytes of the read buffer, which all bots share.
const READ_BYTES: usize = 128 * 1024;
/// Sockets told of by one turn of the loop.
const EVENTS: usize = 1024;
/// Descriptors that a process needs besides its connections.
const SPARE_DESCRIPTORS: u64 = 32;
/// Interval of the heartbeats of every bot.
const HEARTBEAT: Duration = Duration::from_secs(25);
/// Interval at which a measurement asks whether it goes on.
const ASK_AGAIN: Duration = Duration::from_millis(5);
/// Longest wait before the clock is looked at.
const TURN: Duration = Duration::from_millis(20);

/// Plan of a run: its connections, topics and messages.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The protocol of the subscribers.
    pub door: Door,
    /// Address of that door.
    pub address: SocketAddr,
    /// Door and address of the publishers, if not the same.
    pub publish: Option<(Door, SocketAddr)>,
    /// Topics; bots are dealt out to them in turn.
    pub topics: Vec<String>,
    /// Subscribers.
    pub bots: usize,
    /// True when they subscribe, and publishers connect.
    pub subscribe: bool,
    /// Handshakes under way at a time.
    pub at_once: usize,
    /// Bytes of a message's payload, a JSON object.
    pub payload_bytes: usize,
    /// Timeout of anything that must come.
    pub patience: Duration,
    /// Never sleeps while messages are published: then the server is not charged for waking this
    /// process, which costs as much as a small write, and depends on how fast this process is.
    pub awake: bool,
}

/// Error that ends a run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// More connections than this process may have descriptors.
    #[error("{needed} descriptors are needed and {limit} allowed: raise them with `ulimit -n`")]
    Descriptors {
        /// As many as the run needs.
        needed: u64,
        /// As many as there may be.
        limit: u64,
    },
    /// The system refuses.
    #[error("{what}: {error}")]
    System {
        /// Operation that failed.
        what: &'static str,
        /// Error of the operating system.
        error: io::Error,
    },
    /// The server refused connections or subscriptions.
    #[error("{refused} of {bots} connections were refused: {said}")]
    Refused {
        /// Connections that were refused.
        refused: usize,
        /// Connections in all.
        bots: usize,
        /// Reasons that were given.
        said: String,
    },
    /// Some bots have not subscribed in time.
    #[error("{live} of {bots} connections were set up in {}", Seconds(*patience))]
    Patience {
        /// Connections that were set up.
        live: usize,
        /// Connections in all.
        bots: usize,
        /// The time they had.
        patience: Duration,
    },
}

struct Seconds(Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} s", self.0.as_secs())
    }
}

/// Connections to a server, and what they have received. They end when this is dropped.
pub struct Run {
    plan: Plan,
    poll: Poll,
    events: Events,
    buffer: Box<[u8]>,
    /// Publishers first, then subscribers. A place stays empty when its bot is gone.
    bots: Vec<Option<Bot>>,
    publishers: usize,
    publishing: Option<Publishing>,
    traffic: Traffic,
    /// Bots that have sent their heartbeat of this round.
    beaten: usize,
    beats_from: u64,
}

impl Run {
    /// Connects all bots and waits until all have subscribed.
    ///
    /// # Errors
    /// [`Error`]: descriptors are missing, the server refuses, or it takes too long.
    pub fn connect(plan: Plan) -> Result<(Self, SetUp), Error> {
        let system = |what| move |error| Error::System { what, error };
        let (door, _) = plan.publish.unwrap_or((plan.door, plan.address));
        let publishers = match (plan.subscribe, door.topics_per_publisher()) {
            (false, _) => 0,
            (true, None) => 1,
            (true, Some(each)) => plan.topics.len().div_ceil(each),
        };
        let needed = (plan.bots + publishers) as u64 + SPARE_DESCRIPTORS;
        if let Some(limit) = process::descriptor_limit()
            && limit < needed
        {
            return Err(Error::Descriptors { needed, limit });
        }
        let mut run = Self {
            poll: Poll::new().map_err(system("epoll"))?,
            events: Events::with_capacity(EVENTS),
            buffer: vec![0; READ_BYTES].into(),
            bots: Vec::with_capacity(plan.bots + publishers),
            publishers,
            publishing: None,
            traffic: Traffic::new(plan.topics.clone()),
            beaten: 0,
            beats_from: 0,
            plan,
        };
        let bots = run.plan.bots;
        let set_up = run.join(publishers + bots, run.plan.at_once)?;
        Ok((run, set_up))
    }

    /// More subscribers, with so many handshakes at once.
    ///
    /// # Errors
    /// [`Error`]: the server refuses, or it takes too long.
    pub fn join(&mut self, more: usize, at_once: usize) -> Result<SetUp, Error> {
        self.traffic.begin_set_up();
        let began = self.traffic.now;
        let wanted = self.traffic.live + more;
        let deadline = began + self.plan.patience.as_nanos() as u64;
        let mut begun = 0;
        while self.traffic.live < wanted {
            let done = more - (wanted - self.traffic.live);
            while begun < more && begun - done < at_once {
                self.begin_one()?;
                begun += 1;
            }
            self.turn(TURN)?;
            if self.traffic.refused > 0 {
                let (refused, said) = (self.traffic.refused, self.traffic.complaint());
                return Err(Error::Refused { refused, bots: more, said });
            }
            if self.traffic.now > deadline {
                let live = self.traffic.live;
                return Err(Error::Patience { live, bots: wanted, patience: self.plan.patience });
            }
        }
        let seconds = (self.traffic.now - began) as f64 / 1e9;
        let (each, pause) = self.traffic.set_ups();
        Ok(SetUp {
            connections: more,
            seconds,
            per_second: more as f64 / seconds,
            each,
            longest_pause_ms: pause.as_secs_f64() * 1e3,
        })
    }

    fn begin_one(&mut self) -> Result<(), Error> {
        let system = |what| move |error| Error::System { what, error };
        let index = self.bots.len();
        let topics = self.traffic.topics();
        let (way, subscribes) = match index.checked_sub(self.publishers) {
            None => {
                let (door, address) =
                    self.plan.publish.unwrap_or((self.plan.door, self.plan.address));
                let each = door.topics_per_publisher().unwrap_or(topics);
                let first = index * each;
                let last =
                    if door.publishers_subscribe() { topics.min(first + each) } else { first };
                ((door, address), first as u32..last as u32)
            }
            Some(number) => {
                let topic = (number % topics) as u32;
                let way = (self.plan.door, self.plan.address);
                (way, topic..topic + u32::from(self.plan.subscribe))
            }
        };
        self.traffic.look_at_the_clock();
        let publishes = index < self.publishers;
        let began = self.traffic.now;
        let mut bot = Bot::connect(way, subscribes, publishes, began).map_err(system("connect"))?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self.poll.registry().register(&mut bot.stream, Token(index), interest);
        registered.map_err(system("epoll"))?;
        if let Some(topic) = bot.topic() {
            self.traffic.count_subscriber(topic, true);
            bot.next = self.traffic.next_of(topic);
        }
        self.bots.push(Some(bot));
        Ok(())
    }

    /// Publishes as `load` says and measures what arrives.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn load(&mut self, load: &Load) -> Result<Measured, Error> {
        self.begin(load.pace);
        self.pump(load.warm_up)?;
        let measured = self.measure(load.measured, load.process)?;
        self.finish(measured, load.drain)
    }

    /// Begins to publish at a pace; it goes on in [`Run::pump`].
    pub fn begin(&mut self, pace: Pace) {
        self.traffic.look_at_the_clock();
        let publish = self.plan.publish.map_or(self.plan.door, |(door, _)| door);
        let names = (0..self.traffic.topics()).map(|topic| self.traffic.name(topic));
        let templates = names.map(|name| publish.message(name, self.plan.payload_bytes)).collect();
        let each = publish.topics_per_publisher().unwrap_or(self.traffic.topics());
        self.publishing = Some(Publishing::new(pace, templates, each, self.traffic.now));
    }

    /// Lets things go on for a while.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn pump(&mut self, time: Duration) -> Result<(), Error> {
        self.traffic.look_at_the_clock();
        let end = self.traffic.now + time.as_nanos() as u64;
        while self.traffic.now < end {
            self.turn(Duration::from_nanos(end - self.traffic.now))?;
        }
        Ok(())
    }

    /// Measures messages for a while, published here or elsewhere. Late ones still arrive in
    /// [`Run::finish`].
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn measure(&mut self, time: Duration, process: Option<u32>) -> Result<Span, Error> {
        self.traffic.look_at_the_clock();
        let begin = self.traffic.now;
        self.traffic.measure(begin, begin + time.as_nanos() as u64, 60);
        let cpu_before = process.and_then(process::cpu_of);
        self.pump(time)?;
        self.catch_up();
        let cpu_after = process.and_then(process::cpu_of);
        let cpu = cpu_after.zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
        Ok(Span { seconds: time.as_secs_f64(), cpu })
    }

    /// Publishes late what fell due while this process was held up. It counts as late, and is not
    /// left out of the figures.
    fn catch_up(&mut self) {
        self.traffic.look_at_the_clock();
        if let Some(publishing) = &mut self.publishing {
            publishing.catch_up(&mut self.bots, &mut self.traffic);
        }
    }

    /// Measures for as long as `goes_on` says, which is asked every few milliseconds, and at most
    /// for `most`.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn measure_while(
        &mut self,
        most: Duration,
        mut goes_on: impl FnMut() -> bool,
    ) -> Result<Span, Error> {
        self.traffic.look_at_the_clock();
        let begin = self.traffic.now;
        let end = begin + most.as_nanos() as u64;
        self.traffic.measure(begin, end, 60);
        while self.traffic.now < end && goes_on() {
            self.pump(ASK_AGAIN)?;
        }
        self.catch_up();
        self.traffic.end_measuring();
        let seconds = (self.traffic.now - begin) as f64 / 1e9;
        Ok(Span { seconds, cpu: None })
    }

    /// Stops publishing, waits until everything has arrived or `drain` is over, and reports.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn finish(&mut self, span: Span, drain: Duration) -> Result<Measured, Error> {
        self.publishing = None;
        self.traffic.look_at_the_clock();
        let end = self.traffic.now + drain.as_nanos() as u64;
        while self.traffic.anything_pending() && self.traffic.now < end {
            self.turn(Duration::from_nanos(end - self.traffic.now))?;
        }
        let subscribers = self.bots.iter().flatten();
        let unfinished = subscribers.filter_map(|bot| bot.topic().map(|topic| (topic, bot.next)));
        self.traffic.give_up(unfinished);
        for bot in self.bots.iter_mut().flatten() {
            if let Some(topic) = bot.topic() {
                bot.next = self.traffic.next_of(topic);
            }
        }
        Ok(self.report(span))
    }

    /// Reports without waiting for messages under way; publishing goes on.
    pub fn report(&mut self, span: Span) -> Measured {
        let mut measured = self.traffic.measured(span.seconds);
        measured.server_cpu_seconds = span.cpu.map(|cpu| cpu.as_secs_f64());
        measured.per_cpu_second =
            measured.server_cpu_seconds.map(|cpu| measured.delivered as f64 / cpu.max(0.01));
        measured
    }

    /// Ends the `count` newest connections at once: with a reset, or in order.
    pub fn leave(&mut self, count: usize, reset: bool) {
        let keep = self.bots.len().saturating_sub(count).max(self.publishers);
        for bot in self.bots.drain(keep..).flatten() {
            if let Some(topic) = bot.topic() {
                self.traffic.count_subscriber(topic, false);
            }
            self.traffic.live -= usize::from(bot.state == State::Live);
            if reset {
                bot.reset();
            }
        }
    }

    /// One turn of the loop: publishes due messages, waits for sockets, serves them.
    fn turn(&mut self, wait: Duration) -> Result<(), Error> {
        self.traffic.look_at_the_clock();
        let wait = match &mut self.publishing {
            Some(publishing) => {
                let due = publishing.publish(&mut self.bots, &mut self.traffic);
                due.map_or(wait, |due| wait.min(due))
            }
            None => wait,
        };
        self.beat();
        let longest =
            if self.plan.awake && self.publishing.is_some() { Duration::ZERO } else { TURN };
        // epoll counts in milliseconds and rounds up; what is due sooner is waited for awake.
        let wait = Duration::from_millis(u64::try_from(wait.min(longest).as_millis()).unwrap_or(0));
        match self.poll.poll(&mut self.events, Some(wait)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(Error::System { what: "epoll", error }),
        }
        for event in &self.events {
            let Some(Some(bot)) = self.bots.get_mut(event.token().0) else { continue };
            if event.is_writable() {
                bot.writable(&mut self.traffic);
            }
            if event.is_readable() {
                bot.readable(&mut self.buffer, &mut self.traffic);
            }
        }
        self.traffic.look_at_the_clock();
        self.traffic.roll();
        Ok(())
    }

    /// Heartbeats that are due, spread over one interval.
    fn beat(&mut self) {
        let round = HEARTBEAT.as_nanos() as u64;
        let gone = self.traffic.now - self.beats_from;
        // None in the first round: the handshake was a sign of life.
        let Some(gone) = gone.checked_sub(round) else { return };
        let due =
            (self.bots.len() as u128 * u128::from(gone.min(round)) / u128::from(round)) as usize;
        while self.beaten < due {
            if let Some(Some(bot)) = self.bots.get_mut(self.beaten) {
                bot.heartbeat(&mut self.traffic);
            }
            self.beaten += 1;
        }
        if gone >= round {
            (self.beaten, self.beats_from) = (0, self.traffic.now - round);
        }
    }
}

/// A time that was measured, while late messages still come in.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    seconds: f64,
    cpu: Option<Duration>,
}
