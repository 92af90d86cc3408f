//! Refusals of requests, each with a stable code.

/// Refusal of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The principal is anonymous, and the request needs a key or a token.
    #[error("this needs a key or a token: Authorization: Bearer <key or token>")]
    KeyRequired,
    /// The key is none of those of this server.
    #[error("the key is not one of this server")]
    WrongKey,
    /// The token was good once.
    #[error("the token has expired; get a new one, this one will not be taken again")]
    TokenExpired,
    /// The token is not, or not yet, good.
    #[error("the token is refused: {0}")]
    TokenInvalid(String),
    /// A connection may get a new token, but not another subject.
    #[error("the new token is of another subject; connect again with it")]
    OtherSubject,
    /// Rate limit: too many invalid keys or tokens were shown from the same address.
    #[error("too many invalid keys or tokens; wait {retry_s} s")]
    RateLimited {
        /// Seconds until something is looked at again.
        retry_s: u64,
    },
    /// The principal is known, and lacks the right.
    #[error("{principal} may not {action} {what}")]
    Forbidden {
        /// Principal of the request.
        principal: String,
        /// Action that was requested.
        action: &'static str,
        /// Resource of the action.
        what: String,
    },
}

impl Refusal {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::KeyRequired => "key_required",
            Self::WrongKey => "wrong_key",
            Self::TokenExpired => "token_expired",
            Self::TokenInvalid(_) => "token_invalid",
            Self::OtherSubject => "other_subject",
            Self::RateLimited { .. } => "rate_limited",
            Self::Forbidden { .. } => "forbidden",
        }
    }

    /// True when the credential itself is invalid.
    #[must_use]
    pub fn is_of_a_proof(&self) -> bool {
        match self {
            Self::WrongKey | Self::TokenExpired | Self::TokenInvalid(_) => true,
            Self::KeyRequired
            | Self::OtherSubject
            | Self::RateLimited { .. }
            | Self::Forbidden { .. } => false,
        }
    }

    /// True when another key or token could help; false when the principal is known and lacks the
    /// right.
    #[must_use]
    pub fn asks_for_another(&self) -> bool {
        match self {
            Self::KeyRequired | Self::TokenExpired | Self::TokenInvalid(_) => true,
            Self::WrongKey
            | Self::OtherSubject
            | Self::RateLimited { .. }
            | Self::Forbidden { .. } => false,
        }
    }
}
