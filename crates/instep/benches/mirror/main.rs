//! Bench of a table in memory: the time of a start, its size, the speed of a snapshot over HTTP.
//!
//! A million rows of 200 bytes. A cold start, from a snapshot and from the log alone, against a
//! bare loop over the same files; memory per row against the row's bytes; the HTTP snapshot
//! against a plain file of the same size from the same server. `--quick` takes a tenth of the rows.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

mod bare;
#[path = "../common/machine.rs"]
#[allow(dead_code, reason = "each bench asks for other things")]
mod machine;
mod phases;

const ROW_BYTES: usize = 200;
const ROWS: usize = 1_000_000;
const ROWS_PER_COMMIT: usize = 1_000;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, data, rows] = &args[..]
        && mode.starts_with("phase-")
    {
        run_phase(mode, Path::new(data), rows.parse().expect("a number of rows"));
        return;
    }
    let quick = args.iter().any(|argument| argument == "--quick");
    let (rows, rounds) = if quick { (ROWS / 10, 2) } else { (ROWS, 5) };
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let facts = machine::facts(root.path());
    let made = phase("phase-make", root.path(), rows);
    let reading = read_out(root.path(), rows, rounds);
    let from_snapshot = cold_start(root.path(), rows, rounds, "phase-bare-snapshot");
    let snapshots = phases::dataset_directory(root.path()).join("snapshots");
    std::fs::rename(&snapshots, root.path().join("away")).expect("the snapshots");
    let from_log = cold_start(root.path(), rows, rounds, "phase-bare-log");
    report(rows, &made, [&from_snapshot, &from_log], &reading, &facts);
}

#[expect(clippy::print_stdout, reason = "the parent reads it")]
fn run_phase(mode: &str, data: &Path, rows: usize) {
    let say = |found: Value| println!("{found}");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match mode {
        "phase-make" => say(runtime.block_on(phases::make(data, rows))),
        "phase-open" => say(runtime.block_on(phases::open(data))),
        "phase-bare-snapshot" => say(phases::read_barely(data, true)),
        "phase-bare-log" => say(phases::read_barely(data, false)),
        "phase-serve" => runtime.block_on(phases::serve(data, say)),
        other => panic!("no phase {other}"),
    }
    // What was loaded need not be taken apart row by row.
    std::process::exit(0);
}

/// A phase in a process of its own, which ends with its standard input.
struct Phase {
    child: Child,
    said: Value,
    _lifeline: ChildStdin,
}

