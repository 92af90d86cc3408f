//! Work of agents: they register, restore dumps, apply, acknowledge, and give dumps.

use std::collections::VecDeque;

use instep_model::position::Position;
use instep_model::registration::Generation;

use super::super::agent::{Outcome, Phase, Session};
use super::super::fact::Fact;
use super::super::server::Line;
use super::super::server::api::{Ask, CHUNKS, Reply, Request};
use super::super::{Fault, SITES};
use super::World;

impl World {
    /// An agent takes its turn.
    pub(super) fn work(&mut self, at: usize) {
        match &self.agents[at].phase {
            Phase::Idle => self.register(at),
            Phase::Asking => {
                if self.dice.chance(5) {
                    self.agents[at].phase = Phase::Idle;
                }
            }
            Phase::Restoring { generation, dump, chunks } => {
                self.take_chunk(at, *generation, *dump, *chunks);
            }
            Phase::Following(session)
                if !self.server.feeds.contains_key(&self.agents[at].number) =>
            {
                let newest = self.server.row(self.agents[at].site).map(|row| row.generation);
                let is_fenced = newest.is_some_and(|newest| newest > session.generation);
                self.refused(at, if is_fenced { "fenced" } else { "closed" });
            }
            Phase::Following(_) => match self.dice.below(10) {
                0..5 => self.apply(at),
                5..8 => self.acknowledge(at),
                _ => self.give_chunk(at),
            },
        }
    }

    fn register(&mut self, at: usize) {
        let asked = self.number();
        let agent = &mut self.agents[at];
        let store = &self.stores[agent.site];
        let source = SITES[agent.site].source.filter(|_| !agent.asks_server);
        let ask = match store.position {
            _ if agent.needs_dump || store.restoring => Ask::Dump(source),
            Some(position) => Ask::Resume(position),
            None if source.is_some() => Ask::Dump(source),
            None => Ask::Beginning,
        };
        (agent.asked, agent.phase) = (asked, Phase::Asking);
        self.requests.push(agent.request(Generation::NONE, ask));
    }

    /// An agent hears the reply to a request, if it still waits for it.
    pub(super) fn hear(&mut self, request: &Request, reply: Reply) {
        let is_sender =
            |(_, agent): &(usize, &super::Agent)| (agent.number, agent.asked) == request.from;
        let Some((at, _)) = self.agents.iter().enumerate().find(is_sender) else { return };
        match (&mut self.agents[at].phase, &request.ask, reply) {
            (Phase::Asking, ask, Reply::Registered { generation, cursor, dump: None }) => {
                let begin = matches!(ask, Ask::Beginning).then_some(cursor);
                self.follow(at, generation, (cursor, begin));
            }
            (Phase::Asking, _, Reply::Registered { generation, dump: Some(dump), .. }) => {
                self.facts.push(Fact::Given { site: request.site, dump });
                self.agents[at].phase = Phase::Restoring { generation, dump, chunks: 0 };
            }
            (Phase::Following(session), Ask::Ack(position), Reply::Done) => {
                session.acked = *position;
            }
            (_, _, Reply::Refused(code)) => self.refused(at, code),
            (_, _, Reply::Registered { .. } | Reply::Done) => {}
        }
    }

    fn refused(&mut self, at: usize, code: &str) {
        let asks_server = code == "bad_source" && self.dice.chance(40);
        let agent = &mut self.agents[at];
        agent.phase = Phase::Idle;
        agent.needs_dump |= code == "dump_required";
        agent.asks_server = asks_server;
        self.server.feeds.remove(&agent.number);
        let is_twin = self.agents.iter().filter(|one| one.site == self.agents[at].site).count() > 1;
        if code == "fenced" && is_twin {
            self.agents.remove(at);
        }
    }

    fn follow(
        &mut self,
        at: usize,
        generation: Generation,
        (cursor, begin): (Position, Option<Position>),
    ) {
        let agent = &mut self.agents[at];
        agent.phase = Phase::Idle;
        let Some(applied) = self.stores[agent.site].fence(generation, begin) else { return };
        // An older agent's restore has set it back since it was read: what is held begins later.
        if applied.place < cursor.place {
            return;
        }
        if self.server.open(agent.number, (agent.site, generation), applied) {
            let (acked, heard, giving) = (cursor, applied, VecDeque::new());
            let session = Session { generation, applied, acked, heard, giving };
            agent.phase = Phase::Following(session);
        }
    }

