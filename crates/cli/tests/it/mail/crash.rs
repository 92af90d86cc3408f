//! Kill -9 of the hub, of local servers, or of both, in the middle of pushes, confirmations, moves
//! and backfills.
//!
//! Local servers are processes (`instep mail take`) that write what they are given to files and
//! confirm it. Writers send under ids of their own until they know that a message is stored.
//! `INSTEP_CRASH_ROUNDS` says how often something is killed (`cargo xtask crash --rounds N`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use instep_client::{Client, NewMessage, Uuid};
use serde_json::{Value, json};

use super::local::Fixture;

const ROUNDS: u64 = 10;
const WRITERS: usize = 3;
const ORGS: u64 = 6;
const SERVERS: u64 = 3;
/// Small, so that a short run spills bodies, snapshots and trims.
const CONFIG: &str = "
[[mail]]
dataset = 'mail'
lease_ms = 1500
ask_ms = 300
retry_ms = 50

[log]
segment_bytes = 262144
keep_bytes = 1048576
snapshot_after_bytes = 262144
snapshot_after_seconds = 1
";

/// A local server as a process that is started again when it was killed.
struct Taker {
    id: u64,
    file: PathBuf,
    child: Child,
}

impl Taker {
    fn start(house: &Fixture, directory: &Path, id: u64) -> Self {
        let file = directory.join(format!("taken-{id}.ndjson"));
        let child = Self::spawn(house, &file, id);
        Self { id, file, child }
    }

