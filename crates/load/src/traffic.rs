//! Messages under way between publishers and subscribers, with their counts and latencies.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::report::{Latencies, Measured, Slice};
use crate::stamp::Stamp;

/// No delivery is told apart from one that took this long.
const LONGEST_NS: u64 = 600_000_000_000;
/// A message that needed longer is as bad as a lost one (JAN-U6).
const LATE: Duration = Duration::from_secs(5);
/// Width of the coarse histogram (JAN-U6).
const COARSE_NS: u64 = 500_000_000;
/// Maximum number of different complaints that are kept.
const COMPLAINTS: usize = 5;

/// Topics, counts and latencies of a run.
pub(crate) struct Traffic {
    origin: Instant,
    /// The clock when it was last looked at: once a read, not once a message.
    pub(crate) now: u64,
    topics: Vec<Topic>,
    /// Set-up times of connections.
    set_ups: Histogram<u64>,
    /// Time of the last set-up, and the longest time between two.
    last_set_up: u64,
    longest_pause: u64,
    pub(crate) live: usize,
    /// Connections that ended before and after they were live.
    pub(crate) refused: usize,
    dropped: usize,
    complaints: Vec<String>,
    span: Span,
}

struct Topic {
    name: String,
    subscribers: u32,
    /// The number of the next message.
    next: u32,
    /// Messages that have not reached all subscribers, the oldest first.
    pending: VecDeque<Pending>,
}

struct Pending {
    at: u64,
    left: u32,
}

/// Counts and latencies of a measurement. A latency counts if its message was sent in the span, a
/// delivery if it came in the span.
struct Span {
    begin: u64,
    end: u64,
    slice_ns: u64,
    slice_from: u64,
    slice: Histogram<u64>,
    slice_received: u64,
    slices: Vec<Slice>,
    latencies: Histogram<u64>,
    complete: Histogram<u64>,
    published: u64,
    received: u64,
    lost: u64,
    bad: u64,
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, LONGEST_NS, 3).expect("valid bounds")
}

impl Traffic {
    pub(crate) fn new(names: Vec<String>) -> Self {
        let topic = |name| Topic { name, subscribers: 0, next: 0, pending: VecDeque::new() };
        Self {
            origin: Instant::now(),
            now: 0,
            topics: names.into_iter().map(topic).collect(),
            set_ups: histogram(),
            last_set_up: 0,
            longest_pause: 0,
            live: 0,
            refused: 0,
            dropped: 0,
            complaints: vec![],
            span: Span::new(),
        }
    }

    pub(crate) fn name(&self, topic: usize) -> &str {
        &self.topics[topic].name
    }

    pub(crate) fn topics(&self) -> usize {
        self.topics.len()
    }

    /// One subscriber more, or one less.
    pub(crate) fn count_subscriber(&mut self, topic: u32, more: bool) {
        let subscribers = &mut self.topics[topic as usize].subscribers;
        *subscribers = if more { *subscribers + 1 } else { *subscribers - 1 };
    }

    #[inline]
    pub(crate) fn look_at_the_clock(&mut self) {
        self.now = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
    }

    pub(crate) fn set_up(&mut self, began: u64) {
        self.live += 1;
        self.set_ups.saturating_record(self.now.saturating_sub(began));
        self.longest_pause = self.longest_pause.max(self.now - self.last_set_up);
        self.last_set_up = self.now;
    }

    /// Forgets set-up times; pauses count from here.
    pub(crate) fn begin_set_up(&mut self) {
        self.look_at_the_clock();
        self.set_ups.reset();
        (self.last_set_up, self.longest_pause) = (self.now, 0);
    }

    /// Set-up times since [`Traffic::begin_set_up`], and the longest pause between two.
    pub(crate) fn set_ups(&self) -> (Latencies, Duration) {
        (Latencies::of(&self.set_ups), Duration::from_nanos(self.longest_pause))
    }

    pub(crate) fn closed(&mut self, was_live: bool, why: &str) {
        if was_live {
            self.dropped += 1;
            self.live -= 1;
        } else {
            self.refused += 1
        }
        if self.complaints.len() < COMPLAINTS && !self.complaints.iter().any(|words| words == why) {
            self.complaints.push(why.to_owned());
        }
    }

    pub(crate) fn complaint(&self) -> String {
        self.complaints.join("; ")
    }

    /// The next message of a topic, sent now or due at `at`.
    pub(crate) fn publish(&mut self, topic: usize, at: u64) -> Stamp {
        let Topic { subscribers, next, pending, .. } = &mut self.topics[topic];
        let stamp = Stamp { at, sequence: *next, topic: topic as u32 };
        *next += 1;
        pending.push_back(Pending { at, left: *subscribers });
        self.span.published += u64::from(self.span.covers(at));
        stamp
    }

    /// Messages of a topic that have not reached all its subscribers.
    pub(crate) fn pending(&self, topic: usize) -> usize {
        self.topics[topic].pending.len()
    }

    pub(crate) fn anything_pending(&self) -> bool {
        self.topics.iter().any(|topic| !topic.pending.is_empty())
    }

