//! The shell around the owner machine, for the thread that has the turn, and the views' task.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::backlog::Next;
use super::inbox::Taken;
use super::{
    Arc, Committed, Dataset, Duration, Instant, Options, Ordering, Owner, PoisonError, Proposal,
    Request, Revision, Shared, Snapshots, Ticket, limits, lock, now_ms, oneshot,
};
use crate::engine::Prepare;
use crate::loans::Loan;
use crate::mail::MailHandle;
use crate::pool::Step;
use instep_model::commit::Operation;
use instep_model::log::{AppendError, Log};
use instep_model::mirror::EntryChanges;
use instep_model::owner::{Effect, Event};
use instep_model::retention::{Keep, Retention};
use instep_model::site::{Holding, SiteOperation};

const BRISK_APPEND: Duration = Duration::from_micros(limits::BRISK_APPEND_US);
const BRISK_TELLING: Duration = Duration::from_micros(limits::BRISK_TELLING_US);

/// The owner machine with what it drives.
pub(super) struct Ownership {
    owner: Owner<Ticket>,
    log: Box<dyn Log>,
    retention: Retention,
    keep: Keep,
    /// Retention of history that sites have not applied.
    hold: Keep,
    began: Instant,
    /// Answers whether the log wants something prepared that its next appends need.
    wants: Option<Box<dyn Fn() -> bool + Send>>,
}

impl Dataset {
    /// Says what the tasks of the dataset do.
    pub(super) fn begin(
        &self,
        (owner, log, retention): (Owner<Ticket>, Box<dyn Log>, Retention),
        options: &Options,
        snapshots: Arc<dyn Snapshots>,
        prepare: Option<Prepare>,
    ) {
        let wants = prepare.map(|Prepare { wants, prepare }| {
            self.0.begin_to_prepare(prepare);
            wants
        });
        let (keep, hold, began) = (options.keep, options.hold, Instant::now());
        let ownership = Ownership { owner, log, retention, keep, hold, began, wants };
        *lock(&self.0.ownership) = Some(ownership);
        let (shared, mut requests) = (Arc::clone(&self.0), VecDeque::new());
        self.0.inbox.owner().begin(move || shared.work_as_task(&mut requests));
        let shared = Arc::clone(&self.0);
        self.0.views.reader().begin(move || shared.tell_next());
        self.keep_house(options, snapshots);
        MailHandle::begin(&self.mail());
    }
}

impl Shared {
    fn begin_to_prepare(self: &Arc<Self>, mut prepare: Box<dyn FnMut() + Send>) {
        let shared = Arc::clone(self);
        self.prepare.begin(move || {
            if shared.is_closing() {
                return Step::Ended;
            }
            prepare();
            Step::Idle
        });
    }

    /// The owner's task: works whenever it is its turn, until the dataset is closed.
    fn work_as_task(&self, requests: &mut VecDeque<Request>) -> Step {
        match self.inbox.take(requests) {
            Taken::Some => {
                // Everything that arrived meanwhile goes into the same batch.
                let worked = self.work(requests.drain(..));
                if worked.is_ok() {
                    self.views.wake();
                }
                Step::Again
            }
            Taken::Nothing => Step::Idle,
            Taken::Closed => {
                self.release();
                Step::Ended
            }
        }
    }

    /// The views' task: tells what is committed, until nothing comes any more.
    fn tell_next(&self) -> Step {
        match self.views.next() {
            Next::Entry(entry) => {
                self.tell(entry);
                Step::Again
            }
            Next::Nothing => Step::Idle,
            Next::Closed => Step::Ended,
        }
    }

    /// Releases the engine, and ends the views' task.
    fn release(&self) {
        drop(lock(&self.ownership).take());
        self.views.close();
    }

    /// A caller that found the turn free does its own commit: no thread has to be woken, twice.
    pub(super) fn work_as_caller(self: &Arc<Self>, request: Request, loan: Option<Loan>) {
        if self.work([request]).is_err() {
            return;
        }
        self.inbox.rest();
        drop(loan);
        // Subscribers are told once the caller's task waits for something else.
        let tell = Tell(Arc::clone(self));
        tokio::spawn(async move { drop(tell) });
    }

