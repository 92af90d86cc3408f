//! Ends: last message of a stream of events or of a connection.

use bytes::Bytes;
use serde::Serialize;

/// Last event of a stream. Fields stand in the order of their names, as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StreamEnded<'a> {
    /// Explanation, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
    /// Stable code.
    pub reason: &'a str,
    /// Milliseconds to wait before another try, where that may succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_ms: Option<u64>,
}

/// Last message of a connection whose wire has no frame for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ConnectionClosed<'a> {
    /// Close code, as of a WebSocket.
    pub code: Option<u16>,
    /// Reason.
    pub reason: &'a str,
}

impl StreamEnded<'_> {
    /// The JSON object.
    ///
    /// # Panics
    /// Never: numbers and texts become JSON.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("numbers and texts become JSON").into()
    }
}

impl ConnectionClosed<'_> {
    /// The JSON object.
    ///
    /// # Panics
    /// Never: numbers and texts become JSON.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("numbers and texts become JSON").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_says_why_and_when_to_come_back() {
        let ended = StreamEnded { detail: None, reason: "draining", retry_ms: Some(1_500) };
        let refused = StreamEnded { detail: Some("why"), reason: "loading", retry_ms: None };
        let closed = ConnectionClosed { code: Some(1013), reason: "overloaded" };

        assert_eq!(ended.encode(), r#"{"reason":"draining","retry_ms":1500}"#);
        assert_eq!(refused.encode(), r#"{"detail":"why","reason":"loading"}"#);
        assert_eq!(closed.encode(), r#"{"code":1013,"reason":"overloaded"}"#);
        let silent = ConnectionClosed { code: None, reason: "" };
        assert_eq!(silent.encode(), r#"{"code":null,"reason":""}"#);
    }
}
