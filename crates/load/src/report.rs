//! Report of a run, as values that serialize.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::machine::Machine;

/// Set-up of connections and subscriptions, apart from every latency (JAN-R10).
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct SetUp {
    /// Connections made and subscribed, publishers too.
    pub connections: usize,
    /// From the first connect until the last subscription was acknowledged.
    pub seconds: f64,
    /// Connections a second.
    pub per_second: f64,
    /// From connect to acknowledgement, of each connection.
    pub each: Latencies,
    /// The longest time in which no connection was set up.
    pub longest_pause_ms: f64,
}

/// Latencies in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Latencies {
    /// The shortest.
    pub min_us: f64,
    /// Half took no longer.
    pub p50_us: f64,
    /// Nine in ten took no longer.
    pub p90_us: f64,
    /// All but one in a hundred.
    pub p99_us: f64,
    /// All but one in a thousand.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
}

/// A part of the time measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Slice {
    /// Start of the slice, in seconds from the beginning.
    pub at_seconds: f64,
    /// Deliveries a second.
    pub per_second: f64,
    /// Latencies of the deliveries of this time.
    pub latency: Latencies,
}

/// Counts and latencies of publishing for a while.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// Duration of the measurement, in seconds.
    pub seconds: f64,
    /// Messages published in this time.
    pub published: u64,
    /// Deliveries that came in this time.
    pub delivered: u64,
    /// Deliveries a second.
    pub per_second: f64,
    /// Deliveries of messages published in this time, whenever they came: the latencies.
    pub measured: u64,
    /// Deliveries that never came, warm-up included.
    pub lost: u64,
    /// Deliveries that took longer than five seconds.
    pub late: u64,
    /// Deliveries that came twice, out of order, or on a topic that was not joined.
    pub wrong: u64,
    /// Connections that the server ended.
    pub dropped: usize,
    /// From publishing to a subscriber.
    pub latency: Latencies,
    /// From publishing to the last subscriber of each message.
    pub last_delivery: Latencies,
    /// CPU time of the server in this time, where its process is known.
    pub server_cpu_seconds: Option<f64>,
    /// Deliveries for each second of it.
    pub per_cpu_second: Option<f64>,
    /// Deliveries by latency, in steps of 500 ms.
    pub coarse: Vec<u64>,
    /// Quantiles: how many nines, and the latency there in microseconds.
    pub curve: Vec<(f64, f64)>,
    /// The time measured, slice by slice.
    pub slices: Vec<Slice>,
}

impl Measured {
    /// Everything that a subscriber would call a fault.
    #[must_use]
    pub fn bad(&self) -> u64 {
        self.lost + self.late + self.wrong
    }
}

impl Latencies {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            min_us: histogram.min() as f64 / 1e3,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max() as f64 / 1e3,
        }
    }
}

/// The latency by nines: 1 is 90 %, 2 is 99 %, as far as there are deliveries to tell.
pub(crate) fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    if histogram.is_empty() {
        return vec![];
    }
    let most = (histogram.len() as f64).log10().min(6.0);
    let steps = (most * 10.0).floor() as u32;
    let at = |step: u32| {
        let nines = f64::from(step) / 10.0;
        let quantile = 1.0 - 10_f64.powf(-nines);
        (nines, histogram.value_at_quantile(quantile) as f64 / 1e3)
    };
    (0..=steps).map(at).collect()
}

/// Origin of a report: its time, version and machine. Without it a figure says little.
#[derive(Debug, Clone, Serialize)]
pub struct Made {
    /// Start of the run, in UTC as RFC 3339: `2026-11-30T09:18:05Z`.
    pub at: String,
    /// The version of the load generator.
    pub version: String,
    /// The machine of the load generator.
    pub machine: Machine,
}

/// Report of a whole run: its plan and its results.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Origin of the report: its time, version and machine.
    pub made: Made,
    /// The door of the subscribers, in words.
    pub door: String,
    /// The server.
    pub address: String,
    /// Topics.
    pub topics: usize,
    /// Subscribers.
    pub bots: usize,
    /// Pace of publishing, in words.
    pub pace: String,
    /// Bytes of each message's payload.
    pub payload_bytes: usize,
    /// Connecting and subscribing.
    pub set_up: SetUp,
    /// Publishing.
    pub measured: Measured,
    /// Limits that were given and missed, in words.
    pub missed: Vec<String>,
}
