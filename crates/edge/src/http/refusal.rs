//! Refusals of HTTP requests before they come to a route. What their clients read is worded by
//! the crate that serves the routes.

use crate::permits::NoPermit;

/// Reason why a request is refused before it comes to a route, or after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestRefusal {
    /// Rate limit of the connections of the address.
    Connections {
        /// Seconds to wait.
        retry_s: u64,
    },
    /// Rate limit of the requests.
    Requests {
        /// Seconds to wait.
        retry_s: u64,
    },
    /// Limit of the connections, of all or of the address.
    Full(NoPermit),
    /// The body comes too slowly.
    SlowBody,
    /// Too much of the address, or of all, is under way.
    BodyOverload,
    /// The body comes in too many pieces.
    CrumbledBody,
    /// The body ends too early, or its chunks do not read.
    MalformedBody,
    /// Too much waits for the address, or for all, to be taken.
    AnswerOverload,
}
