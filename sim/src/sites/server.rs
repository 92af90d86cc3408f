//! The server: the machines that it runs for sites, around a log and snapshots in memory.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use instep_model::commit::{Entry, Operation, Proposal};
use instep_model::log::following::{FollowedCommit, Following};
use instep_model::log::memory::MemoryLog;
use instep_model::log::{Bounds, Log};
use instep_model::mirror::Mirror;
use instep_model::name::Name;
use instep_model::owner::{Answer, Effect, Event, Owner};
use instep_model::position::{Incarnation, Place, Position, Revision};
use instep_model::recovery::{Recovery, Replaying, newest_snapshot};
use instep_model::registration::Generation;
use instep_model::retention::{Keep, Retention};
use instep_model::site::{self, Holding, Passage, Site, SiteOperation, SiteState};
use instep_model::snapshot;
use instep_model::store::memory::MemorySnapshots;
use instep_model::store::{Snapshots, TakeChunk};
use uuid::Uuid;

use super::fact::Fact;
use super::{Fault, SITES};

pub(super) mod api;

pub(super) const HERE: Incarnation = Incarnation(Uuid::from_u128(1));
/// Lines that a socket takes before its reader reads.
const SOCKET_LINES: usize = 4;
/// Retention counts in steps of so many bytes.
pub(super) const STEP_BYTES: u64 = 500;
const READ_BYTES: usize = 1_000;

/// A server with what survives it.
pub(super) struct Server {
    log: MemoryLog,
    snapshots: MemorySnapshots,
    pub(super) keep: Keep,
    pub(super) hold: Keep,
    fault: Option<Fault>,
    owner: Owner<u64>,
    retention: Retention,
    flushing: Option<Bytes>,
    /// Feeds, by the number of the agent.
    pub(super) feeds: BTreeMap<u64, Feed>,
    pub(super) dumps: BTreeMap<u64, api::Dump>,
    /// Answers of the owner, by ticket.
    pub(super) answers: Vec<(u64, Answer)>,
}

/// Feed of a site: the changefeed of one of its agents.
pub(super) struct Feed {
    site: usize,
    generation: Generation,
    following: Following,
    passage: Passage,
    ready: VecDeque<FollowedCommit>,
    told: Place,
    asked: Vec<u64>,
    /// Lines on their way.
    pub(super) socket: VecDeque<Line>,
    /// Of a fault: a position of nothing but acknowledgements.
    increment: Option<Position>,
}

/// Line of a feed.
pub(super) enum Line {
    Commit(FollowedCommit),
    Bookmark(Position),
    Dump(u64),
}

impl Server {
    pub(super) fn new(keep: Keep, hold: Keep, fault: Option<Fault>) -> Self {
        let log = MemoryLog::new(HERE);
        let snapshots = MemorySnapshots::default();
        let recovery = recover(&log, &snapshots);
        Self {
            log,
            snapshots,
            keep,
            hold,
            fault,
            owner: Owner::new(recovery.mirror, Uuid::from_u128(2)),
            retention: recovery.retention,
            flushing: None,
            feeds: BTreeMap::new(),
            dumps: BTreeMap::new(),
            answers: vec![],
        }
    }

    /// Dies and comes up again. The entry that is being written may or may not be in the log.
    pub(super) fn crash(&mut self, is_written: bool, writer: Uuid, facts: &mut Vec<Fact>) {
        if is_written {
            self.write(facts);
        }
        let recovery = recover(&self.log, &self.snapshots);
        self.owner = Owner::new(recovery.mirror, writer);
        self.retention = recovery.retention;
        self.flushing = None;
        self.feeds.clear();
        self.dumps.clear();
        self.answers.clear();
        facts.push(Fact::Restarted);
    }

    pub(super) fn propose(&mut self, ticket: u64, operations: Vec<Operation>, now_ms: u64) {
        let proposal = Proposal::from(operations);
        self.owner.handle(Event::Propose { ticket, proposal }, now_ms);
    }

