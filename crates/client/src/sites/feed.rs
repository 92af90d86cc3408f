//! Changefeed of a site: its share of the dataset, in final values, and what the server asks of it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use instep_model::position::Position;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::backoff::Backoff;
use crate::error::{Error, Problem};
use crate::http::Client;
use crate::lines::Lines;

/// Waits before a feed is opened again.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A commit as a site gets it: the records of its share.
#[derive(Debug, Clone, Serialize)]
pub struct SiteCommit {
    /// Complete up to here.
    pub position: Position,
    /// Time of the commit, in milliseconds since 1970.
    pub time_ms: u64,
    /// Changes, in final values.
    pub records: Vec<SiteRecord>,
}

/// A change in final values.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SiteRecord {
    /// A row has this value now.
    Put {
        /// The table.
        table: String,
        /// The key.
        key: String,
        /// The row: a JSON object, as the bytes that were sent.
        row: Box<RawValue>,
    },
    /// A row is gone.
    Delete {
        /// The table.
        table: String,
        /// The key.
        key: String,
    },
    /// A record of a journal.
    Append(SiteAppend),
    /// A table was made.
    CreateTable {
        /// The table.
        table: String,
        /// Readable at the server without any right.
        public: bool,
    },
    /// A table is gone, with all its rows.
    DropTable {
        /// The table.
        table: String,
    },
    /// A journal was made.
    CreateJournal {
        /// The journal.
        journal: String,
    },
}

/// A record of a journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "WireAppend", into = "WireAppend")]
pub struct SiteAppend {
    /// The journal.
    pub journal: String,
    /// Number of the record in its journal, from 1.
    pub ordinal: u64,
    /// The record, opaque.
    pub bytes: Vec<u8>,
}

/// Entry of a site's changefeed.
#[derive(Debug, Clone)]
pub enum SiteChange {
    /// A commit.
    Commit(SiteCommit),
    /// Position up to which nothing more of the share was committed.
    Bookmark(Position),
    /// The site is asked for a dump of its store, under this id.
    DumpAsked(String),
}

/// The commits of a site's share, in order, without gaps. A lost connection is made again, and the
/// feed goes on after the last commit it told.
#[derive(Debug)]
pub struct SiteFeed {
    client: Client,
    dataset: String,
    site: String,
    generation: u64,
    since: Position,
    lines: Option<Lines>,
    backoff: Backoff,
}

/// A line of any kind. No untagged enum: that would parse rows, and lose digits of their numbers.
#[derive(Deserialize)]
struct Line {
    position: Option<Position>,
    time_ms: Option<u64>,
    records: Option<Vec<SiteRecord>>,
    bookmark: Option<Position>,
    dump: Option<AskedDump>,
    error: Option<Problem>,
}

#[derive(Deserialize)]
struct AskedDump {
    id: String,
}

