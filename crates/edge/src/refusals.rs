//! Joins that were refused, by reason.

use std::sync::atomic::{AtomicU64, Ordering};

/// The reasons that are told apart; an application's own are the last.
pub const JOIN_REFUSALS: [&str; 14] = [
    "unmatched topic",
    "key_required",
    "forbidden",
    "token_expired",
    "token_invalid",
    "wrong_key",
    "other_subject",
    "rate_limited",
    "position_ahead",
    "too_large",
    "overloaded",
    "too_many_registrations",
    "too_many_presences",
    "other",
];

/// Counters of refused joins, by [`JOIN_REFUSALS`].
#[derive(Debug, Default)]
pub(crate) struct Refusals([AtomicU64; JOIN_REFUSALS.len()]);

impl Refusals {
    /// Counts a refusal by its reason.
    pub(crate) fn count(&self, reason: &str) {
        let known = JOIN_REFUSALS.iter().position(|known| *known == reason);
        self.0[known.unwrap_or(JOIN_REFUSALS.len() - 1)].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> [u64; JOIN_REFUSALS.len()] {
        std::array::from_fn(|at| self.0[at].load(Ordering::Relaxed))
    }
}
