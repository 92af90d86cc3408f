//! Law 9 from outside: one of many readers stops reading while messages flow, and comes back.
//!
//! `SOAK_SECONDS` and `SOAK_READERS` make it longer and larger (`cargo xtask soak`).

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::crowd::{Crowd, HEARTBEAT};
use crate::metrics::Page;
use crate::running::{PATIENCE, Server, free_address};

/// Beside what the ring keeps: what sockets and the allocator take when messages flow.
const SLACK_KIB: u64 = 24 * 1024;
const RING_KIB: u64 = 4 * 1024;
/// Below this a slower p99 cannot be told from other work on the machine.
const NOISE_MS: f64 = 50.0;

fn of_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap())
}

fn seconds() -> u64 {
    of_environment("SOAK_SECONDS", 4)
}

fn readers() -> usize {
    usize::try_from(of_environment("SOAK_READERS", 20)).unwrap()
}

/// Enough that a reader that stops falls off its ring in this time.
fn payload_bytes() -> usize {
    if seconds() < 30 { 60_000 } else { 4_096 }
}

struct Fixture {
    server: Server,
    tcp: String,
}

impl Fixture {
    fn open(directory: &std::path::Path) -> Self {
        let tcp = free_address().to_string();
        let config = format!("tcp = '{tcp}'\n{}", crate::running::CONFIG);
        Self { server: Server::serve_with(directory, &config), tcp }
    }

    /// Runs `work`; the most memory that the server had meanwhile.
    fn most_memory<T>(&self, work: impl FnOnce() -> T) -> (u64, T) {
        let (over, most) = (AtomicBool::new(false), AtomicU64::new(0));
        let done = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    most.fetch_max(self.server.resident_kib(), Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
            let done = work();
            over.store(true, Ordering::Relaxed);
            done
        });
        (most.into_inner(), done)
    }
}

/// A client over plain TCP whose socket holds little.
struct Reader(TcpStream);

impl Reader {
    fn join(house: &Fixture, topic: &str) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let address: std::net::SocketAddr = house.tcp.parse().unwrap();
        socket.connect(&address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut reader = Self(stream);
        reader.says(&json!(["1", "1", topic, "phx_join", {}]));
        let [.., payload] = reader.next();
        assert_eq!(payload["status"], "ok", "{payload}");
        reader
    }

    fn says(&mut self, message: &Value) {
        let text = message.to_string();
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        self.0.write_all(&[&length[..], text.as_bytes()].concat()).unwrap();
    }

    /// Says that it lives until `over`, and reads nothing.
    fn stays_stuck(&mut self, over: &AtomicBool) {
        let mut last = Instant::now();
        while !over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
            if last.elapsed() > HEARTBEAT {
                last = Instant::now();
                self.says(&json!([null, "beat", "phoenix", "heartbeat", {}]));
            }
        }
    }

    fn next(&mut self) -> [Value; 5] {
        let mut length = [0; 4];
        self.exactly(&mut length);
        let mut message = vec![0; u32::from_be_bytes(length) as usize];
        self.exactly(&mut message);
        serde_json::from_slice(&message).unwrap()
    }

    fn exactly(&mut self, buffer: &mut [u8]) {
        match self.0.read_exact(buffer) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => panic!("it was closed"),
            Err(error) => panic!("nothing came: {error}"),
        }
    }
}

