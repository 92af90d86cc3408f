//! A disk that does not answer: rows in memory are served, and a stop is bounded.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::running::{CONFIG, PATIENCE, Server, binary, text};
use crate::shims::{compile, until};

/// Syncs hang while the file is there that the environment names.
const HANGING: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>
static void wait_for_disk(void) {
    const char *file = getenv("DISK_HANGS");
    while (file && access(file, F_OK) == 0) usleep(2000);
}
int fdatasync(int fd) {
    wait_for_disk();
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
int fsync(int fd) {
    wait_for_disk();
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}
"#;

/// A server whose disk hangs when it is told to.
pub(crate) struct Fixture {
    pub(crate) server: Server,
    switch: PathBuf,
    log: PathBuf,
}

impl Fixture {
    pub(crate) fn open(directory: &Path, more: &str) -> Self {
        let library = compile(directory, "hanging", HANGING);
        let switch = directory.join("hangs");
        let (log, config) = (directory.join("log"), format!("{more}{CONFIG}"));
        let before = format!(
            "export LD_PRELOAD='{}' DISK_HANGS='{}' && exec 2>'{}'",
            text(&library),
            text(&switch),
            text(&log)
        );
        let server = Server::serve_by_shell(directory, &config, (&before, "127.0.0.1:0"));
        server.wait_until_ready();
        Self { server, switch, log }
    }

    pub(crate) fn hang(&self) {
        std::fs::write(&self.switch, "").unwrap();
    }

    pub(crate) fn go_on(&self) {
        std::fs::remove_file(&self.switch).unwrap();
    }

    /// Sends a commit on a connection of its own, and does not wait for its answer.
    fn begin_commit(&self, dataset: &str) -> TcpStream {
        let key = std::fs::read_to_string(self.server.data.join("admin.key")).unwrap();
        let body = r#"{"ops":[{"op":"put","table":"t","key":"k","row":{}}]}"#;
        let mut stream = TcpStream::connect(self.server.address()).unwrap();
        let head = format!(
            "POST /v1/datasets/{dataset}/commits HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
             authorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
            self.server.address(),
            key.trim(),
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Makes appends brisk and calm, as they are where callers do their own commits.
    fn warm_up(&self) {
        for _ in 0..20 {
            self.server.must(&["commit", "d", r#"{"op":"put","table":"t","key":"k","row":{}}"#]);
        }
    }
}

#[test]
fn law_9_a_disk_that_hangs_keeps_no_client_from_reading_or_connecting() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "[[table]]\ndataset = 'other'\nname = 't'\n");
    house.warm_up();

    house.hang();
    let mut commits = vec![house.begin_commit("d"), house.begin_commit("other")];
    until("the stall shows", || {
        let (status, body) = house.server.request("GET", "/readyz");
        status == 503 && body.contains("stalled")
    });
    commits.extend((0..4).map(|_| house.begin_commit("d")));

    // On every thread that serves, old connections and new ones.
    for _ in 0..8 {
        assert_eq!(house.server.request("GET", "/healthz").0, 200);
        assert_eq!(house.server.request("GET", "/v1/datasets/d/tables/t/rows").0, 200);
    }
    house.server.must(&["publish", "room:a", "hello", "{}"]);
    house.go_on();
    for mut commit in commits {
        let mut answer = String::new();
        commit.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    until("it is ready again", || house.server.request("GET", "/readyz").0 == 200);
}

#[test]
fn a_stop_ends_though_a_disk_hangs_and_says_what_is_not_closed() {
    let directory = tempfile::tempdir().unwrap();
    let mut house = Fixture::open(directory.path(), "drain_ms = 200\n");
    house.warm_up();
    house.hang();
    let mut commit = house.begin_commit("d");
    until("the stall shows", || house.server.request("GET", "/readyz").0 == 503);

    house.server.tell("-TERM");

    assert_eq!(house.server.ended(), Some(10));
    let log = std::fs::read_to_string(&house.log).unwrap();
    let told = "instep: the data is not closed in time: dataset d waits for its log";
    let line = log.lines().find(|line| line.starts_with(told));
    assert!(line.is_some_and(|line| line.contains("its disk does not answer")), "{log}");
    let mut answer = Vec::new();
    // No answer is an honest one: the outcome is not known.
    let read = commit.read_to_end(&mut answer);
    assert!(read.is_err() || !answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
}

#[test]
fn a_log_that_is_not_read_holds_up_no_client() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let arguments = ["serve", "--http", "127.0.0.1:0", "--data", text(&data)];
    // Its log is a pipe of 64 KiB, and full after some hundred lines.
    let mut child = binary()
        .args(arguments)
        .env("RUST_LOG", "trace")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening http://").unwrap();

    let ask = |words: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(words.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer).unwrap_or_default()
    };
    // Each is a line of about a hundred bytes.
    (0..1_500).for_each(|_| drop(ask("nonsense\r\n\r\n")));
    let answer = ask("GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");

    child.kill().unwrap();
    child.wait().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "the log holds up requests: {answer}");
}
