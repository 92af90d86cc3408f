//! Runs of seeds, whose findings can be repeated.

use std::fmt;

use crate::checker::{CHECKERS, Finding, check};
use crate::fault::Fault;
use crate::history::{Event, digest_of};
use crate::shop;
use crate::world::World;

/// Steps of a seed unless something else is wanted.
pub const STEPS: usize = 600;
/// Events that are shown before the one that shows the violation.
const SHOWN: usize = 40;

/// Outcome of one seed.
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Steps that were asked for.
    pub steps: usize,
    /// Fault that was put in on purpose.
    pub fault: Option<Fault>,
    /// History: the events of the run.
    pub history: Vec<Event>,
    /// Findings of the checkers, the most telling first.
    pub findings: Vec<Finding>,
}

/// Lives through one seed and judges it.
#[must_use]
pub fn seed(seed: u64, steps: usize, fault: Option<Fault>) -> Outcome {
    let mut world = World::new(seed, fault);
    world.run(steps);
    let history = world.trace;
    let findings = judge(&history);
    Outcome { seed, steps, fault, history, findings }
}

/// Judges a history of the dataset that is simulated.
#[must_use]
pub fn judge(history: &[Event]) -> Vec<Finding> {
    check(history, &shop::topics())
}

impl Outcome {
    /// The digest of everything that happened.
    #[must_use]
    pub fn digest(&self) -> u64 {
        digest_of(&self.history)
    }

    /// Returns true if this checker found something.
    #[must_use]
    pub fn is_caught_by(&self, checker: &str) -> bool {
        self.findings.iter().any(|found| found.checker == checker)
    }
}

impl fmt::Display for Outcome {
    /// The failure: the broken rule, its history, and how to repeat it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(finding) = self.findings.first() else {
            return writeln!(f, "seed {}: {} events, nothing wrong", self.seed, self.history.len());
        };
        let at = finding.violation.at;
        let from = at.saturating_sub(SHOWN);
        writeln!(f, "seed {}, the {SHOWN} events up to the violation:", self.seed)?;
        for (number, event) in self.history.iter().enumerate().take(at + 1).skip(from) {
            let text = serde_json::to_string(event).map_err(|_| fmt::Error)?;
            writeln!(f, "{number:6} {text}")?;
        }
        for Finding { checker, violation } in &self.findings {
            writeln!(f, "broken at {}: {checker}: {}", violation.at, violation.what)?;
        }
        let guards = CHECKERS.iter().find(|known| known.name == finding.checker);
        let guards = guards.map_or("", |known| known.guards);
        writeln!(f, "guards: {guards}")?;
        let steps = match self.steps {
            STEPS => String::new(),
            other => format!(" --steps {other}"),
        };
        let fault = self.fault.map_or(String::new(), |fault| format!(" --fault {}", fault.name()));
        writeln!(f, "to repeat: cargo xtask sim --seed {}{steps}{fault}", self.seed)
    }
}

/// The laws and invariants that are checked, each with the checkers that guard it.
#[must_use]
pub fn guards() -> String {
    let lines = CHECKERS.iter().map(|c| format!("{:<48} {}\n", c.name, c.guards));
    lines.collect()
}
