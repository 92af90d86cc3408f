//! Board: what the page shows, published whenever it changes and a page is open.

use std::collections::BTreeMap;
use std::time::Duration;

use instep::Payload;
use instep_client::SiteStatus;
use instep_shop::DATASET;
use instep_shop::sites::{EVENT, TOPIC};
use serde_json::{Value, json};

use super::database::{self, Rows};
use super::process::Process;
use super::{FIRST, Fleet, NAMES, Site};

/// Time that the server has to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

impl Fleet {
    /// Publishes the board, if it has changed and a page is open.
    pub(super) async fn publish(&mut self) {
        let is_watched = self.node.topics().get(TOPIC).is_some_and(|topic| topic.subscribers() > 0);
        if !is_watched {
            // The next page may come after the last value was forgotten.
            self.published = Value::Null;
            return;
        }
        let Some(board) = self.board().await else { return };
        if board == self.published {
            return;
        }
        let payload = Payload::Json(board.to_string().into());
        if let Err(error) = self.node.publish(TOPIC, EVENT, payload) {
            tracing::warn!(%error, "the sites are not told");
        }
        self.published = board;
    }

    async fn board(&self) -> Option<Value> {
        let state = self.node.dataset(DATASET)?.state();
        let server = Rows::of_server(&state);
        let listed = tokio::time::timeout(ANSWER_WITHIN, self.client.sites(DATASET)).await;
        let listed = listed.ok().and_then(Result::ok).map(|list| list.sites).unwrap_or_default();
        let known: BTreeMap<&str, &SiteStatus> =
            listed.iter().map(|status| (status.site.as_str(), status)).collect();
        let mut sites = Vec::new();
        for site in &self.sites {
            sites.push(self.shown(site, known.get(site.name).copied(), &server).await);
        }
        Some(json!({
            "server": {
                "revision": self.backlog.newest().map(|place| place.revision),
                "rows": server,
            },
            "sites": sites,
            "can_add": self.sites.len() < NAMES.len(),
        }))
    }

    async fn shown(&self, site: &Site, status: Option<&SiteStatus>, server: &Rows) -> Value {
        let file = self.file(site.name);
        let read = move || (database::read(&file), database::bytes(&file));
        let (copy, disk) = tokio::task::spawn_blocking(read).await.unwrap_or_default();
        let told = |field: &str| status.and_then(|status| status.more.get(field));
        let notice = site.process.as_ref().and_then(Process::notice);
        let dump = match &notice {
            Some(notice) if notice["event"] == "restoring" => self.dump(notice).await,
            _ => Value::Null,
        };
        let reason = site.reason.clone().or_else(|| trouble(notice.as_ref()));
        json!({
            "site": site.name,
            "process": site.standing.word(),
            "pid": site.process.as_ref().map(Process::id),
            "reason": reason.or_else(|| status?.reason.clone()),
            "state": status.map(|status| &status.state),
            "online": told("online"),
            "source": site.source,
            "revision": copy.as_ref().map(|(position, _)| position.place.revision),
            "behind": copy.as_ref().map(|(position, _)| self.backlog.behind(position.place)),
            "is_same": copy.as_ref().map(|(_, rows)| rows == server),
            "rows": copy.map(|(_, rows)| rows),
            "disk": disk,
            "dump": dump,
            "gives": notice.as_ref().is_some_and(|notice| notice["event"] == "giving"),
            "is_extra": NAMES.iter().skip(FIRST).any(|name| *name == site.name),
        })
    }

    /// Progress of the dump that a site takes: bytes that it has, and that there are by now.
    async fn dump(&self, notice: &Value) -> Value {
        let dump = notice["dump"].as_str().unwrap_or_default();
        let status = tokio::time::timeout(ANSWER_WITHIN, self.client.dump(DATASET, dump)).await;
        let of = status.ok().and_then(Result::ok).map(|status| status.bytes);
        json!({"bytes": notice["bytes"], "of": of})
    }
}

/// The words of an agent that waits, or that its store refuses a record.
fn trouble(notice: Option<&Value>) -> Option<String> {
    let notice = notice?;
    let is_trouble = ["waiting", "refused"].iter().any(|event| notice["event"] == *event);
    notice["reason"].as_str().filter(|_| is_trouble).map(str::to_owned)
}
