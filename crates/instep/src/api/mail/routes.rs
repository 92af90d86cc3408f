//! Routes of mail, over HTTP: moves, backfill, audit of stale routes.

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use instep_access::{Action, Resource};
use instep_model::commit::Operation;
use instep_model::limits;
use instep_model::mail::kinds::Route;
use instep_model::mail::{MailOperation, MailRules, Origin, Seq, ServerNo, outcome};
use instep_model::owner::Receipt;
use instep_model::position::Position;
use instep_model::state;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::{Answer, Body, Shared, dataset, read_json};
use super::shown::SentAllReply;
use super::{queue_of, read_letters, server_of};
use crate::caller::Caller;
use crate::problem::Problem;

/// An endpoint and the server that it goes to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MoveRequest {
    /// The endpoint.
    #[schema(example = "org/42")]
    endpoint: String,
    /// The server: its id, or `server/` and its id.
    #[schema(example = "7")]
    to: String,
    /// Refused if the route has another generation by now.
    #[serde(default)]
    generation: Option<u64>,
}

/// An endpoint that was moved.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct MoveReply {
    /// The endpoint.
    endpoint: String,
    /// Its server before.
    from: Option<String>,
    /// Its server now.
    to: String,
    /// The generation of its route.
    generation: u64,
    /// Complete up to here.
    #[schema(value_type = String)]
    position: Position,
}

/// Start of a turn of the backfill.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct BackfillRequest {
    /// Behind this message: what the turn before answered as `next`.
    #[schema(value_type = Option<u64>)]
    after: Option<Seq>,
}

/// Result of a turn of the backfill.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct BackfillReply {
    /// Messages that have a route now.
    routed: u64,
    /// Messages that have none.
    failed: Vec<Unroutable>,
    /// Start of the next turn; none when everything was looked at.
    #[schema(value_type = Option<u64>)]
    next: Option<Seq>,
}

/// A message for which there is no route.
#[derive(Serialize, ToSchema)]
struct Unroutable {
    #[schema(value_type = u64)]
    seq: Seq,
    to: String,
    reason: &'static str,
}

/// Endpoints whose messages are routed elsewhere than their routes say.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct AuditReply {
    /// The endpoints.
    stale: Vec<Stale>,
}

/// An endpoint whose messages are routed elsewhere than its route says.
#[derive(Serialize, ToSchema)]
struct Stale {
    /// The endpoint whose route it is.
    endpoint: String,
    /// Server that the messages are routed to.
    stored: Option<String>,
    /// Server that they would be routed to now.
    mapped: Option<String>,
    /// Messages with this route.
    messages: u64,
    /// Remedy: `move` the endpoint, or `readdress` it where the mapping itself has changed; none
    /// while there is no route.
    way: Option<&'static str>,
}

/// An endpoint.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReaddressRequest {
    /// The endpoint.
    #[schema(example = "user/42/9")]
    endpoint: String,
}

/// An endpoint whose messages have its route of now.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct ReaddressReply {
    /// The endpoint.
    endpoint: String,
    /// Its server.
    to: Option<String>,
    /// The generation of its route.
    generation: u64,
    /// Complete up to here.
    #[schema(value_type = String)]
    position: Position,
}

/// Moves an endpoint to a server, with its unfinished messages. The old server's answers are
/// refused from then on.
#[utoipa::path(post, operation_id = "move_endpoint",
    path = "/v1/datasets/{dataset}/moves", tag = "mail",
    params(("dataset" = String, Path, description = "Name of the dataset")),
    request_body = MoveRequest,
    responses((status = 200, body = MoveReply),
              (status = 400, description = "`bad_endpoint`, `bad_operation`", body = Problem),
              (status = 409, description = "`condition_failed`", body = Problem),
              (status = 422, description = "`not_movable`", body = Problem)))]
