//! Figures of another process from `/proc`: CPU time, memory, descriptors.

use std::fs;
use std::time::Duration;

/// CPU time of all threads that a process has or had, user and system, in steps of 10 ms.
#[must_use]
pub fn cpu_of(process: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name may hold anything but ends at the last bracket; utime and stime are 14th and 15th.
    let (_, after) = stat.rsplit_once(") ")?;
    let ticks = after.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok());
    Some(Duration::from_millis(ticks.sum::<u64>() * 10))
}

/// Bytes of a process in memory.
#[must_use]
pub fn resident_bytes_of(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().split(' ').next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Descriptors that a process has open.
#[must_use]
pub fn descriptors_of(process: u32) -> Option<usize> {
    fs::read_dir(format!("/proc/{process}/fd")).ok().map(Iterator::count)
}

/// Limit of the descriptors that this process may have open.
#[must_use]
pub fn descriptor_limit() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_descriptors() {
        let me = std::process::id();

        assert!(cpu_of(me).is_some());
        assert!(resident_bytes_of(me).is_some_and(|bytes| bytes > 100_000));
        assert!(descriptors_of(me).is_some_and(|open| open >= 3));
        assert!(descriptor_limit().is_some_and(|limit| limit > 3));
    }
}
