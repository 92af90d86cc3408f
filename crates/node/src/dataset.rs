//! One dataset on this node: its owner, its memory, its subscribers.
//!
//! | task | input | bound | ends when |
//! | --- | --- | --- | --- |
//! | owner | proposals that no caller works on | OWNER_QUEUE_COMMITS | the dataset is closed |
//! | views | entries that their callers do not tell | VIEWS_QUEUE_ENTRIES | the owner ends |
//! | prepare | the engine's wishes | one segment | the dataset is closed |
//! | house | commits, deadlines: snapshots, bookmarks | – | the dataset is closed |
//!
//! The tasks run on the threads of [`Pools`], which all datasets of a node share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use instep_model::commit::Proposal;
use instep_model::limits;
use instep_model::log::{LogReader, ReadError};
use instep_model::name::Name;
use instep_model::owner::{Owner, Receipt, Refusal};
use instep_model::position::{Incarnation, Place, Position, Revision};
use instep_model::recovery::Recovery;
use instep_model::retention::Keep;
use instep_model::state::{CommitChanges, State, Tables};
use instep_model::store::Snapshots;
use instep_model::view::{Failures, View};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use crate::clock::now_ms;
use crate::engine::Engine;
use crate::follow::{Follow, FollowError};
use crate::hub::Hub;
use crate::journals::{JournalPage, JournalRecords, Oldest, Reading};
use crate::mail::{MailHandle, MailOptions, Pulls};
use crate::pool::{Pool, Pools, Task};
use crate::sync::lock;
use crate::topics::Topics;
use appending::Appending;
use backlog::Backlog;
use housekeeping::Housekeeper;
use inbox::{Inbox, Put};
use ownership::Ownership;

mod appending;
mod backlog;
mod behind;
mod closing;
mod housekeeping;
mod inbox;
mod joining;
mod mail;
mod ownership;
mod recovery;

pub use recovery::OpenError;

/// Timeout of a joiner that waits for views that are behind.
const TOLD: Duration = Duration::from_secs(5);

/// Options of a dataset when it is opened.
pub struct Options {
    /// Its name.
    pub name: Name,
    /// Identity of this owner, fresh for every start.
    pub writer: Uuid,
    /// Its views.
    pub views: Vec<View>,
    /// Retention of history for readers.
    pub keep: Keep,
    /// Retention of history that sites have not applied.
    pub hold: Keep,
    /// A snapshot is written after this many bytes of log.
    pub snapshot_after_bytes: u64,
    /// A snapshot is written after this much time, if anything changed.
    pub snapshot_after: Duration,
    /// Topics without news get a bookmark this often.
    pub bookmark_every: Duration,
    /// Options of its mail.
    pub mail: MailOptions,
}

impl Options {
    /// Options of a dataset without views that keeps all its history and writes no snapshot.
    #[must_use]
    pub fn new(name: Name, writer: Uuid) -> Self {
        let everything = Keep { bytes: u64::MAX, ms: u64::MAX };
        Self {
            name,
            writer,
            views: Vec::new(),
            keep: everything,
            hold: everything,
            snapshot_after_bytes: u64::MAX,
            snapshot_after: Duration::MAX,
            bookmark_every: Duration::MAX,
            mail: MailOptions::default(),
        }
    }
}

/// A dataset, open and in memory. Cloning gives another handle.
#[derive(Clone)]
pub struct Dataset(Arc<Shared>);

