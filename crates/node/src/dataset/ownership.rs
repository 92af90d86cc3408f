//! The owner's thread and the views' thread: the shell around the owner machine.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::sync_channel;

use instep_model::log::{AppendError, Log};
use instep_model::owner::{Effect, Event};

use super::{
    Arc, Committed, Dataset, Options, Ordering, Owner, PoisonError, Receiver, Request, Revision,
    Shared, Snapshots, SyncSender, Ticket, limits, lock, now_ms,
};
use crate::retention::{Keep, Retention};

/// The owner machine with what it drives.
struct Ownership {
    shared: Arc<Shared>,
    owner: Owner<Ticket>,
    log: Box<dyn Log>,
    views: SyncSender<Committed>,
    /// What the views are told as soon as everybody has an answer.
    untold: Option<Committed>,
    retention: Retention,
    keep: Keep,
}

impl Dataset {
    #[allow(clippy::too_many_arguments, reason = "called once, by open")]
    pub(super) fn start(
        &self,
        owner: Owner<Ticket>,
        log: Box<dyn Log>,
        retention: Retention,
        inbox: Receiver<Request>,
        options: &Options,
        snapshots: Arc<dyn Snapshots>,
        prepare: Option<Box<dyn FnOnce() + Send>>,
    ) {
        let (views, committed) = sync_channel::<Committed>(limits::VIEWS_QUEUE_ENTRIES);
        let shared = Arc::clone(&self.0);
        let keep = options.keep;
        let untold = None;
        let ownership = Ownership { shared, owner, log, views, untold, retention, keep };
        self.spawn("owner", move || ownership.run(&inbox));
        let shared = Arc::clone(&self.0);
        self.spawn("views", move || {
            for entry in committed {
                shared.tell(entry);
            }
        });
        if let Some(prepare) = prepare {
            self.spawn("prepare", prepare);
        }
        self.keep_house(options, snapshots);
    }

    pub(super) fn spawn(&self, what: &str, run: impl FnOnce() + Send + 'static) {
        let name = format!("{what}:{}", self.0.name);
        match std::thread::Builder::new().name(name).spawn(run) {
            Ok(thread) => lock(&self.0.threads).push(thread),
            Err(error) => self.0.stop(format!("the {what} thread does not start: {error}")),
        }
    }
}

impl Ownership {
    fn run(mut self, inbox: &Receiver<Request>) {
        while let Ok(first) = inbox.recv() {
            let mut open = self.take(first);
            // Everything that arrived meanwhile goes into the same batch.
            while open && let Ok(more) = inbox.try_recv() {
                open = self.take(more);
            }
            self.work();
            if !open {
                break;
            }
        }
    }

    /// Takes a request; false when it was the last one.
    fn take(&mut self, request: Request) -> bool {
        match request {
            Request::Propose { proposal, bytes, ticket } => {
                self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
                let proposal = *proposal;
                self.owner.handle(Event::Propose { ticket, proposal }, now_ms());
                true
            }
            Request::Trim { covered } => {
                self.trim(covered);
                true
            }
            Request::Close => false,
        }
    }

    fn work(&mut self) {
        while let Some(effect) = self.owner.next_effect() {
            match effect {
                Effect::Append { expected, entry } => {
                    self.tell();
                    let event = match self.log.append(expected, &entry) {
                        Ok(revision) => {
                            self.appended(revision, entry.len() as u64);
                            Event::Appended
                        }
                        Err(error) => failed(&self.shared, error),
                    };
                    self.owner.handle(event, now_ms());
                }
                Effect::Publish { commits } => self.publish(commits),
                Effect::Answer { ticket, answer } => {
                    let mut counters = lock(&self.shared.counters);
                    match &answer {
                        Ok(receipt) => counters.commits += u64::from(!receipt.replayed),
                        Err(_) => counters.refusals += 1,
                    }
                    drop(counters);
                    // Whoever does not wait any more finds the outcome by the commit's id.
                    let _ = ticket.send(answer);
                }
                Effect::Stop { reason } => self.shared.stop(reason),
            }
        }
        self.tell();
    }

    /// Tells the views after the answers: waking their thread must not delay a client.
    fn tell(&mut self) {
        if let Some(committed) = self.untold.take() {
            // Waits when the views are far behind: memory is bounded, and nothing is dropped.
            let _ = self.views.send(committed);
        }
    }

    fn appended(&mut self, revision: Revision, bytes: u64) {
        self.retention.appended(revision, bytes, now_ms());
        let mut counters = lock(&self.shared.counters);
        counters.entries += 1;
        counters.bytes += bytes;
    }

    fn publish(&mut self, commits: Vec<instep_model::state::CommitChanges>) {
        let state = Arc::new(self.owner.state().clone());
        let (tables, place) = (state.tables.clone(), state.applied);
        *self.shared.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        self.shared.head.send_replace(place);
        self.tell();
        self.untold = Some(Committed { commits, tables, place });
    }

    fn trim(&mut self, covered: Revision) {
        let Some(floor) = self.retention.floor(self.keep, covered, now_ms()) else {
            return;
        };
        match self.log.trim(floor) {
            Ok(bounds) => {
                tracing::info!(dataset = %self.shared.name, floor = %bounds.floor, "log trimmed");
            }
            Err(error) => {
                tracing::error!(dataset = %self.shared.name, %error, "the log is not trimmed");
            }
        }
    }
}

fn failed(shared: &Shared, error: AppendError) -> Event<Ticket> {
    match &error {
        AppendError::StorageFull(reason) => {
            tracing::warn!(dataset = %shared.name, reason, "no space for the log");
        }
        error => tracing::error!(dataset = %shared.name, %error, "an append failed"),
    }
    Event::AppendFailed(error)
}

impl Shared {
    /// Lets the views tell an entry. A view written in Rust may panic: then the feed begins anew
    /// from memory, and the views only stop where that panics too.
    fn tell(&self, Committed { commits, tables, place }: Committed) {
        let told = catch_unwind(AssertUnwindSafe(|| {
            self.hub.apply(&commits, tables.clone(), place);
        }));
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
