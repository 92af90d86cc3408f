//! Refusals of joins and pushes, as their clients see them.

use bytes::Bytes;
use serde::Serialize;

/// Refusal of a join or a push. Fields stand in the order of their names, as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RefusalPayload<'a> {
    /// Explanation, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
    /// Stable code.
    pub reason: &'a str,
}

impl RefusalPayload<'_> {
    /// The JSON object.
    ///
    /// # Panics
    /// Never: texts become JSON.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("texts become JSON").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_a_detail_where_there_is_one() {
        let refusal = |detail| RefusalPayload { detail, reason: "forbidden" }.encode();

        assert_eq!(refusal(Some("a \"word\"")), r#"{"detail":"a \"word\"","reason":"forbidden"}"#);
        assert_eq!(refusal(None), r#"{"reason":"forbidden"}"#);
    }
}