#[derive(Serialize, Deserialize)]
struct WireAppend {
    journal: String,
    ordinal: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

impl Client {
    /// The feed of a site behind `since`, which its store has.
    #[must_use]
    pub fn site_feed(
        &self,
        dataset: &str,
        site: &str,
        generation: u64,
        since: Position,
    ) -> SiteFeed {
        SiteFeed {
            client: self.clone(),
            dataset: dataset.to_owned(),
            site: site.to_owned(),
            generation,
            since,
            lines: None,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
        }
    }
}

impl SiteFeed {
    /// The next entry; waits until there is one, also while the server cannot be reached. Not
    /// cancel-safe: a request that is given up is made anew.
    ///
    /// # Errors
    /// [`Error::Refused`] when the feed cannot go on (`fenced`, `position_trimmed`, `evicted`,
    /// `other_history`, …); [`Error::Unexpected`] when this program does not know an entry.
    pub async fn next(&mut self) -> Result<SiteChange, Error> {
        loop {
            match self.step().await {
                Ok(change) => {
                    self.backoff.reset();
                    return Ok(change);
                }
                Err(error) if error.is_transient() => {
                    self.lines = None;
                    tracing::debug!(%error, "the feed was cut and goes on");
                    tokio::time::sleep(self.backoff.next_wait()).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn step(&mut self) -> Result<SiteChange, Error> {
        let lines = match &mut self.lines {
            Some(lines) => lines,
            closed => {
                let mut url = self.client.url(&["v1", "datasets", &self.dataset, "changes"])?;
                url.query_pairs_mut()
                    .append_pair("site", &self.site)
                    .append_pair("generation", &self.generation.to_string())
                    .append_pair("since", &self.since.to_string())
                    .append_pair("follow", "true");
                let response = self.client.send(Method::GET, url, None).await?;
                closed.insert(Lines::new(response, self.client.base_url()))
            }
        };
        let address = || self.client.base_url().to_owned();
        let Some(line) = lines.next::<Line>().await? else {
            return Err(Error::Lost { address: address(), reason: "it ended".into() });
        };
        let unknown = || Error::Unexpected {
            address: address(),
            reason: "an entry of the feed that this program does not know".into(),
        };
        let change = line.change().ok_or_else(unknown)??;
        match &change {
            SiteChange::Commit(SiteCommit { position, .. }) | SiteChange::Bookmark(position) => {
                self.since = *position;
            }
            SiteChange::DumpAsked(_) => {}
        }
        Ok(change)
    }
}

impl Line {
    fn change(self) -> Option<Result<SiteChange, Error>> {
        if let Some(problem) = self.error {
            return Some(Err(Error::Refused(Box::new(problem))));
        }
        if let Some(bookmark) = self.bookmark {
            return Some(Ok(SiteChange::Bookmark(bookmark)));
        }
        if let Some(AskedDump { id }) = self.dump {
            return Some(Ok(SiteChange::DumpAsked(id)));
        }
        let (position, records) = (self.position?, self.records?);
        let time_ms = self.time_ms.unwrap_or_default();
        Some(Ok(SiteChange::Commit(SiteCommit { position, time_ms, records })))
    }
}

impl TryFrom<WireAppend> for SiteAppend {
    type Error = String;

    fn try_from(wire: WireAppend) -> Result<Self, String> {
        let WireAppend { journal, ordinal, text, base64 } = wire;
        let ordinal = ordinal.parse().map_err(|_| format!("{ordinal:?} is no ordinal"))?;
        let bytes = match (text, base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(base64)) => BASE64.decode(base64).map_err(|error| error.to_string())?,
            (Some(_), Some(_)) | (None, None) => {
                return Err("a record of a journal has either text or base64".into());
            }
        };
        Ok(Self { journal, ordinal, bytes })
    }
}

impl From<SiteAppend> for WireAppend {
    fn from(append: SiteAppend) -> Self {
        let SiteAppend { journal, ordinal, bytes } = append;
        let ordinal = format!("{ordinal:020}");
        match String::from_utf8(bytes) {
            Ok(text) => Self { journal, ordinal, text: Some(text), base64: None },
            Err(error) => {
                let base64 = Some(BASE64.encode(error.as_bytes()));
                Self { journal, ordinal, text: None, base64 }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> SiteChange {
        serde_json::from_str::<Line>(text).unwrap().change().unwrap().unwrap()
    }

    #[test]
    fn rows_keep_every_digit_and_journals_every_byte() {
        let position = "00000000000000000000000000000007-00000000000000000042-00003";
        let SiteChange::Commit(commit) = read(&format!(
            r#"{{"position":"{position}","time_ms":5,"records":[
            {{"put":{{"table":"t","key":"k","row":{{"n":18446744073709551615,"d":1e-310}}}}}},
            {{"append":{{"journal":"j","ordinal":"00000000000000000009","base64":"AP8="}}}}]}}"#
        )) else {
            panic!("a commit was sent");
        };

        let [SiteRecord::Put { row, .. }, SiteRecord::Append(append)] = &commit.records[..] else {
            panic!("two records were sent: {commit:?}");
        };
        assert_eq!(row.get(), r#"{"n":18446744073709551615,"d":1e-310}"#);
        assert_eq!((append.ordinal, &append.bytes[..]), (9, &[0, 255][..]));
        assert_eq!(commit.position.to_string(), position);
        let told = serde_json::to_string(&commit).unwrap();
        assert!(told.contains(r#""row":{"n":18446744073709551615,"d":1e-310}"#), "{told}");
        assert!(told.contains(r#""ordinal":"00000000000000000009","base64":"AP8=""#), "{told}");
    }

    #[test]
    fn a_record_that_is_not_known_is_an_error_and_not_skipped() {
        let line = r#"{"position":"00000000000000000000000000000007-00000000000000000042-00003",
            "time_ms":5,"records":[{"rename_table":{"table":"t"}}]}"#;

        assert!(serde_json::from_str::<Line>(line).is_err());
    }
}
