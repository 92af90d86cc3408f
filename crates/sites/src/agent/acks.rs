//! Acknowledgements: positions that the store has made durable, at most one a second.

use std::time::Instant;

use instep_client::{Backoff, Client, Error as ClientError};
use instep_model::position::Position;
use tokio::sync::watch;

use super::applier::{Progress, Trouble};
use super::{Notice, Notify};
use crate::limits::{ACK_INTERVAL, FIRST_WAIT, LONGEST_WAIT, TROUBLE_WAIT};
use crate::store::Identity;

/// Acknowledgements and reports of one registration.
pub(super) struct Acks {
    client: Client,
    identity: Identity,
    generation: u64,
    acknowledged: Position,
    /// Trouble that the server and the operator were told.
    told: Option<Trouble>,
    /// Begin of trouble that has not passed yet; true once the server was told.
    lasting: Option<(Instant, bool)>,
    notify: Notify,
}

impl Acks {
    pub(super) fn new(
        client: Client,
        identity: Identity,
        generation: u64,
        acknowledged: Position,
        notify: Notify,
    ) -> Self {
        Self { client, identity, generation, acknowledged, told: None, lasting: None, notify }
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
            if seen.changed().await.is_err() {
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
            return Ok(());
        }
        match &now.trouble {
            None => {
                self.lasting = None;
                (self.notify)(&Notice::Healed);
            }
            Some(Trouble::Passing(reason)) => {
                (self.notify)(&Notice::Waiting { reason: reason.clone() });
            }
            Some(Trouble::Refused { position, reason }) => {
                let (position, reason) = (Some(*position), reason.clone());
                (self.notify)(&Notice::Refused { position, reason: reason.clone() });
                let Identity { dataset, site } = &self.identity;
                let report = (&*reason, false);
                self.client.report_site_failure(dataset, site, self.generation, report).await?;
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
        let Identity { dataset, site } = &self.identity;
        let report = (reason, false);
        self.client.report_site_failure(dataset, site, self.generation, report).await?;
        self.lasting = Some((since, true));
        Ok(())
    }

    async fn acknowledge(&mut self, now: &Progress) -> Result<(), ClientError> {
        if now.position == self.acknowledged {
            return Ok(());
        }
        let Identity { dataset, site } = &self.identity;
        self.client.acknowledge_site(dataset, site, self.generation, now.position).await?;
        self.acknowledged = now.position;
        let Progress { position, commits, records, drift, .. } = *now;
        (self.notify)(&Notice::Applied { position, commits, records, drift });
        Ok(())
    }
}
