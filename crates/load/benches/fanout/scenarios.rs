//! Scenarios of the bench, and the run of one of them on one server.

use std::time::Duration;

use instep_load::report::{Measured, SetUp};
use instep_load::{Error, Load, Pace, Plan, Run};
use serde_json::{Value, json};

use crate::rivals::Served;

/// Connections of the idle scenarios.
const IDLE: usize = 15_000;
const AT_ONCE: usize = 256;
pub(crate) const PAYLOAD_BYTES: usize = 128;
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Timeout of messages that are under way when publishing has ended.
const DRAIN: Duration = Duration::from_secs(10);

/// One way of loading a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) words: &'static str,
    topics: usize,
    pub(crate) bots: usize,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// Messages a second on each topic.
    Paced(f64),
    /// So many messages that have not reached all subscribers.
    Closed(usize),
    /// Nothing is published.
    Idle { subscribe: bool },
}

const fn scenario(
    name: &'static str,
    words: &'static str,
    (topics, bots): (usize, usize),
    kind: Kind,
) -> Scenario {
    Scenario { name, words, topics, bots, kind }
}

pub(crate) const ALL: [Scenario; 8] = [
    scenario("1x1000", "1 topic, 1,000 subscribers, 100/s", (1, 1_000), Kind::Paced(100.0)),
    scenario("1x10000", "1 topic, 10,000 subscribers, 10/s", (1, 10_000), Kind::Paced(10.0)),
    scenario(
        "1000x10",
        "1,000 topics, 10 subscribers each, 10/s",
        (1_000, 10_000),
        Kind::Paced(10.0),
    ),
    scenario("closed-100", "100 subscribers, window 32", (1, 100), Kind::Closed(32)),
    scenario("closed-1000", "1,000 subscribers, window 32", (1, 1_000), Kind::Closed(32)),
    scenario("last", "1 topic, 19,000 connections, 1/s", (1, 18_999), Kind::Paced(1.0)),
    scenario(
        "idle",
        "15,000 connections, each on a topic",
        (1, IDLE),
        Kind::Idle { subscribe: true },
    ),
    scenario(
        "connected",
        "15,000 connections, on no topic",
        (1, IDLE),
        Kind::Idle { subscribe: false },
    ),
];

/// Outcome of one scenario on one server.
pub(crate) struct Outcome {
    pub(crate) set_up: SetUp,
    pub(crate) measured: Option<Measured>,
    /// Bytes of memory that each connection has cost.
    pub(crate) bytes_each: f64,
}

impl Scenario {
    /// Memory is the same each time.
    pub(crate) fn rounds(&self) -> usize {
        match self.kind {
            Kind::Paced(_) | Kind::Closed(_) => 3,
            Kind::Idle { .. } => 1,
        }
    }

    pub(crate) fn run(&self, served: &Served) -> Result<Outcome, Error> {
        let subscribe = self.kind != Kind::Idle { subscribe: false };
        let plan = Plan { awake: true, ..plan(served, self.topics, self.bots, subscribe) };
        let (mut run, set_up) = Run::connect(plan)?;
        let [short, long] = [1, 3].map(Duration::from_secs);
        let load = |pace| Load {
            pace,
            warm_up: short,
            measured: long,
            drain: DRAIN,
            process: Some(served.process()),
        };
        let measured = match self.kind {
            Kind::Paced(rate) => Some(run.load(&load(Pace::Rate(rate)))?),
            Kind::Closed(window) => Some(run.load(&load(Pace::Window(window)))?),
            Kind::Idle { .. } => {
                run.pump(short)?;
                None
            }
        };
        let resident = served.resident_now().saturating_sub(served.resident);
        let bytes_each = resident as f64 / set_up.connections as f64;
        Ok(Outcome { set_up, measured, bytes_each })
    }
}

pub(crate) fn plan(served: &Served, topics: usize, bots: usize, subscribe: bool) -> Plan {
    Plan {
        door: served.door,
        address: served.address,
        publish: None,
        topics: (0..topics).map(|topic| format!("bench:{topic}")).collect(),
        bots,
        subscribe,
        at_once: AT_ONCE,
        payload_bytes: PAYLOAD_BYTES,
        patience: PATIENCE,
        awake: false,
    }
}

/// Messages lost or wrong, and connections dropped.
pub(crate) fn missing(measured: &Measured) -> f64 {
    (measured.lost + measured.wrong) as f64 + measured.dropped as f64
}

impl Outcome {
    /// First of all nothing may be missing.
    pub(crate) fn is_better_than(&self, other: &Self) -> bool {
        let rank = |outcome: &Self| {
            let measured = outcome.measured.as_ref()?;
            Some((missing(measured) == 0.0, measured.per_cpu_second.unwrap_or_default()))
        };
        rank(self) > rank(other)
    }

    pub(crate) fn json(&self) -> Value {
        let mut measured = json!(self.measured);
        if let Some(measured) = measured.as_object_mut() {
            for bulky in ["slices", "curve", "coarse"] {
                measured.remove(bulky);
            }
        }
        json!({
            "set_up": self.set_up,
            "measured": measured,
            "bytes_each": self.bytes_each.round(),
        })
    }
}
