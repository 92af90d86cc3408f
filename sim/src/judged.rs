//! Judged runs: the facts of one seed of a world, and the findings of its checkers.

use std::fmt::{self, Debug};

/// Facts that are shown before the one that shows the violation.
const SHOWN: usize = 40;

/// Finding of a checker: the fact that shows the violation, and how.
pub type Finding = (usize, String);
/// A rule over facts.
pub type Check<Fact> = fn(&[Fact]) -> Result<(), Finding>;
/// A checker with its name and what it guards.
pub type Checker<Fact> = (&'static str, &'static str, Check<Fact>);

/// Facts of one seed of a world, with what its checkers found.
pub struct Judged<Fact: 'static> {
    /// Name of the world.
    pub world: &'static str,
    checkers: &'static [Checker<Fact>],
    /// The seed.
    pub seed: u64,
    /// Name of the fault that was put in on purpose.
    pub fault: Option<&'static str>,
    /// Facts: the events of the run.
    pub facts: Vec<Fact>,
    /// Findings: the checker, the fact that shows the violation, and how.
    pub findings: Vec<(&'static str, usize, String)>,
}

impl<Fact: Debug> Judged<Fact> {
    /// Judges the facts of a seed by every checker of its world.
    pub(crate) fn new(
        world: &'static str,
        checkers: &'static [Checker<Fact>],
        (seed, fault): (u64, Option<&'static str>),
        facts: Vec<Fact>,
    ) -> Self {
        let findings = check(checkers, &facts);
        Self { world, checkers, seed, fault, facts, findings }
    }

    /// The digest of everything that happened.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let step = |before: u64, fact: &Fact| {
            instep_model::commit::history_after(before, format!("{fact:?}").as_bytes())
        };
        self.facts.iter().fold(0, step)
    }

    /// Returns true if this checker found something.
    #[must_use]
    pub fn is_caught_by(&self, checker: &str) -> bool {
        self.findings.iter().any(|(found, _, _)| *found == checker)
    }
}

/// Runs every checker.
#[must_use]
pub fn check<Fact>(
    checkers: &[Checker<Fact>],
    facts: &[Fact],
) -> Vec<(&'static str, usize, String)> {
    let run =
        |(name, _, check): &Checker<Fact>| check(facts).err().map(|(at, what)| (*name, at, what));
    checkers.iter().filter_map(run).collect()
}

impl<Fact: Debug> fmt::Display for Judged<Fact> {
    /// The failure: the broken rule, its history, and how to repeat it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { world, seed, .. } = self;
        let Some((first, at, _)) = self.findings.first() else {
            return writeln!(f, "{world}, seed {seed}: nothing wrong");
        };
        writeln!(f, "{world}, seed {seed}, the {SHOWN} facts up to the violation:")?;
        let from = at.saturating_sub(SHOWN);
        for (number, fact) in self.facts.iter().enumerate().take(at + 1).skip(from) {
            writeln!(f, "{number:6} {fact:?}")?;
        }
        for (checker, at, what) in &self.findings {
            writeln!(f, "broken at {at}: {checker}: {what}")?;
        }
        let guards = self.checkers.iter().find(|(name, _, _)| name == first);
        writeln!(f, "guards: {}", guards.map_or("", |(_, guards, _)| guards))?;
        let fault = self.fault.map_or(String::new(), |fault| format!(" --fault {fault}"));
        writeln!(f, "to repeat: cargo xtask sim --seed {seed}{fault}")
    }
}