impl Phase {
    fn start(mode: &str, data: &Path, rows: usize) -> Self {
        let program = std::env::current_exe().expect("the bench knows its own path");
        let mut command = Command::new(program);
        command.arg(mode).arg(data).arg(rows.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the phase's process");
        let lifeline = child.stdin.take().expect("it was asked for");
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().expect("it was asked for"));
        said.read_line(&mut line).expect("the phase says what it found");
        let said = serde_json::from_str(&line).expect("the phase speaks JSON");
        Self { child, said, _lifeline: lifeline }
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn phase(mode: &str, data: &Path, rows: usize) -> Value {
    let mut phase = Phase::start(mode, data, rows);
    phase.child.wait().expect("the phase's process");
    phase.said.take()
}

struct Start {
    open: Value,
    bare: Value,
}

/// Both take turns; of each the round with the least CPU time counts.
fn cold_start(data: &Path, rows: usize, rounds: usize, bare_mode: &str) -> Start {
    let mut best = [Value::Null, Value::Null];
    for _ in 0..rounds {
        for (best, mode) in best.iter_mut().zip(["phase-open", bare_mode]) {
            let found = phase(mode, data, rows);
            assert_eq!(found["rows"], rows, "{mode}");
            if best.is_null() || number(&found, "cpu_s") < number(best, "cpu_s") {
                *best = found;
            }
        }
    }
    let [open, bare] = best;
    Start { open, bare }
}

struct Reading {
    bytes: usize,
    snapshot: f64,
    plain: f64,
}

/// Downloads of the snapshot and of a plain file of as many bytes take turns; the best counts.
fn read_out(data: &Path, rows: usize, rounds: usize) -> Reading {
    let server = Phase::start("phase-serve", data, rows);
    let address = server.said["address"].as_str().expect("the server says where it is");
    let body = download(address, "/v1/datasets/d/tables/t/snapshot", true).2;
    let lines = body.iter().filter(|byte| **byte == b'\n').count();
    // Each chunk of the encoding adds two line ends to a line for each row and two more.
    assert!(lines >= rows + 2, "{lines} lines");
    std::fs::write(phases::plain_file(data), &body).expect("room for the plain file");
    let mut reading = Reading { bytes: body.len(), snapshot: 0.0, plain: 0.0 };
    for _ in 0..rounds {
        for (path, best) in [
            ("/v1/datasets/d/tables/t/snapshot", &mut reading.snapshot),
            ("/plain", &mut reading.plain),
        ] {
            let (bytes, taken, _) = download(address, path, false);
            assert!(bytes + bytes / 100 > reading.bytes, "{path} is cut off at {bytes}");
            *best = best.max(bytes as f64 / 1e6 / taken.as_secs_f64());
        }
    }
    reading
}

/// Bytes, time and, if they are to be kept, the bytes themselves, in the encoding of the wire.
fn download(address: &str, path: &str, keep: bool) -> (usize, Duration, Vec<u8>) {
    let mut stream = TcpStream::connect(address).expect("the server");
    let begin = Instant::now();
    let ask = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).expect("the server reads");
    let (mut buffer, mut kept, mut bytes) = (vec![0; 256 * 1024], Vec::new(), 0);
    let mut ending = Vec::new();
    loop {
        let read = stream.read(&mut buffer).expect("the server answers");
        if bytes == 0 {
            assert!(buffer.starts_with(b"HTTP/1.1 200 "), "{path} is not a success");
        }
        if read == 0 {
            break;
        }
        bytes += read;
        ending.extend_from_slice(&buffer[read.saturating_sub(5)..read]);
        ending.drain(..ending.len().saturating_sub(5));
        if keep {
            kept.extend_from_slice(&buffer[..read]);
        }
    }
    assert!(ending.ends_with(b"\r\n\r\n"), "{path} has no proper end");
    (bytes, begin.elapsed(), kept)
}

fn number(found: &Value, name: &str) -> f64 {
    found[name].as_f64().expect("a phase says this")
}

#[expect(clippy::print_stdout, reason = "the table is what a bench is for")]
fn report(rows: usize, made: &Value, starts: [&Start; 2], reading: &Reading, facts: &Value) {
    println!("{}\n{facts}", machine::command());
    println!("{rows} rows of {ROW_BYTES} bytes, load now {}", machine::load());
    let mut goals = Vec::new();
    let mut goal = |name: &'static str, found: f64, wanted: f64, met: bool| {
        let outcome = if met { "met" } else { "MISSED" };
        println!("goal: {name}: {found:.2} (wanted {wanted}): {outcome}");
        goals.push(json!({ "goal": name, "found": found, "wanted": wanted, "met": met }));
    };
    let names = ["cold start from snapshot, CPU", "cold start from log, CPU"];
    for (name, Start { open, bare }) in names.into_iter().zip(starts) {
        let [cpu, wall, bare] =
            [number(open, "cpu_s"), number(open, "wall_s"), number(bare, "cpu_s")];
        let per_row = number(open, "resident_bytes") / rows as f64;
        println!("{name}: {cpu:.3} s (wall {wall:.3} s), bare loop {bare:.3} s");
        println!("  memory: {per_row:.0} bytes per row");
        goal(name, cpu / bare, 3.0, cpu <= bare * 3.0);
        let ratio = per_row / ROW_BYTES as f64;
        goal("  memory per row to the row's bytes", ratio, 2.5, ratio <= 2.5);
    }
    let Reading { bytes, snapshot, plain } = reading;
    let megabytes = bytes / 1_000_000;
    println!("HTTP, {megabytes} MB: snapshot {snapshot:.0} MB/s, plain file {plain:.0} MB/s");
    goal("HTTP snapshot to plain file", snapshot / plain, 0.5, snapshot >= &(plain * 0.5));
    let [from_snapshot, from_log] =
        starts.map(|Start { open, bare }| json!({ "open": open, "bare": bare }));
    let line = json!({
        "bench": "mirror",
        "machine": facts,
        "rows": rows,
        "table_bytes": made["bytes"],
        "from_snapshot": from_snapshot,
        "from_log": from_log,
        "http": { "bytes": bytes, "snapshot_mb_s": snapshot, "plain_mb_s": plain },
        "goals": goals,
    });
    println!("{line}");
}
