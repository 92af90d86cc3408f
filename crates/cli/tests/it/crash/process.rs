//! The server as a process that can be killed, and requests to it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustls::RootCertStore;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::running::trusting;

const CONFIG: &str = r#"
[[table]]
dataset = "store"
name = "items"
public = true

[[table]]
dataset = "store"
name = "orders"

# Small, so that a short run rolls, snapshots and trims.
[log]
segment_bytes = 262144
keep_bytes = 1048576
snapshot_after_bytes = 524288
snapshot_after_seconds = 1
"#;

pub(super) struct ServerProcess {
    directory: tempfile::TempDir,
    child: Child,
    face: Face,
}

/// Address of the server, and the client and key to reach it.
#[derive(Clone)]
pub(super) struct Face {
    pub(super) address: String,
    key: String,
    http: reqwest::Client,
}

impl ServerProcess {
    pub(super) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("instep.toml"), CONFIG).unwrap();
        let (child, address) = spawn(&directory, "127.0.0.1:0");
        let key = std::fs::read_to_string(directory.path().join("data/admin.key")).unwrap();
        let http =
            trusting(RootCertStore::empty()).timeout(Duration::from_secs(20)).build().unwrap();
        let face = Face { address, key: key.trim().to_owned(), http };
        let server = Self { directory, child, face };
        server.face.ready().await;
        server
    }

    /// SIGKILL, then the same data on the same port.
    pub(super) async fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let (child, _) = spawn(&self.directory, &self.face.address);
        self.child = child;
        self.face.ready().await;
    }

    pub(super) fn face(&self) -> Face {
        self.face.clone()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(directory: &tempfile::TempDir, address: &str) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_instep"))
        .arg("serve")
        .args(["--http", address])
        .arg("--config")
        .arg(directory.path().join("instep.toml"))
        .arg("--data")
        .arg(directory.path().join("data"))
        .env("RUST_LOG", "warn")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines.find_map(|line| {
        line.unwrap().strip_prefix("listening http://").map(|rest| rest.trim().to_owned())
    });
    (child, address.expect("the server says where it listens"))
}

impl Face {
    /// Commits, and answers the status and the body.
    pub(super) async fn commit(
        &self,
        id: Option<Uuid>,
        ops: &Value,
    ) -> Result<(u16, Value), reqwest::Error> {
        let body = json!({"id": id, "ops": ops});
        let url = format!("http://{}/v1/datasets/store/commits", self.address);
        let answer = self.http.post(url).bearer_auth(&self.key).json(&body).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    /// Reads something of the dataset as text; it has to be there.
    pub(super) async fn get(&self, path: &str) -> String {
        let answer = self.request(path).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().await.unwrap()
    }

    pub(super) fn request(&self, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}/v1/datasets/store{path}", self.address);
        self.http.get(url).bearer_auth(&self.key)
    }

    async fn ready(&self) {
        let url = format!("http://{}/readyz", self.address);
        for _ in 0..2_000 {
            if self.http.get(&url).send().await.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the server does not become ready");
    }
}