    /// Lets the owner take the waiting proposals.
    pub(super) fn begin(&mut self) {
        while let Some(effect) = self.owner.next_effect() {
            match effect {
                Effect::Append { entry, .. } => self.flushing = Some(entry),
                Effect::Publish(_) => {}
                Effect::Answer { ticket, answer } => self.answers.push((ticket, answer)),
                Effect::Stop { reason } => unreachable!("a list takes everything: {reason}"),
            }
        }
    }

    /// Makes the entry that is being written durable.
    pub(super) fn flush(&mut self, now_ms: u64, facts: &mut Vec<Fact>) {
        if let Some((revision, bytes)) = self.write(facts) {
            self.retention.appended(revision, bytes, now_ms);
            self.owner.handle(Event::Appended, now_ms);
            self.begin();
        }
    }

    fn write(&mut self, facts: &mut Vec<Fact>) -> Option<(Revision, u64)> {
        let entry = self.flushing.take()?;
        let head = self.log.bounds().head;
        let revision = self.log.append(head, &entry).expect("it is the head");
        let decoded = Entry::decode(&entry).expect("the owner writes entries");
        let commits = decoded.commits.into_iter().map(|commit| commit.records).collect();
        let bytes = entry.len() as u64;
        facts.push(Fact::Stored { revision, bytes, commits });
        Some((revision, bytes))
    }

    pub(super) fn snapshot(&mut self) {
        let state = self.owner.state();
        let fill = &mut |take: &mut TakeChunk<'_>| snapshot::write(state, take);
        self.snapshots.write(state.applied.revision, fill).expect("memory takes everything");
    }

    /// Trims the log, as far as snapshots, readers and sites allow.
    pub(super) fn trim(&mut self, now_ms: u64, facts: &mut Vec<Fact>) {
        let Some(covered) = self.snapshots.covered().filter(|_| self.flushing.is_none()) else {
            return;
        };
        let (history, clocks) = ((&mut self.retention, self.hold), (now_ms, now_ms));
        let mut holding = Holding::of(self.owner.state(), HERE, history, clocks);
        if self.fault == Some(Fault::NoCapWhilePaused) {
            self.hold_paused(&mut holding);
        }
        let covered = match self.fault {
            Some(Fault::TrimPastSites) => covered,
            _ => covered.min(holding.oldest),
        };
        let evicted = holding.evictions.iter().map(|site| site.site().to_string()).collect();
        if !holding.evictions.is_empty() {
            let evictions = holding.evictions.into_iter().map(Operation::Site).collect();
            self.propose(0, evictions, now_ms);
        }
        if let Some(floor) = self.retention.floor(self.keep, covered, now_ms, now_ms) {
            self.log.trim(floor).expect("memory is trimmed");
        }
        let (floor, hold) = (self.log.bounds().floor, self.hold.bytes);
        facts.push(Fact::Trimmed { floor, hold, evicted });
    }

    fn hold_paused(&self, holding: &mut Holding) {
        let paused = |evict: &SiteOperation| {
            let row = site::site(self.owner.state(), evict.site().as_str())?;
            (row.state == SiteState::Paused).then_some(row.held(HERE)).flatten()
        };
        for held in holding.evictions.iter().filter_map(paused) {
            holding.oldest = holding.oldest.min(held);
        }
        holding.evictions.retain(|evict| paused(evict).is_none());
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.log.bounds()
    }

    pub(super) fn place(&self) -> Place {
        self.owner.state().applied
    }

    pub(super) fn row(&self, site: usize) -> Option<Site> {
        site::site(self.owner.state(), SITES[site].name)
    }

    fn is_kept(&self, position: Position) -> bool {
        Following::new(self.bounds(), self.place(), Some(position)).is_ok()
    }

