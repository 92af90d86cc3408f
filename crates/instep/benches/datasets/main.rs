//! Bench of many datasets: what idle ones cost, how fast they are open, and what a commit takes to
//! one of many.
//!
//! `--datasets N` makes another number than 1,000; `--quick` takes a tenth of the commits. All of
//! them hold one row and a snapshot. Commits are those of one client over HTTP, to the same dataset
//! and to each in turn alternately, so that what else happens on the machine falls on both.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use goal::Goal;
use hdrhistogram::Histogram;
use instep::{App, Config, Server};
use load::{HttpClient, on_one_thread, request};
use program::Program;
use serde_json::json;

#[path = "../common/goal.rs"]
#[allow(dead_code, reason = "each bench asks for other things")]
mod goal;
#[path = "../common/load.rs"]
#[allow(dead_code, reason = "each bench asks for other things")]
mod load;
#[path = "../common/machine.rs"]
#[allow(dead_code, reason = "each bench asks for other things")]
mod machine;
#[path = "../common/program.rs"]
mod program;

/// The argument that makes this program the server.
const SERVE: &str = "serve";
/// No answer takes a minute.
const LONGEST_NS: u64 = 60_000_000_000;
/// Threads that had work end within this time, and memory is given back.
const REST: Duration = Duration::from_secs(8);
/// Connections that make datasets.
const MAKING: usize = 16;

/// Bytes that a commit takes in a log, about.
const COMMIT_BYTES: usize = 200;
/// Bytes of a plain file, as of a log's first segment.
const PLAIN_BYTES: usize = 64 * 1024;

const MAKE: &str = r#"{"ops":[{"op":"create_table","table":"t"},
    {"op":"put","table":"t","key":"k","row":{"n":0}}]}"#;
const COMMIT: &str = r#"{"ops":[{"op":"add","table":"t","key":"k","field":"n","by":1}]}"#;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, directory] = &args[..]
        && mode == SERVE
    {
        serve(Path::new(directory));
        return;
    }
    let number = args.iter().skip_while(|argument| *argument != "--datasets").nth(1);
    let datasets =
        number.map_or(1_000, |number| number.parse().expect("--datasets takes a number"));
    let commits = if args.iter().any(|argument| argument == "--quick") { 1_000 } else { 10_000 };
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let facts = machine::facts(root.path());
    let (empty, _) = Process::start(&root.path().join("empty"));
    let before = empty.rested();
    drop(empty);
    let directory = root.path().join("many");
    make(&directory, datasets);
    let (many, ready) = Process::start(&directory);
    let idle = many.rested();
    let commits_taken = many.commits(datasets, commits);
    let plain = plain_writes(root.path(), datasets, commits);
    let busy = many.rested();
    report(&Found { datasets, before, ready, idle, busy, commits: commits_taken, plain }, &facts);
}

struct Found {
    datasets: usize,
    before: Resources,
    ready: Duration,
    idle: Resources,
    busy: Resources,
    commits: Taken,
    plain: Taken,
}

/// Medians of the times of one thing done in the same place, and in each in turn.
struct Taken {
    lone: Duration,
    each: Duration,
}

#[derive(Clone, Copy)]
struct Resources {
    threads: usize,
    bytes: u64,
    descriptors: usize,
    /// Share of a core.
    cpu: f64,
}

/// The server's process.
struct Process {
    program: Program,
    address: String,
    key: String,
}

impl Process {
    /// Starts it, and says how long that took until it was ready.
    fn start(directory: &Path) -> (Self, Duration) {
        let begin = Instant::now();
        let mut program = Program::start(&[OsStr::new(SERVE), directory.as_os_str()]);
        let (address, key) = (program.line(), program.line());
        assert_eq!(program.line(), "ready");
        (Self { program, address, key }, begin.elapsed())
    }

    /// Resources that it takes when it has been left alone for a while.
    fn rested(&self) -> Resources {
        let process = self.program.id();
        std::thread::sleep(REST);
        let cpu = machine::cpu_of(process);
        std::thread::sleep(REST);
        let count = |what: &str| {
            std::fs::read_dir(format!("/proc/{process}/{what}")).expect("it runs").count()
        };
        Resources {
            threads: count("task"),
            bytes: machine::resident_bytes_of(process),
            descriptors: count("fd"),
            cpu: (machine::cpu_of(process) - cpu).as_secs_f64() / REST.as_secs_f64(),
        }
    }

    fn commits_to(&self, dataset: usize, body: &str) -> std::rc::Rc<[u8]> {
        let path = format!("/v1/datasets/n{dataset}/commits");
        request((&self.address, &self.key), "POST", &path, body)
    }

    /// Medians of commits to the first dataset, and to each in turn.
    fn commits(&self, datasets: usize, commits: usize) -> Taken {
        let (mut lone, mut each) = (histogram(), histogram());
        on_one_thread(async {
            let mut client = HttpClient::connect(&self.address).await;
            // Each has had its first commit since the start then.
            for dataset in 0..datasets {
                client.ask(&self.commits_to(dataset, COMMIT)).await;
            }
            for at in 0..commits {
                for (dataset, taken) in [(0, &mut lone), (at % datasets, &mut each)] {
                    let request = self.commits_to(dataset, COMMIT);
                    let begin = Instant::now();
                    client.ask(&request).await;
                    taken.saturating_record(begin.elapsed().as_nanos() as u64);
                }
            }
        });
        Taken::of(&lone, &each)
    }
}

