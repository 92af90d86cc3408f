//! Agents: processes that apply a log to the database of a site, and the database.

use std::collections::VecDeque;

use instep_model::position::{Place, Position};
use instep_model::registration::Generation;

use super::Fault;
use super::fact::Content;
use super::server::Line;

/// Database of a site: it survives its agents.
#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    pub(super) generation: Generation,
    pub(super) position: Option<Position>,
    pub(super) restoring: bool,
    pub(super) content: Content,
}

/// Process that keeps a site.
pub(super) struct Agent {
    pub(super) number: u64,
    pub(super) site: usize,
    pub(super) phase: Phase,
    /// Number of its newest registration.
    pub(super) asked: u64,
    pub(super) needs_dump: bool,
    /// Its source could not give one.
    pub(super) asks_server: bool,
}

/// State of an agent.
pub(super) enum Phase {
    Idle,
    /// It waits for the reply to its registration.
    Asking,
    Following(Session),
    Restoring {
        generation: Generation,
        dump: u64,
        chunks: usize,
    },
}

/// A registration that follows the log.
pub(super) struct Session {
    pub(super) generation: Generation,
    pub(super) applied: Position,
    pub(super) acked: Position,
    /// Newest position that it has heard of.
    pub(super) heard: Position,
    /// Dumps that it gives, one after the other, and their snapshots.
    pub(super) giving: VecDeque<(u64, Option<(Content, Position)>)>,
}

/// Outcome of a transaction.
pub(super) enum Outcome {
    Nothing,
    Applied,
    /// The process died in the transaction.
    Died,
    /// The row of the database is not as the agent has left it.
    Moved,
}

impl Store {
    /// Applies lines in one transaction, with their position (I31).
    pub(super) fn apply(
        &mut self,
        session: &mut Session,
        lines: &mut VecDeque<Line>,
        (most, dies): (usize, bool),
        fault: Option<Fault>,
    ) -> Outcome {
        if self.generation != session.generation || self.position != Some(session.applied) {
            return Outcome::Moved;
        }
        let (mut content, mut through) = (self.content.clone(), session.applied);
        for line in lines.drain(..most.min(lines.len())) {
            match line {
                Line::Dump(id) => session.giving.push_back((id, None)),
                Line::Bookmark(position) => through = later(through, position),
                // What is applied already changes nothing (I33).
                Line::Commit(commit) if commit.position.place <= through.place => {}
                Line::Commit(commit) => {
                    commit.records.iter().for_each(|record| content.take(record));
                    through = commit.position;
                }
            }
        }
        session.heard = later(session.heard, through);
        if dies {
            if fault == Some(Fault::PositionOutsideTheTransaction) {
                self.content = content;
            }
            return Outcome::Died;
        }
        if through == session.applied {
            return Outcome::Nothing;
        }
        (self.content, self.position, session.applied) = (content, Some(through), through);
        Outcome::Applied
    }

    /// Takes the database over for a registration, which may be its first and begin it; none when
    /// it knows a newer one, or is not what it was when the site registered.
    pub(super) fn fence(
        &mut self,
        generation: Generation,
        begin: Option<Position>,
    ) -> Option<Position> {
        if self.generation > generation || self.restoring {
            return None;
        }
        self.generation = generation;
        self.position = self.position.or(begin);
        self.position
    }

    pub(super) fn place(&self) -> Place {
        self.position.map(|position| position.place).unwrap_or_default()
    }
}

fn later(one: Position, other: Position) -> Position {
    if other.place > one.place { other } else { one }
}
