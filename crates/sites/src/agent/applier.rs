//! Applier: the thread that applies what the feed tells, batch by batch.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use instep_client::{Backoff, SiteSkip, SiteStand};
use instep_model::position::Position;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::queue::Item;
use super::{Stop, pause};
use crate::batch::{Batch, weight};
use crate::limits::{BATCH_BYTES, BATCH_COMMITS, FIRST_WAIT, LONGEST_WAIT, RECORD_WAIT};
use crate::store::{Fatal, Refusal, Store, StoreError, StorePosition};

/// Progress of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Progress {
    /// Everything up to here is applied and durable.
    pub(super) position: Position,
    /// Commits so far.
    pub(super) commits: u64,
    /// Records so far.
    pub(super) records: u64,
    /// Rows that were not as the log says.
    pub(super) drift: u64,
    /// Records that were left out.
    pub(super) skipped: u64,
    /// Trouble that keeps the store from going on.
    pub(super) trouble: Option<Trouble>,
}

/// Trouble of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is tried again and again.
    Passing(String),
    /// The store refuses a record.
    Refused {
        /// The record.
        at: SiteStand,
        /// The store's text.
        reason: String,
    },
}

/// End of an applier.
#[derive(Debug)]
pub(super) enum Ended {
    /// It was told to end, or the feed has ended.
    Over,
    /// The position of the store is not where the agent has left it.
    Moved,
    /// The store cannot go on.
    Failed(Fatal),
}

/// The thread that has the store.
pub(super) struct Applier {
    store: Box<dyn Store>,
    generation: u64,
    outlet: mpsc::Receiver<Item>,
    waiting: VecDeque<Item>,
    progress: watch::Sender<Progress>,
    /// Orders of operators to leave records out.
    orders: watch::Receiver<Vec<SiteSkip>>,
    position: Position,
    stop: Stop,
    backoff: Backoff,
}

impl Progress {
    /// Nothing applied yet since a registration at `position`.
    pub(super) fn at(position: Position) -> Self {
        Self { position, commits: 0, records: 0, drift: 0, skipped: 0, trouble: None }
    }
}

impl Applier {
    pub(super) fn new(
        store: Box<dyn Store>,
        generation: u64,
        outlet: mpsc::Receiver<Item>,
        (progress, orders): (watch::Sender<Progress>, watch::Receiver<Vec<SiteSkip>>),
        stop: Stop,
    ) -> Self {
        let position = progress.borrow().position;
        Self {
            store,
            generation,
            outlet,
            waiting: VecDeque::new(),
            progress,
            orders,
            position,
            stop,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
        }
    }

    /// Applies until the feed ends, and gives the store back.
    pub(super) fn run(mut self) -> (Box<dyn Store>, Ended) {
        let ended = self.work();
        (self.store, ended.err().unwrap_or(Ended::Over))
    }

    fn work(&mut self) -> Result<(), Ended> {
        while self.fill() && !*self.stop.borrow() {
            let Some((batch, permits)) = self.batch()? else { continue };
            self.apply(batch)?;
            drop(permits);
        }
        Ok(())
    }

    /// Takes what has come; false at the end of the feed.
    fn fill(&mut self) -> bool {
        if self.waiting.is_empty() {
            match self.outlet.blocking_recv() {
                Some(item) => self.waiting.push_back(item),
                None => return false,
            }
        }
        while self.waiting.len() < BATCH_COMMITS
            && let Ok(item) = self.outlet.try_recv()
        {
            self.waiting.push_back(item);
        }
        true
    }

    /// The next batch, with its room in the queue; none if all of it is applied already (I33).
    fn batch(&mut self) -> Result<Option<(Batch, Vec<OwnedSemaphorePermit>)>, Ended> {
        let mut batch = Batch::new(Vec::new(), self.position);
        let (mut bytes, mut permits) = (0, Vec::new());
        let most = self.store.batch_commits();
        while let Some(item) = self.waiting.pop_front() {
            let (position, size) = match &item {
                Item::Commit(commit, _) => (commit.position, weight(commit)),
                Item::Bookmark(position) => (*position, 0),
            };
            let place = position.place_in(batch.through.incarnation);
            if place.ok_or(Ended::Failed(Fatal::OtherHistory))? <= batch.through.place {
                continue;
            }
            let is_full = bytes + size > BATCH_BYTES || batch.commits.len() >= most;
            if !batch.commits.is_empty() && is_full {
                self.waiting.push_front(item);
                break;
            }
            bytes += size;
            batch.through = position;
            if let Item::Commit(commit, permit) = item {
                batch.commits.push(commit);
                permits.push(permit);
            }
        }
        Ok((batch.through != self.position).then_some((batch, permits)))
    }

    /// Applies a batch, and one commit after the other if the store refuses a record in it.
    fn apply(&mut self, batch: Batch) -> Result<(), Ended> {
        match self.try_until_it_is_told(&batch)? {
            None => Ok(()),
            Some(refusal) if batch.commits.len() > 1 => {
                let reason = refusal.text;
                tracing::debug!(reason, "a batch was refused and is taken by commits");
                self.apply_by_commits(batch)
            }
            Some(refusal) => self.stand_at(batch, refusal),
        }
    }

