//! Clock of the node: the one place that reads the time of day, and the pace of what is looked at
//! now and then.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Interval of looking for what is due and of trying again what was refused.
pub(crate) const TICK: Duration = Duration::from_millis(250);

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    now_us() / 1_000
}

/// Microseconds since 1970; 0 while the clock says that it is earlier.
#[must_use]
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
