//! Goals of fan-out: the figure promised, and the figure found.

use serde_json::{Value, json};

use crate::Results;
use crate::rivals::Rival;
use crate::scenarios::Outcome;

/// One promise, as far as it was measured.
pub(crate) struct Goal {
    pub(crate) name: String,
    pub(crate) found: f64,
    pub(crate) wanted: String,
    pub(crate) met: bool,
}

impl Goal {
    pub(crate) fn json(&self) -> Value {
        let Self { name, found, wanted, met } = self;
        json!({ "goal": name, "found": found, "wanted": wanted, "met": met })
    }
}

const THEIRS: [Rival; 4] = [Rival::Redis, Rival::Nats, Rival::Mosquitto, Rival::Ws];
const PACED: [&str; 3] = ["1x1000", "1x10000", "1000x10"];
const CLOSED: [&str; 2] = ["closed-100", "closed-1000"];

pub(crate) fn all(results: &Results) -> Vec<Goal> {
    let goals = Goals { results, found: vec![] };
    goals.closed().paced().held().websocket().memory().last().found
}

struct Goals<'a> {
    results: &'a Results,
    found: Vec<Goal>,
}

impl Goals<'_> {
    fn closed(mut self) -> Self {
        for scenario in CLOSED {
            let ours = self.per_cpu_second(scenario, Rival::Tcp);
            let redis = self.per_cpu_second(scenario, Rival::Redis);
            let floor = self.per_cpu_second(scenario, Rival::Coalescing);
            self.at_least(format!("{scenario}, TCP against Redis"), ours, redis, 1.3);
            self.at_least(
                format!("{scenario}, TCP against the coalescing floor"),
                ours,
                floor,
                0.8,
            );
        }
        self
    }

    fn paced(mut self) -> Self {
        for scenario in PACED {
            let ours = self.per_cpu_second(scenario, Rival::Tcp);
            let floor = self.per_cpu_second(scenario, Rival::Plain);
            let theirs =
                THEIRS.into_iter().filter_map(|rival| self.per_cpu_second(scenario, rival));
            let best = theirs.reduce(f64::max);
            self.at_least(format!("{scenario}, TCP against the best reference"), ours, best, 1.0);
            self.at_least(format!("{scenario}, TCP against the plain floor"), ours, floor, 0.95);
        }
        self
    }

    /// Everything that is published arrives in the time it was published in.
    fn held(mut self) -> Self {
        for rival in [Rival::Tcp, Rival::WebSocket] {
            let Some(measured) = self.of("1x10000", rival).and_then(|one| one.measured.as_ref())
            else {
                continue;
            };
            let wanted = (measured.published * 10_000) as f64;
            let name = format!("1x10000, {}, arrived of what was published", rival.name());
            self.at_least(name, Some(measured.delivered as f64), Some(wanted), 0.99);
        }
        self
    }

    fn websocket(mut self) -> Self {
        for scenario in PACED.into_iter().chain(CLOSED) {
            let ours = self.per_cpu_second(scenario, Rival::WebSocket);
            let tcp = self.per_cpu_second(scenario, Rival::Tcp);
            self.at_least(format!("{scenario}, WebSocket against TCP"), ours, tcp, 0.9);
        }
        self
    }

    fn memory(mut self) -> Self {
        for (rival, most) in [(Rival::Tcp, 1024.0), (Rival::WebSocket, 2048.0)] {
            let found = self.of("idle", rival).map(|outcome| outcome.bytes_each);
            self.at_most(format!("idle, {}, bytes a connection", rival.name()), found, most);
        }
        self
    }

    fn last(mut self) -> Self {
        let last = |rival| {
            let measured = self.of("last", rival)?.measured.as_ref()?;
            Some(measured.last_delivery.p50_us)
        };
        let ratio = last(Rival::Tcp).zip(last(Rival::Plain)).map(|(ours, floor)| ours / floor);
        self.at_most("last, TCP's last delivery against the plain floor's".into(), ratio, 1.5);
        self
    }

    fn of(&self, scenario: &str, rival: Rival) -> Option<&Outcome> {
        self.results.get(scenario)?.get(&rival)
    }

    fn per_cpu_second(&self, scenario: &str, rival: Rival) -> Option<f64> {
        self.of(scenario, rival)?.measured.as_ref()?.per_cpu_second
    }

    fn at_least(&mut self, name: String, ours: Option<f64>, theirs: Option<f64>, wanted: f64) {
        if let Some((ours, theirs)) = ours.zip(theirs) {
            let found = ours / theirs;
            let met = found >= wanted;
            self.found.push(Goal { name, found, wanted: format!("at least {wanted}"), met });
        }
    }

    fn at_most(&mut self, name: String, found: Option<f64>, wanted: f64) {
        if let Some(found) = found {
            let met = found <= wanted;
            self.found.push(Goal { name, found, wanted: format!("at most {wanted}"), met });
        }
    }
}
