//! One node: the shell around the same machines that the server runs, without its threads.
//!
//! | step  | effect                                           | in the server              |
//! | ----- | ------------------------------------------------ | -------------------------- |
//! | propose | hands a proposal to the owner                  | a door, the owner's inbox  |
//! | flush | appends the open batch, folds it, answers        | the owner's thread         |
//! | show  | takes one entry into the feed and onto the rings | the views' thread          |
//! | pump  | moves frames from a ring to one socket           | a connection               |
//!
//! Every step is whole, so the world decides what happens between any two of them.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use instep_embedded::log::{EmbeddedLog, Options, Trimming};
use instep_embedded::preallocator::Preallocator;
use instep_embedded::snapshot::SnapshotStore;
use instep_model::commit::{ENTRY_FORMAT, Proposal};
use instep_model::disk::simulated::SimulatedDisk;
use instep_model::feed::Feed;
use instep_model::log::{AppendError, Log, LogReader};
use instep_model::mirror::EntryChanges;
use instep_model::owner::{Effect, Event as OwnerEvent, Owner, Receipt, Refusal};
use instep_model::position::{Incarnation, Place, Position, Revision};
use instep_model::recovery::Recovery;
use instep_model::retention::{Keep, Retention};
use instep_model::ring::{Ring, RingLimits};
use instep_model::state::{CommitChanges, State, Tables};

use crate::fault::Fault;
use crate::faulty_disk::disk_with;
use crate::history::{Answer, Event, Source};
use crate::shop;
use crate::socket::Socket;

mod probes;
mod recovery;
mod serving;

pub(crate) use recovery::Unopened;

/// Proposals that may wait for the owner.
pub(crate) const QUEUE_LIMIT: usize = 12;
/// Entries that may wait for the views.
const VIEWS_LIMIT: usize = 3;
/// Small segments, so that they roll and are trimmed often.
pub(crate) const SEGMENT_BYTES: u64 = 4 * 1024;
/// History that is kept for readers, and the steps in which it goes: little, so that subscribers
/// come back too late often.
const KEEP: Keep = Keep { bytes: 2 * 1024, ms: 6 * 3_600_000 };
const RETENTION_STEP_BYTES: u64 = 512;
/// Frames that a ring keeps: few, so that subscribers fall off often.
const RING: RingLimits = RingLimits { frames: 6, bytes: 1_500, ms: 20_000 };

/// Directory of the datasets.
pub(crate) fn datasets_root() -> PathBuf {
    PathBuf::from("/node/datasets")
}

/// Directory of the log.
pub(crate) fn directory() -> PathBuf {
    datasets_root().join(shop::DATASET)
}

/// Parameters of a node's start.
pub(crate) struct Start {
    pub(crate) now_ms: u64,
    /// Milliseconds by a monotonic clock.
    pub(crate) steady_ms: u64,
    pub(crate) fault: Option<Fault>,
    pub(crate) writer: uuid::Uuid,
    pub(crate) new_incarnation: Incarnation,
    /// Nothing is known of a history here: the one that is found begins.
    pub(crate) first: bool,
    /// Index of the set of views that is declared.
    pub(crate) views: usize,
}

/// A running process.
pub(crate) struct Node {
    fault: Option<Fault>,
    pub(crate) incarnation: Incarnation,
    log: EmbeddedLog,
    reader: Arc<dyn LogReader>,
    snapshots: SnapshotStore,
    preallocator: Preallocator,
    owner: Owner<u64>,
    /// The open batches: one, unless a fault publishes before it appends.
    flush: VecDeque<(Revision, Bytes)>,
    waiting: usize,
    /// Most items held so far, by their kind.
    most: BTreeMap<&'static str, usize>,
    feed: Feed,
    retention: Retention,
    /// Rings of the topics with subscribers.
    rings: BTreeMap<Arc<str>, Ring>,
    shown: VecDeque<Committed>,
    bookmarked: Place,
    pub(crate) sockets: BTreeMap<u32, Socket>,
    pub(crate) failed: bool,
    now_ms: u64,
    steady_ms: u64,
}