/// Loads a live topic from a process of its own.
fn bench(house: &Fixture, topic: &str) -> Value {
    let arguments = [
        format!("--bots={}", readers() - 1),
        format!("--seconds={}", seconds()),
        format!("--payload={}", payload_bytes()),
        "--rate=50".into(),
        "--warm-up=0".into(),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    house.server.json(&[&["bench", topic], &arguments[..]].concat())["measured"].clone()
}

/// Publishes a message to the topic of the one that is stuck; how many there were by then.
fn publish(house: &Fixture, event: &str) -> u64 {
    let body = json!({"event": event, "payload": {}});
    let (status, answer) = house.server.post("/v1/topics/room:stuck", "", &body.to_string());
    assert_eq!(status, 200, "{answer}");
    serde_json::from_str::<Value>(&answer).unwrap()["offset"].as_u64().unwrap()
}

fn p99_ms(measured: &Value) -> f64 {
    measured["latency"]["p99_us"].as_f64().unwrap() / 1e3
}

#[test]
fn law_9_a_reader_of_a_live_topic_that_stops_reading_hurts_no_other_and_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    let (memory, alone) = house.most_memory(|| bench(&house, "room:alone"));
    let mut stuck = Reader::join(&house, "room:stuck");

    let over = AtomicBool::new(false);
    let (with_stuck, measured) = std::thread::scope(|scope| {
        scope.spawn(|| stuck.stays_stuck(&over));
        let measured = house.most_memory(|| bench(&house, "room:stuck"));
        over.store(true, Ordering::Relaxed);
        measured
    });
    let all = publish(&house, "last");
    let (mut heard, mut missed) = (0, 0);
    while heard + missed < all {
        let [.., event, payload] = stuck.next();
        match event.as_str().unwrap() {
            "m" | "last" => heard += 1,
            "gap" => missed += payload["missed"].as_u64().unwrap(),
            "phx_reply" => {}
            other => panic!("{other}: {payload}"),
        }
    }
    publish(&house, "again");
    let [.., event, _] = stuck.next();

    println!(
        "alone: p99 {:.1} ms, {memory} KiB; with one that is stuck: p99 {:.1} ms, {with_stuck} \
         KiB; it heard {heard} and missed {missed} of {all}",
        p99_ms(&alone),
        p99_ms(&measured),
    );
    for count in ["lost", "wrong", "late", "dropped"] {
        assert_eq!(measured[count], 0, "{count}");
    }
    assert!(p99_ms(&measured) <= 2.0 * p99_ms(&alone) + NOISE_MS);
    assert!(with_stuck <= memory + RING_KIB + SLACK_KIB, "{memory} KiB became {with_stuck} KiB");
    assert!(missed > 0, "it was never off the ring");
    assert_eq!(heard + missed, all, "what it was given and what it was told to have missed");
    assert_eq!(event, "again", "it is back");
}

#[test]
fn law_9_a_reader_of_a_table_that_stops_reading_hurts_no_other_and_ends_with_the_right_rows() {
    const KEYS: u64 = 20;
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    let filling = "x".repeat(payload_bytes());
    let put = |number: u64| {
        let row = json!({"n": number, "filling": filling});
        let key = format!("k{}", number % KEYS);
        let ops = json!({"ops": [{"op": "put", "table": "t", "key": key, "row": row}]});
        let (status, answer) = house.server.post("/v1/datasets/d/commits", "", &ops.to_string());
        assert_eq!(status, 200, "{answer}");
    };
    let mut crowd = Crowd::join(house.server.address(), "table:d/t", readers() - 1);
    let mut stuck = Reader::join(&house, "table:d/t");
    let before = house.server.resident_kib();

    let (over, committed) = (AtomicBool::new(false), AtomicU64::new(0));
    let (most, heard) = house.most_memory(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| stuck.stays_stuck(&over));
            let crowd = scope.spawn(|| crowd.count_until("row", || over.load(Ordering::Relaxed)));
            let until = Instant::now() + Duration::from_secs(seconds());
            while Instant::now() < until {
                put(committed.fetch_add(1, Ordering::Relaxed));
                std::thread::sleep(Duration::from_millis(20));
            }
            std::thread::sleep(Duration::from_secs(2));
            over.store(true, Ordering::Relaxed);
            crowd.join().unwrap()
        })
    });
    let committed = committed.into_inner();
    let mut rows = BTreeMap::new();
    let mut lagged = 0;
    put(committed);
    let newest = |key: u64| (0..=committed).rev().find(|number| number % KEYS == key).unwrap();
    let expected: BTreeMap<_, _> = (0..KEYS).map(|key| (format!("k{key}"), newest(key))).collect();
    // What it catches up with comes by key, so that the newest row need not be the last.
    while rows != expected {
        let [.., event, payload] = stuck.next();
        match event.as_str().unwrap() {
            "row" => {
                let key = payload["key"].as_str().unwrap().to_owned();
                rows.insert(key, payload["row"]["n"].as_u64().unwrap());
            }
            "lagged" => {
                lagged += 1;
                if payload["mode"] == "reset" {
                    rows.clear();
                }
            }
            "phx_reply" | "bookmark" => {}
            other => panic!("{other}: {payload}"),
        }
    }

    println!(
        "{committed} commits; {before} KiB became {most} KiB; the stuck one fell {lagged} times"
    );
    assert!(heard.iter().all(|count| *count == committed), "each got each commit: {heard:?}");
    let kept = KEYS * u64::try_from(payload_bytes()).unwrap() / 1024;
    assert!(most <= before + RING_KIB + 4 * kept + SLACK_KIB, "{before} KiB became {most} KiB");
    assert!(lagged > 0, "it was never off the ring");
    assert_eq!(Page::of(&house.server).get("instep_evictions_total"), 0.0);
}