pub(in crate::api) async fn move_endpoint(
    caller: Caller,
    State(shared): State<Shared>,
    Path(name): Path<String>,
    body: Body<4096>,
) -> Answer<MoveReply> {
    let read = body.read_as(&caller, Action::Administer, Resource::Dataset(&name)).await?;
    let dataset = dataset(&shared.node, &name)?;
    let MoveRequest { endpoint, to, generation } = read_json(&read)?;
    let bad = |error: instep_model::mail::EndpointError| {
        Problem::bad_request("bad_endpoint", error.to_string())
    };
    let parsed = dataset.mail_rules().endpoint(&endpoint).map_err(bad)?;
    let to = server_of(&dataset, &to)?;
    let from = route(dataset.mail_rules(), &dataset.state(), parsed.as_str());
    let operation = Operation::Move { endpoint, to: to.clone(), generation };
    let receipt = dataset.commit(vec![operation].into()).await?;
    Ok(Json(MoveReply {
        endpoint: parsed.to_string(),
        from: from.map(|route| route.server),
        to,
        generation: generation_of(&receipt),
        position: receipt.position,
    }))
}

/// Gives the unfinished messages of an endpoint the route that it has now: for a mapping that has
/// changed. Those that have none yet are left to a backfill.
#[utoipa::path(post, operation_id = "readdress_endpoint",
    path = "/v1/datasets/{dataset}/readdress", tag = "mail",
    params(("dataset" = String, Path, description = "Name of the dataset")),
    request_body = ReaddressRequest,
    responses((status = 200, body = ReaddressReply),
              (status = 400, description = "`bad_endpoint`", body = Problem),
              (status = 422, description = "`no_route`", body = Problem)))]
pub(in crate::api) async fn readdress(
    caller: Caller,
    State(shared): State<Shared>,
    Path(name): Path<String>,
    body: Body<4096>,
) -> Answer<ReaddressReply> {
    let read = body.read_as(&caller, Action::Administer, Resource::Dataset(&name)).await?;
    let dataset = dataset(&shared.node, &name)?;
    let ReaddressRequest { endpoint } = read_json(&read)?;
    let operation = Operation::Readdress { endpoint: endpoint.clone() };
    let receipt = dataset.commit(vec![operation].into()).await?;
    let route = route(dataset.mail_rules(), &dataset.state(), &endpoint);
    Ok(Json(ReaddressReply {
        endpoint,
        to: route.map(|route| route.server),
        generation: generation_of(&receipt),
        position: receipt.position,
    }))
}

/// The generation that a move or a new address has computed.
fn generation_of(receipt: &Receipt) -> u64 {
    let generation = receipt.results.first().copied().flatten().unwrap_or_default();
    u64::try_from(generation).unwrap_or_default()
}

/// The route of an endpoint as the tables say it now.
fn route(rules: &MailRules, state: &state::State, endpoint: &str) -> Option<Route> {
    let endpoint = rules.endpoint(endpoint).ok()?;
    let read = |table: &_, key: &instep_model::name::Key| {
        let rows = state.tables.get(table).map(|table| &table.rows);
        Ok::<_, Infallible>(rows.and_then(|rows| rows.get(key)).map(|stored| stored.row.clone()))
    };
    match rules.route(&endpoint, read) {
        Ok(route) => route,
        Err(never) => match never {},
    }
}

/// Gives messages without a route theirs, up to 1,000 in a turn.
#[utoipa::path(post, operation_id = "backfill_routes",
    path = "/v1/datasets/{dataset}/queues/{queue}/backfill", tag = "mail",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("queue" = String, Path, description = "Name of the queue")),
    request_body = BackfillRequest,
    responses((status = 200, body = BackfillReply)))]