    /// Takes a message; answers which must be next.
    #[inline]
    pub(crate) fn delivered(&mut self, stamp: Stamp, wanted: u32) -> u32 {
        if stamp.sequence < wanted || stamp.sequence >= self.topics[stamp.topic as usize].next {
            self.span.bad += 1;
            return wanted;
        }
        for lost in wanted..stamp.sequence {
            self.span.lost += 1;
            self.reached(stamp.topic, lost);
        }
        self.reached(stamp.topic, stamp.sequence);
        self.span.take(stamp.at, self.now);
        stamp.sequence + 1
    }

    /// One subscriber needs this message no longer.
    #[inline]
    fn reached(&mut self, topic: u32, sequence: u32) {
        let Topic { next, pending, .. } = &mut self.topics[topic as usize];
        let first = *next - pending.len() as u32;
        let Some(at) = sequence.checked_sub(first) else { return };
        let Some(one) = pending.get_mut(at as usize) else { return };
        one.left = one.left.saturating_sub(1);
        if one.left == 0 && self.span.covers(one.at) {
            self.span.complete.saturating_record(self.now.saturating_sub(one.at));
        }
        while pending.front().is_some_and(|one| one.left == 0) {
            pending.pop_front();
        }
    }

    /// A message that is none, or of another topic.
    pub(crate) fn bad(&mut self) {
        self.span.bad += 1;
    }

    /// Begins to measure from the clock's `begin` to its `end`.
    pub(crate) fn measure(&mut self, begin: u64, end: u64, slices: u64) {
        let (lost, bad) = (self.span.lost, self.span.bad);
        let slice_ns = (end - begin).div_ceil(slices.max(1)).max(1);
        self.span = Span { begin, end, slice_ns, slice_from: begin, lost, bad, ..Span::new() };
    }

    /// Ends the measurement: a message sent from here on does not count.
    pub(crate) fn end_measuring(&mut self) {
        self.span.end = self.span.end.min(self.now);
    }

    /// Closes the slices that are over.
    pub(crate) fn roll(&mut self) {
        while self.now >= self.span.slice_from.saturating_add(self.span.slice_ns)
            && self.span.slice_from < self.span.end
        {
            self.span.close_slice();
        }
    }

    /// Gives up on pending messages: `next` of each subscriber tells the missing ones.
    pub(crate) fn give_up(&mut self, subscribers: impl Iterator<Item = (u32, u32)>) {
        for (topic, next) in subscribers {
            self.span.lost += u64::from(self.topics[topic as usize].next - next);
        }
        for topic in &mut self.topics {
            topic.pending.clear();
        }
    }

    /// Number that a new subscriber gets first.
    pub(crate) fn next_of(&self, topic: u32) -> u32 {
        self.topics.get(topic as usize).map_or(0, |topic| topic.next)
    }

    /// Returns the measurement; counts begin anew.
    pub(crate) fn measured(&mut self, seconds: f64) -> Measured {
        let mut span = std::mem::replace(&mut self.span, Span::new());
        span.close_slice();
        let late = span.latencies.count_between(LATE.as_nanos() as u64 + 1, LONGEST_NS);
        let dropped = std::mem::take(&mut self.dropped);
        let coarse =
            span.latencies.iter_linear(COARSE_NS).map(|step| step.count_since_last_iteration());
        Measured {
            seconds,
            published: span.published,
            delivered: span.received,
            per_second: span.received as f64 / seconds,
            measured: span.latencies.len(),
            lost: span.lost,
            late,
            wrong: span.bad,
            dropped,
            latency: Latencies::of(&span.latencies),
            last_delivery: Latencies::of(&span.complete),
            server_cpu_seconds: None,
            per_cpu_second: None,
            coarse: coarse.collect(),
            curve: crate::report::curve(&span.latencies),
            slices: span.slices,
        }
    }
}

impl Span {
    fn new() -> Self {
        Self {
            begin: u64::MAX,
            end: u64::MAX,
            slice_ns: u64::MAX,
            slice_from: u64::MAX,
            slice: histogram(),
            slice_received: 0,
            slices: vec![],
            latencies: histogram(),
            complete: histogram(),
            published: 0,
            received: 0,
            lost: 0,
            bad: 0,
        }
    }

    #[inline]
    fn covers(&self, at: u64) -> bool {
        at >= self.begin && at < self.end
    }

    #[inline]
    fn take(&mut self, sent: u64, now: u64) {
        if self.covers(now) {
            self.received += 1;
            self.slice_received += 1;
        }
        if self.covers(sent) {
            self.slice.saturating_record(now.saturating_sub(sent));
        }
    }

    fn close_slice(&mut self) {
        if self.slice_from < self.end && self.begin != u64::MAX {
            let seconds = self.slice_ns as f64 / 1e9;
            self.slices.push(Slice {
                at_seconds: (self.slice_from - self.begin) as f64 / 1e9,
                per_second: self.slice_received as f64 / seconds,
                latency: Latencies::of(&self.slice),
            });
        }
        self.slice_from = self.slice_from.saturating_add(self.slice_ns);
        self.slice_received = 0;
        self.latencies += &self.slice;
        self.slice.reset();
    }
}
