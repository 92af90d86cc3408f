//! Acknowledgements: positions that the store has made durable, at most one a second.

use std::time::Instant;

use instep_client::{
    Backoff, Client, Error as ClientError, SiteFailure, SiteSkip, SiteStatus, SiteTally,
};
use instep_model::position::Position;
use tokio::sync::watch;
use tokio::time::timeout;

use super::applier::{Progress, Trouble};
use super::{Notice, Notify};
use crate::limits::{
    ACK_INTERVAL, FIRST_WAIT, LONGEST_WAIT, ORDER_INTERVAL, TROUBLE_WAIT, WORD_INTERVAL,
};
use crate::store::Identity;

/// Acknowledgements and reports of one registration.
pub(super) struct Acks {
    client: Client,
    identity: Identity,
    generation: u64,
    acknowledged: (Position, SiteTally),
    /// Differences between the store and the log when the registration began.
    tally: SiteTally,
    /// Orders of operators to leave records out, for the store.
    orders: watch::Sender<Vec<SiteSkip>>,
    /// Time of the last acknowledgement.
    said: Instant,
    /// Trouble that the server and the operator were told.
    told: Option<Trouble>,
    /// Begin of trouble that has not passed yet; true once the server was told.
    lasting: Option<(Instant, bool)>,
    notify: Notify,
}

impl Acks {
    /// Acknowledgements of a registration that the server knows to be at a position, with these
    /// differences; its store has `skipped` records left out, if it keeps account of them.
    pub(super) fn new(
        client: Client,
        (identity, generation): (Identity, u64),
        (acknowledged, skipped): ((Position, SiteTally), Option<u64>),
        orders: watch::Sender<Vec<SiteSkip>>,
        notify: Notify,
    ) -> Self {
        let skipped = skipped.unwrap_or(acknowledged.1.skipped);
        let tally = SiteTally { skipped, ..acknowledged.1 };
        let (told, lasting, said) = (None, None, Instant::now());
        Self {
            client,
            identity,
            generation,
            acknowledged,
            tally,
            orders,
            said,
            told,
            lasting,
            notify,
        }
    }

    /// Tells the server of progress, until it refuses.
    pub(super) async fn run(&mut self, mut seen: watch::Receiver<Progress>) -> ClientError {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            let now = seen.borrow_and_update().clone();
            let wait = match self.tell(&now).await {
                Ok(()) => {
                    backoff.reset();
                    ACK_INTERVAL
                }
                // The position is the same a little later, or better.
                Err(error) if error.is_transient() => backoff.next_wait().max(ACK_INTERVAL),
                Err(error) => return error,
            };
            tokio::time::sleep(wait).await;
            let is_refused = matches!(self.told, Some(Trouble::Refused { .. }));
            // An operator may have decided; or the server hears that the site is there.
            let patience = if is_refused { ORDER_INTERVAL } else { WORD_INTERVAL };
            let changed = timeout(patience, seen.changed()).await.unwrap_or(Ok(()));
            if changed.is_err() {
                // The store has ended, which is seen elsewhere.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Tells the server the last position once, and returns it.
    pub(super) async fn last(&mut self, seen: &watch::Receiver<Progress>) -> Position {
        let now = seen.borrow().clone();
        if let Err(error) = self.acknowledge(&now).await {
            tracing::warn!(%error, "the last position could not be acknowledged");
        }
        now.position
    }

    async fn tell(&mut self, now: &Progress) -> Result<(), ClientError> {
        self.acknowledge(now).await?;
        if let Some(Trouble::Passing(reason)) = &now.trouble {
            self.tell_if_it_lasts(reason).await?;
        }
        if self.told == now.trouble {
            return self.look_for_orders().await;
        }
        match &now.trouble {
            None => {
                self.lasting = None;
                (self.notify)(&Notice::Healed);
            }
            Some(Trouble::Passing(reason)) => {
                (self.notify)(&Notice::Waiting { reason: reason.clone() });
            }
            Some(Trouble::Refused { at, reason }) => {
                let notice = Notice::Refused {
                    position: Some(at.position),
                    record: at.record,
                    reason: reason.clone(),
                };
                (self.notify)(&notice);
                let failure = SiteFailure { reason, needs_dump: false, stands: Some(*at) };
                self.report(failure).await?;
            }
        }
        self.told.clone_from(&now.trouble);
        Ok(())
    }

    /// Tells the server of trouble that does not pass for a while, once.
    async fn tell_if_it_lasts(&mut self, reason: &str) -> Result<(), ClientError> {
        let (since, is_told) = *self.lasting.get_or_insert_with(|| (Instant::now(), false));
        if is_told || since.elapsed() < TROUBLE_WAIT {
            return Ok(());
        }
        self.report(SiteFailure { reason, needs_dump: false, stands: None }).await?;
        self.lasting = Some((since, true));
        Ok(())
    }

    async fn report(&self, failure: SiteFailure<'_>) -> Result<(), ClientError> {
        let Identity { dataset, site } = &self.identity;
        self.client.report_site_failure(dataset, site, self.generation, failure).await
    }

    /// Asks whether an operator lets a record be left out, while the site stands at one.
    async fn look_for_orders(&mut self) -> Result<(), ClientError> {
        let Some(Trouble::Refused { .. }) = &self.told else { return Ok(()) };
        let Identity { dataset, site } = &self.identity;
        let SiteStatus { state, skips, .. } = self.client.site(dataset, site).await?;
        if ["live", "catching-up"].contains(&&*state) {
            // An operator has paused it meanwhile, and let it go on: it still stands.
            self.told = None;
        }
        self.orders.send_if_modified(|orders| {
            let is_new = *orders != skips;
            *orders = skips;
            is_new
        });
        Ok(())
    }

    async fn acknowledge(&mut self, now: &Progress) -> Result<(), ClientError> {
        let Progress { position, commits, records, drift, skipped, .. } = *now;
        let tally =
            SiteTally { drift: self.tally.drift + drift, skipped: self.tally.skipped + skipped };
        let is_new = (position, tally) != self.acknowledged;
        if !is_new && self.said.elapsed() < WORD_INTERVAL {
            return Ok(());
        }
        let Identity { dataset, site } = &self.identity;
        let acknowledged = (position, tally);
        self.client.acknowledge_site(dataset, site, self.generation, acknowledged).await?;
        (self.acknowledged, self.said) = (acknowledged, Instant::now());
        if is_new {
            (self.notify)(&Notice::Applied { position, commits, records, drift, skipped });
        }
        Ok(())
    }
}
