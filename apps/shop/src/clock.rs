//! The one place where the shop reads the clock and asks for randomness.

use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// 32 random bytes that cannot be guessed.
///
/// # Errors
/// When the system gives no randomness.
pub(crate) fn random_bytes() -> std::io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes)
}

/// An order id: it carries the time, so that the server knows how long to remember it.
pub(crate) fn fresh_order_id() -> Uuid {
    Uuid::now_v7()
}
