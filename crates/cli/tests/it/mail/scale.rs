//! Many servers, and many messages.
//!
//! `SOAK_MESSAGES` makes the second one longer (`cargo xtask soak`).

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use instep_client::NewMessage;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use super::letter;
use super::local::Fixture;
use crate::running::{PATIENCE, hold_time};

#[tokio::test(flavor = "multi_thread")]
async fn smq_18_one_process_reaches_a_thousand_servers() {
    const SERVERS: usize = 1_000;
    const AT_ONCE: usize = 32;
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    let began = Instant::now();
    let joining = (0..SERVERS).map(async |n| house.register(&n.to_string()).await);
    let mut locals: Vec<_> = stream::iter(joining).buffered(AT_ONCE).collect().await;
    let joined = began.elapsed();
    let letters: Vec<NewMessage> = (0..SERVERS).map(|n| letter(&format!("server/{n}"))).collect();

    let began = Instant::now();
    house.client.send_mail("mail", "mail", &letters).await.unwrap();
    for (n, local) in locals.iter_mut().enumerate() {
        let message = local.next().await;
        assert_eq!(message.to, format!("server/{n}"));
        assert_eq!(message.body, json!({"hello": message.to}));
    }
    let delivered = began.elapsed();
    let acks = locals.iter_mut().map(async |local| local.ack_all().await);
    stream::iter(acks).buffered(AT_ONCE).collect::<()>().await;

    println!("{SERVERS} servers registered in {joined:?}");
    hold_time("a message for each of them", delivered, Duration::from_secs(5));
    let mail = house.client.mail("mail").await.unwrap();
    assert_eq!((&mail["registered"], &mail["pending"]), (&json!(SERVERS), &json!(0)), "{mail}");
    assert_eq!(mail["queues"][0]["confirmed"], SERVERS, "{mail}");
}

/// Messages of one round.
const ROUND: usize = 1_000;
/// Bytes of a body: all of them together are far more than what may stay.
const BODY_BYTES: usize = 2_000;
/// Finished messages that are remembered.
const KEPT: u64 = 1_000;
/// Log, snapshots, bodies and segments made ahead.
const DISK_BYTES: u64 = 40 * 1024 * 1024;
/// Beside what is kept: what sockets and the allocator take when messages flow.
const MEMORY_KIB: u64 = 48 * 1024;
const ROWS: usize = 6_000;

fn config() -> String {
    format!(
        "slow_reader_ms = 3600000\n\n[[mail]]\ndataset = 'mail'\nkeep_finished = {KEPT}\n\n\
         [[table]]\ndataset = 'mail'\nname = 'held'\npublic = true\n\n\
         [log]\nsegment_bytes = 1048576\nkeep_bytes = 4194304\n\
         snapshot_after_bytes = 4194304\nsnapshot_after_seconds = 1\n"
    )
}

// I48: a reader that holds a snapshot all the while makes nothing slower, and gets what it asked.
#[tokio::test(flavor = "multi_thread")]
async fn smq_17_finished_messages_are_cleaned_away() {
    let messages = std::env::var("SOAK_MESSAGES").map_or(20_000, |text| text.parse().unwrap());
    let rounds = messages / ROUND;
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open_with(directory.path(), &config());
    house.route(&[("org/1", "1")]).await;
    house.put_rows("y").await;
    let mut held = Held::begin(&house);
    house.put_rows("z").await;
    let mut local = house.register_with("1", json!({"credit": 1_024})).await.unwrap();
    let (mut pushed, mut memory, mut worst_disk) = (vec![], vec![], 0);

    for round in 0..rounds {
        let bodies = (0..ROUND).map(|n| json!({"n": n, "pad": "x".repeat(BODY_BYTES)}));
        let letters: Vec<NewMessage> =
            bodies.map(|body| NewMessage { body, ..letter("org/1") }).collect();
        let began = Instant::now();
        for letters in letters.chunks(ROUND / 4) {
            house.client.send_mail("mail", "mail", letters).await.unwrap();
        }
        let given = local.take(ROUND).await;
        let (first, last) = (given[0].seq, given[ROUND - 1].seq);
        let acked = local.push("ack", json!({"ranges": [[first, last]]})).await.unwrap();
        pushed.push(began.elapsed());
        assert!(given.iter().zip(0..).all(|(one, n)| one.body["n"] == n), "in order, and whole");
        assert_eq!(acked["outcomes"].as_array().unwrap().len(), ROUND);
        if round % (rounds / 4) == rounds / 4 - 1 {
            let books = house.until_cleaned().await;
            assert_eq!(books["queues"][0]["confirmed"], (round + 1) * ROUND, "books remember");
            memory.push(house.server.resident_kib());
            worst_disk = worst_disk.max(bytes_of(&house.server.data));
        }
    }

    let early = median(&pushed[..rounds / 4]);
    let late = median(&pushed[rounds - rounds / 4..]);
    println!(
        "{messages} messages: a round of {ROUND} took {early:?} at first and {late:?} at last; \
         {memory:?} KiB of memory; {worst_disk} bytes of disk at most"
    );
    assert!(worst_disk <= DISK_BYTES, "{worst_disk} bytes on disk");
    assert!(memory[3] <= memory[0] + MEMORY_KIB, "{memory:?} KiB of memory");
    // What is finished is in the way of nothing: whatever is looked at is given.
    let mail = house.client.mail("mail").await.unwrap();
    let [looked_at, given] = ["looked_at", "given"].map(|name| mail[name].as_u64().unwrap());
    assert!(looked_at <= given + given / 8, "{looked_at} were looked at to give {given}");
    held.is_whole();
    let sent = house.send("org/1", json!("still right")).await;
    assert_eq!(local.next().await.seq, sent.seq);
}