    fn apply(&mut self, at: usize) {
        let (most, dies) = (1 + self.dice.below(4), !self.resting && self.dice.chance(4));
        let gives_up = self.dice.chance(10);
        let Self { agents, server, stores, .. } = self;
        let agent = &mut agents[at];
        let (Phase::Following(session), Some(feed)) =
            (&mut agent.phase, server.feeds.get_mut(&agent.number))
        else {
            return;
        };
        if self.sick[agent.site] && !feed.socket.is_empty() {
            // It stands at the record.
            let (generation, needs_dump) = (session.generation, gives_up);
            agent.needs_dump |= needs_dump;
            self.requests.push(agent.request(generation, Ask::Fail { needs_dump }));
            return;
        }
        let limits = (most, dies);
        let outcome = stores[agent.site].apply(session, &mut feed.socket, limits, self.fault);
        match outcome {
            Outcome::Nothing => {}
            Outcome::Applied => {
                let site = agent.site;
                self.note_store(site);
            }
            Outcome::Died => self.kill(at),
            Outcome::Moved => {
                agent.phase = Phase::Idle;
                self.server.feeds.remove(&agent.number);
            }
        }
    }

    fn acknowledge(&mut self, at: usize) {
        let agent = &self.agents[at];
        let Phase::Following(session) = &agent.phase else { return };
        let position = match self.fault {
            Some(Fault::AckBeforeCommit) => self.newest_heard(at).unwrap_or(session.heard),
            _ => session.applied,
        };
        if position != session.acked {
            self.requests.push(agent.request(session.generation, Ask::Ack(position)));
        }
    }

    /// Of a fault: the newest position on the socket.
    fn newest_heard(&self, at: usize) -> Option<Position> {
        let lines = &self.server.feeds.get(&self.agents[at].number)?.socket;
        lines.iter().rev().find_map(|line| match line {
            Line::Commit(commit) => Some(commit.position),
            Line::Bookmark(position) => Some(*position),
            Line::Dump(_) => None,
        })
    }

    /// The next chunk of the dump that a site gives: all of one snapshot of its database.
    fn give_chunk(&mut self, at: usize) {
        let agent = &mut self.agents[at];
        let store = &self.stores[agent.site];
        let Phase::Following(session) = &mut agent.phase else { return };
        let Some((id, snapshot)) = session.giving.front_mut() else { return };
        if snapshot.is_none() && store.position != Some(session.applied) {
            return;
        }
        let snapshot = snapshot.get_or_insert_with(|| (store.content.clone(), session.applied));
        if self.fault == Some(Fault::DumpPositionLater) {
            snapshot.1 = session.applied;
        }
        if !self.server.put(*id, session.generation, snapshot) {
            session.giving.pop_front();
        }
    }

    fn take_chunk(&mut self, at: usize, generation: Generation, id: u64, chunks: usize) {
        self.server.notice_outrun(id);
        let agent = &mut self.agents[at];
        let store = &mut self.stores[agent.site];
        let Some(dump) = self.server.dumps.get(&id).filter(|dump| !dump.failed) else {
            agent.phase = Phase::Idle;
            return;
        };
        if dump.chunks <= chunks || store.generation > generation {
            if store.generation > generation || (!self.resting && self.dice.chance(2)) {
                agent.phase = Phase::Idle;
            }
            return;
        }
        let chunks = chunks + 1;
        if chunks == 1 {
            self.requests.push(agent.request(generation, Ask::Dumping));
        }
        (store.generation, store.restoring, store.position) = (generation, true, None);
        match dump.complete().filter(|_| chunks == CHUNKS) {
            Some((content, position)) => {
                let (site, place) = (agent.site, position.place);
                (store.content, store.position) = (content, Some(position));
                store.restoring = false;
                (agent.phase, agent.needs_dump) = (Phase::Idle, false);
                self.facts.push(Fact::Restored { site, generation, dump: id, place });
                self.note_store(site);
            }
            None => agent.phase = Phase::Restoring { generation, dump: id, chunks },
        }
    }
}
