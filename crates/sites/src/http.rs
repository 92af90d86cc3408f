//! Store behind an address: commits are posted to it as JSON.
//!
//! The header `idempotency-key` is the position of the last commit of a request. A status of 2xx
//! takes all of its commits, 4xx refuses them, anything else is tried again: each comes at least
//! once. The server's cursor is the position.

use instep_client::{Client, SiteCommit};
use instep_model::position::Position;
use serde::Serialize;
use tokio::runtime::Handle;

use crate::batch::Batch;
use crate::limits::HTTP_COMMITS;
use crate::store::{Applied, Identity, Store, StoreError, StorePosition, bounded};

/// Statuses of refusals that waiting solves: too slow, too early, too often.
const PASSING: [u16; 3] = [408, 425, 429];

/// An address that applies.
pub struct HttpStore {
    receiver: Client,
    identity: Identity,
    runtime: Handle,
}

/// Body of a request.
#[derive(Serialize)]
struct Body<'a> {
    dataset: &'a str,
    site: &'a str,
    commits: &'a [SiteCommit],
}

impl HttpStore {
    /// A store behind the address of `receiver`.
    #[must_use]
    pub fn new(receiver: Client, identity: Identity, runtime: Handle) -> Self {
        Self { receiver, identity, runtime }
    }
}

impl Store for HttpStore {
    fn open(&mut self) -> Result<StorePosition, StoreError> {
        Ok(StorePosition::Unkept)
    }

    fn fence(&mut self, _: u64, _: Option<Position>) -> Result<StorePosition, StoreError> {
        Ok(StorePosition::Unkept)
    }

    fn apply(&mut self, batch: &Batch) -> Result<Applied, StoreError> {
        let last = batch.commits.last().filter(|_| !batch.leaves_all_out());
        let Some(last) = last else { return Ok(Applied::default()) };
        let Identity { dataset, site } = &self.identity;
        let body = Body { dataset, site, commits: &batch.commits };
        let body = serde_json::to_vec(&body)
            .map_err(|error| StoreError::record("the commits as JSON", error))?;
        let key = last.position.to_string();
        let posted = self.runtime.block_on(self.receiver.deliver(&key, body));
        let (status, answer) = posted.map_err(|error| passing(&error))?;
        let text = || bounded(&format!("status {status}: {}", answer.trim()));
        match status {
            200..300 => Ok(Applied::default()),
            400..500 if !PASSING.contains(&status) => Err(StoreError::refused(text())),
            _ => Err(passing(&text())),
        }
    }

    fn batch_commits(&self) -> usize {
        HTTP_COMMITS
    }
}

fn passing(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Passing(bounded(&format!("the address: {error}")))
}
