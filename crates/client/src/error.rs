//! Errors of requests.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Statuses of refusals that waiting solves: too slow, too often, not now.
const PASSING: [u16; 3] = [408, 429, 503];

/// Failure of a request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the server, or a name in a path, cannot be used.
    #[error("{what} {value:?}: {problem}")]
    Address {
        /// Kind of the value.
        what: &'static str,
        /// The text.
        value: String,
        /// Reason why it cannot be used.
        problem: String,
    },
    /// The server refused.
    #[error(transparent)]
    Refused(Box<Problem>),
    /// No connection could be made. Nothing was sent.
    #[error("cannot connect to {address}: {reason}")]
    Unreachable {
        /// The address.
        address: String,
        /// Reason, as the system gives it.
        reason: String,
    },
    /// The connection ended before the answer was complete, or a proxy in between answered in
    /// place of the server (502, 503, 504).
    #[error("the connection to {address} was lost: {reason}")]
    Lost {
        /// The address.
        address: String,
        /// Reason, as the system gives it.
        reason: String,
    },
    /// A commit was sent, but no answer came, not even to its repetitions. Repeat it with the
    /// same id: it takes effect once at most.
    #[error("whether commit {id} took effect is unknown; repeat it with the same id ({last})")]
    OutcomeUnknown {
        /// The commit's id.
        id: Uuid,
        /// Failure of the last attempt.
        last: Box<Error>,
    },
    /// The answer is not understood by this client.
    #[error("an answer of {address} is not understood: {reason}")]
    Unexpected {
        /// The address.
        address: String,
        /// Reason why it is not understood.
        reason: String,
    },
}

impl Error {
    /// The stable code, if the server refused.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(problem) => Some(&problem.code),
            Self::Address { .. }
            | Self::Unreachable { .. }
            | Self::Lost { .. }
            | Self::OutcomeUnknown { .. }
            | Self::Unexpected { .. } => None,
        }
    }

    /// Returns true if the same request may succeed a little later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused(problem) => PASSING.contains(&problem.status),
            Self::Unreachable { .. } | Self::Lost { .. } => true,
            Self::Address { .. } | Self::OutcomeUnknown { .. } | Self::Unexpected { .. } => false,
        }
    }
}

/// A refusal of the server: RFC 9457 with a code that stays the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// URI of the problem's type: `about:blank`.
    #[serde(default)]
    pub r#type: String,
    /// The HTTP status in words.
    #[serde(default)]
    pub title: String,
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// The stable code.
    pub code: String,
    /// Explanation, for people.
    #[serde(default)]
    pub detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Problem {}

/// Returns the innermost source of an error: the layers above it only say that something failed.
pub(crate) fn reason(error: &dyn std::error::Error) -> String {
    let mut bottom = error;
    while let Some(source) = bottom.source() {
        bottom = source;
    }
    bottom.to_string()
}