    /// Works on requests, in the thread that has the turn. A panic is the end of the dataset.
    fn work(&self, requests: impl IntoIterator<Item = Request>) -> Result<(), Panicked> {
        let worked = catch_unwind(AssertUnwindSafe(|| {
            if let Some(ownership) = &mut *lock(&self.ownership) {
                for request in requests {
                    ownership.take(self, request);
                }
                ownership.work(self);
            }
        }));
        worked.map_err(|_| {
            self.stop("its owner panicked".into());
            self.inbox.abandon();
            Panicked
        })
    }

    /// The calling thread, if its caller may do its own commit: a disk that hangs holds up no
    /// caller else then, a brisk one takes no longer than a switch to another thread, and no others
    /// are kept from sharing their flush.
    pub(super) fn caller_may_work(&self) -> Option<Loan> {
        let is_worth_it = self.several_cores
            && self.brisk.load(Ordering::Relaxed)
            && self.calm.load(Ordering::Relaxed)
            && self.publishes_at_once();
        is_worth_it.then(Loan::of_this_thread).flatten()
    }

    /// True when views and mail take one more entry without a wait. It stays so for the thread that
    /// has the turn: only an owner adds entries.
    pub(super) fn publishes_at_once(&self) -> bool {
        self.views.has_room() && self.mail.has_room()
    }
}

struct Panicked;

/// Tells what a caller has committed, itself if that is short, else by the views' task. When it
/// is dropped, so also when the runtime ends before its task begins.
struct Tell(Arc<Shared>);

impl Drop for Tell {
    fn drop(&mut self) {
        let Self(shared) = self;
        let brisk = shared.brisk_views.load(Ordering::Relaxed);
        match brisk.then(|| shared.views.take_only()).flatten() {
            Some(entry) => {
                shared.tell(entry);
                shared.views.rest();
            }
            None => shared.views.wake(),
        }
    }
}

impl Ownership {
    fn take(&mut self, shared: &Shared, request: Request) {
        match request {
            Request::Propose { proposal, bytes, ticket } => {
                shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
                let proposal = *proposal;
                self.owner.handle(Event::Propose { ticket, proposal }, now_ms());
            }
            Request::Trim { covered } => self.trim(shared, covered),
        }
    }

    fn work(&mut self, shared: &Shared) {
        while let Some(effect) = self.owner.next_effect() {
            match effect {
                Effect::Append { expected, entry } => {
                    let begin = Instant::now();
                    shared.appending.begins(begin);
                    let appended = self.log.append(expected, &entry);
                    shared.appending.ends();
                    let bytes = entry.len() as u64;
                    // The owner uses its memory again, if it is not shared.
                    drop(entry);
                    shared.brisk.store(begin.elapsed() <= BRISK_APPEND, Ordering::Relaxed);
                    let event = match appended {
                        Ok(revision) => {
                            self.appended(shared, revision, bytes);
                            Event::Appended
                        }
                        Err(error) => failed(shared, error),
                    };
                    self.owner.handle(event, now_ms());
                }
                Effect::Publish(changes) => {
                    shared.calm.store(changes.commits.len() <= 1, Ordering::Relaxed);
                    self.publish(shared, changes);
                }
                Effect::Answer { ticket, answer } => {
                    let mut counters = lock(&shared.counters);
                    match &answer {
                        Ok(receipt) => counters.commits += u64::from(!receipt.replayed),
                        Err(_) => counters.refusals += 1,
                    }
                    drop(counters);
                    // A caller that does not wait any more finds the outcome by the commit's id.
                    let _ = ticket.send(answer);
                }
                Effect::Stop { reason } => shared.stop(reason),
            }
        }
    }

    fn appended(&mut self, shared: &Shared, revision: Revision, bytes: u64) {
        self.retention.appended(revision, bytes, now_ms());
        if self.wants.as_ref().is_some_and(|wants| wants()) {
            shared.prepare.wake();
        }
        let mut counters = lock(&shared.counters);
        counters.entries += 1;
        counters.bytes += bytes;
    }