pub(in crate::api) async fn backfill(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, queue)): Path<(String, String)>,
    body: Body<4096>,
) -> Answer<BackfillReply> {
    let read = body.read_as(&caller, Action::Administer, Resource::Dataset(&name)).await?;
    let dataset = dataset(&shared.node, &name)?;
    let BackfillRequest { after } = match read {
        empty if empty.is_empty() => BackfillRequest::default(),
        body => read_json(&body)?,
    };
    let state = dataset.state();
    let queue = queue_of(&state.mail, &queue)?;
    let of_queue = |seq: &Seq| state.mail.message(*seq).is_some_and(|one| one.queue == queue);
    let mut waiting =
        state.mail.pending_of(ServerNo::NOWHERE, after.unwrap_or(Seq::ZERO)).filter(of_queue);
    let seqs: Vec<Seq> = waiting.by_ref().take(limits::COMMIT_PROPOSALS).collect();
    let next = waiting.next().and(seqs.last().copied());
    let mut reply = BackfillReply { routed: 0, failed: vec![], next };
    if seqs.is_empty() {
        return Ok(Json(reply));
    }
    let operations: Vec<_> =
        seqs.iter().map(|seq| Operation::Mail(MailOperation::Route { seq: *seq })).collect();
    let receipt = dataset.commit(operations.into()).await?;
    for (seq, result) in seqs.iter().zip(receipt.results.iter()) {
        match *result {
            Some(outcome::OK) => reply.routed += 1,
            Some(outcome::NO_ROUTE) => {
                let to = state.mail.message(*seq).map(|one| state.mail.endpoint(one.endpoint));
                let to = to.unwrap_or_default().to_owned();
                reply.failed.push(Unroutable { seq: *seq, to, reason: "no_route" });
            }
            _ => {}
        }
    }
    Ok(Json(reply))
}

/// Stores messages without looking at their routes: they wait for a backfill.
#[utoipa::path(post, operation_id = "import_messages",
    path = "/v1/datasets/{dataset}/queues/{queue}/import", tag = "mail",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("queue" = String, Path, description = "Name of the queue")),
    request_body = super::SendRequest,
    responses((status = 201, body = SentAllReply),
              (status = 400, description = "`bad_json`, `bad_endpoint`", body = Problem),
              (status = 409, description = "`message_conflict`", body = Problem),
              (status = 413, description = "`message_too_large`, `too_many_operations`, \
                                            `body_too_large`", body = Problem)))]
pub(in crate::api) async fn import(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, queue)): Path<(String, String)>,
    body: Body<{ limits::COMMIT_BYTES }>,
) -> Result<(StatusCode, Json<SentAllReply>), Problem> {
    let read = body.read_as(&caller, Action::Administer, Resource::Dataset(&name)).await?;
    let dataset = dataset(&shared.node, &name)?;
    let letters = read_letters(&dataset, (&queue, caller.name()), &read)?;
    let sent = dataset.store_mail(letters, Operation::Import).await?;
    Ok((StatusCode::CREATED, Json(sent.into())))
}

/// Lists endpoints whose messages are routed elsewhere than their routes say.
#[utoipa::path(get, operation_id = "audit_routes",
    path = "/v1/datasets/{dataset}/audit", tag = "mail",
    params(("dataset" = String, Path, description = "Name of the dataset")),
    responses((status = 200, body = AuditReply)))]
pub(in crate::api) async fn audit(
    caller: Caller,
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Answer<AuditReply> {
    caller.may_one_of(Action::Administer, &[Action::Read], Resource::Dataset(&name))?;
    let dataset = dataset(&shared.node, &name)?;
    let (rules, state) = (dataset.mail_rules(), dataset.state());
    let mail = &state.mail;
    let mut stale: BTreeMap<(String, ServerNo, Option<&str>), Stale> = BTreeMap::new();
    for (number, server, count) in
        mail.pending_routes().filter(|route| route.1 != ServerNo::NOWHERE)
    {
        let endpoint = mail.endpoint(number);
        let mapped = route(rules, &state, endpoint).map(|route| route.server);
        let stored = mail.server(server).map(|server| server.server.to_string());
        if mapped == stored {
            continue;
        }
        let origin = rules.endpoint(endpoint).ok().map(|endpoint| rules.origin(&endpoint));
        let (endpoint, way) = match origin {
            // A move reaches what was routed by that row; the rest has another mapping now.
            Some(Origin::Row { key, .. }) if mail.routed_by(number) == Some(key.as_str()) => {
                (key.as_str().to_owned(), "move")
            }
            Some(_) | None => (endpoint.to_owned(), "readdress"),
        };
        let way = mapped.is_some().then_some(way);
        let one = Stale { endpoint: endpoint.clone(), stored, mapped, messages: 0, way };
        stale.entry((endpoint, server, way)).or_insert(one).messages += count;
    }
    Ok(Json(AuditReply { stale: stale.into_values().collect() }))
}