struct Committed {
    commits: Vec<CommitChanges>,
    tables: Tables,
    place: Place,
}

impl Node {
    /// Opens the log of a disk for a process that has just started.
    pub(crate) fn open(
        disk: &SimulatedDisk,
        start: &Start,
        trace: &mut Vec<Event>,
    ) -> Result<Self, Unopened> {
        let trimming = match start.fault {
            Some(Fault::TrimBeyondSnapshots) => Trimming::AsAsked,
            _ => Trimming::BelowSnapshots,
        };
        let options = Options {
            directory: directory(),
            segment_bytes: SEGMENT_BYTES,
            new_incarnation: start.new_incarnation,
            trimming,
            newest_entry: Some(ENTRY_FORMAT),
        };
        recovery::make(disk, &options, start.fault)?;
        let mut log = EmbeddedLog::open(disk_with(disk, start.fault), options)?;
        let (reader, snapshots) = (log.reader(), log.snapshots());
        let incarnation = log.bounds().incarnation;
        let preallocator = log.preallocator();
        let recovery = recovery::recover(disk, &mut log, &snapshots, start)?;
        recovery::record(&log, &recovery, start, trace)?;
        let Recovery { mirror, feed, retention, .. } = recovery;
        let owner = Owner::new(mirror, start.writer).with_largest_entry(log.largest_entry());
        let mut node = Self {
            fault: start.fault,
            incarnation,
            log,
            reader,
            snapshots,
            preallocator,
            owner,
            flush: VecDeque::new(),
            waiting: 0,
            most: BTreeMap::new(),
            bookmarked: feed.position().place,
            feed,
            retention,
            rings: BTreeMap::new(),
            shown: VecDeque::new(),
            sockets: BTreeMap::new(),
            failed: false,
            now_ms: start.now_ms,
            steady_ms: start.steady_ms,
        };
        node.remember_memory(trace);
        Ok(node)
    }

    pub(crate) fn set_time(&mut self, now_ms: u64, steady_ms: u64) {
        (self.now_ms, self.steady_ms) = (now_ms, steady_ms);
        for socket in self.sockets.values_mut() {
            socket.tick(steady_ms);
        }
        self.rings.values_mut().for_each(|ring| ring.expire(steady_ms));
    }

    /// Time as the owner is told.
    fn clock(&self) -> u64 {
        match self.fault {
            Some(Fault::LogTimeAsClock) => self.now_ms.max(self.state().time_ms),
            _ => self.now_ms,
        }
    }

    pub(crate) fn position(&self) -> Position {
        Position { incarnation: self.incarnation, place: self.state().applied }
    }

    /// No table was ever created, or all are gone.
    pub(crate) fn is_empty(&self) -> bool {
        self.state().tables.is_empty()
    }

    fn state(&self) -> &State {
        self.owner.state()
    }

    /// A door takes a proposal, or says that too many wait.
    pub(crate) fn propose(&mut self, ticket: u64, mut proposal: Proposal, trace: &mut Vec<Event>) {
        if self.waiting >= QUEUE_LIMIT && self.fault != Some(Fault::UnboundedQueue) {
            let refused = Err(Refusal::Overloaded);
            return trace.push(answered(ticket, &refused));
        }
        if self.fault == Some(Fault::IgnoreBodies)
            && let Some(commit_id) = &mut proposal.commit_id
        {
            commit_id.digest = 0;
        }
        self.waiting += 1;
        self.hold("proposals", self.waiting, QUEUE_LIMIT, trace);
        let event = OwnerEvent::Propose { ticket, proposal };
        self.owner.handle(event, self.clock());
    }

    /// Starts a batch if none is open.
    pub(crate) fn begin(&mut self, trace: &mut Vec<Event>) {
        if self.flush.is_empty() {
            self.drive(trace);
        }
    }