    fn publish(&mut self, shared: &Shared, EntryChanges { commits, mail }: EntryChanges) {
        let state = Arc::new(self.owner.state().clone());
        let (tables, place) = (state.tables.clone(), state.applied);
        // Bodies are there before their messages can be read, and a message is visible before
        // it is given to a server: who takes it looks whether it is still its own.
        shared.mail.keep(&mail);
        let given = (!mail.is_empty()).then(|| (Arc::clone(&state), mail));
        *shared.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        shared.head.send_replace(place);
        shared.house.notice();
        if let Some((state, mail)) = given {
            shared.mail.committed(state, mail);
        }
        // Waits when the views are far behind: memory is bounded, and nothing is dropped.
        shared.views.push(Committed { commits, tables, place });
    }

    fn trim(&mut self, shared: &Shared, covered: Revision) {
        let running_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let covered = covered.min(self.held(shared, running_ms));
        let Some(floor) = self.retention.floor(self.keep, covered, now_ms(), running_ms) else {
            return;
        };
        match self.log.trim(floor) {
            Ok(bounds) => {
                tracing::info!(dataset = %shared.name, floor = %bounds.floor, "log trimmed");
            }
            Err(error) => {
                tracing::error!(dataset = %shared.name, %error, "the log is not trimmed");
            }
        }
    }
}

impl Ownership {
    /// Returns the oldest entry that sites need, and evicts those that need more than is held
    /// (I25).
    fn held(&mut self, shared: &Shared, running_ms: u64) -> Revision {
        let (history, clocks) = ((&mut self.retention, self.hold), (now_ms(), running_ms));
        let holding = Holding::of(self.owner.state(), shared.incarnation, history, clocks);
        for eviction in &holding.evictions {
            if let SiteOperation::Evict { site, reason, .. } = eviction {
                tracing::warn!(dataset = %shared.name, %site, reason, "a site is evicted");
            }
        }
        if !holding.evictions.is_empty() {
            // The log tells; a site that is not told yet finds its history trimmed.
            let (ticket, _) = oneshot::channel();
            let evictions = holding.evictions.into_iter().map(Operation::Site);
            let proposal = Proposal::from(evictions.collect::<Vec<_>>());
            self.owner.handle(Event::Propose { ticket, proposal }, now_ms());
        }
        holding.oldest
    }
}

fn failed(shared: &Shared, error: AppendError) -> Event<Ticket> {
    match &error {
        AppendError::StorageFull(reason) => {
            tracing::warn!(dataset = %shared.name, reason, "no space for the log");
        }
        AppendError::Exhausted(reason) => {
            tracing::warn!(dataset = %shared.name, reason, "no descriptor or memory for the log");
        }
        error => tracing::error!(dataset = %shared.name, %error, "an append failed"),
    }
    Event::AppendFailed(error)
}

impl Shared {
    /// Lets the views tell an entry. A view written in Rust may panic: then the feed begins anew
    /// from memory, and the views only stop where that panics too.
    fn tell(&self, Committed { commits, tables, place }: Committed) {
        let begin = Instant::now();
        let told = catch_unwind(AssertUnwindSafe(|| {
            self.hub.apply(&commits, tables.clone(), place);
        }));
        self.brisk_views.store(begin.elapsed() <= BRISK_TELLING, Ordering::Relaxed);
        self.house.notice();
        if told.is_ok() {
            return;
        }
        tracing::error!(dataset = %self.name, "a view panicked; the views begin anew");
        let rebuild = AssertUnwindSafe(|| self.hub.rebuild(tables, place));
        if catch_unwind(rebuild).is_err() {
            tracing::error!(dataset = %self.name, "a view panics on what is in memory");
        }
    }

    pub(super) fn stop(&self, reason: String) {
        tracing::error!(dataset = %self.name, reason, "the dataset has stopped");
        *self.stopped.write().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }
}
