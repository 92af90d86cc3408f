//! The server and the agents of sites, in processes of their own.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use instep_client::Client;
use serde_json::{Value, json};

use crate::load::{HttpClient, on_one_thread, request};

/// The dataset of all scenarios.
pub(crate) const DATASET: &str = "bench";
const CONFIG: &str = "
[[dataset]]
name = 'bench'

[[table]]
dataset = 'bench'
name = 'items'
";
const CONFIG_FILE: &str = "instep.toml";
/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// A server with a dataset and its table `items`; it ends when this is dropped.
pub(crate) struct Server {
    child: Child,
    directory: tempfile::TempDir,
    url: String,
    key: String,
}

impl Server {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let http = listener.local_addr().expect("its address");
        drop(listener);
        let config = format!("http = '{http}'\n{CONFIG}");
        std::fs::write(directory.path().join(CONFIG_FILE), config).expect("our own directory");
        let child = serve(directory.path());
        let key = std::fs::read_to_string(directory.path().join("data/admin.key"));
        let key = key.expect("the key of the server").trim().to_owned();
        let server = Self { child, directory, url: format!("http://{http}"), key };
        server.until_ready();
        server
    }

    /// Starts it again, which forgets all dumps, and waits for a site to follow.
    pub(crate) fn restart(&mut self, site: &str) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was started");
        self.child = serve(self.directory.path());
        self.until_ready();
        let begun = Instant::now();
        let client = self.client();
        let is_online = || {
            let list = on_one_thread(client.sites(DATASET)).expect("the sites");
            list.sites.iter().any(|of| of.site == site && of.more["online"] == true)
        };
        while !is_online() {
            assert!(begun.elapsed() < PATIENCE, "{site} does not come back");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").expect("no TLS")
    }

    /// A request of operations as one commit.
    pub(crate) fn commit(&self, operations: &Value) -> Rc<[u8]> {
        let path = format!("/v1/datasets/{DATASET}/commits");
        let body = json!({"ops": operations}).to_string();
        request((self.address(), &self.key), "POST", &path, &body)
    }

    /// Commits operations, and returns the position.
    pub(crate) fn write(&self, operations: &Value) -> String {
        on_one_thread(async {
            let mut client = HttpClient::connect(self.address()).await;
            let answer = client.ask(&self.commit(operations)).await;
            let receipt: Value = serde_json::from_slice(answer).expect("JSON");
            receipt["position"].as_str().expect("a position").to_owned()
        })
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url, Some(self.key.clone())).expect("an address")
    }

    fn until_ready(&self) {
        let begun = Instant::now();
        let client = self.client();
        while on_one_thread(client.sites(DATASET)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "the server does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the server, and waits until it listens.
fn serve(directory: &Path) -> Child {
    let mut command = Command::new(binary());
    command.arg("serve").arg("--config").arg(directory.join(CONFIG_FILE));
    command.arg("--data").arg(directory.join("data"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the server starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
    let line = lines.next().expect("it says where it listens").expect("text");
    assert!(line.starts_with("listening "), "{line}");
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    child
}

/// The agent of a site; it ends when this is dropped.
pub(crate) struct Agent {
    child: Child,
    told: Receiver<(Instant, Value)>,
}

impl Agent {
    /// `instep site run` of a site in PostgreSQL.
    pub(crate) fn run(server: &Server, site: &str, store: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(["site", "run", "--id", site, "--dataset", DATASET, "--apply", store]);
        command.args(["--json", "--server", &server.url, "--data"]);
        command.arg(server.directory.path().join("data")).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        command.env("RUST_LOG", "error");
        let mut child = command.spawn().expect("the agent starts");
        let told = notices(child.stdout.take().expect("it was asked for"));
        Self { child, told }
    }

    /// Waits until the agent tells of an event, and returns when that was.
    pub(crate) fn until(&self, event: &str) -> Instant {
        let begun = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(begun.elapsed());
            let (at, told) = self.told.recv_timeout(left).expect("a notice of the agent");
            assert!(told["event"] != "refused", "{told}");
            if told["event"] == event {
                return at;
            }
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn notices(stdout: ChildStdout) -> Receiver<(Instant, Value)> {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let notice = serde_json::from_str(&line).expect("JSON");
            let _ = tell.send((Instant::now(), notice));
        }
    });
    told
}

/// The binary that is measured: `INSTEP_BINARY`, or what the release profile has built.
fn binary() -> PathBuf {
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("release/instep");
    std::env::var_os("INSTEP_BINARY").map_or(built, PathBuf::from)
}
