//! The page of metrics, from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::runtime::Runtime;

use crate::running::{PATIENCE, Server, stderr, stdout};

/// Families with their kinds, and samples with their values.
pub(crate) struct Page {
    families: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

impl Page {
    pub(crate) fn of(server: &Server) -> Self {
        let (status, text) = server.request("GET", "/metrics");
        assert_eq!(status, 200, "{text}");
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

/// The page in the form that is asked for, and what it says it is.
fn form(server: &Server, accept: &str) -> (String, String) {
    let key = std::fs::read_to_string(server.data.join("admin.key")).unwrap();
    let asked = crate::running::http().get(format!("{}/metrics", server.url));
    let asked = asked.bearer_auth(key.trim()).header("accept", accept);
    Runtime::new().unwrap().block_on(async {
        let answer = asked.send().await.unwrap();
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        (kind, answer.text().await.unwrap())
    })
}

/// Gives a page to the checker of Prometheus.
fn promtool(page: &str) -> Output {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped());
    let checker = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut checker = checker.expect("promtool is wanted, of the Debian package prometheus");
    checker.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    checker.wait_with_output().unwrap()
}

#[test]
fn the_page_is_what_prometheus_reads_and_open_metrics_for_who_asks_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    server.must(&["commit", "d", r#"{"op": "put", "table": "t", "key": "k", "row": {}}"#]);

    let (kind, page) = form(&server, "*/*");
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    let checked = promtool(&page);
    let told = [stdout(&checked), stderr(&checked)].concat();
    assert!(checked.status.success() && told.is_empty(), "{told}");

    let (kind, page) = form(&server, "application/openmetrics-text;version=1.0.0,*/*;q=0.1");
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(page.ends_with("# EOF\n") && page.contains("# TYPE instep_commits counter\n"));
}

#[test]
fn every_metric_is_explained_and_every_explained_one_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let first_cell = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());

    let explained: BTreeSet<String> = page.lines().filter_map(first_cell).collect();

    let served: BTreeSet<String> = Page::of(&server).families.into_keys().collect();
    assert_eq!(explained, served);
}

#[test]
fn metrics_need_the_right_to_administer() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    let url = format!("{}/metrics", server.url);

    let status = Runtime::new().unwrap().block_on(async {
        crate::running::http().get(url).send().await.unwrap().status().as_u16()
    });

    assert_eq!(status, 401);
}
