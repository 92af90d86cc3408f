//! Session: one registration that follows the log, until it ends.

use std::sync::Arc;

use instep_client::{Error as ClientError, SiteChange, SiteFailure, SiteFeed, SiteTally};
use instep_model::position::Position;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::acks::Acks;
use super::applier::{Applier, Ended, Progress};
use super::giving::Giver;
use super::queue::{Inlet, queue};
use super::{Agent, AgentError, Notice, Stop, Turn};
use crate::limits::{ACK_INTERVAL, STOP_WAIT};
use crate::store::{Fatal, Identity, Store, StorePosition};

/// Codes of refusals behind which the site registers anew: the next registration says what is left.
const REGISTERS_ANEW: [&str; 4] = ["position_trimmed", "evicted", "dump_required", "wrong_state"];

/// First end of a session.
enum End {
    Stop,
    Applier,
    Server(ClientError),
}

/// Returns true if a store is behind the cursor of its registration: an older agent's restore has
/// set it back since it was read, and history is held from the cursor on.
fn is_behind(store: Position, cursor: Position) -> bool {
    store.place_in(cursor.incarnation).is_some_and(|place| place < cursor.place)
}

impl Agent {
    /// Fences the store, and follows the log behind its position.
    pub(super) async fn follow(
        &mut self,
        generation: u64,
        ((cursor, tally), begin): ((Position, SiteTally), Option<Position>),
        stop: &mut Stop,
    ) -> Result<Turn, AgentError> {
        let fence =
            move |store: &mut dyn Store| Ok((store.fence(generation, begin)?, store.skipped()?));
        let (position, skipped) = match self.with_store(fence).await {
            Ok((StorePosition::At(at), _)) if is_behind(at, cursor) => return Ok(Turn::Again),
            Ok((StorePosition::At(position), skipped)) => (position, skipped),
            Ok((StorePosition::Unkept, skipped)) => (cursor, skipped),
            Ok((StorePosition::None | StorePosition::Restoring, _)) => return Ok(Turn::Again),
            Err(error) => return Turn::of(error),
        };
        (self.notify)(&Notice::Registered { generation, position });

        let identity = self.settings.identity.clone();
        let feed = self.client.site_feed(&identity.dataset, &identity.site, generation, position);
        let (inlet, outlet) = queue();
        let (ending, ended) = watch::channel(false);
        let (progress, seen) = watch::channel(Progress::at(position));
        let (ordering, orders) = watch::channel(Vec::new());
        let store = self.store.take().expect("each turn gives the store back");
        let giver = Giver {
            client: self.client.clone(),
            dataset: identity.dataset.clone(),
            generation,
            dumper: store.dumper(),
            notify: Arc::clone(&self.notify),
            stop: ended.clone(),
        };
        let mut givings = JoinSet::new();
        let interrupt = store.interrupter();
        let applier = Applier::new(store, generation, outlet, (progress, orders), ended);
        let mut applier = tokio::task::spawn_blocking(move || applier.run());
        let (client, notify) = (self.client.clone(), Arc::clone(&self.notify));
        let known = ((cursor, tally), skipped);
        let mut acks = Acks::new(client, (identity, generation), known, ordering, notify);
        let (first, worked) = tokio::select! {
            error = pump(feed, &inlet, (&giver, &mut givings)) => {
                (error.map_or(End::Applier, End::Server), None)
            }
            error = acks.run(seen.clone()) => (End::Server(error), None),
            worked = &mut applier => (End::Applier, Some(worked)),
            _ = stop.wait_for(|stop| *stop) => (End::Stop, None),
        };
        // What waits is told again; what is at work comes to its end.
        drop(inlet);
        ending.send_replace(true);
        let ended = match worked {
            Some(worked) => Some(worked),
            None if matches!(first, End::Stop) && interrupt.is_some() => {
                // What is at work has a moment before it is undone.
                match timeout(ACK_INTERVAL, &mut applier).await {
                    Ok(worked) => Some(worked),
                    Err(_) => {
                        interrupt.iter().for_each(|interrupt| interrupt());
                        timeout(STOP_WAIT, applier).await.ok()
                    }
                }
            }
            // One that hangs in its store ends with the process.
            None if matches!(first, End::Stop) => timeout(STOP_WAIT, applier).await.ok(),
            None => Some(applier.await),
        };
        let ended = match ended {
            Some(worked) => {
                let (store, ended) = worked.expect("a store does not panic");
                self.store = Some(store);
                ended
            }
            None => Ended::Over,
        };
        let last = acks.last(&seen).await;
        while givings.join_next().await.is_some() {}
        self.end(first, ended, last, generation).await
    }

