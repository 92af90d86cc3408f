//! Caller of an HTTP request: the credential that it shows, checked against the gate.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use instep_access::{Access, Action, Credential, Gate, Principal, Refusal, Resource, Wanted};
use instep_edge::{Line, Peer};
use instep_model::commit::Need;
use instep_node::now_ms;

use crate::admission::Admission;
use crate::problem::Problem;

/// Caller of a request, by the credential shown as `Authorization: Bearer <key or token>`. Use it
/// as an extractor in routes of your own, and ask it before you do anything.
#[derive(Debug, Clone)]
pub struct Caller {
    gate: Gate,
    /// A bad credential does not remove anonymous access.
    shown: Result<Credential, Refusal>,
    address: Option<IpAddr>,
    /// Connection of the request, where that is known.
    line: Option<Line>,
}

/// Proof that a request may administer the whole server: it carries the admin key, or a right to
/// administer every dataset. Use it as an extractor in routes of your own.
#[derive(Debug, Clone, Copy)]
pub struct Admin;

impl Caller {
    fn read(parts: &Parts) -> Self {
        let admission = parts.extensions.get::<Arc<Admission>>();
        let gate = admission.map(|admission| admission.gate.clone()).unwrap_or_default();
        let asked = stream_token(parts);
        let shown = match instep_edge::shown(&parts.headers, asked.as_deref()) {
            None => Ok(Credential::anonymous()),
            Some(text) => match admission {
                Some(admission) => {
                    admission.door.credential(&text, Peer::address(&parts.extensions))
                }
                None => gate.access().credential(&text, now_ms()),
            },
        };
        if tracing::enabled!(tracing::Level::DEBUG) {
            let principal = shown.as_ref().map_or("refused", |shown| shown.principal().name());
            tracing::Span::current().record("principal", principal);
        }
        Self {
            gate,
            shown,
            address: Peer::address(&parts.extensions),
            line: parts.extensions.get().cloned(),
        }
    }

    /// Checks that it may do `action` to `resource` now.
    ///
    /// # Errors
    /// [`Problem`] `key_required`, `wrong_key`, `forbidden`, `token_expired` or `token_invalid`.
    pub fn may(&self, action: Action, resource: Resource<'_>) -> Result<(), Problem> {
        let access = self.gate.access();
        let decided = match &self.shown {
            Ok(credential) => credential.may(&access, action, resource, now_ms()),
            Err(refusal) if !is_open_to_all(refusal, action, &access) => Err(refusal.clone()),
            Err(refusal) => access
                .decide(&Principal::anonymous(), action, resource)
                .map_err(|_| refusal.clone()),
        };
        Ok(decided?)
    }

    /// Checks that it has the right that an operation needs in a dataset.
    ///
    /// # Errors
    /// See [`Caller::may`].
    pub(crate) fn may_meet(&self, need: Need<'_>, dataset: &str) -> Result<(), Problem> {
        Wanted::of(need, dataset).decide(|action, resource| self.may(action, resource))
    }

    /// Checks that it may do one of these actions.
    ///
    /// # Errors
    /// As for the first of them, see [`Caller::may`].
    pub(crate) fn may_one_of(
        &self,
        first: Action,
        others: &[Action],
        resource: Resource<'_>,
    ) -> Result<(), Problem> {
        let refused = self.may(first, resource);
        if others.iter().any(|action| self.may(*action, resource).is_ok()) {
            Ok(())
        } else {
            refused
        }
    }

    /// Checks that it may change anything by `action` at all. A refusal is sent before a body is
    /// read.
    ///
    /// # Errors
    /// See [`Caller::may`].
    pub(crate) fn may_at_all(&self, action: Action) -> Result<(), Problem> {
        let rights = &self.gate.access().rights;
        let decided = match &self.shown {
            Ok(credential) => rights.decide_at_all(credential.principal(), action),
            Err(refusal) => Err(refusal.clone()),
        };
        Ok(decided?)
    }

    /// The name under which its commit ids are remembered.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.shown {
            Ok(credential) => credential.principal().name(),
            Err(_) => instep_access::principal::ANONYMOUS,
        }
    }

    /// Returns its credential; an empty one if it was refused.
    pub(crate) fn credential(&self) -> Credential {
        self.shown.clone().unwrap_or_default()
    }

    /// Marks its connection as one whose answer goes on without end.
    pub(crate) fn follows(&self) {
        if let Some(line) = &self.line {
            line.becomes_a_stream();
        }
    }

    /// Address of the client, where it is known.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Time until its credential expires; none when that does not end by itself, or was refused.
    pub(crate) fn ends_in(&self) -> Option<Duration> {
        let deadline = self.shown.as_ref().ok()?.next_deadline()?;
        Some(Duration::from_millis(deadline.saturating_sub(now_ms())))
    }
}

/// Returns true if a caller whose credential was refused may do what any client may. To read, yes.
/// To change something, or to be somewhere, a caller must be known: under another name a commit
/// that is sent again would take effect twice.
fn is_open_to_all(refusal: &Refusal, action: Action, access: &Access) -> bool {
    let is_limited = matches!(refusal, Refusal::RateLimited { .. });
    match action {
        Action::Read => !is_limited,
        // As at the other doors, where it means nothing before anything is configured.
        Action::Join => !is_limited && !access.is_configured(),
        Action::Publish | Action::Commit | Action::Administer | Action::Register => false,
    }
}

/// The token in the query of a stream: a page's `EventSource` has no headers to show it in.
fn stream_token(parts: &Parts) -> Option<String> {
    let path = parts.uri.path();
    let is_stream = path.starts_with("/v1/topics/") && path.ends_with("/events")
        || path.starts_with("/v1/datasets/") && path.ends_with("/changes");
    parts.uri.query().filter(|query| is_stream && query.contains("token="))?;
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).ok()?;
    pairs.into_iter().find_map(|(name, value)| (name == "token").then_some(value))
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::read(parts))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Caller::read(parts).may(Action::Administer, Resource::Server).map(|()| Self)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        if let Refusal::RateLimited { retry_s } = refusal {
            return Self::too_often(refusal.code(), refusal.to_string(), retry_s);
        }
        let status = if refusal.asks_for_another() {
            StatusCode::UNAUTHORIZED
        } else {
            StatusCode::FORBIDDEN
        };
        Self::new(status, refusal.code(), refusal.to_string())
    }
}
