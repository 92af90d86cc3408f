//! Publishing to live topics over HTTP.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use instep_model::limits;
use instep_node::ring::Payload;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{Answer, Body, Shared, read_json};
use crate::admin::Admin;
use crate::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishBody<'a> {
    event: String,
    #[serde(borrow)]
    payload: &'a RawValue,
}

/// What to publish.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes the body; the payload is passed on without parsing it")]
struct PublishRequest {
    /// The event.
    event: String,
    /// The payload: a JSON object of at most 64 KiB.
    payload: serde_json::Value,
}

/// Who could get it.
#[derive(Serialize, ToSchema)]
pub(super) struct PublishReply {
    /// How many had joined the topic on this node.
    subscribers: usize,
}

/// Publishes to a live topic. Nothing is stored: who has not joined does not get it.
#[utoipa::path(post, path = "/v1/topics/{topic}", tag = "topics",
    params(("topic" = String, Path, description = "Name of the topic, percent-encoded")),
    request_body = PublishRequest,
    responses((status = 200, body = PublishReply),
              (status = 400, description = "`bad_json`, `bad_event`", body = Problem),
              (status = 404, description = "`unmatched_topic`", body = Problem),
              (status = 413, description = "`payload_too_large`", body = Problem)))]
pub(super) async fn publish(
    _: Admin,
    State(shared): State<Shared>,
    Path(topic): Path<String>,
    Body(body): Body<{ limits::PUBLISH_BYTES + 1024 }>,
) -> Answer<PublishReply> {
    let PublishBody { event, payload } = read_json(&body)?;
    if !payload.get().starts_with('{') {
        return Err(Problem::bad_request("bad_json", "payload: not a JSON object"));
    }
    let payload = Payload::Json(Bytes::copy_from_slice(payload.get().as_bytes()));
    let subscribers = shared.node.publish(&topic, &event, payload)?;
    Ok(Json(PublishReply { subscribers }))
}
