//! Topics over plain HTTP, for clients that speak no Channels: server-sent events or NDJSON.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use instep_access::{Action, Resource};
use instep_edge::NoPermit;
use instep_edge::event_stream::Form;
use instep_edge::events::{self, Absent, Refused, Request};
use instep_model::feed::JoinRefusal;
use serde_json::Value;

use super::{Query, Shared, streaming};
use crate::caller::Caller;
use crate::problem::{CROWDED_RETRY_S, Problem};

/// The events of a topic as they come: what a channel gets after its join, the reply first, as
/// `joined`. Each event whose place is known carries it as `id`; a browser's `EventSource` goes on
/// there by itself. Query parameters are those of a join.
#[utoipa::path(get, operation_id = "follow_topic",
    path = "/v1/topics/{topic}/events", tag = "topics",
    params(("topic" = String, Path, description = "Name of the topic, percent-encoded"),
           ("since" = Option<String>, Query, description = "Go on after this `id`"),
           ("key" = Option<String>, Query, description = "Be present under this key"),
           ("token" = Option<String>, Query, description = "A key or a token, without headers"),
           ("presence" = Option<String>, Query, description = "`false`: only watch"),
           ("Last-Event-ID" = Option<String>, Header, description = "The same as `since`; wins")),
    responses(
        (status = 200, description = "Server-sent events; with `Accept: application/x-ndjson` \
         lines {event, payload, id?}", content_type = "text/event-stream", body = String),
        (status = 400, description = "`bad_presence`", body = Problem),
        (status = 401, description = "`key_required`, `token_expired`, `token_invalid`",
         body = Problem),
        (status = 403, description = "`forbidden`; `join_refused`: the application says so",
         body = Problem),
        (status = 404, description = "`unmatched_topic`", body = Problem),
        (status = 409, description = "`position_ahead`", body = Problem),
        (status = 413, description = "`too_large`: take the snapshot", body = Problem),
        (status = 429, description = "`too_many_sockets`, `too_many_presences`, `rate_limited`",
         body = Problem),
        (status = 503, description = "`overloaded`", body = Problem),
    ))]
pub(super) async fn follow(
    State(shared): State<Shared>,
    caller: Caller,
    Path(topic): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    events_of(&shared, &caller, &topic, query, &headers).await
}

/// The same for a topic that stands in the query: its name may have a slash, and some proxies
/// decode `%2F` in a path.
#[utoipa::path(get, operation_id = "follow_named_topic", path = "/v1/events", tag = "topics",
    params(("topic" = String, Query, description = "Name of the topic"),
           ("since" = Option<String>, Query, description = "Go on after this `id`"),
           ("key" = Option<String>, Query, description = "Be present under this key"),
           ("token" = Option<String>, Query, description = "A key or a token, without headers"),
           ("presence" = Option<String>, Query, description = "`false`: only watch"),
           ("Last-Event-ID" = Option<String>, Header, description = "The same as `since`; wins")),
    responses(
        (status = 200, description = "As at `/v1/topics/{topic}/events`",
         content_type = "text/event-stream", body = String),
        (status = 400, description = "`bad_query`: no topic; `bad_presence`", body = Problem),
        (status = 401, description = "`key_required`, `token_expired`, `token_invalid`",
         body = Problem),
        (status = 403, description = "`forbidden`; `join_refused`: the application says so",
         body = Problem),
        (status = 404, description = "`unmatched_topic`", body = Problem),
        (status = 409, description = "`position_ahead`", body = Problem),
        (status = 413, description = "`too_large`: take the snapshot", body = Problem),
        (status = 429, description = "`too_many_sockets`, `rate_limited`", body = Problem),
        (status = 503, description = "`overloaded`", body = Problem),
    ))]
pub(super) async fn follow_named(
    State(shared): State<Shared>,
    caller: Caller,
    Query(mut query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let topic = query.remove("topic");
    let topic = topic.ok_or_else(|| Problem::bad_request("bad_query", "topic: it is missing"))?;
    events_of(&shared, &caller, &topic, query, &headers).await
}

async fn events_of(
    shared: &Shared,
    caller: &Caller,
    topic: &str,
    query: BTreeMap<String, String>,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    caller.may(Action::Join, Resource::Topic { name: topic, anyone_publishes: false })?;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let form = Form::accepted(text("accept").unwrap_or_default());
    let mut params: serde_json::Map<String, Value> =
        query.into_iter().map(|(name, value)| (name, Value::from(value))).collect();
    // It says who asks, and is nothing that rules or others are told.
    params.remove("token");
    if let Some(last) = text("last-event-id").filter(|last| !last.is_empty()) {
        params.insert("since".into(), last.into());
    }
    let mut request = Request {
        params: Value::Object(params),
        form,
        credential: caller.credential(),
        from: caller.address(),
    };
    let mut body = events::follow(shared.door.http(), topic, request.clone()).await;
    if let Err(Refused::Topic(JoinRefusal::Ahead { .. })) = body
        && streaming::is_for_events(headers)
    {
        // A browser would say the same for ever. Whatever it has is of no use: a reset.
        if let Value::Object(params) = &mut request.params {
            params.insert("since".into(), "ahead".into());
        }
        body = events::follow(shared.door.http(), topic, request).await;
    }
    let body = body.map_err(|refused| problem(topic, refused))?;
    caller.follows();
    Ok((streaming::headers(form.content_type()), body).into_response())
}

fn problem(topic: &str, refused: Refused) -> Problem {
    let new = |status, code, detail: String| Problem::new(status, code, detail);
    match refused {
        Refused::Right(refusal) => refusal.into(),
        Refused::Rule(answer) => {
            let reason =
                answer["reason"].as_str().map_or_else(|| answer.to_string(), str::to_owned);
            new(StatusCode::FORBIDDEN, "join_refused", format!("{topic}: {reason}"))
        }
        Refused::Topic(refusal) => {
            let (status, code) = match refusal {
                JoinRefusal::Unmatched => (StatusCode::NOT_FOUND, "unmatched_topic"),
                JoinRefusal::Unavailable => {
                    (StatusCode::SERVICE_UNAVAILABLE, "dataset_unavailable")
                }
                JoinRefusal::Ahead { .. } => (StatusCode::CONFLICT, "position_ahead"),
                JoinRefusal::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            };
            new(status, code, format!("{topic}: {refusal}"))
        }
        Refused::Presence(Absent { code, detail }) => match code {
            "overloaded" => new(StatusCode::SERVICE_UNAVAILABLE, code, detail),
            "too_many_presences" => Problem::too_often(code, detail, CROWDED_RETRY_S),
            _ => Problem::bad_request(code, detail),
        },
        Refused::Full(full) => no_place_to_read(full),
    }
}

pub(super) fn no_place_to_read(full: NoPermit) -> Problem {
    let details = [
        "there is no place for another reader",
        "there is no place for another reader of this address",
    ];
    Problem::crowded(full, "too_many_sockets", details)
}
