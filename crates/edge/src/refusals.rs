//! Joins that were refused, by reason.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

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
    /// Counts a refusal by what the client is told.
    pub(crate) fn count(&self, told: &Value) {
        let reason = told.get("reason").and_then(Value::as_str).unwrap_or_default();
        let known = JOIN_REFUSALS.iter().position(|known| *known == reason);
        self.0[known.unwrap_or(JOIN_REFUSALS.len() - 1)].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> [u64; JOIN_REFUSALS.len()] {
        std::array::from_fn(|at| self.0[at].load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_application_says_is_one_reason_whatever_it_is() {
        let refusals = Refusals::default();

        for told in [json!({"reason": "sold out"}), json!(7), json!({"reason": "forbidden"})] {
            refusals.count(&told);
        }

        let told: Vec<_> = JOIN_REFUSALS.into_iter().zip(refusals.read()).collect();
        assert!(told.contains(&("forbidden", 1)) && told.contains(&("other", 2)), "{told:?}");
    }
}
