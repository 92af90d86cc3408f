//! Requests of agents, and dumps: the shell that the HTTP API is.

use instep_model::commit::Operation;
use instep_model::name::Name;
use instep_model::owner::{Answer, Refusal};
use instep_model::position::Position;
use instep_model::registration::Generation;
use instep_model::site::{self, SERVER, SiteError, SiteOperation, Start};

use super::super::fact::{Content, Fact};
use super::super::{Fault, SITES, name};
use super::{HERE, Server};

/// Reason of a failure of a site.
const SICK: &str = "the store refuses a record";
/// Chunks of a dump.
pub(in crate::sites) const CHUNKS: usize = 3;

/// Request of an agent.
#[derive(Debug, Clone)]
pub(in crate::sites) struct Request {
    pub(in crate::sites) site: usize,
    /// The agent, and which of its requests it is.
    pub(in crate::sites) from: (u64, u64),
    pub(in crate::sites) generation: Generation,
    pub(in crate::sites) ask: Ask,
}

/// Contents of a request.
#[derive(Debug, Clone)]
pub(in crate::sites) enum Ask {
    Beginning,
    Resume(Position),
    /// A dump of a site, or of the server.
    Dump(Option<usize>),
    Dumping,
    Ack(Position),
    Fail {
        needs_dump: bool,
    },
}

/// Reply to a request.
#[derive(Debug)]
pub(in crate::sites) enum Reply {
    Registered { generation: Generation, cursor: Position, dump: Option<u64> },
    Done,
    Refused(&'static str),
}

/// A dump on its way.
pub(in crate::sites) struct Dump {
    /// The site that gives it; none: the server.
    pub(in crate::sites) source: Option<usize>,
    /// The site that asked first.
    of: usize,
    held: Position,
    /// Data and position as they were in one snapshot of the source.
    given: Option<(Content, Position)>,
    pub(in crate::sites) chunks: usize,
    pub(in crate::sites) failed: bool,
    complete: bool,
}

impl Dump {
    pub(in crate::sites) fn is_waiting(&self) -> bool {
        self.given.is_none() && !self.failed
    }

    /// True while a site gives it.
    pub(in crate::sites) fn is_growing(&self) -> bool {
        self.source.is_some() && self.given.is_some() && !self.complete && !self.failed
    }

    fn source(&self) -> Name {
        name(self.source.map_or(SERVER, |source| SITES[source].name))
    }

    /// Data and position, when it is complete.
    pub(in crate::sites) fn complete(&self) -> Option<(Content, Position)> {
        self.given.clone().filter(|_| self.complete)
    }
}

impl Server {
    /// Takes a request; answers at once if it costs no commit.
    pub(in crate::sites) fn ask(
        &mut self,
        ticket: u64,
        request: &Request,
        now_ms: u64,
    ) -> Option<Reply> {
        let Request { site, mut generation, ref ask, .. } = *request;
        let row = self.row(site);
        if self.fault == Some(Fault::OldGenerationAccepted) && generation > Generation::NONE {
            generation = row.as_ref().map_or(generation, |row| row.generation);
        }
        let (of, floor) = (name(SITES[site].name), self.bounds().floor);
        let register = |start| {
            let (site, scope) = (of.clone(), SITES[site].scope());
            SiteOperation::Register { site, scope, start }
        };
        let operation = match ask {
            Ask::Beginning => register(Start::Beginning { floor }),
            Ask::Resume(position) => register(Start::Resume { position: Some(*position), floor }),
            Ask::Dump(source) => {
                let since = self.under_way(site, *source).map(|(_, held)| held);
                if self.fault == Some(Fault::ReservationAfterDump) && source.is_none() {
                    let here = Position { incarnation: HERE, place: self.place() };
                    self.begin_dump(ticket, (None, site), here);
                }
                let from = source.map_or(SERVER, |source| SITES[source].name);
                register(Start::Dump { source: name(from), since })
            }
            Ask::Dumping => SiteOperation::Dumping { site: of, generation },
            Ask::Ack(position) => {
                let here = Position { incarnation: HERE, place: self.place() };
                if row.is_some_and(|row| row.is_acknowledged(generation, (*position, None), here)) {
                    return Some(Reply::Done);
                }
                SiteOperation::Ack { site: of, generation, position: *position, tally: None }
            }
            Ask::Fail { needs_dump } => {
                let (reason, needs_dump, stands) = (SICK.to_owned(), *needs_dump, None);
                SiteOperation::Fail { site: of, generation, reason, needs_dump, stands }
            }
        };
        self.propose(ticket, vec![Operation::Site(operation)], now_ms);
        None
    }