struct Shared {
    name: Name,
    incarnation: Incarnation,
    state: RwLock<Arc<State>>,
    head: watch::Sender<Place>,
    hub: Hub,
    reader: Arc<dyn LogReader>,
    inbox: Inbox<Request>,
    queued_bytes: AtomicUsize,
    /// The owner; the thread that has the inbox's turn works with it. None: closed.
    ownership: Mutex<Option<Ownership>>,
    views: Backlog<Committed>,
    /// Appends are so short that a caller may wait for one instead of for another thread.
    brisk: AtomicBool,
    /// Subscribers are told of an entry in so short a time that a caller may do it.
    brisk_views: AtomicBool,
    /// The last flush had one commit: no commit waits for another.
    calm: AtomicBool,
    /// While a caller works, others can be served and find it at work. On a single core
    /// no commits would ever share a flush.
    several_cores: bool,
    stopped: RwLock<Option<String>>,
    appending: Appending,
    counters: Mutex<Counters>,
    /// Time of the newest snapshot; before one is written, of opening the dataset.
    snapshot_at: Mutex<Instant>,
    /// Mail: bodies of messages, and registrations of servers.
    mail: Arc<MailHandle>,
    /// Registrations of programs that pull their mail.
    pulls: Arc<Pulls>,
    /// Oldest records of journals that the log still has.
    journals: Mutex<Oldest>,
    prepare: Task,
    house: Housekeeper,
    closing: AtomicBool,
    /// Has the threads of the tasks.
    _pools: Pools,
}

/// Counters since the dataset was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Commits made durable.
    pub commits: u64,
    /// Proposals refused.
    pub refusals: u64,
    /// Entries appended: group commits.
    pub entries: u64,
    /// Bytes appended.
    pub bytes: u64,
    /// Snapshots written.
    pub snapshots: u64,
    /// Snapshots that could not be written.
    pub snapshot_failures: u64,
}

/// Work that a dataset has queued.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Proposals that wait for their turn.
    pub commits: usize,
    /// Bytes of proposals that are not answered.
    pub bytes: usize,
    /// Committed entries that the views have not processed.
    pub views: usize,
}

/// Request to the owner.
enum Request {
    Propose { proposal: Box<Proposal>, bytes: usize, ticket: Ticket },
    Trim { covered: Revision },
}

type Ticket = oneshot::Sender<Result<Receipt, Refusal>>;

/// Entry for the views.
struct Committed {
    commits: Vec<CommitChanges>,
    tables: Tables,
    place: Place,
}