// A backlog does not fit in memory: its bodies are on disk, and leave it when they are done.
#[tokio::test(flavor = "multi_thread")]
async fn smq_17_the_bodies_of_a_backlog_leave_the_disk_when_it_is_worked_off() {
    const ROUNDS: usize = 20;
    const MORE_BYTES: usize = 4_000;
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open_with(directory.path(), &config());
    house.route(&[("org/1", "1")]).await;
    for round in 0..ROUNDS {
        let body = |n: usize| json!({"n": round * ROUND + n, "pad": "x".repeat(MORE_BYTES)});
        let letters = (0..ROUND).map(|n| NewMessage { body: body(n), ..letter("org/1") });
        let letters: Vec<NewMessage> = letters.collect();
        for letters in letters.chunks(ROUND / 5) {
            house.client.send_mail("mail", "mail", letters).await.unwrap();
        }
    }
    let full = (ROUNDS * ROUND * MORE_BYTES) as u64;
    house.until_bodies(|stored| stored > full).await;

    let mut local = house.register_with("1", json!({"credit": 1_024})).await.unwrap();
    for n in 0..ROUNDS * ROUND {
        let message = local.next().await;
        assert_eq!(message.body["n"], n);
        if n % 500 == 499 {
            local.ack_all().await;
        }
    }

    let left = house.until_bodies(|stored| stored < full / 4).await;
    println!("{full} bytes of bodies became {left} on disk");
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Bytes of all files in a directory.
fn bytes_of(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => bytes_of(&entry.path()),
        _ => entry.metadata().map_or(0, |found| found.len()),
    });
    sizes.sum()
}

impl Fixture {
    /// Waits until what has ended is forgotten, and its bodies are; how the mail is then.
    async fn until_cleaned(&self) -> Value {
        let began = Instant::now();
        loop {
            let mail = self.client.mail("mail").await.unwrap();
            let kept = mail["queues"][0]["kept"].as_u64().unwrap();
            // A body that ends while it is on its way to the disk is in memory until it is there.
            if kept <= KEPT + KEPT / 16 && mail["bodies"]["young"] == 0 {
                return mail;
            }
            assert!(began.elapsed() < PATIENCE, "finished messages stay: {mail}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until so many bytes of bodies are on disk.
    async fn until_bodies(&self, fits: impl Fn(u64) -> bool) -> u64 {
        let began = Instant::now();
        loop {
            let mail = self.client.mail("mail").await.unwrap();
            let stored = mail["bodies"]["stored_bytes"].as_u64().unwrap();
            if fits(stored) {
                return stored;
            }
            assert!(began.elapsed() < PATIENCE, "{mail}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn put_rows(&self, pad: &str) {
        for batch in 0..ROWS / ROUND {
            let put = |n: usize| {
                let key = format!("k{:06}", batch * ROUND + n);
                let row = json!({"pad": pad.repeat(500)});
                json!({"op": "put", "table": "held", "key": key, "row": row})
            };
            let ops: Vec<Value> = (0..ROUND).map(put).collect();
            self.client.commit("mail", &ops, None).await.unwrap();
        }
    }
}

/// A reader that asks for all rows and takes its time.
struct Held(BufReader<TcpStream>);

impl Held {
    fn begin(house: &Fixture) -> Self {
        let address = house.server.address();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        socket.connect(&address.parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let path = "/v1/datasets/mail/tables/held/snapshot";
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut held = Self(BufReader::new(stream));
        let mut line = String::new();
        held.0.read_line(&mut line).unwrap();
        assert!(line.contains(" 200 "), "{line}");
        held
    }

    /// Reads to the end: every row as it was, once.
    fn is_whole(&mut self) {
        let mut keys = BTreeSet::new();
        for line in (&mut self.0).lines().map_while(Result::ok) {
            if let Some((_, row)) = line.split_once("\"key\":\"k") {
                assert!(keys.insert(row[..6].to_owned()) && row.contains("\"yyy"), "{line}");
            }
        }
        assert_eq!(keys.len(), ROWS, "the snapshot is whole");
    }
}
