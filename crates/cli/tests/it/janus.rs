//! The Janus door, as the clients of old know it: raw sockets against the built binary.

mod crowds;
mod sessions;
mod topics;
mod wire;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::running::{PATIENCE, Server, free_address};

const TAG: &str = "<regular-socket/>\0";

/// A server with a Janus door that stays where it is over a restart.
struct Fixture {
    server: Server,
    janus: String,
}

impl Fixture {
    /// With live topics: every client publishes to `room:*`, none without a key to `closed:*`.
    fn open(directory: &Path, more: &str) -> Self {
        let janus = free_address().to_string();
        let config = format!(
            "janus = '{janus}'\nshards = 2\n{more}\n\
             [[live]]\ntopic = 'room:*'\nanyone_publishes = true\n\
             [[live]]\ntopic = 'closed:*'\n"
        );
        Self { server: Server::serve_with(directory, &config), janus }
    }

    fn client(&self) -> Client {
        Client::connect(&self.janus)
    }

    /// A client that has been greeted and has subscribed.
    fn subscriber(&self, topics: &[&str]) -> Client {
        let mut client = self.client();
        client.greeting();
        for topic in topics {
            client.asks("subscribe", topic);
            assert_eq!(client.frame(), "ACK");
        }
        client
    }

    /// Publishes as clients of old do, and waits for the end.
    fn publish(&self, topic: &str, event: &str, data: &Value) {
        let told = self.publishes(topic, event, data, None);
        assert_eq!(told, Vec::<String>::new(), "it was not published");
    }

    /// Frames that a publisher is sent between its greeting and the end.
    fn publishes(&self, topic: &str, event: &str, data: &Value, key: Option<&str>) -> Vec<String> {
        let mut client = self.client();
        client.greeting();
        client.sends(&publication(topic, event, data, key));
        client.rest()
    }

    /// Subscribers of a topic.
    fn subscribers(&self, topic: &str) -> u64 {
        let body = json!({"event": "count", "payload": {}}).to_string();
        let (status, answer) = self.server.post(&format!("/v1/topics/{topic}"), "", &body);
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str::<Value>(&answer).unwrap()["subscribers"].as_u64().unwrap()
    }

    fn admin_key(&self) -> String {
        std::fs::read_to_string(self.server.data.join("admin.key")).unwrap().trim().to_owned()
    }

    /// Descriptors that the server has open.
    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.server.process())).unwrap().count()
    }

    fn memory(&self) -> u64 {
        self.server.resident_kib()
    }
}

/// A client, with bytes that have come and were not looked at.
struct Client {
    stream: TcpStream,
    came: Vec<u8>,
}

impl Client {
    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, came: vec![] }
    }

    fn sends(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn asks(&mut self, action: &str, data: &str) {
        self.sends(&request(action, data));
    }

    /// The next frame; none when the server has closed.
    fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.came.iter().position(|&byte| byte == 1) {
                let frame = self.came.drain(..=end).take(end).collect();
                return Some(String::from_utf8(frame).unwrap());
            }
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(bytes) => self.came.extend_from_slice(&buffer[..bytes]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no frame comes: {error}"),
            }
        }
    }

    fn frame(&mut self) -> String {
        self.next().expect("the server has closed")
    }

    /// The next frame that is JSON.
    fn json(&mut self) -> Value {
        let frame = self.frame();
        serde_json::from_str(&frame).unwrap_or_else(|error| panic!("{error}: {frame}"))
    }

    /// The token that the server begins with.
    fn greeting(&mut self) -> String {
        self.json()["token"].as_str().unwrap().to_owned()
    }

    /// The data of the next message.
    fn data(&mut self) -> Value {
        self.json()["data"].clone()
    }

    /// The code of the next error.
    fn error(&mut self) -> String {
        let frame = self.json();
        frame["error"]["code"].as_str().unwrap_or_else(|| panic!("{frame}")).to_owned()
    }

    /// All frames up to the end.
    fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Hangs up with a reset, which leaves nothing behind in the system either.
    fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

fn request(action: &str, data: &str) -> Vec<u8> {
    format!("{TAG}{}\0", json!({"action": action, "data": data})).into_bytes()
}

fn publication(topic: &str, event: &str, data: &Value, key: Option<&str>) -> Vec<u8> {
    let mut message = json!({"topic": topic, "event": event, "message_id": "m", "data": data});
    if let Some(key) = key {
        message["key"] = key.into();
    }
    format!("{TAG}PUBLISH\0{message}\0").into_bytes()
}

fn eventually(what: &str, is_true: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
