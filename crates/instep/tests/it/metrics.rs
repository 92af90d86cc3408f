//! The page of metrics, from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::runtime::Runtime;

use crate::running::{PATIENCE, Server};

/// Families with their kinds, and samples with their values.
pub(crate) struct Page {
    families: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

impl Page {
    pub(crate) fn of(server: &Server) -> Self {
        let (status, text) = server.request("GET", "/metrics");
        assert_eq!(status, 200, "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
        let mut page = Self { families: BTreeMap::new(), samples: BTreeMap::new() };
        for line in text.lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                let (name, kind) = family.split_once(' ').unwrap();
                assert!(page.families.insert(name.into(), kind.into()).is_none(), "twice: {line}");
            } else if !line.starts_with('#') {
                let (sample, value) = line.rsplit_once(' ').unwrap();
                let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
                assert!(page.samples.insert(sample.into(), value).is_none(), "twice: {line}");
            }
        }
        page
    }

    pub(crate) fn get(&self, sample: &str) -> f64 {
        *self.samples.get(sample).unwrap_or_else(|| panic!("no {sample} in {:?}", self.samples))
    }

    /// The names under which families are asked for.
    fn names(&self) -> BTreeSet<String> {
        let name = |(name, kind): (&String, &String)| match kind.as_str() {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.clone(),
        };
        self.families.iter().map(name).collect()
    }
}

/// Asks until a sample has a value.
pub(crate) fn wait_for(server: &Server, sample: &str, wanted: impl Fn(f64) -> bool) -> Page {
    let begun = Instant::now();
    loop {
        let page = Page::of(server);
        if wanted(page.get(sample)) {
            return page;
        }
        assert!(begun.elapsed() < PATIENCE, "{sample} stays {}", page.get(sample));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn snk_u8_the_page_of_metrics_tells_what_has_happened() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    let before = Page::of(&server);
    let connections = "instep_connections{door=\"websocket\"}";
    wait_for(&server, connections, |now| now == 0.0);
    let runtime = Runtime::new().unwrap();
    let (channels, mut channel) = runtime.block_on(async {
        let channels = instep_client::Channels::connect(&server.url).await.unwrap();
        assert!(channels.join("nowhere", json!({})).await.is_err());
        let (_, channel) = channels.join("room:of-a-client", json!({})).await.unwrap();
        (channels, channel)
    });

    server.must(&["publish", "room:of-a-client", "hello"]);
    let heard = async { tokio::time::timeout(PATIENCE, channel.next()).await };
    runtime.block_on(heard).unwrap().unwrap();
    server.must(&["commit", "d", r#"{"op": "put", "table": "t", "key": "k", "row": {}}"#]);
    let refused = r#"{"op": "require", "table": "t", "key": "no", "exists": true}"#;
    assert!(!server.instep(&["commit", "d", refused]).status.success());
    let after = wait_for(&server, connections, |now| now == 1.0);

    let grown = |sample: &str| after.get(sample) - before.get(sample);
    assert_eq!(grown("instep_joins_refused_total{reason=\"unmatched_topic\"}"), 1.0);
    assert_eq!(grown("instep_commits_total{dataset=\"d\"}"), 1.0);
    assert_eq!(grown("instep_commit_refusals_total{dataset=\"d\"}"), 1.0);
    assert_eq!(grown("instep_log_head_revision{dataset=\"d\"}"), 1.0);
    assert_eq!(grown("instep_deliveries_total"), 1.0);
    assert_eq!(grown("instep_connections_accepted_total"), 1.0);
    assert_eq!(grown("instep_handshake_seconds_count"), 1.0);
    assert_eq!(grown("instep_accept_seconds_bucket{le=\"+Inf\"}"), 1.0);
    assert!(grown("instep_received_bytes_total") > 0.0);
    assert_eq!(after.get("instep_subscriptions"), 1.0);
    assert_eq!(after.get("instep_topics"), 1.0);
    assert_eq!(after.get("instep_dataset_stopped{dataset=\"d\"}"), 0.0);
    assert_eq!((after.get("instep_ready"), after.get("instep_draining")), (1.0, 0.0));
    assert!(after.get("process_open_fds") > 3.0);
    assert!(after.get("process_resident_memory_bytes") > 1e6);
    assert!(after.samples.keys().all(|sample| !sample.contains("of-a-client")));

    drop((channel, channels, runtime));
    let gone = wait_for(&server, connections, |now| now == 0.0);
    assert_eq!((gone.get("instep_subscriptions"), gone.get("instep_topics")), (0.0, 0.0));
}

#[test]
fn every_metric_is_explained_and_every_explained_one_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let first_cell = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());

    let explained: BTreeSet<String> = page.lines().filter_map(first_cell).collect();

    assert_eq!(explained, Page::of(&server).names());
}

#[test]
fn metrics_are_for_who_may_administer() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    let url = format!("{}/metrics", server.url);

    let status = Runtime::new().unwrap().block_on(async {
        crate::running::http().get(url).send().await.unwrap().status().as_u16()
    });

    assert_eq!(status, 401);
}
