//! Changefeeds that resume where they were cut.

use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backoff::Backoff;
use crate::error::{Error, Problem};
use crate::http::Client;
use crate::lines::Lines;

/// Waits before a feed is opened again.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A feed that has an end gives up after this many attempts in vain; one without never does.
const ATTEMPTS: u32 = 8;

/// A commit as followers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// Complete up to here.
    pub position: String,
    /// Time of the commit, in milliseconds since 1970.
    pub time_ms: u64,
    /// Changes, in final values: one object with one key each (`put`, `delete`, `append` …).
    pub records: Vec<Value>,
}

/// Entry of a changefeed.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A commit.
    Commit(Commit),
    /// Position up to which nothing more was committed.
    Bookmark(String),
}

/// The commits of a dataset, in order, without gaps. A lost connection is made again, and the
/// feed goes on after the last commit it told.
#[derive(Debug)]
pub struct Changes {
    client: Client,
    dataset: String,
    since: Option<String>,
    follow: bool,
    lines: Option<Lines>,
    opened_once: bool,
    backoff: Backoff,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Commit(Commit),
    Bookmark { bookmark: String },
    Error { error: Problem },
}

impl Client {
    /// The commits after `since`, or from the oldest one kept; with `follow` without end.
    #[must_use]
    pub fn changes(&self, dataset: &str, since: Option<String>, follow: bool) -> Changes {
        Changes {
            client: self.clone(),
            dataset: dataset.to_owned(),
            since,
            follow,
            lines: None,
            opened_once: false,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
        }
    }
}

impl Changes {
    /// The position that the feed would go on after.
    #[must_use]
    pub fn position(&self) -> Option<&str> {
        self.since.as_deref()
    }

    /// The next change; none when a feed without `follow` is at its end. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Refused`] when the feed cannot go on (`position_trimmed`, `other_history`, …: take
    /// a snapshot); [`Error::Unreachable`] when the server was never reached.
    pub async fn next(&mut self) -> Result<Option<Change>, Error> {
        loop {
            match self.step().await {
                Ok(Some(Line::Commit(commit))) => {
                    self.heard(&commit.position);
                    return Ok(Some(Change::Commit(commit)));
                }
                Ok(Some(Line::Bookmark { bookmark })) => {
                    self.heard(&bookmark);
                    return Ok(Some(Change::Bookmark(bookmark)));
                }
                Ok(Some(Line::Error { error })) => {
                    self.cut(Error::Refused(Box::new(error))).await?;
                }
                Ok(None) if !self.follow => return Ok(None),
                Ok(None) => {
                    let address = self.client.base_url().to_owned();
                    self.cut(Error::Lost { address, reason: "it ended".into() }).await?;
                }
                Err(error) => self.cut(error).await?,
            }
        }
    }

    async fn step(&mut self) -> Result<Option<Line>, Error> {
        let lines = match &mut self.lines {
            Some(lines) => lines,
            closed => {
                let mut url = self.client.url(&["v1", "datasets", &self.dataset, "changes"])?;
                url.query_pairs_mut().append_pair("follow", &self.follow.to_string());
                if let Some(since) = &self.since {
                    url.query_pairs_mut().append_pair("since", since);
                }
                let response = self.client.send(Method::GET, url, None).await?;
                self.opened_once = true;
                closed.insert(Lines::new(response, self.client.base_url()))
            }
        };
        lines.next().await
    }

    fn heard(&mut self, position: &str) {
        self.since = Some(position.to_owned());
        self.backoff.reset();
    }

    /// Waits for the next attempt, if one makes sense.
    async fn cut(&mut self, error: Error) -> Result<(), Error> {
        self.lines = None;
        let patient = self.follow || self.backoff.attempts() < ATTEMPTS;
        // A server that answers is there; one that was never reached may be a wrong address.
        self.opened_once |= error.code().is_some();
        if !self.opened_once || !error.is_transient() || !patient {
            return Err(error);
        }
        tracing::debug!(%error, "the feed was cut and goes on");
        tokio::time::sleep(self.backoff.next_wait()).await;
        Ok(())
    }
}
