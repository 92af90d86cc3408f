//! Sites: registrations of databases that apply the log of a dataset, and their acknowledgements.

mod dumps;
mod feed;

pub use dumps::{DumpChunk, DumpEnd, DumpState, DumpStatus};
pub use feed::{SiteAppend, SiteChange, SiteCommit, SiteFeed, SiteRecord};

use instep_model::position::Position;
pub use instep_model::site::{Stand as SiteStand, Tally as SiteTally};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::Error;
use crate::http::Client;

/// Registration of a site: where it begins, and its share of the dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewSite {
    /// Start of the site.
    #[serde(flatten)]
    pub start: SiteStart,
    /// Tables of its share; none: all.
    pub tables: Option<Vec<String>>,
    /// Journals of its share; none: all.
    pub journals: Option<Vec<String>>,
}

/// Start of a site in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "start", rename_all = "snake_case")]
pub enum SiteStart {
    /// Behind the newest commit: a site that needs nothing of before.
    Head,
    /// The first commit, while it is still kept.
    Beginning,
    /// A dump of the server's tables, or of another site.
    Dump {
        /// `server`, or the id of a site.
        source: String,
    },
    /// The position that its store has; none: the server's cursor of the site.
    Resume {
        /// Everything up to here is applied.
        #[serde(skip_serializing_if = "Option::is_none")]
        position: Option<Position>,
    },
}

/// Registration that the server gave.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Registered {
    /// Generation of the registration: requests of older ones are refused.
    pub generation: u64,
    /// State of the site: `reserved`, `dumping`, `catching-up`, `live` …
    pub state: String,
    /// Position up to which the server knows everything to be applied.
    #[serde(default)]
    pub cursor: Option<Position>,
    /// Dump that the site is to restore.
    #[serde(default)]
    pub dump: Option<String>,
    /// Differences between the store and the log, as far as the server was told.
    #[serde(flatten)]
    pub tally: SiteTally,
    /// The store is to be set to the cursor, which is acknowledged then, before the log is
    /// followed.
    #[serde(default)]
    pub seek: bool,
}

/// Order of an operator to leave a record out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteSkip {
    /// The record.
    #[serde(flatten)]
    pub at: SiteStand,
    /// Reason, in the words of the operator.
    pub reason: String,
}

/// Failure of a site, to be reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SiteFailure<'a> {
    /// Reason, in the words of its store.
    pub reason: &'a str,
    /// Only a dump mends it.
    pub needs_dump: bool,
    /// The record that the store refuses, if it is one.
    pub stands: Option<SiteStand>,
}

/// Sites of a dataset, as the server knows them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteList {
    /// Head of the log.
    pub position: Position,
    /// The sites.
    pub sites: Vec<SiteStatus>,
}

/// A site, as the server knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteStatus {
    /// Its id.
    pub site: String,
    /// `reserved`, `dumping`, `catching-up`, `live`, `paused`, `failed` or `evicted`.
    pub state: String,
    /// Reason of the state.
    #[serde(default)]
    pub reason: Option<String>,
    /// Position up to which everything is applied there.
    #[serde(default)]
    pub cursor: Option<Position>,
    /// Record that it stands at, while it is `failed`.
    #[serde(default)]
    pub stands: Option<SiteStand>,
    /// Records that it is to leave out.
    #[serde(default)]
    pub skips: Vec<SiteSkip>,
    /// Other fields of the server's answer: lag, generation, tables …
    #[serde(flatten)]
    pub more: serde_json::Map<String, Value>,
}

impl Client {
    /// Registers a site, or registers it again: the newest registration counts.
    ///
    /// # Errors
    /// [`Error::Refused`] with `dump_required`, `other_history`, `position_ahead`, `bad_source`,
    /// `other_scope` …
    pub async fn register_site(
        &self,
        dataset: &str,
        site: &str,
        new: &NewSite,
    ) -> Result<Registered, Error> {
        let body = serde_json::to_value(new).map_err(|error| self.unexpected(error.to_string()))?;
        self.request(Method::POST, &site_path(dataset, site, None), Some(&body)).await
    }

    /// Acknowledges everything up to `position` as applied and durable at the site.
    ///
    /// # Errors
    /// [`Error::Refused`] with `fenced` when a newer registration exists, or `position_ahead`.
    pub async fn acknowledge_site(
        &self,
        dataset: &str,
        site: &str,
        generation: u64,
        (position, tally): (Position, SiteTally),
    ) -> Result<(), Error> {
        let SiteTally { drift, skipped } = tally;
        let body = json!({
            "generation": generation, "position": position, "drift": drift, "skipped": skipped,
        });
        let path = site_path(dataset, site, Some("ack"));
        self.request::<Value>(Method::POST, &path, Some(&body)).await.map(drop)
    }

