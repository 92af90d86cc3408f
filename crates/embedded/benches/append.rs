//! Durable appends against SQLite in its durable mode, in one run on one disk, and the scan rate.
//!
//! One record is 200 bytes; a batch of records is one entry of the log and one row of SQLite.
//! `--json` prints one line for programs, `--quick` takes a tenth of the time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use instep_embedded::log::{EmbeddedLog, Options, SEGMENT_BYTES, Trimming};
use instep_embedded::real::RealDisk;
use instep_model::log::Log;
use instep_model::position::{Incarnation, Revision};
use rusqlite::Connection;
use uuid::Uuid;

const RECORD_BYTES: usize = 200;
const BATCHES: [usize; 4] = [1, 10, 100, 1000];
const SCANNED_RECORDS: usize = 1_000_000;
const SCAN_BATCH: usize = 100;

struct Rates {
    batch: usize,
    ours: f64,
    sqlite: f64,
    ours_p50: Duration,
    sqlite_p50: Duration,
}

struct Scan {
    open: Duration,
    read: Duration,
    bytes: u64,
}

fn main() {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    let seconds = if has("--quick") { 0.3 } else { 3.0 };
    let root = tempfile::tempdir_in(".").expect("a directory for the bench");
    let rates: Vec<Rates> = BATCHES.iter().map(|b| measure(root.path(), *b, seconds)).collect();
    let scan = scan(&root.path().join("scan"));
    if has("--json") { print_json(&rates, &scan) } else { print_table(&rates, &scan) }
}

fn measure(root: &Path, batch: usize, seconds: f64) -> Rates {
    let entry = records(batch);
    let mut log = open(&root.join(format!("log-{batch}")));
    let (preallocator, is_over) = (log.preallocator(), AtomicBool::new(false));
    let mut head = Revision::ZERO;
    let ours = std::thread::scope(|scope| {
        let background = scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                preallocator.prepare().expect("space for the bench");
                std::thread::park();
            }
        });
        let ours = timed(seconds, || {
            head = log.append(head, &entry).expect("an append");
            if preallocator.is_wanted() {
                background.thread().unpark();
            }
        });
        is_over.store(true, Ordering::SeqCst);
        background.thread().unpark();
        ours
    });
    drop((log, preallocator));

    let connection = Connection::open(root.join(format!("{batch}.db"))).expect("a database");
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE log (revision INTEGER PRIMARY KEY, entry BLOB NOT NULL);",
        )
        .expect("a table");
    let mut insert = connection.prepare("INSERT INTO log (entry) VALUES (?1)").expect("a query");
    let sqlite = timed(seconds, || {
        insert.execute([&entry]).expect("an insert");
    });
    Rates {
        batch,
        ours: rate(&ours, batch),
        sqlite: rate(&sqlite, batch),
        ours_p50: median(ours),
        sqlite_p50: median(sqlite),
    }
}

fn timed(seconds: f64, mut commit: impl FnMut()) -> Vec<Duration> {
    let begin = Instant::now();
    let mut taken = Vec::new();
    while begin.elapsed().as_secs_f64() < seconds {
        let before = Instant::now();
        commit();
        taken.push(before.elapsed());
    }
    taken
}

fn rate(taken: &[Duration], batch: usize) -> f64 {
    let total: Duration = taken.iter().sum();
    (taken.len() * batch) as f64 / total.as_secs_f64()
}

fn median(mut taken: Vec<Duration>) -> Duration {
    taken.sort_unstable();
    taken.get(taken.len() / 2).copied().unwrap_or_default()
}

fn scan(directory: &Path) -> Scan {
    let entry = records(SCAN_BATCH);
    let mut log = open(directory);
    let mut head = Revision::ZERO;
    for _ in 0..SCANNED_RECORDS / SCAN_BATCH {
        head = log.append(head, &entry).expect("an append");
    }
    drop(log);
    let begin = Instant::now();
    let log = open(directory);
    let open = begin.elapsed();
    let reader = log.reader();
    let begin = Instant::now();
    let (mut next, mut bytes) = (Revision(1), 0);
    loop {
        let read = reader.read(next, 4 * 1024 * 1024).expect("a read");
        let Some(last) = read.last() else { break };
        next = last.revision.next();
        bytes += read.iter().map(|stored| stored.bytes.len() as u64).sum::<u64>();
    }
    Scan { open, read: begin.elapsed(), bytes }
}

fn open(directory: &Path) -> EmbeddedLog {
    let options = Options {
        directory: directory.to_owned(),
        segment_bytes: SEGMENT_BYTES,
        new_incarnation: Incarnation(Uuid::from_u128(1)),
        trimming: Trimming::AsAsked,
        newest_entry: None,
    };
    EmbeddedLog::open(Arc::new(RealDisk), options).expect("a log")
}

/// Half of each record repeats, half of it looks random.
fn records(count: usize) -> Vec<u8> {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(count * RECORD_BYTES);
    while bytes.len() < count * RECORD_BYTES {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        bytes.extend_from_slice(&seed.to_le_bytes());
        bytes.extend_from_slice(b"template");
    }
    bytes.truncate(count * RECORD_BYTES);
    bytes
}

#[expect(clippy::print_stdout, reason = "the table is what a bench is for")]
fn print_table(rates: &[Rates], scan: &Scan) {
    println!("records of {RECORD_BYTES} bytes, durable before the next one begins");
    println!("batch      instep rec/s   sqlite rec/s   ratio   p50 instep   p50 sqlite");
    for row in rates {
        let ratio = row.ours / row.sqlite;
        println!(
            "{:>5} {:>17.0} {:>14.0} {:>6.1}x {:>9} us {:>9} us",
            row.batch,
            row.ours,
            row.sqlite,
            ratio,
            row.ours_p50.as_micros(),
            row.sqlite_p50.as_micros()
        );
    }
    println!(
        "scan of {SCANNED_RECORDS} records, {} MB: open with recovery {} ms, read {} ms",
        scan.bytes / 1_000_000,
        scan.open.as_millis(),
        scan.read.as_millis()
    );
}

#[expect(clippy::print_stdout, reason = "the line is what programs read")]
fn print_json(rates: &[Rates], scan: &Scan) {
    let rows: Vec<String> = rates
        .iter()
        .map(|row| {
            format!(
                "{{\"batch\":{},\"instep_per_s\":{:.0},\"sqlite_per_s\":{:.0},\"ratio\":{:.2},\
                 \"instep_p50_us\":{},\"sqlite_p50_us\":{}}}",
                row.batch,
                row.ours,
                row.sqlite,
                row.ours / row.sqlite,
                row.ours_p50.as_micros(),
                row.sqlite_p50.as_micros()
            )
        })
        .collect();
    println!(
        "{{\"bench\":\"log\",\"record_bytes\":{RECORD_BYTES},\"append\":[{}],\
         \"scan\":{{\"records\":{SCANNED_RECORDS},\"bytes\":{},\"open_ms\":{},\"read_ms\":{}}}}}",
        rows.join(","),
        scan.bytes,
        scan.open.as_millis(),
        scan.read.as_millis()
    );
}
