//! The machine under a bench, as `/proc` tells it: facts for the report, CPU time, memory.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Facts about the machine that a reader of the figures needs.
pub(crate) fn facts(directory: &Path) -> Value {
    json!({
        "cpu": field("/proc/cpuinfo", "model name").unwrap_or_default(),
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "memory_kib": kib("/proc/meminfo", "MemTotal"),
        "kernel": text("/proc/sys/kernel/osrelease"),
        "file_system": file_system(directory),
        "durable_write_us": durable_write(directory).as_micros(),
        "load_1_min": load(),
    })
}

/// Durable write time of the disk: the median of overwriting 4 KiB and waiting for the flush.
fn durable_write(directory: &Path) -> Duration {
    let path = directory.join("durable-write");
    fs::write(&path, vec![1; 1024 * 1024]).expect("the bench's own directory");
    let file = fs::File::options().write(true).open(&path).expect("the file just written");
    file.sync_all().expect("a disk that syncs");
    let mut taken: Vec<Duration> = (0..200)
        .map(|at: u64| {
            let begin = Instant::now();
            file.write_all_at(&[2; 4096], at * 4096).expect("room in the file");
            file.sync_data().expect("a disk that syncs");
            begin.elapsed()
        })
        .collect();
    taken.sort_unstable();
    taken[taken.len() / 2]
}

/// The load average of the last minute: above the number of cores the figures say little.
pub(crate) fn load() -> f64 {
    text("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

/// The command as it was given.
pub(crate) fn command() -> String {
    let program = env!("CARGO_CRATE_NAME");
    let args = std::env::args().skip(1).filter(|argument| argument != "--bench");
    std::iter::once(format!("cargo xtask bench {program}"))
        .chain(args)
        .collect::<Vec<_>>()
        .join(" ")
}

/// CPU time of all threads that a process has or had, user and system. In steps of 10 ms.
pub(crate) fn cpu_of(process: u32) -> Duration {
    let stat = text(&format!("/proc/{process}/stat"));
    // The name may hold anything but ends at the last bracket; utime and stime are 14th and 15th.
    let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
    let ticks = after.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// CPU time of this process's living threads, to the nanosecond.
pub(crate) fn cpu_of_threads() -> Duration {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let ran = threads.filter_map(|thread| {
        let stat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(ran.sum())
}

/// Bytes of this process in memory.
pub(crate) fn resident_bytes() -> u64 {
    kib("/proc/self/status", "VmRSS") * 1024
}

/// Bytes of a process in memory.
pub(crate) fn resident_bytes_of(process: u32) -> u64 {
    kib(&format!("/proc/{process}/status"), "VmRSS") * 1024
}

fn file_system(directory: &Path) -> String {
    let directory = fs::canonicalize(directory).unwrap_or_default();
    let mounts = text("/proc/mounts");
    let of = |line: &str| {
        let mut parts = line.split(' ').skip(1);
        let (point, kind) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        directory.starts_with(&point).then_some((point.len(), kind))
    };
    mounts.lines().filter_map(of).max().map(|(_, kind)| kind).unwrap_or_default()
}

fn kib(path: &str, name: &str) -> u64 {
    let value = field(path, name).unwrap_or_default();
    value.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = text(path);
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(found, _)| found.trim() == name).map(|(_, value)| value.trim().to_owned())
}

fn text(path: &str) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}
