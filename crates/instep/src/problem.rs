//! Errors as clients see them: `application/problem+json` with a stable code.

use std::sync::{Mutex, PoisonError};

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use instep_edge::{NoPermit, RequestId, RequestRefusal};
use instep_model::disk::Shortage;
use instep_model::limits;
use instep_model::owner::Refusal;
use instep_model::site::SiteError;
use instep_model::throttle::Throttle;
use instep_node::mail::SendRefusal;
use instep_node::{FollowError, LiveError, blocking, now_ms};
use serde::Serialize;
use utoipa::ToSchema;

/// Retry delay, in seconds, for a client that has as many of something as it may.
pub(crate) const CROWDED_RETRY_S: u64 = 10;

/// Every code that an HTTP answer can carry. Each is explained in `docs/reference/errors.md`.
pub const CODES: &[&str] = &[
    "bad_authorization",
    "bad_chunk",
    "bad_endpoint",
    "bad_event",
    "bad_host",
    "bad_json",
    "bad_name",
    "bad_operation",
    "bad_position",
    "bad_presence",
    "bad_query",
    "bad_source",
    "body_malformed",
    "body_too_large",
    "body_too_slow",
    "commit_too_large",
    "condition_failed",
    "dataset_unavailable",
    "degraded",
    "draining",
    "dump_failed",
    "dump_required",
    "empty_commit",
    "expression_too_costly",
    "fenced",
    "forbidden",
    "id_conflict",
    "id_expired",
    "id_invalid",
    "join_refused",
    "key_required",
    "loading",
    "message_conflict",
    "message_too_large",
    "method_not_allowed",
    "no_mail",
    "no_route",
    "no_such_chunk",
    "not_found",
    "not_movable",
    "not_registered",
    "origin_refused",
    "other_history",
    "other_scope",
    "out_of_bounds",
    "outcome_unknown",
    "overloaded",
    "payload_too_large",
    "position_ahead",
    "position_not_reached",
    "position_trimmed",
    "rate_limited",
    "reserved_name",
    "resources_exhausted",
    "row_not_found",
    "row_too_deep",
    "row_too_large",
    "stalled",
    "stands_elsewhere",
    "stopped",
    "storage_error",
    "storage_full",
    "token_expired",
    "token_invalid",
    "too_large",
    "too_many_datasets",
    "too_many_messages",
    "too_many_operations",
    "too_many_presences",
    "too_many_principals",
    "too_many_pulls",
    "too_many_registrations",
    "too_many_sites",
    "too_many_skips",
    "too_many_sockets",
    "too_many_tables",
    "unknown_dataset",
    "unknown_dump",
    "unknown_host",
    "unknown_journal",
    "unknown_message",
    "unknown_queue",
    "unknown_session",
    "unknown_site",
    "unknown_table",
    "unmatched_topic",
    "wrong_key",
    "wrong_state",
    "wrong_type",
];

/// An error: RFC 9457 with a `code` that stays the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: `code` says which problem it is.
    pub r#type: &'static str,
    /// The HTTP status in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: String,
    /// Explanation for people; names the field and the limit.
    pub detail: String,
    /// Id of the request, as in the header `X-Request-Id` of the answer and in the server's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    pub request_id: Option<Box<str>>,
    /// Seconds to wait before it is worth trying again, as the header `Retry-After`.
    #[serde(skip)]
    #[schema(ignore)]
    pub retry_after_s: Option<u64>,
}

