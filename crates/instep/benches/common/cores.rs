//! One core for what is measured and another for the load, so that a figure says what a server can
//! do, and not what the program that asks it costs.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The core of servers.
pub(crate) const SERVER: usize = 0;
/// The core of the load.
pub(crate) const LOAD: usize = 1;

/// Runs `work` on one core, or wherever it may. Programs that it starts stay there. On a machine
/// that has only one nothing changes.
pub(crate) fn on_core<T>(core: Option<usize>, work: impl FnOnce() -> T) -> T {
    let Some(core) = core else { return work() };
    let before = sched_getaffinity(None).expect("a thread knows where it may run");
    let mut only = CpuSet::new();
    only.set(core);
    let moved = sched_setaffinity(None, &only).is_ok();
    let done = work();
    if moved {
        sched_setaffinity(None, &before).expect("it was there before");
    }
    done
}
