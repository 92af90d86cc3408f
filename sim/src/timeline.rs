//! Timeline: a history sorted by place, with its commits and the state of the dataset after each.

use std::collections::BTreeMap;

use instep_model::position::{Incarnation, Place, Position, Revision};
use uuid::Uuid;

use crate::history::{Answer, Event, StoredCommit, place};
use crate::oracle::Oracle;

/// A commit with the event that first made it readable.
#[derive(Debug, Clone)]
pub struct Known {
    /// Index of the event.
    pub event: usize,
    /// Its entry's digest.
    pub digest: u64,
    /// The commit.
    pub commit: StoredCommit,
}

/// One unbroken history.
#[derive(Debug, Clone, Default)]
pub struct Lineage {
    /// Every commit by its place.
    pub commits: BTreeMap<Place, Known>,
    /// The dataset after each commit.
    pub states: BTreeMap<Place, Oracle>,
    /// Digest of each entry, with the event that first showed it.
    pub entries: BTreeMap<Revision, (u64, usize)>,
    /// History that it was copied from, and the last revision copied.
    pub copied: Option<(Incarnation, Revision)>,
}

/// A proposal and its answers.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Index of the event.
    pub event: usize,
    /// Names the proposal.
    pub ticket: u64,
    /// Principal and idempotency id.
    pub commit_id: Option<(String, Uuid)>,
    /// The operations.
    pub operations: &'a [serde_json::Value],
    /// The answer and the index of its event.
    pub answer: Option<(usize, &'a Answer)>,
    /// The history that was going on.
    pub incarnation: Option<Incarnation>,
}

/// Violation: something in a history that it should not contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Index of the event that shows it.
    pub at: usize,
    /// Violation in words.
    pub what: String,
}

/// A history sorted by place.
#[derive(Debug, Default)]
pub struct Timeline<'a> {
    lines: BTreeMap<Uuid, Lineage>,
    /// The proposals, in order.
    pub requests: Vec<Request<'a>>,
    /// Entries with two contents.
    pub rewritten: Vec<Violation>,
    /// Entries that do not follow the one before them.
    pub gaps: Vec<Violation>,
    /// Records that make no sense where they are.
    pub nonsense: Vec<Violation>,
    /// From which event on which set of views was declared.
    declared: Vec<(usize, usize)>,
}

impl<'a> Timeline<'a> {
    /// Sorts a history.
    #[must_use]
    pub fn of(history: &'a [Event]) -> Self {
        let mut timeline = Self::default();
        let mut open: BTreeMap<u64, usize> = BTreeMap::new();
        let mut current = None;
        for (at, event) in history.iter().enumerate() {
            match event {
                Event::Began { incarnation, copied } => {
                    current = Some(*incarnation);
                    timeline.begin(*incarnation, *copied);
                }
                Event::Stored { incarnation, revision, digest, commits } => {
                    timeline.store(at, (*incarnation, *revision), *digest, commits)
                }
                Event::Declared { views } => timeline.declared.push((at, *views)),
                Event::Proposed { ticket, principal, id, operations } => {
                    open.insert(*ticket, timeline.requests.len());
                    timeline.requests.push(Request {
                        event: at,
                        ticket: *ticket,
                        commit_id: id.map(|id| (principal.clone(), id)),
                        operations,
                        answer: None,
                        incarnation: current,
                    });
                }
                Event::Answered { ticket, answer } => {
                    if let Some(request) = open.get(ticket) {
                        timeline.requests[*request].answer = Some((at, answer));
                    }
                }
                _ => {}
            }
        }
        timeline
    }

    /// The set of views by which topics were told at an event.
    #[must_use]
    pub fn declared(&self, at: usize) -> usize {
        let before = self.declared.partition_point(|(from, _)| *from <= at).checked_sub(1);
        before.map_or(0, |before| self.declared[before].1)
    }

    /// One history.
    #[must_use]
    pub fn line(&self, incarnation: Incarnation) -> Option<&Lineage> {
        self.lines.get(&incarnation.0)
    }

    /// All histories.
    pub fn lines(&self) -> impl Iterator<Item = (Incarnation, &Lineage)> {
        self.lines.iter().map(|(id, line)| (Incarnation(*id), line))
    }

    /// The dataset at a position; none when the position lies beyond every stored one.
    #[must_use]
    pub fn at(&self, position: Position) -> Option<&Oracle> {
        let line = self.line(position.incarnation)?;
        let newest = line.entries.last_key_value();
        let newest = newest.map_or(Revision::ZERO, |(newest, _)| *newest);
        if position.place.revision > newest {
            return None;
        }
        let known = line.states.range(..=position.place).next_back();
        known.map(|(_, state)| state)
    }

    fn begin(&mut self, incarnation: Incarnation, copied: Option<(Incarnation, Revision)>) {
        let mut line = Lineage { copied, ..Lineage::default() };
        line.states.insert(Place::default(), Oracle::default());
        if let Some((from, up_to)) = copied
            && let Some(from) = self.lines.get(&from.0)
        {
            let beyond = Place { revision: up_to.next(), index: 0 };
            line.commits.extend(from.commits.range(..beyond).map(|(p, c)| (*p, c.clone())));
            line.states.extend(from.states.range(..beyond).map(|(p, s)| (*p, s.clone())));
            line.entries.extend(from.entries.range(..=up_to).map(|(r, e)| (*r, *e)));
        }
        self.lines.insert(incarnation.0, line);
    }

    fn store(
        &mut self,
        at: usize,
        (incarnation, revision): (Incarnation, Revision),
        digest: u64,
        commits: &[StoredCommit],
    ) {
        let line = self.lines.entry(incarnation.0).or_default();
        if let Some((known, _)) = line.entries.get(&revision) {
            if *known != digest {
                let what = format!("entry {revision} of {incarnation} has two contents");
                self.rewritten.push(Violation { at, what });
            }
            return;
        }
        let newest = line.entries.last_key_value().map(|(newest, _)| *newest);
        if revision != newest.unwrap_or_default().next() {
            let what = format!("entry {revision} does not follow {newest:?}");
            self.gaps.push(Violation { at, what });
        }
        line.entries.insert(revision, (digest, at));
        let newest = line.states.last_key_value();
        let mut state = newest.map_or_else(Oracle::default, |(_, state)| state.clone());
        for (index, commit) in commits.iter().enumerate() {
            let place = place(revision, index);
            if let Err(what) = state.apply(place, commit) {
                self.nonsense.push(Violation { at, what });
            }
            line.states.insert(place, state.clone());
            let known = Known { event: at, digest, commit: commit.clone() };
            line.commits.insert(place, known);
        }
    }
}