    async fn end(
        &mut self,
        first: End,
        ended: Ended,
        last: Position,
        generation: u64,
    ) -> Result<Turn, AgentError> {
        match (first, ended) {
            (_, Ended::Failed(fatal)) => {
                if let Fatal::NeedsDump(reason) = &fatal {
                    let failure = SiteFailure { reason, needs_dump: true, stands: None };
                    self.report(generation, failure).await;
                }
                Err(fatal.into())
            }
            (End::Stop, _) => {
                (self.notify)(&Notice::Stopped { position: last });
                Ok(Turn::Stop)
            }
            (End::Server(ClientError::Refused(problem)), _)
                if REGISTERS_ANEW.contains(&&*problem.code) =>
            {
                Ok(Turn::Later(problem.to_string()))
            }
            (End::Server(error), _) if error.is_transient() => Ok(Turn::Later(error.to_string())),
            (End::Server(error), _) => Err(error.into()),
            (End::Applier, Ended::Moved | Ended::Over) => Ok(Turn::Again),
        }
    }
}

impl Agent {
    /// Sets the store to a position that an operator has named, and tells the server that it is
    /// there: only then the site may register to follow the log.
    pub(super) async fn seek(
        &mut self,
        generation: u64,
        (to, tally): (Position, SiteTally),
    ) -> Result<Turn, AgentError> {
        let sought = move |store: &mut dyn Store| {
            store.seek(generation, to)?;
            store.skipped()
        };
        let skipped = match self.with_store(sought).await {
            Ok(skipped) => skipped.unwrap_or(tally.skipped),
            Err(error) => return Turn::of(error),
        };
        let Identity { dataset, site } = &self.settings.identity;
        let reached = (to, SiteTally { skipped, ..tally });
        match self.client.acknowledge_site(dataset, site, generation, reached).await {
            Ok(()) => {
                (self.notify)(&Notice::Sought { position: to });
                Ok(Turn::Again)
            }
            Err(error) if error.is_transient() => Ok(Turn::Later(error.to_string())),
            Err(ClientError::Refused(problem)) if REGISTERS_ANEW.contains(&&*problem.code) => {
                Ok(Turn::Later(problem.to_string()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Tells the server why the site cannot go on, and whether only a dump heals it.
    pub(super) async fn report(&self, generation: u64, failure: SiteFailure<'_>) {
        let Identity { dataset, site } = &self.settings.identity;
        let reported = self.client.report_site_failure(dataset, site, generation, failure);
        if let Err(error) = reported.await {
            tracing::warn!(%error, "the failure could not be reported");
        }
    }
}

/// Moves the feed into the queue. Returns the error that ended it; none if the store has ended.
async fn pump(
    mut feed: SiteFeed,
    inlet: &Inlet,
    (giver, givings): (&Giver, &mut JoinSet<()>),
) -> Option<ClientError> {
    loop {
        let is_taken = match feed.next().await {
            Ok(SiteChange::Commit(commit)) => inlet.commit(commit).await,
            Ok(SiteChange::Bookmark(position)) => inlet.bookmark(position).await,
            Ok(SiteChange::DumpAsked(dump)) => {
                givings.spawn(giver.clone().give(dump));
                // Those that have ended are of no use any more.
                while givings.try_join_next().is_some() {}
                true
            }
            Err(error) => return Some(error),
        };
        if !is_taken {
            return None;
        }
    }
}