impl Problem {
    /// A problem with a code of [`CODES`].
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        debug_assert!(CODES.contains(&code), "{code} is not listed");
        Self {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("error"),
            status: status.as_u16(),
            code: code.to_owned(),
            detail: detail.into(),
            request_id: None,
            retry_after_s: (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1),
        }
    }

    /// A problem that waiting solves: 429.
    pub(crate) fn too_often(code: &'static str, detail: impl Into<String>, retry_s: u64) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail);
        Self { retry_after_s: Some(retry_s), ..problem }
    }

    /// There is no place for one more: of all clients, or of its address, which has a code of its
    /// own for that. What is said in either case comes in this order.
    pub(crate) fn crowded(
        full: NoPermit,
        code: &'static str,
        [of_all, of_address]: [&str; 2],
    ) -> Self {
        match full {
            NoPermit::Server => Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", of_all),
            NoPermit::Address => Self::too_often(code, of_address, CROWDED_RETRY_S),
        }
    }

    /// Failure of the storage: the system's message names paths of the machine, so only the log has
    /// it.
    pub(crate) fn storage(error: &impl std::fmt::Display) -> Self {
        tracing::error!(%error, "the storage refused a request");
        let detail = "the storage refused: see the server's log";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "storage_error", detail)
    }

    /// Shortage that passes by itself: no thread, no descriptor, no memory.
    pub(crate) fn exhausted(error: &impl std::fmt::Display) -> Self {
        if let Some(untold) = tell_shortage() {
            tracing::warn!(%error, untold, "the system lacks what a request needs");
        }
        let detail = "the operating system has no thread, no descriptor or no memory left";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "resources_exhausted", detail)
    }

    /// Descriptors that are kept for connections: a higher limit helps, or one dataset less.
    pub(crate) fn no_descriptors(error: &instep_edge::NoDescriptors) -> Self {
        if let Some(untold) = tell_shortage() {
            tracing::warn!(%error, untold, "a dataset is not made");
        }
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "resources_exhausted", error.to_string())
    }

    /// Problem of a commit: the detail names the operation by its place in `ops`.
    pub(crate) fn of_commit(refusal: Refusal) -> Self {
        Self { detail: refusal.to_string(), ..refusal.into() }
    }

    pub(crate) fn unknown_dataset(name: &str) -> Self {
        let detail = format!("there is no dataset {name:?}");
        Self::new(StatusCode::NOT_FOUND, "unknown_dataset", detail)
    }

    pub(crate) fn unavailable_dataset(name: &str) -> Self {
        let detail = format!("dataset {name:?} is there and cannot be opened");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "dataset_unavailable", detail)
    }

    pub(crate) fn unknown_table(name: &str) -> Self {
        let detail = format!("there is no table {name:?}");
        Self::new(StatusCode::NOT_FOUND, "unknown_table", detail)
    }

    pub(crate) fn unknown_journal(name: &str) -> Self {
        let detail = format!("there is no journal {name:?}");
        Self::new(StatusCode::NOT_FOUND, "unknown_journal", detail)
    }

    /// Problem while not everything is in memory. It names no dataset, because not every client may
    /// know which there are; the log has the name.
    pub(crate) fn loading() -> Self {
        let detail = "not everything is in memory yet";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "loading", detail)
    }

    /// Problem of an answer with the id of its request, if it has one. A failure of the server is
    /// noted in the log under it.
    pub(crate) fn identified(answer: Response, id: &RequestId) -> Response {
        let Some(problem) = answer.extensions().get::<Self>() else { return answer };
        let problem = Self { request_id: Some(id.as_str().into()), ..problem.clone() };
        let Self { status, code, detail, .. } = &problem;
        match status {
            500 => tracing::error!(request_id = %id, status, code, "a request failed"),
            501.. => tracing::debug!(request_id = %id, status, code, detail, "a request failed"),
            _ => {}
        }
        let (mut parts, _) = answer.into_parts();
        // It is that of the body before.
        parts.headers.remove(header::CONTENT_LENGTH);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        parts.extensions.insert(problem);
        Response::from_parts(parts, body.into())
    }

    pub(crate) fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }
}

/// Number of shortages that the log does not have, when it is to have this one.
fn tell_shortage() -> Option<u64> {
    static TOLD: Mutex<Throttle> = Mutex::new(Throttle::new(limits::SHORTAGE_TOLD_MS));
    TOLD.lock().unwrap_or_else(PoisonError::into_inner).tell(now_ms())
}