impl Dataset {
    /// Recovers a dataset from its engine, and lets its tasks run in `pools`. Blocks until it is in
    /// memory.
    ///
    /// # Errors
    /// [`OpenError`] when the engine's content cannot be read or folded.
    pub fn open(
        engine: Engine,
        options: Options,
        topics: Topics,
        pools: &Pools,
    ) -> Result<Self, OpenError> {
        let Engine { mut log, snapshots, bodies, definitions, prepare } = engine;
        let bounds = log.bounds();
        let reader = log.reader();
        let task = |pool: &Pool, what| pool.task(format!("{what}:{}", options.name));
        let house = Housekeeper::new(task(pools.storage(), "house"));
        let mail = (task(pools.delivery(), "mail"), task(pools.storage(), "bodies"));
        let mail_handle = MailHandle::new(bodies, options.mail.clone(), mail, house.task());
        let mut recovery = recovery::recover(
            &options,
            reader.as_ref(),
            snapshots.as_ref(),
            (bounds.incarnation, &mail_handle),
        )?;
        let by = (options.writer, now_ms());
        let held =
            recovery.hold_definitions(&options.views, log.as_mut(), definitions.as_ref(), by)?;
        recovery::tell_definitions(&options, &held);
        let Recovery { mirror, feed, retention, .. } = recovery;
        let shared = Arc::new(Shared {
            name: options.name.clone(),
            incarnation: bounds.incarnation,
            state: RwLock::new(Arc::new(mirror.state().clone())),
            head: watch::Sender::new(mirror.state().applied),
            hub: Hub::new(feed, topics),
            reader,
            inbox: Inbox::new(limits::OWNER_QUEUE_COMMITS, task(pools.owners(), "owner")),
            queued_bytes: AtomicUsize::new(0),
            ownership: Mutex::default(),
            views: Backlog::new(limits::VIEWS_QUEUE_ENTRIES, task(pools.delivery(), "views")),
            // As long as no append says otherwise: a caller that does its own commit keeps no other
            // waiting.
            brisk: AtomicBool::new(true),
            brisk_views: AtomicBool::new(false),
            calm: AtomicBool::new(true),
            several_cores: std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1),
            stopped: RwLock::new(None),
            appending: Appending::new(),
            counters: Mutex::default(),
            snapshot_at: Mutex::new(Instant::now()),
            mail: Arc::new(mail_handle),
            pulls: Arc::default(),
            journals: Mutex::default(),
            prepare: task(pools.storage(), "prepare"),
            house,
            closing: AtomicBool::new(false),
            _pools: pools.clone(),
        });
        let dataset = Self(shared);
        let owner = Owner::new(mirror, options.writer)
            .with_mail(options.mail.rules.clone())
            .with_largest_entry(log.largest_entry());
        dataset.begin((owner, log, retention), &options, snapshots, prepare);
        Ok(dataset)
    }

    /// The dataset's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.0.name
    }

    /// The identity of its history.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.0.incarnation
    }

    /// A consistent snapshot of everything, from memory.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.0.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The position of a state of this dataset.
    #[must_use]
    pub fn position_of(&self, state: &State) -> Position {
        Position { incarnation: self.0.incarnation, place: state.applied }
    }

    /// The position of the newest visible commit.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { incarnation: self.0.incarnation, place: *self.0.head.borrow() }
    }

    /// Reason why the dataset takes no commits any more, if it has stopped. Its memory is still
    /// served.
    #[must_use]
    pub fn stopped(&self) -> Option<String> {
        self.0.stopped.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fault that is being retried while commits are taken, if there is one.
    #[must_use]
    pub fn degraded(&self) -> Option<String> {
        self.0.mail.degraded()
    }

    /// Duration of the append under way, if it is at least [`limits::STALLED_APPEND_MS`].
    #[must_use]
    pub fn stalled(&self) -> Option<Duration> {
        let limit = Duration::from_millis(limits::STALLED_APPEND_MS);
        self.0.appending.since().filter(|since| *since >= limit)
    }

    /// Duration of the append under way, if there is one.
    #[must_use]
    pub fn appending(&self) -> Option<Duration> {
        self.0.appending.since()
    }

    /// Counters since it was opened.
    #[must_use]
    pub fn counters(&self) -> Counters {
        *lock(&self.0.counters)
    }

    /// Work that is queued.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        Waiting {
            commits: self.0.inbox.len(),
            bytes: self.0.queued_bytes.load(Ordering::Relaxed),
            views: self.0.views.len(),
        }
    }

    /// Age of the newest snapshot; before one is written, time since the dataset was opened.
    #[must_use]
    pub fn snapshot_age(&self) -> Duration {
        lock(&self.0.snapshot_at).elapsed()
    }

    /// Its views, each with what it could not show since the dataset was opened.
    #[must_use]
    pub fn views(&self) -> Vec<(View, Failures)> {
        self.0.hub.views()
    }

    /// Its journals, with the records that the log still has of each. Reads the log where that has
    /// been trimmed since it was asked last. Blocks.
    ///
    /// # Errors
    /// [`ReadError`] when the log cannot be read.
    pub fn journals(&self) -> Result<BTreeMap<Name, JournalRecords>, ReadError> {
        lock(&self.0.journals).records(&self.state(), self.0.reader.as_ref())
    }

    /// A page of a journal from a number on, or from the oldest record that the log has: at most so
    /// many records, and bytes of them. None: there is no such journal. Blocks.
    ///
    /// # Errors
    /// [`ReadError`]: `Trimmed` when the log does not have the record with this number any more.
    pub fn journal_page(
        &self,
        (journal, from): (&Name, Option<u64>),
        limits: (usize, usize),
    ) -> Result<Option<JournalPage>, ReadError> {
        let (state, log) = (self.state(), self.0.reader.as_ref());
        let known = lock(&self.0.journals).records(&state, log)?;
        let head = state.applied.revision;
        let reading = Reading { log, incarnation: self.incarnation(), journal, head };
        known.get(journal).map(|known| reading.page(*known, from, limits)).transpose()
    }

    /// The oldest and newest entry of the log that can be read.
    #[must_use]
    pub fn log_bounds(&self) -> (Revision, Revision) {
        let bounds = self.0.reader.bounds();
        (bounds.floor, bounds.head)
    }

    /// Proposes a commit and waits until it is durable, or refused.
    ///
    /// # Errors
    /// [`Refusal`]; nothing happened then, except for [`Refusal::OutcomeUnknown`].
    pub async fn commit(&self, proposal: Proposal) -> Result<Receipt, Refusal> {
        let (ticket, answer) = oneshot::channel();
        self.submit(proposal, ticket)?;
        answer.await.unwrap_or(Err(Refusal::OutcomeUnknown))
    }

    /// Proposes a commit and waits, on a thread that may wait, until it is durable, or refused.
    ///
    /// # Errors
    /// As of [`Dataset::commit`].
    ///
    /// # Panics
    /// On a thread that runs tasks.
    pub fn commit_blocking(&self, proposal: Proposal) -> Result<Receipt, Refusal> {
        let answer = self.propose(proposal)?;
        answer.blocking_recv().unwrap_or(Err(Refusal::OutcomeUnknown))
    }

    /// Proposes a commit; the answer comes on the receiver.
    pub(crate) fn propose(
        &self,
        proposal: Proposal,
    ) -> Result<oneshot::Receiver<Result<Receipt, Refusal>>, Refusal> {
        let (ticket, answer) = oneshot::channel();
        self.submit(proposal, ticket)?;
        Ok(answer)
    }

    fn submit(&self, proposal: Proposal, ticket: Ticket) -> Result<(), Refusal> {
        if self.0.mail.bodies.is_full() && proposal.stores_mail() {
            let detail = "bodies of messages cannot be written".to_owned();
            return Err(Refusal::StorageFull(detail));
        }
        let bytes = proposal.weight();
        let queued = self.0.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let refuse = |refusal| {
            self.0.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            Err(refusal)
        };
        if queued + bytes > limits::OWNER_QUEUE_BYTES && queued > 0 {
            return refuse(Refusal::Overloaded);
        }
        let proposal = Box::new(proposal);
        let request = Request::Propose { proposal, bytes, ticket };
        let loan = self.0.caller_may_work();
        match self.0.inbox.put(request, loan.is_some()) {
            Put::Queued => Ok(()),
            // Another turn may have filled the last room since it was looked.
            Put::YourTurn(request) if !self.0.publishes_at_once() => {
                self.0.inbox.hand_over(request);
                Ok(())
            }
            Put::YourTurn(request) => {
                self.0.work_as_caller(request, loan);
                Ok(())
            }
            Put::Full => refuse(Refusal::Overloaded),
            Put::Closed => {
                let reason = self.stopped().unwrap_or_else(|| "it is closed".into());
                refuse(Refusal::Stopped(reason))
            }
        }
    }

    /// The commits after `since`, then as they come; without a position from the log's floor on.
    ///
    /// # Errors
    /// [`FollowError`] when the position cannot be continued from.
    pub fn follow(&self, since: Option<Position>) -> Result<Follow, FollowError> {
        Follow::new(Arc::clone(&self.0.reader), self.0.head.subscribe(), since)
    }

    /// Waits until this node shows at least `place`; false when `limit` passes first.
    pub async fn reached(&self, place: Place, limit: Duration) -> bool {
        let mut head = self.0.head.subscribe();
        let reached = head.wait_for(|head| *head >= place);
        matches!(tokio::time::timeout(limit, reached).await, Ok(Ok(_)))
    }

    /// Waits until subscribers have been told what is visible now: a table that was just made may
    /// have no topic yet.
    pub async fn settled(&self) {
        let visible = *self.0.head.borrow();
        self.told(visible).await;
    }

    /// Waits for the views to tell what is visible; they are about to.
    async fn told(&self, place: Place) {
        let mut told = self.0.hub.watch();
        let _ = tokio::time::timeout(TOLD, told.wait_for(|told| *told >= place)).await;
    }

    /// True when one of its views or public tables stands behind the topic.
    #[must_use]
    pub fn has_topic(&self, topic: &str) -> bool {
        self.0.hub.has_topic(topic)
    }

    /// True when subscribers have been told what is visible now.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.0.hub.has_told(*self.0.head.borrow())
    }

    /// Removal: ends the topics, so that no subscriber stays on one that another dataset may have
    /// next.
    pub(crate) fn end_topics(&self) {
        self.0.hub.end();
    }

    /// True when the dataset was removed from its node: a holder of it lets go.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.0.hub.has_ended()
    }
}
