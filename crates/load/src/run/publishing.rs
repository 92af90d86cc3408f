//! Pace of publishing: at a rate, or as soon as the messages before have arrived.

use std::time::Duration;

use crate::bot::Bot;
use crate::traffic::Traffic;
use crate::wire::Template;

/// A window without progress for this long has lost a message; publishing ends.
const STALL: Duration = Duration::from_secs(3);

/// Pace of publishing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// So many a second on each topic, spread evenly, whatever becomes of them.
    Rate(f64),
    /// At most so many on each topic that have not reached every subscriber.
    Window(usize),
}

/// Pace and durations of publishing.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Pace of publishing.
    pub pace: Pace,
    /// The beginning does not count.
    pub warm_up: Duration,
    /// This counts.
    pub measured: Duration,
    /// Timeout of messages that are still under way afterwards.
    pub drain: Duration,
    /// The process of the server, where its CPU time is wanted.
    pub process: Option<u32>,
}

pub(crate) struct Publishing {
    pace: Pace,
    templates: Vec<Template>,
    topics_per_publisher: usize,
    began: u64,
    /// Messages published so far.
    count: u64,
    progress: u64,
}

impl Publishing {
    pub(crate) fn new(
        pace: Pace,
        templates: Vec<Template>,
        topics_per_publisher: usize,
        now: u64,
    ) -> Self {
        Self { pace, templates, topics_per_publisher, began: now, count: 0, progress: now }
    }

    /// Publishes due messages; returns the time of the next, if that does not depend on answers.
    pub(crate) fn publish(
        &mut self,
        bots: &mut [Option<Bot>],
        traffic: &mut Traffic,
    ) -> Option<Duration> {
        match self.pace {
            Pace::Rate(rate) => Some(self.keep_pace(rate, bots, traffic)),
            Pace::Window(window) => {
                self.fill_window(window, bots, traffic);
                None
            }
        }
    }

    /// Publishes due messages at a pace; a window is not filled once more.
    pub(crate) fn catch_up(&mut self, bots: &mut [Option<Bot>], traffic: &mut Traffic) {
        if let Pace::Rate(rate) = self.pace {
            self.keep_pace(rate, bots, traffic);
        }
    }

    /// A message is stamped with the time it was due at: if it left late, that counts.
    fn keep_pace(
        &mut self,
        rate: f64,
        bots: &mut [Option<Bot>],
        traffic: &mut Traffic,
    ) -> Duration {
        let step = 1e9 / (rate * self.templates.len() as f64);
        let due = |count: u64| self.began + (count as f64 * step) as u64;
        let mut count = self.count;
        while due(count) <= traffic.now {
            let topic = (count % self.templates.len() as u64) as usize;
            send(&mut self.templates, self.topics_per_publisher, topic, due(count), bots, traffic);
            count += 1;
        }
        let next = due(count);
        self.count = count;
        flush(&self.templates, self.topics_per_publisher, bots, traffic);
        Duration::from_nanos(next - traffic.now)
    }

    fn fill_window(&mut self, window: usize, bots: &mut [Option<Bot>], traffic: &mut Traffic) {
        if traffic.now.saturating_sub(self.progress) > STALL.as_nanos() as u64 {
            return;
        }
        for topic in 0..self.templates.len() {
            for _ in traffic.pending(topic)..window {
                let each = self.topics_per_publisher;
                send(&mut self.templates, each, topic, traffic.now, bots, traffic);
                self.progress = traffic.now;
            }
        }
        flush(&self.templates, self.topics_per_publisher, bots, traffic);
    }
}

fn send(
    templates: &mut [Template],
    topics_per_publisher: usize,
    topic: usize,
    at: u64,
    bots: &mut [Option<Bot>],
    traffic: &mut Traffic,
) {
    let Template { bytes, mark } = &mut templates[topic];
    traffic.publish(topic, at).write(&mut bytes[*mark..]);
    if let Some(Some(publisher)) = bots.get_mut(topic / topics_per_publisher) {
        publisher.send(bytes);
    }
}

fn flush(
    templates: &[Template],
    topics_per_publisher: usize,
    bots: &mut [Option<Bot>],
    traffic: &mut Traffic,
) {
    let publishers = templates.len().div_ceil(topics_per_publisher);
    for publisher in bots.iter_mut().take(publishers).flatten() {
        publisher.flush(traffic);
    }
}
