//! Relays: the body of any POST below a prefix of the configuration becomes a record of a journal,
//! for senders that know nothing of the API, such as webhooks.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::{IntoResponse as _, Response};
use instep_access::{Action, Resource};
use serde_json::json;

use super::journals::{AppendReply, Content, append_bytes, id_of};
use super::{Shared, dataset, method_not_allowed, not_found, read_body};
use crate::caller::Caller;
use crate::config::RelayConfig;
use crate::problem::Problem;

/// Answers requests that no route is there for.
pub(super) async fn serve(
    State(shared): State<Shared>,
    caller: Caller,
    request: Request,
) -> Response {
    let path = request.uri().path();
    let found = shared.relays.iter().find(|relay| relay.rest(path).is_some());
    match found {
        None => not_found(request).await,
        Some(_) if request.method() != Method::POST => {
            method_not_allowed(request).await.into_response()
        }
        Some(relay) => match append(&shared, &caller, relay, request).await {
            Ok(reply) => Json(reply).into_response(),
            Err(problem) => problem.into_response(),
        },
    }
}

async fn append(
    shared: &Shared,
    caller: &Caller,
    relay: &RelayConfig,
    request: Request,
) -> Result<AppendReply, Problem> {
    let (dataset_name, journal) = (relay.dataset.as_str(), relay.journal.as_str());
    let of = Resource::Table { dataset: dataset_name, name: journal, public: false };
    let may = || if relay.anyone { Ok(()) } else { caller.may(Action::Commit, of) };
    may()?;
    let id = id_of(request.headers())?;
    let (parts, body) = request.into_parts();
    let body = read_body(body, relay.body_bytes).await?;
    // A right may have ended while the body came.
    may()?;
    let dataset = dataset(&shared.node, dataset_name)?;
    let record = if relay.envelope {
        let path = relay.rest(parts.uri.path()).unwrap_or_default();
        envelope(path, parts.uri.query(), &body)
    } else {
        body.to_vec()
    };
    append_bytes(&dataset, (caller.name(), id), relay.journal.clone(), &record).await
}

/// A request as a line of JSON; a body that is no text is in base64.
fn envelope(path: &str, query: Option<&str>, body: &[u8]) -> Vec<u8> {
    let mut envelope = json!({"path": path, "query": query.unwrap_or_default()});
    Content::of(body).put(&mut envelope);
    envelope.to_string().into_bytes()
}
