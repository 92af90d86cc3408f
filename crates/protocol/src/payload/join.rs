//! Replies to joins: rows that they carry, and rows that they leave to pushes.
//!
//! The reply carries the new position when it is complete in itself. When rows follow as pushes it
//! carries the client's own position, or none, and `pending: true`; the last push carries the new
//! one.

use bytes::Bytes;
use instep_model::feed::{JoinRefusal, Joined, Mode, TABLE_PREFIX};
use instep_model::limits;
use instep_model::position::Position;
use serde_json::{Value, json};

use super::rows::Rows;

#[cfg(test)]
mod tests;

/// Limits of rows in one message behind a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinLimits {
    /// Rows of a reply.
    pub inline_rows: usize,
    /// Bytes of the rows of a reply.
    pub inline_bytes: usize,
    /// Rows of a chunk behind a reply.
    pub chunk_rows: usize,
    /// Bytes of a chunk, about.
    pub chunk_bytes: usize,
}

impl Default for JoinLimits {
    fn default() -> Self {
        Self {
            inline_rows: limits::JOIN_INLINE_ROWS,
            inline_bytes: limits::JOIN_INLINE_BYTES,
            chunk_rows: limits::JOIN_CHUNK_ROWS,
            chunk_bytes: limits::JOIN_CHUNK_BYTES,
        }
    }
}

/// Reply to a join that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Response, a JSON object.
    pub response: Bytes,
    /// True when the rows follow as pushes.
    pub is_pending: bool,
}

/// Reply to a joiner that gave `since`, if that was a position.
#[must_use]
pub fn reply(joined: &Joined, since: Option<Position>, limits: JoinLimits) -> Reply {
    let Joined { mode, position, notices } = joined;
    let pending = |position: Option<Position>| {
        let response = json!({"mode": mode, "position": position, "pending": true});
        Reply { response: response.to_string().into(), is_pending: true }
    };
    let mut response = json!({"mode": mode, "position": position}).to_string().into_bytes();
    if *mode == Mode::Resume {
        return if notices.is_empty() {
            Reply { response: response.into(), is_pending: false }
        } else {
            pending(since)
        };
    }
    let mut rows = Rows::default();
    for notice in notices {
        rows.add(notice);
        if rows.is_over(limits.inline_rows, limits.inline_bytes) {
            return pending(None);
        }
    }
    response.pop();
    response.extend_from_slice(b",\"rows\":");
    response.extend_from_slice(&rows.finish());
    response.push(b'}');
    Reply { response: response.into(), is_pending: false }
}

/// Stable code of a refusal.
#[must_use]
pub fn reason(refusal: &JoinRefusal) -> &'static str {
    match refusal {
        JoinRefusal::Unmatched => "unmatched topic",
        JoinRefusal::Unavailable => "dataset_unavailable",
        JoinRefusal::Ahead { .. } => "position_ahead",
        JoinRefusal::TooLarge { .. } => "too_large",
    }
}

/// Reply to a join of `topic` that was refused.
#[must_use]
pub fn refusal(topic: &str, refusal: &JoinRefusal) -> Value {
    let reason = reason(refusal);
    match refusal {
        JoinRefusal::Unmatched => json!({"reason": reason}),
        JoinRefusal::Unavailable => {
            json!({"reason": reason, "detail": refusal.to_string()})
        }
        JoinRefusal::Ahead { head } => json!({
            "reason": reason, "detail": refusal.to_string(), "position": head,
        }),
        JoinRefusal::TooLarge { rows, bytes } => {
            let path = topic.strip_prefix(TABLE_PREFIX).and_then(|name| name.split_once('/'));
            let snapshot = path
                .map(|(dataset, table)| format!("/v1/datasets/{dataset}/tables/{table}/snapshot"));
            json!({
                "reason": reason, "detail": refusal.to_string(),
                "rows": rows, "bytes": bytes, "snapshot": snapshot,
            })
        }
    }
}