    fn apply_by_commits(&mut self, batch: Batch) -> Result<(), Ended> {
        for commit in batch.commits {
            let through = commit.position;
            // The row of the store decides where it is, also in the middle of a batch.
            if through.place <= self.position.place {
                continue;
            }
            let single = Batch::new(vec![commit], through);
            if let Some(refusal) = self.try_until_it_is_told(&single)? {
                self.stand_at(single, refusal)?;
            }
        }
        let rest = Batch::new(Vec::new(), batch.through);
        if rest.through == self.position { Ok(()) } else { self.apply(rest) }
    }

    /// Stands at a record until the store takes it, or an operator lets it be left out.
    fn stand_at(&mut self, mut batch: Batch, first: Refusal) -> Result<(), Ended> {
        let mut refused = Some(first);
        if self.store.tells_one_by_one() {
            batch.one_by_one = true;
            refused = self.try_until_it_is_told(&batch)?;
        }
        while let Some(Refusal { text, culprit }) = refused {
            let position = batch.commits.last().map_or(batch.through, |commit| commit.position);
            let record = culprit.and_then(|culprit| batch.index_of(&culprit));
            let at = SiteStand { position, record };
            self.trouble(Trouble::Refused { at, reason: text });
            self.wait_for_order(at, batch.leaves_all_out())?;
            batch.left_out = self.ordered(&batch, position);
            for (record, reason) in &batch.left_out {
                tracing::warn!(%position, record, reason, "a record is left out");
            }
            refused = self.try_until_it_is_told(&batch)?;
        }
        Ok(())
    }

    /// Waits until it is time to try again, or an operator lets the record be left out.
    fn wait_for_order(&mut self, at: SiteStand, is_left_out: bool) -> Result<(), Ended> {
        if is_left_out {
            return self.pause(RECORD_WAIT);
        }
        let mut orders = self.orders.clone();
        let ordered = async {
            if orders.wait_for(|orders| orders.iter().any(|skip| skip.at == at)).await.is_err() {
                // No order comes any more: the end is seen elsewhere.
                std::future::pending::<()>().await;
            }
        };
        let stop = &mut self.stop;
        let goes_on = Handle::current().block_on(async {
            tokio::select! {
                goes_on = pause(RECORD_WAIT, stop) => goes_on,
                () = ordered => true,
            }
        });
        if goes_on { Ok(()) } else { Err(Ended::Over) }
    }

    /// Records of a commit that operators let be left out, with their reasons.
    fn ordered(&self, batch: &Batch, position: Position) -> BTreeMap<usize, String> {
        let orders = self.orders.borrow();
        let mut left_out = BTreeMap::new();
        for skip in orders.iter().filter(|skip| skip.at.position == position) {
            let records = match skip.at.record.and_then(|record| usize::try_from(record).ok()) {
                Some(record) => record..record + 1,
                None => 0..batch.all_records().count(),
            };
            left_out.extend(records.map(|record| (record, skip.reason.clone())));
        }
        left_out
    }

    /// Applies a batch through all trouble that passes. Returns the text of a refusal.
    fn try_until_it_is_told(&mut self, batch: &Batch) -> Result<Option<Refusal>, Ended> {
        loop {
            let reason = match self.store.apply(batch) {
                Ok(applied) => {
                    self.backoff.reset();
                    self.went_on(batch, applied.drift);
                    return Ok(None);
                }
                Err(StoreError::Record(refusal)) => return Ok(Some(refusal)),
                Err(StoreError::Fatal(fatal)) => return Err(Ended::Failed(fatal)),
                Err(StoreError::Passing(reason)) => reason,
            };
            self.trouble(Trouble::Passing(reason));
            if self.heal(batch)? {
                self.went_on(batch, 0);
                return Ok(None);
            }
        }
    }

    /// Opens the store again. True if its row says that the batch was applied: a commit whose
    /// answer was lost took effect once.
    fn heal(&mut self, batch: &Batch) -> Result<bool, Ended> {
        loop {
            let wait = self.backoff.next_wait();
            self.pause(wait)?;
            let generation = self.generation;
            let opened = self.store.open().and_then(|_| self.store.fence(generation, None));
            match opened {
                Ok(StorePosition::Unkept) => return Ok(false),
                Ok(StorePosition::At(position)) if position == batch.through => return Ok(true),
                Ok(StorePosition::At(position)) if position == self.position => return Ok(false),
                Ok(StorePosition::At(_) | StorePosition::None | StorePosition::Restoring) => {
                    return Err(Ended::Moved);
                }
                Err(StoreError::Fatal(fatal)) => return Err(Ended::Failed(fatal)),
                Err(error @ (StoreError::Passing(_) | StoreError::Record(_))) => {
                    self.trouble(Trouble::Passing(error.to_string()));
                }
            }
        }
    }

    fn went_on(&mut self, batch: &Batch, drift: u64) {
        self.position = batch.through;
        self.progress.send_modify(|progress| {
            progress.position = batch.through;
            progress.commits += batch.commits.len() as u64;
            progress.records += batch.records().count() as u64;
            progress.drift += drift;
            progress.skipped += batch.left_out.len() as u64;
            progress.trouble = None;
        });
    }

    fn trouble(&mut self, trouble: Trouble) {
        self.progress.send_modify(|progress| progress.trouble = Some(trouble));
    }

    /// Waits, or ends if the agent is told to.
    fn pause(&mut self, wait: Duration) -> Result<(), Ended> {
        if Handle::current().block_on(pause(wait, &mut self.stop)) {
            Ok(())
        } else {
            Err(Ended::Over)
        }
    }
}
