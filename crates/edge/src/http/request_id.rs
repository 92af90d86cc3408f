//! Request ids: an answer, a line of the log and the log of a proxy are found together by them.
//!
//! | `X-Request-Id` of the request | id |
//! | --- | --- |
//! | 1 to 128 visible ASCII characters | the same |
//! | absent, or anything else | process, connection and number of the request on it |

use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use instep_model::limits;

/// The header of a request and its answer that carries the id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Distinguishes this process from others, and from itself before a restart. It is no secret.
static PROCESS: LazyLock<u32> = LazyLock::new(|| {
    let random = RandomState::new().build_hasher().finish();
    u32::try_from(random >> 32).unwrap_or_default()
});
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// Id of a request, taken from it or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

/// Number of a connection of HTTP in this process, and of the requests on it so far.
#[derive(Debug)]
pub(crate) struct Numbers {
    connection: u64,
    requests: AtomicU64,
}

impl RequestId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    pub(crate) fn of(headers: &HeaderMap, numbers: &Numbers) -> Self {
        let given = headers.get(REQUEST_ID).filter(|given| is_good(given.as_bytes()));
        given.map_or_else(|| numbers.next(), |given| Self(given.clone()))
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Numbers {
    /// Numbers of a new connection.
    pub(crate) fn new() -> Self {
        let connection = CONNECTIONS.fetch_add(1, Ordering::Relaxed) + 1;
        Self { connection, requests: AtomicU64::new(0) }
    }

    fn next(&self) -> RequestId {
        let request = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let id = format!("{self}-{request:x}");
        RequestId(HeaderValue::try_from(id).expect("digits and dashes fit into a header"))
    }
}

/// Shows the id of the connection.
impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:x}", *PROCESS, self.connection)
    }
}

/// An id goes into logs and into JSON as it is: no spaces, no control characters, no end of lines.
fn is_good(given: &[u8]) -> bool {
    (1..=limits::REQUEST_ID_BYTES).contains(&given.len()) && given.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(given: &[u8], numbers: &Numbers) -> String {
        let value = HeaderValue::from_bytes(given).unwrap();
        RequestId::of(&HeaderMap::from_iter([(REQUEST_ID, value)]), numbers).to_string()
    }

    #[test]
    fn the_id_of_a_request_is_taken_when_it_is_short_and_visible_and_made_otherwise() {
        let numbers = Numbers::new();
        let longest = "x".repeat(limits::REQUEST_ID_BYTES);

        assert_eq!(of(b"abc/1-2_3", &numbers), "abc/1-2_3");
        assert_eq!(of(longest.as_bytes(), &numbers), longest);
        let mut made = std::collections::BTreeSet::new();
        for bad in [&b""[..], b"a b", b"a\tb", "\u{e9}".as_bytes(), &[b'x'; 129]] {
            let id = of(bad, &numbers);
            assert!(id.starts_with(&format!("{numbers}-")), "{id}");
            made.insert(id);
        }
        made.insert(RequestId::of(&HeaderMap::new(), &numbers).to_string());
        made.insert(RequestId::of(&HeaderMap::new(), &Numbers::new()).to_string());
        assert_eq!(made.len(), 7, "each has its own: {made:?}");
    }
}