    /// Makes a reply of the answer to a request.
    pub(in crate::sites) fn reply(
        &mut self,
        (ticket, answer): (u64, Answer),
        request: &Request,
        (now_ms, facts): (u64, &mut Vec<Fact>),
    ) -> Reply {
        let receipt = match answer {
            Ok(receipt) => receipt,
            Err(Refusal::Site { error, .. }) => {
                facts.extend(self.reset(request, &error));
                return Reply::Refused(error.code());
            }
            Err(_) => return Reply::Refused("overloaded"),
        };
        let site = request.site;
        let source = match &request.ask {
            Ask::Ack(_) => {
                let (generation, at) = (request.generation, receipt.position.place);
                facts.push(Fact::Heard { site, generation, at });
                return Reply::Done;
            }
            Ask::Dumping | Ask::Fail { .. } => return Reply::Done,
            Ask::Beginning | Ask::Resume(_) => None,
            Ask::Dump(source) => Some(*source),
        };
        let computed = receipt.results.first().copied().flatten().unwrap_or_default();
        let generation = Generation(computed.unsigned_abs());
        let Some(row) = self.row(site).filter(|row| row.generation == generation) else {
            return Reply::Refused(SiteError::Fenced { newest: generation }.code());
        };
        let cursor = row.cursor;
        if let Some(source) = source {
            // It was decided when the site asked whether it shares one.
            let is_before = self.fault == Some(Fault::ReservationAfterDump);
            let dump = match self.under_way(site, source) {
                Some((dump, held)) if held == cursor || is_before => dump,
                Some(_) | None => self.begin_dump(ticket, (source, site), cursor),
            };
            return Reply::Registered { generation, cursor, dump: Some(dump) };
        }
        if !self.is_kept(cursor) {
            // History was trimmed before it was held.
            let (of, reason) = (name(SITES[site].name), "it was trimmed meanwhile".to_owned());
            let evict = SiteOperation::Evict { site: of, generation, reason };
            self.propose(0, vec![Operation::Site(evict)], now_ms);
            if let Ask::Resume(position) = &request.ask {
                facts.push(Fact::Reset { site, place: position.place });
            }
            return Reply::Refused("dump_required");
        }
        Reply::Registered { generation, cursor, dump: None }
    }

    /// The fact that a site cannot go on where it stands; none when its own failure is the reason,
    /// or an operator has removed it.
    fn reset(&self, request: &Request, error: &SiteError) -> Option<Fact> {
        let (Ask::Resume(position), SiteError::DumpRequired(reason)) = (&request.ask, error) else {
            return None;
        };
        let is_known = self.row(request.site).is_some();
        let (site, place) = (request.site, position.place);
        (is_known && reason != SICK).then_some(Fact::Reset { site, place })
    }

    /// Reason why a dump is of no use any more.
    fn outrun(&self, dump: &Dump) -> Option<String> {
        site::outrun(self.owner.state(), &dump.source(), dump.held)
    }

    /// Fails a dump that history has outrun.
    pub(in crate::sites) fn notice_outrun(&mut self, id: u64) {
        let spared = [Fault::OutrunDumpGoesOn, Fault::SameDumpAgain].map(Some);
        let outrun = self.dumps.get(&id).and_then(|dump| self.outrun(dump));
        if let Some(dump) = self.dumps.get_mut(&id)
            && outrun.is_some()
            && !spared.contains(&self.fault)
        {
            dump.failed = true;
        }
    }

    /// The dump of a source that is on its way, with the scope of a site.
    fn under_way(&self, site: usize, source: Option<usize>) -> Option<(u64, Position)> {
        let mut fitting = self.dumps.iter().filter(|(_, dump)| {
            let is_same = SITES[dump.of].scope() == SITES[site].scope() && dump.source == source;
            let (of, from) = (name(SITES[site].name), dump.source());
            let may_share = site::may_share(self.owner.state(), &of, &from, dump.held);
            let is_of_use = self.is_kept(dump.held) && may_share;
            is_same && !dump.failed && (is_of_use || self.fault == Some(Fault::SameDumpAgain))
        });
        fitting.next().map(|(id, dump)| (*id, dump.held))
    }

    fn begin_dump(&mut self, id: u64, (source, of): (Option<usize>, usize), held: Position) -> u64 {
        let given = source.is_none().then(|| {
            let state = self.owner.state();
            let position = Position { incarnation: HERE, place: state.applied };
            (Content::of(state, &SITES[of].scope()), position)
        });
        let (chunks, failed, complete) = (0, false, false);
        self.dumps.insert(id, Dump { source, of, held, given, chunks, failed, complete });
        id
    }

    /// The next chunk of a dump that the server gives itself.
    pub(in crate::sites) fn give(&mut self, id: u64) {
        let place = self.place();
        let Some(dump) = self.dumps.get_mut(&id).filter(|dump| dump.source.is_none()) else {
            return;
        };
        dump.chunks = CHUNKS.min(dump.chunks + 1);
        dump.complete = dump.chunks == CHUNKS;
        if let (Some(Fault::DumpPositionLater), Some((_, position)), 2) =
            (self.fault, &mut dump.given, dump.chunks)
        {
            position.place = place;
        }
    }

    /// A chunk of a dump by a site; the last one ends it. False when the dump is no more.
    pub(in crate::sites) fn put(
        &mut self,
        id: u64,
        generation: Generation,
        snapshot: &(Content, Position),
    ) -> bool {
        let source = self.dumps.get(&id).and_then(|dump| dump.source);
        let row = source.and_then(|source| self.row(source));
        let is_newest = row.is_some_and(|row| row.generation == generation);
        let is_kept = self.is_kept(snapshot.1);
        let Some(dump) = self.dumps.get_mut(&id).filter(|dump| is_newest && !dump.failed) else {
            return false;
        };
        dump.given = Some(snapshot.clone());
        dump.chunks += 1;
        if dump.chunks == CHUNKS {
            dump.failed = !is_kept || snapshot.1.place < dump.held.place;
            dump.complete = !dump.failed;
        }
        dump.chunks < CHUNKS
    }
}