    /// Reports a failure at the site: of a record that it stands at, or one that only a new dump
    /// heals.
    ///
    /// # Errors
    /// [`Error::Refused`] with `fenced` when a newer registration exists.
    pub async fn report_site_failure(
        &self,
        dataset: &str,
        site: &str,
        generation: u64,
        failure: SiteFailure<'_>,
    ) -> Result<(), Error> {
        let SiteFailure { reason, needs_dump, stands } = failure;
        let mut body = json!({
            "generation": generation, "reason": reason, "needs_dump": needs_dump,
        });
        if let Some(SiteStand { position, record }) = stands {
            (body["position"], body["record"]) = (json!(position), json!(record));
        }
        let path = site_path(dataset, site, Some("failure"));
        self.request::<Value>(Method::POST, &path, Some(&body)).await.map(drop)
    }

    /// The sites of a dataset.
    ///
    /// # Errors
    /// Any [`Error`] of a request.
    pub async fn sites(&self, dataset: &str) -> Result<SiteList, Error> {
        self.request(Method::GET, &["v1", "datasets", dataset, "sites"], None).await
    }

    /// A site of a dataset.
    ///
    /// # Errors
    /// [`Error::Refused`] with `unknown_site`.
    pub async fn site(&self, dataset: &str, site: &str) -> Result<SiteStatus, Error> {
        self.request(Method::GET, &site_path(dataset, site, None), None).await
    }

    /// Lets a site leave out the record that it stands at, and go on behind it.
    ///
    /// # Errors
    /// [`Error::Refused`] with `unknown_site`, `wrong_state`, `stands_elsewhere` or
    /// `too_many_skips`.
    pub async fn skip_record(
        &self,
        dataset: &str,
        site: &str,
        skip: &SiteSkip,
    ) -> Result<(), Error> {
        let path = site_path(dataset, site, Some("skip"));
        let body =
            serde_json::to_value(skip).map_err(|error| self.unexpected(error.to_string()))?;
        self.request::<Value>(Method::POST, &path, Some(&body)).await.map(drop)
    }

    /// Sets the position of a site.
    ///
    /// # Errors
    /// [`Error::Refused`] with `unknown_site`, `wrong_state`, `position_ahead`,
    /// `position_trimmed`, `other_history` or `dump_required`.
    pub async fn seek_site(
        &self,
        dataset: &str,
        site: &str,
        (to, reason): (Position, &str),
    ) -> Result<(), Error> {
        let body = json!({"position": to, "reason": reason});
        let path = site_path(dataset, site, Some("seek"));
        self.request::<Value>(Method::POST, &path, Some(&body)).await.map(drop)
    }

    /// Pauses a site, or lets it go on: a paused one is sent nothing, and history is held for it.
    ///
    /// # Errors
    /// [`Error::Refused`] with `unknown_site` or `wrong_state`.
    pub async fn pause_site(
        &self,
        dataset: &str,
        site: &str,
        is_paused: bool,
    ) -> Result<(), Error> {
        let action = if is_paused { "pause" } else { "resume" };
        let path = site_path(dataset, site, Some(action));
        self.request::<Value>(Method::POST, &path, None).await.map(drop)
    }

    /// Removes a site: history is no longer kept for it.
    ///
    /// # Errors
    /// [`Error::Refused`] when there is no such site.
    pub async fn remove_site(&self, dataset: &str, site: &str) -> Result<(), Error> {
        let path = site_path(dataset, site, None);
        self.request::<Value>(Method::DELETE, &path, None).await.map(drop)
    }
}

fn site_path<'a>(dataset: &'a str, site: &'a str, action: Option<&'a str>) -> Vec<&'a str> {
    let mut path = vec!["v1", "datasets", dataset, "sites", site];
    path.extend(action);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_says_its_start_and_its_share() {
        let resume = SiteStart::Resume { position: None };
        let dump = SiteStart::Dump { source: "node1".into() };
        let told = |start, tables| {
            serde_json::to_value(NewSite { start, tables, journals: None }).unwrap()
        };

        assert_eq!(
            told(resume, None),
            json!({"start": "resume", "tables": null, "journals": null})
        );
        assert_eq!(
            told(dump, Some(vec!["t".to_owned()])),
            json!({"start": "dump", "source": "node1", "tables": ["t"], "journals": null})
        );
    }
}
