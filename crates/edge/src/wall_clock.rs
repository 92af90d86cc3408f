//! Wall clock: the time of day, by which credentials end and messages are stamped.

use std::time::{SystemTime, UNIX_EPOCH};

use instep_access::Credential;

/// Milliseconds until a credential ends; none when it does not end by itself.
pub(crate) fn left_ms(credential: &Credential) -> Option<u64> {
    Some(credential.next_deadline()?.saturating_sub(wall_ms()))
}

/// Milliseconds since 1970, by which tokens expire.
pub(crate) fn wall_ms() -> u64 {
    wall_us() / 1_000
}

/// Microseconds since 1970.
pub(crate) fn wall_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
