//! Metrics of this process, as the system tells them. What it does not tell is left out.

use std::fs;
use std::sync::LazyLock;

use instep_node::now_ms;

use super::page::Page;

#[derive(Debug)]
pub(super) struct Process {
    descriptors: Option<u64>,
    descriptor_limit: Option<u64>,
    resident_bytes: Option<u64>,
    cpu_seconds: Option<f64>,
}

/// Start of the server, in seconds since 1970.
static STARTED: LazyLock<u64> = LazyLock::new(|| now_ms() / 1_000);

/// Notes when the server begins.
pub(super) fn note_start() {
    LazyLock::force(&STARTED);
}

impl Process {
    pub(super) fn now() -> Self {
        let open = fs::read_dir("/proc/self/fd").ok().map(|open| open.count() as u64);
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        Self {
            // One of them is there to count them.
            descriptors: open.map(|open| open.saturating_sub(1)),
            descriptor_limit: number(&limits, "Max open files"),
            resident_bytes: number(&status, "VmRSS:").map(|kib| kib * 1024),
            cpu_seconds: cpu_seconds(&stat),
        }
    }

    pub(super) fn write(&self, page: &mut Page<'_>) -> std::fmt::Result {
        let gauges = [
            ("process_open_fds", "Open descriptors", self.descriptors),
            ("process_max_fds", "Descriptors that may be open", self.descriptor_limit),
            ("process_resident_memory_bytes", "Bytes in memory", self.resident_bytes),
            ("process_start_time_seconds", "When it began, since 1970", Some(*STARTED)),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                page.gauge(name, help, value)?;
            }
        }
        match self.cpu_seconds {
            Some(seconds) => page.counter_f64("process_cpu_seconds", "CPU time used", seconds),
            None => Ok(()),
        }
    }
}

/// The number behind a name at the beginning of a line.
fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// User and system time, which Linux tells in steps of 10 ms.
fn cpu_seconds(stat: &str) -> Option<f64> {
    // The name may hold anything but ends at the last bracket; utime and stime are 14th and 15th.
    let (_, after) = stat.rsplit_once(") ")?;
    let ticks = after.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u32>().ok());
    let ticks: u32 = ticks.sum::<Option<u32>>()?;
    Some(f64::from(ticks) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_names_and_cpu_time_behind_any_name() {
        let limits = "Limit  Soft\nMax open files            1024                 4096     files\n";
        let stat = "1 (a ) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0\n";

        assert_eq!(number(limits, "Max open files"), Some(1024));
        assert_eq!(number(limits, "Max open"), None);
        assert_eq!(cpu_seconds(stat), Some(3.0));
    }
}
