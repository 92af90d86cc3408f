//! Limits and rates, met from outside. Clients on this machine are exempt from rates unless the
//! configuration says otherwise, so these say so.

mod crowds;
mod greetings;
mod rates;
mod shares;
mod strangers;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::running::{CONFIG, PATIENCE, Server, free_address};

/// A server with these settings, and where it takes TCP.
pub(super) struct Limited {
    pub(super) server: Server,
    pub(super) tcp: SocketAddr,
    pub(super) janus: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Limited {
    pub(super) fn start(settings: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let [tcp, janus] = [free_address(), free_address()];
        let configuration = format!("tcp = '{tcp}'\njanus = '{janus}'\n{settings}\n{CONFIG}");
        let server = Server::serve_with(directory.path(), &configuration);
        Self { server, tcp, janus, _directory: directory }
    }

    pub(super) fn connect(&self) -> Client {
        Client::connect(self.tcp)
    }

    /// A client that has a place.
    pub(super) fn connect_served(&self) -> Client {
        let begun = Instant::now();
        loop {
            let mut client = self.connect();
            client.send(&json!([null, "1", "phoenix", "heartbeat", {}]));
            if client.next().is_some_and(|heard| heard[3] != "close") {
                return client;
            }
            assert!(begun.elapsed() < PATIENCE, "there is no place");
        }
    }

    /// A number of the page of metrics; asked from where nothing is limited.
    pub(super) fn metric(&self, name: &str) -> u64 {
        let (status, page) = self.server.request("GET", "/metrics");
        assert_eq!(status, 200, "{page}");
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}: {page}")).parse().unwrap()
    }
}

/// A client of plain TCP.
pub(super) struct Client(TcpStream);

impl Client {
    pub(super) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    pub(super) fn send(&mut self, message: &Value) {
        let text = message.to_string();
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        // A client that is sent away while sending reads the reason.
        let _ = self.0.write_all(&[&length[..], text.as_bytes()].concat());
    }

    /// The next message; none at the end.
    pub(super) fn next(&mut self) -> Option<Value> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).ok()?;
        let mut message = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut message).ok()?;
        Some(serde_json::from_slice(&message).unwrap())
    }

    /// Sends, and answers the status and the response; `closed` when the server has ended it.
    pub(super) fn ask(&mut self, message: [Value; 5]) -> (String, Value) {
        let reference = message[1].clone();
        self.send(&json!(message));
        while let Some(heard) = self.next() {
            if heard[1] == reference && heard[3] == "phx_reply" {
                let status = heard[4]["status"].as_str().unwrap().to_owned();
                return (status, heard[4]["response"].clone());
            }
        }
        ("closed".into(), Value::Null)
    }

    pub(super) fn join(&mut self, topic: &str, number: u32) -> (String, Value) {
        let number = json!(number.to_string());
        self.ask([number.clone(), number, topic.into(), "phx_join".into(), json!({})])
    }

    pub(super) fn heartbeat(&mut self) {
        let message = [json!(null), "beat".into(), "phoenix".into(), "heartbeat".into(), json!({})];
        assert_eq!(self.ask(message).0, "ok");
    }

    /// The code of the close that comes, whatever comes before it.
    pub(super) fn close_code(&mut self) -> Value {
        while let Some(heard) = self.next() {
            if heard[2] == "phoenix" && heard[3] == "close" {
                return heard[4].clone();
            }
        }
        panic!("the connection ended without a word");
    }
}

#[test]
fn frames_and_channels_are_limited_as_the_configuration_says() {
    let limited = Limited::start("frame_bytes = 2048\nsocket_channels = 2");
    let mut client = limited.connect();

    assert_eq!(
        (client.join("room:1", 1).0, client.join("room:2", 2).0),
        ("ok".into(), "ok".into())
    );
    let (status, response) = client.join("room:3", 3);
    assert_eq!(
        (status.as_str(), &response["reason"]),
        ("error", &"too many channels joined".into())
    );
    let (status, _) = client.ask(push(4, "x".repeat(1_800)));
    assert_eq!(status, "ok");
    client.send(&json!(push(5, "x".repeat(2_048))));
    assert_eq!(client.close_code()["code"], 1009);
}

#[test]
fn silence_ends_a_socket_after_the_configured_time() {
    let limited = Limited::start("socket_idle_ms = 300");
    let began = Instant::now();
    let mut client = limited.connect();

    let told = client.close_code();

    assert_eq!(told, json!({"code": 1012, "reason": "idle"}));
    assert!(began.elapsed() >= Duration::from_millis(300), "not before its time");
}

#[test]
fn sockets_are_as_many_as_the_configuration_says() {
    let limited = Limited::start("sockets = 2");
    let (mut one, mut two) = (limited.connect(), limited.connect());
    one.heartbeat();
    two.heartbeat();

    let mut three = limited.connect();
    assert_eq!(three.close_code(), json!({"code": 1013, "reason": "overloaded"}));
    drop(one);
    let begun = Instant::now();
    loop {
        let mut next = limited.connect();
        next.send(&json!([null, "1", "phoenix", "heartbeat", {}]));
        if next.next().is_some_and(|heard| heard[3] != "close") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "the place does not become free");
    }
}

#[test]
fn limits_that_make_no_sense_refuse_the_start() {
    for (settings, key) in [
        ("frame_bytes = 10", "frame_bytes"),
        ("frame_bytes = 1073741824", "frame_bytes"),
        ("handshake_ms = 0", "handshake_ms"),
        ("socket_channels = 0", "socket_channels"),
        ("sockets = 0", "sockets"),
        ("shards = 257", "shards"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("instep.toml");
        std::fs::write(&config, settings).unwrap();
        let output = crate::running::instep(&["serve", "--config", crate::running::text(&config)]);
        let told = crate::running::stderr(&output);
        assert!(output.status.code() == Some(2) && told.contains(key), "{settings}: {told}");
    }
}

/// Law 9, for readers over plain HTTP: one that reads nothing is not waited for without end.
#[test]
fn law_9_a_reader_of_events_that_never_reads_is_sent_away_and_leaves_its_place() {
    let limited = Limited::start("slow_reader_ms = 500\nsockets = 1");
    let address = limited.server.address().to_owned();
    let open = || {
        let mut stream = TcpStream::connect(&address).unwrap();
        let head = "GET /v1/topics/room:1/events HTTP/1.1\r\nhost: x\r\n\
                    accept: application/x-ndjson\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        (stream, String::from_utf8(start.to_vec()).unwrap())
    };
    let (_never_reads, status) = open();
    assert_eq!(status, "HTTP/1.1 200");
    assert_eq!(open().1, "HTTP/1.1 503", "there is one place");
    let body = json!({"event": "tick", "payload": {"filling": "x".repeat(60_000)}}).to_string();

    let begun = Instant::now();
    while limited.metric("instep_evictions_total") == 0 {
        let (status, answer) = limited.server.post("/v1/topics/room:1", "", &body);
        assert_eq!(status, 200, "no other client is held up: {answer}");
        assert!(begun.elapsed() < PATIENCE, "it is never sent away");
    }

    let begun = Instant::now();
    while open().1 != "HTTP/1.1 200" {
        assert!(begun.elapsed() < PATIENCE, "its place does not become free");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A push to the first topic joined.
pub(super) fn push(number: u32, filling: String) -> [Value; 5] {
    let number = number.to_string().into();
    ["1".into(), number, "room:1".into(), "tick".into(), json!({"filling": filling})]
}