    /// An agent opens the feed of its registration; false when it is refused.
    pub(super) fn open(
        &mut self,
        agent: u64,
        (site, generation): (usize, Generation),
        since: Position,
    ) -> bool {
        let row = self.row(site).filter(|row| row.generation == generation && row.state.holds());
        let following = Following::new(self.bounds(), self.place(), Some(since));
        let (Some(row), Ok(following)) = (row, following) else { return false };
        let passage = Passage::new(row.scope);
        let (ready, socket, asked) = (VecDeque::new(), VecDeque::new(), vec![]);
        let (told, increment) = (since.place, None);
        let feed =
            Feed { site, generation, following, passage, ready, told, asked, socket, increment };
        self.feeds.insert(agent, feed);
        true
    }

    /// Moves the feed of an agent on; false when there is nothing to tell.
    pub(super) fn pump(&mut self, agent: u64, facts: &mut Vec<Fact>) -> bool {
        let Some(mut feed) = self.feeds.remove(&agent) else { return false };
        let row = self.row(feed.site);
        let row = row.filter(|row| row.generation == feed.generation && row.state.holds());
        let Some(row) = row else { return false };
        let is_full = row.is_paused() || feed.socket.len() >= SOCKET_LINES;
        let Some(has_told) = (if is_full { Some(false) } else { self.tell(&mut feed, facts) })
        else {
            return false;
        };
        self.feeds.insert(agent, feed);
        has_told
    }

    /// Tells a line; none when the feed is over.
    fn tell(&self, feed: &mut Feed, facts: &mut Vec<Fact>) -> Option<bool> {
        let wanted = self.dumps.iter().find(|(id, dump)| {
            dump.source == Some(feed.site) && dump.is_waiting() && !feed.asked.contains(id)
        });
        if let Some((id, _)) = wanted {
            feed.asked.push(*id);
            feed.socket.push_back(Line::Dump(*id));
            return Some(true);
        }
        loop {
            if let Some(commit) = feed.ready.pop_front() {
                if let Some(commit) = self.take(feed, commit) {
                    feed.note(commit.position, true, facts);
                    feed.socket.push_back(Line::Commit(commit));
                    return Some(true);
                }
            } else if feed.following.next() <= self.place().revision {
                // What was trimmed meanwhile ends the feed.
                let entries = self.log.reader().read(feed.following.next(), READ_BYTES).ok()?;
                for stored in entries {
                    feed.ready.extend(feed.following.take(&stored).ok()?);
                }
            } else {
                let passed = feed.increment.take().or(feed.passage.take_passed());
                let passed = passed.filter(|_| self.fault != Some(Fault::SilentWhileFiltered));
                if let Some(position) = passed {
                    feed.note(position, false, facts);
                    feed.socket.push_back(Line::Bookmark(position));
                }
                return Some(passed.is_some());
            }
        }
    }

    /// The commit, as far as the site is told of it.
    fn take(&self, feed: &mut Feed, mut commit: FollowedCommit) -> Option<FollowedCommit> {
        if feed.passage.take(commit.position, &mut commit.records) {
            feed.increment = None;
            return Some(commit);
        }
        match self.fault {
            Some(Fault::AckAsIncrement) => feed.increment = Some(commit.position),
            Some(Fault::FeedSkipsAfterFilter) => drop(feed.ready.pop_front()),
            _ => {}
        }
        None
    }
}

impl Feed {
    fn note(&mut self, position: Position, commit: bool, facts: &mut Vec<Fact>) {
        let (site, from, to) = (self.site, self.told, position.place);
        facts.push(Fact::Told { site, from, to, commit });
        self.told = to;
    }
}

fn recover(log: &MemoryLog, snapshots: &MemorySnapshots) -> Recovery {
    let state = newest_snapshot(snapshots, log.bounds().floor, &mut |_, _| {});
    let mirror = Mirror::new(HERE, state.expect("a snapshot covers what was trimmed"));
    let retention = Retention::in_steps_of(STEP_BYTES);
    let dataset = Name::new("shop").expect("the name is constant");
    let mut recovery = Recovery::new(mirror, dataset, vec![], retention);
    let with = Replaying { keep: &mut |_| Ok(()), now_us: &mut || 0 };
    recovery.replay(&*log.reader(), with).expect("what was written is there");
    recovery
}
