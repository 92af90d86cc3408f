//! Commits that are safe to retry.

use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::backoff::Backoff;
use crate::error::Error;
use crate::http::Client;

/// Most times that a commit is sent.
const ATTEMPTS: u32 = 8;
/// Waits between two of them: some six seconds in all.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The reply to a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The commit's id.
    #[serde(default)]
    pub id: Uuid,
    /// Complete up to here.
    pub position: String,
    /// Numbers that operations computed (`add`, `append`), one for each operation.
    pub results: Vec<Option<i64>>,
    /// An earlier commit with the same id had taken effect already.
    pub replayed: bool,
}

impl Client {
    /// Commits operations: all of them become visible together, or none. Without an `id` a new
    /// UUIDv7 is made. When the answer is lost, or the server asks for patience (429, 503), the
    /// commit is repeated with the same id, so that it takes effect at most once.
    ///
    /// # Errors
    /// [`Error::Refused`] when nothing happened; [`Error::Unreachable`] when nothing was sent;
    /// [`Error::OutcomeUnknown`] when the repetitions were not answered either.
    pub async fn commit(
        &self,
        dataset: &str,
        ops: &[Value],
        id: Option<Uuid>,
    ) -> Result<Receipt, Error> {
        let id = id.unwrap_or_else(Uuid::now_v7);
        let url = self.url(&["v1", "datasets", dataset, "commits"])?;
        // Encoded once: the server compares the bytes of a repetition with those of the original.
        let body = json!({"id": id, "ops": ops}).to_string().into_bytes();
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut unknown = false;
        loop {
            let sent = self.send(Method::POST, url.clone(), Some(body.clone())).await;
            let answer = match sent {
                Ok(response) => self.read::<Receipt>(response).await,
                Err(error) => Err(error),
            };
            let error = match answer {
                Ok(receipt) => return Ok(Receipt { id, ..receipt }),
                Err(error) => error,
            };
            unknown |= leaves_open(&error);
            // A request that never reached the server is told at once: nothing can have happened.
            let in_vain = matches!(error, Error::Unreachable { .. }) && !unknown;
            let again = error.is_transient() && !in_vain && backoff.attempts() + 1 < ATTEMPTS;
            if !again {
                let is_open = unknown && error.is_transient();
                let last = Box::new(error);
                return Err(if is_open { Error::OutcomeUnknown { id, last } } else { *last });
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }
}

/// The commit may have taken effect all the same.
fn leaves_open(error: &Error) -> bool {
    matches!(error, Error::Lost { .. }) || error.code() == Some("outcome_unknown")
}