    fn spawn(house: &Fixture, file: &Path, id: u64) -> Child {
        let out = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
        let id = id.to_string();
        let mut command = house.server.command(&["mail", "take", &id, "--json"]);
        command.stdout(out).stderr(Stdio::null()).spawn().unwrap()
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again if it has gone: a hub that is away refuses the first connection.
    fn keep(&mut self, house: &Fixture) {
        if self.child.try_wait().unwrap().is_some() {
            self.child = Self::spawn(house, &self.file, self.id);
        }
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends until it is told to stop; the ids that are known to be stored.
async fn write(client: Client, writer: usize, done: Arc<AtomicBool>) -> BTreeSet<String> {
    let mut stored = BTreeSet::new();
    let mut n = 0_u64;
    while !done.load(Ordering::SeqCst) {
        n += 1;
        let org = (n + writer as u64) % ORGS;
        let to = if n.is_multiple_of(3) { format!("user/{org}/1") } else { format!("org/{org}") };
        let id = Uuid::now_v7().to_string();
        let imported = n.is_multiple_of(20);
        let body = json!({"n": n, "imported": imported, "pad": "x".repeat(200)});
        let letter = NewMessage { to, body, id: Some(id.clone()), ..NewMessage::default() };
        while !done.load(Ordering::SeqCst) {
            let letters = [letter.clone()];
            let sent = if imported {
                client.import_mail("mail", "mail", &letters).await
            } else {
                client.send_mail("mail", "mail", &letters).await
            };
            match sent {
                Ok(_) => {
                    stored.insert(id);
                    break;
                }
                Err(error) => {
                    assert!(error.is_transient(), "writer {writer}: {error}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    stored
}

/// Moves organisations about and fills in routes.
async fn govern(client: Client, done: Arc<AtomicBool>) -> u64 {
    let (mut n, mut moves) = (0_u64, 0);
    while !done.load(Ordering::SeqCst) {
        n += 1;
        let (org, server) = (n * 7 % ORGS, (n * 5 % SERVERS).to_string());
        let moved = client.move_endpoint("mail", &format!("org/{org}"), &server, None).await;
        moves += u64::from(moved.is_ok());
        let _ = client.backfill("mail", "mail", None).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    moves
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_mail_is_confirmed_exactly_once_and_kept_in_order_whichever_process_is_killed() {
    let rounds = std::env::var("INSTEP_CRASH_ROUNDS");
    let rounds: u64 = rounds.map_or(ROUNDS, |text| text.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let mut house = Fixture::open_with(directory.path(), CONFIG);
    for org in 0..ORGS {
        let server = (org % SERVERS).to_string();
        house.client.move_endpoint("mail", &format!("org/{org}"), &server, None).await.unwrap();
    }
    let mut takers: Vec<Taker> =
        (0..SERVERS).map(|id| Taker::start(&house, directory.path(), id)).collect();
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(house.client.clone(), writer, Arc::clone(&done))))
        .collect();
    let governor = tokio::spawn(govern(house.client.clone(), Arc::clone(&done)));

    for round in 0..rounds {
        let dice = (round * 7_919 + u64::from(std::process::id())) % 1_000;
        tokio::time::sleep(Duration::from_millis(100 + dice % 700)).await;
        let (hub, local) = (dice % 3 != 1, dice % 3 != 2);
        if local {
            takers[(dice % SERVERS) as usize].kill();
        }
        if hub {
            house.server.signal("-KILL");
            house.server.start_again();
        }
        takers.iter_mut().for_each(|taker| taker.keep(&house));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    done.store(true, Ordering::SeqCst);
    let mut stored = BTreeSet::new();
    for writer in writers {
        stored.extend(writer.await.unwrap());
    }
    let moves = governor.await.unwrap();
    settle(&house, &mut takers).await;

    let books = house.client.mail("mail").await.unwrap();
    let taken: Vec<Vec<Value>> = takers.iter().map(|taker| lines(&taker.file)).collect();
    judge(&stored, &taken, &books);
    eprintln!("{rounds} rounds: {} messages stored, {moves} moves, books {books}", stored.len());
}

/// Waits until nothing is pending any more.
async fn settle(house: &Fixture, takers: &mut [Taker]) {
    let mut books = Value::Null;
    for _ in 0..600 {
        takers.iter_mut().for_each(|taker| taker.keep(house));
        let _ = house.client.backfill("mail", "mail", None).await;
        books = house.client.mail("mail").await.unwrap();
        if books["pending"] == 0 && books["unrouted"] == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("messages stay pending: {books}");
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    // A kill may cut the last line that a process wrote.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn judge(stored: &BTreeSet<String>, taken: &[Vec<Value>], books: &Value) {
    let mut ids: BTreeMap<u64, String> = BTreeMap::new();
    for (server, lines) in taken.iter().enumerate() {
        // By endpoint: the newest message that this registration was given, and all of them.
        let mut newest: BTreeMap<String, u64> = BTreeMap::new();
        let mut given = BTreeSet::new();
        for line in lines {
            let Some(seq) = line["seq"].as_u64() else {
                if line.get("registered").is_some() {
                    newest.clear();
                    given.clear();
                }
                continue;
            };
            let (id, to) = (line["id"].as_str().unwrap(), line["to"].as_str().unwrap());
            let before = ids.entry(seq).or_insert_with(|| id.to_owned());
            assert_eq!(before, id, "message {seq} came under another id");
            // What had no route comes when it has one, whatever came before.
            if given.insert(seq) && line["body"]["imported"] == false {
                let newest = newest.entry(to.to_owned()).or_default();
                assert!(*newest < seq, "server {server}: {to} got {seq} behind {newest}");
                *newest = seq;
            }
        }
    }
    let delivered: BTreeSet<&String> = ids.values().collect();
    let lost: Vec<_> = stored.iter().filter(|id| !delivered.contains(id)).collect();
    assert!(lost.is_empty(), "{} of {} messages never came: {lost:?}", lost.len(), stored.len());
    let queue = &books["queues"][0];
    assert_eq!(queue["stored"], queue["confirmed"], "{books}");
    assert_eq!(queue["stored"], ids.len(), "every message once in the books: {books}");
    assert_eq!((&books["dead"], &queue["expired"]), (&json!(0), &json!(0)), "{books}");
}