/// Runs work that waits for a disk on a thread of its own kind: no request waits for another one.
pub(crate) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Problem> {
    let done = blocking(work).await.flatten();
    done.map_err(|error| match Shortage::of(&error) {
        Some(Shortage::Resources) => Problem::exhausted(&error),
        None if error.kind() == std::io::ErrorKind::ResourceBusy => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "loading", error.to_string())
        }
        Some(Shortage::Space) | None => Problem::storage(&error),
    })
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        response.extensions_mut().insert(self.clone());
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            // As RFC 6750 tells clients that show a token whether it was the token.
            let challenge = if self.code.starts_with("token_") {
                "Bearer error=\"invalid_token\""
            } else {
                "Bearer"
            };
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static(challenge));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// Problem of a request that is a single operation: the detail names no place in a list.
impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::Site { error: SiteError::Trimmed { .. }, .. } => StatusCode::GONE,
            Refusal::Empty
            | Refusal::BadOperation { .. }
            | Refusal::BadEndpoint { .. }
            | Refusal::MessageTooDeep { .. }
            | Refusal::ExpressionTooCostly { .. }
            | Refusal::ReservedName { .. }
            | Refusal::Site { error: SiteError::ReservedName(_), .. }
            | Refusal::IdInvalid => StatusCode::BAD_REQUEST,
            Refusal::TooManyOperations { .. }
            | Refusal::Row { .. }
            | Refusal::CommitTooLarge { .. }
            | Refusal::TooManyMoves { .. }
            | Refusal::Site { error: SiteError::ScopeTooLarge, .. }
            | Refusal::MessageTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::NoRoute { .. } | Refusal::NotMovable { .. } => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Refusal::UnknownTable { .. }
            | Refusal::UnknownJournal { .. }
            | Refusal::UnknownQueue { .. }
            | Refusal::UnknownMessage { .. }
            | Refusal::Site { error: SiteError::Unknown, .. }
            | Refusal::RowNotFound { .. } => StatusCode::NOT_FOUND,
            Refusal::ConditionFailed { .. }
            | Refusal::OutOfBounds { .. }
            | Refusal::WrongType { .. }
            | Refusal::IdConflict
            | Refusal::MessageConflict { .. }
            | Refusal::TooManyTables { .. }
            | Refusal::Site { .. } => StatusCode::CONFLICT,
            Refusal::IdExpired => StatusCode::GONE,
            Refusal::TooManyPrincipals
            | Refusal::Overloaded
            | Refusal::ResourcesExhausted(_)
            | Refusal::Stopped(_)
            | Refusal::OutcomeUnknown => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::StorageFull(_) => StatusCode::INSUFFICIENT_STORAGE,
        };
        Self::new(status, refusal.code(), refusal.detail())
    }
}

impl From<SendRefusal> for Problem {
    fn from(SendRefusal { refusal, detail }: SendRefusal) -> Self {
        Self { detail, ..Self::from(*refusal) }
    }
}

impl From<FollowError> for Problem {
    fn from(error: FollowError) -> Self {
        if let FollowError::Unreadable { detail } = &error {
            return Self::storage(detail);
        }
        let (status, code) = match error {
            FollowError::OtherHistory => (StatusCode::CONFLICT, "other_history"),
            FollowError::Trimmed { .. } => (StatusCode::GONE, "position_trimmed"),
            FollowError::Ahead { .. } => (StatusCode::CONFLICT, "position_ahead"),
            FollowError::Unreadable { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "storage_error"),
            FollowError::Exhausted { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "resources_exhausted")
            }
            FollowError::Closed => (StatusCode::SERVICE_UNAVAILABLE, "stopped"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<LiveError> for Problem {
    fn from(error: LiveError) -> Self {
        let status = match &error {
            LiveError::Unmatched { .. } => StatusCode::NOT_FOUND,
            LiveError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            LiveError::Payload(_) | LiveError::Event { .. } => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.code(), error.to_string())
    }
}
impl From<RequestRefusal> for Problem {
    fn from(refusal: RequestRefusal) -> Self {
        let overloaded =
            |detail: &str| Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail);
        match refusal {
            RequestRefusal::Connections { retry_s } => {
                Self::too_often("rate_limited", "too many connections of this address", retry_s)
            }
            RequestRefusal::Requests { retry_s } => {
                Self::too_often("rate_limited", "too many requests", retry_s)
            }
            RequestRefusal::Full(full) => {
                let details = [
                    "there is no place for another connection",
                    "there is no place for another connection of this address",
                ];
                Self::crowded(full, "too_many_sockets", details)
            }
            RequestRefusal::SlowBody => {
                let rate = limits::BODY_BYTES_PER_S;
                let detail = format!("the body has to come with {rate} bytes in a second or more");
                Self::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail)
            }
            RequestRefusal::BodyOverload => {
                overloaded("too many bodies of this address, or of all, are under way")
            }
            RequestRefusal::CrumbledBody => {
                Self::too_often("rate_limited", "the body comes in too many pieces", 1)
            }
            RequestRefusal::MalformedBody => {
                let detail = "the body ends before its length, or its chunks do not read";
                Self::bad_request("body_malformed", detail)
            }
            RequestRefusal::AnswerOverload => overloaded(
                "too much waits for this address to take it, or for all; try again later",
            ),
        }
    }
}