impl Taken {
    fn of(lone: &Histogram<u64>, each: &Histogram<u64>) -> Self {
        let p50 = |taken: &Histogram<u64>| Duration::from_nanos(taken.value_at_quantile(0.5));
        Self { lone: p50(lone), each: p50(each) }
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("valid bounds")
}

/// Medians of writes of a commit's size, with a sync each, to one file and to each in turn.
fn plain_writes(root: &Path, files: usize, writes: usize) -> Taken {
    let directory = root.join("plain");
    std::fs::create_dir(&directory).expect("a directory");
    let files: Vec<File> = (0..files)
        .map(|number| {
            let file = File::create(directory.join(number.to_string())).expect("a file");
            file.write_all_at(&vec![0; PLAIN_BYTES], 0).expect("room for a file");
            file.sync_all().expect("a disk that syncs");
            file
        })
        .collect();
    let (mut lone, mut each) = (histogram(), histogram());
    for at in 0..writes {
        let place = (at * COMMIT_BYTES % (PLAIN_BYTES - COMMIT_BYTES)) as u64;
        for (file, taken) in [(&files[0], &mut lone), (&files[at % files.len()], &mut each)] {
            let begin = Instant::now();
            file.write_all_at(&[1; COMMIT_BYTES], place).expect("a file");
            file.sync_data().expect("a disk that syncs");
            taken.saturating_record(begin.elapsed().as_nanos() as u64);
        }
    }
    Taken::of(&lone, &each)
}

/// Makes the datasets, with a row and a snapshot each, and closes them.
fn make(directory: &Path, datasets: usize) {
    let (process, _) = Process::start(directory);
    on_one_thread(async {
        let making = (0..MAKING).map(|first| {
            let process = &process;
            async move {
                let mut client = HttpClient::connect(&process.address).await;
                for dataset in (first..datasets).step_by(MAKING) {
                    let server = (&*process.address, &*process.key);
                    let path = format!("/v1/datasets/n{dataset}");
                    client.ask(&request(server, "PUT", &path, "")).await;
                    client.ask(&process.commits_to(dataset, MAKE)).await;
                }
            }
        });
        futures_util::future::join_all(making).await;
    });
    std::thread::sleep(REST);
    process.program.finish();
}

/// The server's process from inside: says where it listens and when it is ready, ends with its
/// standard input.
#[expect(clippy::print_stdout, reason = "the bench reads it")]
fn serve(directory: &Path) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut config = Config::in_directory(directory);
        config.http = ([127, 0, 0, 1], 0).into();
        config.max_datasets = 4_096;
        // What is new is in a snapshot at once, and nothing more while commits are measured.
        config.log.snapshot_after_bytes = 64;
        if directory.join("datasets/n0/snapshots").exists() {
            config.log.snapshot_after_bytes = u64::MAX;
        }
        let mut server = Server::start(config, App::default()).await.expect("the server starts");
        println!("{}\n{}", server.address(), server.admin_key().as_str());
        server.ready().await.expect("the data is loaded");
        println!("ready");
        let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        server.run_until(async { drop(end.await) }).await.expect("the data closes");
    });
}

#[expect(clippy::print_stdout, reason = "the table is what a bench is for")]
fn report(found: &Found, facts: &serde_json::Value) {
    let Found { datasets, before, ready, idle, busy, commits, plain } = found;
    println!("{}\n{facts}", machine::command());
    println!("{datasets} datasets        threads        MiB   descriptors   % of a core");
    for (what, of) in [("none", before), ("idle", idle), ("after commits", busy)] {
        let Resources { threads, bytes, descriptors, cpu } = of;
        let mib = *bytes as f64 / 1024.0 / 1024.0;
        println!("{what:<20} {threads:>10} {mib:>10.1} {descriptors:>13} {:>13.1}", cpu * 100.0);
    }
    println!("ready after {} ms", ready.as_millis());
    let us = |taken: &Duration| taken.as_micros();
    for (what, Taken { lone, each }) in [("commit", commits), ("plain write", plain)] {
        println!("p50 of a {what}: {} us to one of them, {} us to each", us(lone), us(each));
    }
    let mib = busy.bytes.max(idle.bytes).saturating_sub(before.bytes) as f64 / 1024.0 / 1024.0;
    let threads = idle.threads.max(busy.threads).saturating_sub(before.threads);
    let scale = *datasets as f64 / 1_000.0;
    let less = |commit: Duration, plain| commit.saturating_sub(plain).as_secs_f64();
    let goals = [
        Goal::at_most("threads beyond an empty server, at most", threads as f64, 32.0),
        Goal::at_most("MiB beyond an empty server, at most", mib, 64.0 * scale),
        Goal::at_most("seconds until ready, at most", ready.as_secs_f64(), 3.0 * scale.max(1.0)),
        Goal::at_most(
            "p50 of a commit to each against the same one, less a plain write, at most",
            less(commits.each, plain.each) / less(commits.lone, plain.lone),
            1.1,
        ),
    ];
    goals.iter().for_each(Goal::print);
    let resources = |of: &Resources| {
        let Resources { threads, bytes, descriptors, cpu } = of;
        json!({"threads": threads, "bytes": bytes, "descriptors": descriptors, "cpu": cpu})
    };
    let goals: Vec<_> = goals.iter().map(Goal::json).collect();
    println!(
        "{}",
        json!({
            "bench": "datasets",
            "machine": facts,
            "datasets": datasets,
            "empty": resources(before),
            "idle": resources(idle),
            "after_commits": resources(busy),
            "ready_ms": ready.as_millis(),
            "lone_p50_us": us(&commits.lone),
            "each_p50_us": us(&commits.each),
            "plain_lone_p50_us": us(&plain.lone),
            "plain_each_p50_us": us(&plain.each),
            "goals": goals,
        })
    );
}