    /// Appends the open batch, unless the views are too far behind.
    pub(crate) fn flush(&mut self, trace: &mut Vec<Event>) {
        if self.shown.len() >= VIEWS_LIMIT {
            return;
        }
        let Some((expected, entry)) = self.flush.pop_front() else {
            return self.drive(trace);
        };
        let early = self.fault == Some(Fault::PublishBeforeDurable);
        match self.log.append(expected, &entry) {
            Ok(revision) => {
                trace.push(Event::stored(self.incarnation, revision, &entry));
                self.retention.appended(revision, entry.len() as u64, self.now_ms);
                if !early {
                    self.owner.handle(OwnerEvent::Appended, self.clock());
                }
            }
            Err(error) => self.append_failed(error, trace),
        }
        self.drive(trace);
    }

    fn append_failed(&mut self, error: AppendError, trace: &mut Vec<Event>) {
        let full = matches!(
            error,
            AppendError::StorageFull(_) | AppendError::Exhausted(_) | AppendError::TooLarge { .. }
        );
        if !full {
            self.failed = true;
            let reason = error.to_string();
            trace.push(Event::Failed { reason });
        }
        let event = match self.fault {
            Some(Fault::FoldUncommitted) if full => OwnerEvent::Appended,
            Some(Fault::KeepServingAfterFailure) if !full => {
                OwnerEvent::AppendFailed(AppendError::StorageFull(error.to_string()))
            }
            _ => OwnerEvent::AppendFailed(error),
        };
        self.owner.handle(event, self.clock());
    }

    /// Does what the owner wants, up to the next append.
    fn drive(&mut self, trace: &mut Vec<Event>) {
        while let Some(effect) = self.owner.next_effect() {
            match effect {
                Effect::Append { expected, entry } => {
                    self.flush.push_back((expected, entry));
                    if self.fault == Some(Fault::PublishBeforeDurable) {
                        self.owner.handle(OwnerEvent::Appended, self.clock());
                    }
                }
                Effect::Publish(EntryChanges { commits, .. }) => {
                    let (tables, place) = (self.state().tables.clone(), self.state().applied);
                    self.shown.push_back(Committed { commits, tables, place });
                }
                Effect::Answer { ticket, answer } => {
                    self.waiting = self.waiting.saturating_sub(1);
                    let answer = self.spoil(answer);
                    trace.push(answered(ticket, &answer));
                }
                Effect::Stop { .. } => self.failed = true,
            }
        }
    }

    fn spoil(&self, answer: Result<Receipt, Refusal>) -> Result<Receipt, Refusal> {
        match answer {
            Ok(receipt) if receipt.replayed && self.fault == Some(Fault::ReplayNewestPosition) => {
                let position = self.position();
                Ok(Receipt { position, ..receipt })
            }
            answer => answer,
        }
    }

    /// Prepares a segment ahead; a failure is harmless by its contract.
    pub(crate) fn prepare(&self) {
        let _ = self.preallocator.prepare();
    }

    fn hold(&mut self, what: &'static str, count: usize, limit: usize, trace: &mut Vec<Event>) {
        let most = self.most.entry(what).or_default();
        if count > *most {
            *most = count;
            let what = what.to_owned();
            trace.push(Event::Held { what, count, limit });
        }
    }

    fn remember_memory(&mut self, trace: &mut Vec<Event>) {
        trace.push(probes::memory(self.incarnation, self.state(), Source::Served));
    }
}

fn answered(ticket: u64, answer: &Result<Receipt, Refusal>) -> Event {
    let answer = match answer {
        Ok(receipt) => Answer::Committed {
            position: receipt.position,
            results: receipt.results.to_vec(),
            replayed: receipt.replayed,
        },
        Err(refusal) => Answer::Refused { code: refusal.code().to_owned() },
    };
    Event::Answered { ticket, answer }
}

/// True when the power of a disk is off: whatever failed, failed because of that.
pub(crate) fn is_dark(disk: &SimulatedDisk) -> bool {
    use instep_model::disk::Disk as _;
    disk.list(Path::new("/")).is_err()
}
