//! Mail over HTTP: sending and looking.

pub(super) mod routes;
pub(super) mod servers;
mod shown;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use instep_access::{Action, Resource};
use instep_model::commit::{Need, Operation};
use instep_model::limits;
use instep_model::mail::{EndpointNo, Mail, Seq, ServerNo};
use instep_model::name::Name;
use instep_node::mail::Letters;
use instep_node::{Dataset, now_ms};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use self::shown::{
    MailReply, MessageReply, MessageStatus, RetryReply, SentAllReply, has_ended, state_of,
};
use super::shapes::SendRequest;
use super::{Answer, Body, Query, Shared, dataset, new_name, unread};
use crate::caller::Caller;
use crate::problem::{Problem, on_disk};

/// A message to be sent. Which server it goes to is not for the sender to say.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "describes the body; it is read where sockets read it, too")]
pub(super) struct LetterRequest {
    /// The endpoint, `kind/id`.
    #[schema(example = "org/42")]
    to: String,
    /// The body: any JSON, at most 256 KiB.
    body: Value,
    /// A permanent id (UUID): the same one is stored once.
    #[schema(value_type = Option<String>)]
    id: Option<Uuid>,
    /// 0 to 9: higher ones of an endpoint are given first.
    priority: Option<u8>,
    /// It expires after this many milliseconds.
    ttl_ms: Option<u64>,
    /// It is not delivered before, in milliseconds since 1970.
    not_before: Option<u64>,
}

/// Several messages.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "describes the body; it is read where sockets read it, too")]
pub(super) struct LettersRequest {
    /// At most 1,000, 1 MiB in all.
    messages: Vec<LetterRequest>,
}

/// Filter of messages.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MessagesQuery {
    /// For this endpoint.
    endpoint: Option<String>,
    /// Routed to this server: its id, or `server/` and its id.
    server: Option<String>,
    /// `pending`, `delayed`, `unrouted`, `dead`, `confirmed` or `expired`.
    state: Option<String>,
    /// Minimum age in milliseconds.
    older_than_ms: Option<u64>,
    /// Only messages with a greater number.
    #[param(value_type = Option<u64>)]
    after: Option<Seq>,
    /// Maximum number of results (default 100, at most 1,000).
    limit: Option<usize>,
}

/// Some messages in the order of their numbers.
#[derive(Serialize, ToSchema)]
pub(super) struct MessagesReply {
    /// The messages, without their bodies.
    messages: Vec<MessageStatus>,
    /// Pass it as `after` for what follows; none when nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    next: Option<Seq>,
}

/// A queue as a resource: it stands among the tables.
fn of_queue<'a>(dataset: &'a str, name: &'a str) -> Resource<'a> {
    Resource::Table { dataset, name, public: false }
}

fn queue_of(mail: &Mail, queue: &str) -> Result<u16, Problem> {
    let number = Name::new(queue).ok().and_then(|name| mail.queue(&name));
    number.ok_or_else(|| {
        let detail = format!("there is no queue {queue:?}");
        Problem::new(StatusCode::NOT_FOUND, "unknown_queue", detail)
    })
}

/// The id of a server, which may be written as its endpoint.
fn server_of(dataset: &Dataset, text: &str) -> Result<String, Problem> {
    let id = dataset.mail_rules().server(text).map(str::to_owned);
    id.map_err(|error| Problem::bad_request("bad_endpoint", error.to_string()))
}

fn unknown_message(name: &str) -> Problem {
    let detail = format!("there is no message {name:?}");
    Problem::new(StatusCode::NOT_FOUND, "unknown_message", detail)
}

/// Creates a queue; no error when it exists.
#[utoipa::path(put, operation_id = "create_queue",
    path = "/v1/datasets/{dataset}/queues/{queue}", tag = "mail",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("queue" = String, Path, description = "Name of the queue")),
    responses((status = 204),
              (status = 409, description = "`too_many_tables`", body = Problem)))]
pub(super) async fn create_queue(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, queue)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    caller.may(Action::Administer, Resource::Dataset(&name))?;
    let queue = new_name(&queue)?;
    let dataset = dataset(&shared.node, &name)?;
    dataset.commit(vec![Operation::CreateQueue { queue }].into()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends messages: all of them are stored with their routes, or none.
#[utoipa::path(post, operation_id = "send_messages",
    path = "/v1/datasets/{dataset}/queues/{queue}/messages", tag = "mail",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("queue" = String, Path, description = "Name of the queue")),
    request_body = SendRequest,
    responses(
        (status = 201, description = "Durable", body = SentAllReply),
        (status = 400, description = "`bad_json`, `bad_endpoint`", body = Problem),
        (status = 404, description = "`unknown_dataset`, `unknown_queue`", body = Problem),
        (status = 409, description = "`message_conflict`", body = Problem),
        (status = 413, description = "`message_too_large`, `too_many_operations`, `body_too_large`",
         body = Problem),
        (status = 422, description = "`no_route`: nothing is stored", body = Problem),
    ))]
pub(super) async fn send(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, queue)): Path<(String, String)>,
    body: Body<{ limits::COMMIT_BYTES }>,
) -> Result<(StatusCode, Json<SentAllReply>), Problem> {
    let need = Need::Write(&queue);
    caller.may_meet(need, &name)?;
    let read = body.read().await?;
    caller.may_meet(need, &name)?;
    let dataset = dataset(&shared.node, &name)?;
    let letters = read_letters(&dataset, (&queue, caller.name()), &read)?;
    let sent = dataset.store_mail(letters, Operation::Send).await?;
    Ok((StatusCode::CREATED, Json(sent.into())))
}

/// Reads the messages of a body.
fn read_letters(
    dataset: &Dataset,
    (queue, principal): (&str, &str),
    body: &[u8],
) -> Result<Letters, Problem> {
    queue_of(&dataset.state().mail, queue)?;
    Letters::read(&new_name(queue)?, principal, body).map_err(|error| unread(&error))
}

/// Lists messages.
#[utoipa::path(get, operation_id = "list_messages",
    path = "/v1/datasets/{dataset}/queues/{queue}/messages", tag = "mail",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("queue" = String, Path, description = "Name of the queue"), MessagesQuery),
    responses((status = 200, body = MessagesReply),
              (status = 400, description = "`bad_endpoint`, `bad_query`", body = Problem)))]
pub(super) async fn list(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, queue)): Path<(String, String)>,
    Query(query): Query<MessagesQuery>,
) -> Answer<MessagesReply> {
    caller.may(Action::Read, of_queue(&name, &queue))?;
    let dataset = dataset(&shared.node, &name)?;
    let state = dataset.state();
    let (mail, now) = (&state.mail, now_ms());
    let queue = queue_of(mail, &queue)?;
    let after = query.after.unwrap_or(Seq::ZERO);
    let limit = query.limit.unwrap_or(100);
    if !(1..=limits::MAIL_PAGE).contains(&limit) {
        let detail = format!("limit: 1 to {}", limits::MAIL_PAGE);
        return Err(Problem::bad_request("bad_query", detail));
    }
    if let Some(state) = query.state.as_deref().filter(|state| !STATES.contains(state)) {
        let detail = format!("state: {state:?} is none of {}", STATES.join(", "));
        return Err(Problem::bad_request("bad_query", detail));
    }
    let endpoint = match &query.endpoint {
        None => None,
        Some(text) => {
            let endpoint = dataset
                .mail_rules()
                .endpoint(text)
                .map_err(|error| Problem::bad_request("bad_endpoint", error.to_string()))?;
            Some(mail.endpoint_number(endpoint.as_str()).unwrap_or(EndpointNo::NOWHERE))
        }
    };
    let server = query.server.as_deref().map(|text| server_of(&dataset, text)).transpose()?;
    let server = server.map(|id| mail.server_number(&id).unwrap_or(ServerNo::NOWHERE));
    let wanted = query.state.as_deref();
    let fits = |seq: Seq| {
        let message = mail.message(seq)?;
        let fits = message.queue == queue
            && endpoint.is_none_or(|endpoint| message.endpoint == endpoint)
            && server.is_none_or(|server| message.server == server && server != ServerNo::NOWHERE)
            && wanted.is_none_or(|state| state_of(mail, seq, &message, now) == state)
            && query.older_than_ms.is_none_or(|ms| message.stored_ms.saturating_add(ms) <= now);
        fits.then(|| MessageStatus::of(mail, seq, &message, now))
    };
    let (mut messages, mut next, mut looked) = (vec![], None, 0);
    for seq in candidates(mail, server, query.state.as_deref(), after) {
        if looked == limits::MAIL_LOOKED_AT {
            next = next.or(Some(after));
            return Ok(Json(MessagesReply { messages, next }));
        }
        looked += 1;
        let found = fits(seq);
        if messages.len() < limit {
            next = Some(seq);
            messages.extend(found);
        } else if found.is_some() {
            // There is one more behind the page.
            return Ok(Json(MessagesReply { messages, next }));
        }
    }
    Ok(Json(MessagesReply { messages, next: None }))
}

/// The states of messages.
const STATES: [&str; 6] = ["pending", "delayed", "unrouted", "dead", "confirmed", "expired"];

/// The shortest list that has all that fit.
fn candidates<'a>(
    mail: &'a Mail,
    server: Option<ServerNo>,
    state: Option<&str>,
    after: Seq,
) -> Box<dyn Iterator<Item = Seq> + 'a> {
    match (server, state) {
        (_, Some("dead")) => Box::new(mail.dead_after(after)),
        (_, Some("unrouted")) => Box::new(mail.pending_of(ServerNo::NOWHERE, after)),
        (Some(server), Some("pending" | "delayed")) => Box::new(mail.pending_of(server, after)),
        _ => Box::new(mail.messages_after(after).map(|(seq, _)| seq)),
    }
}

/// The number of a message by its number or its id.
fn seq_of(mail: &Mail, queue: u16, name: &str) -> Result<Seq, Problem> {
    let by_id = || Uuid::parse_str(name).ok().and_then(|id| mail.by_id(&id, queue));
    let seq = name.parse::<Seq>().ok().or_else(by_id);
    let found = seq.filter(|seq| mail.message(*seq).is_some_and(|one| one.queue == queue));
    found.ok_or_else(|| unknown_message(name))
}

/// Shows a message, with its body while there is one.
#[utoipa::path(get, operation_id = "show_message",
    path = "/v1/datasets/{dataset}/queues/{queue}/messages/{message}", tag = "mail",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("queue" = String, Path, description = "Name of the queue"),
           ("message" = String, Path, description = "Its number, or its id")),
    responses((status = 200, body = MessageReply),
              (status = 500, description = "`storage_error`", body = Problem)))]
pub(super) async fn show(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, queue, message)): Path<(String, String, String)>,
) -> Answer<MessageReply> {
    caller.may(Action::Read, of_queue(&name, &queue))?;
    let dataset = dataset(&shared.node, &name)?;
    let state = dataset.state();
    let seq = seq_of(&state.mail, queue_of(&state.mail, &queue)?, &message)?;
    let found = state.mail.message(seq).ok_or_else(|| unknown_message(&message))?;
    if has_ended(&found) {
        let status = MessageStatus::of(&state.mail, seq, &found, now_ms());
        return Ok(Json(MessageReply::ended(status)));
    }
    let reader = dataset.clone();
    let body = on_disk(move || reader.mail_body(seq)).await?;
    let shown = MessageReply::with_body((&state, &dataset.state()), seq, &body, now_ms());
    shown.map(Json).ok_or_else(|| unknown_message(&message))
}

/// Queues a dead letter again.
#[utoipa::path(post, operation_id = "retry_message",
    path = "/v1/datasets/{dataset}/queues/{queue}/messages/{message}/retry",
    tag = "mail",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("queue" = String, Path, description = "Name of the queue"),
           ("message" = String, Path, description = "Its number, or its id")),
    responses((status = 200, body = RetryReply),
              (status = 400, description = "`bad_operation`: it is no dead letter",
               body = Problem)))]
pub(super) async fn retry(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, queue, message)): Path<(String, String, String)>,
) -> Answer<RetryReply> {
    caller.may(Action::Administer, Resource::Dataset(&name))?;
    let dataset = dataset(&shared.node, &name)?;
    let seq = {
        let state = dataset.state();
        seq_of(&state.mail, queue_of(&state.mail, &queue)?, &message)?
    };
    let receipt = dataset.commit(vec![Operation::Retry { seq }].into()).await?;
    Ok(Json(RetryReply { seq, position: receipt.position }))
}

/// Shows the state of a dataset's mail: each queue with its counts, and what is wrong.
#[utoipa::path(get, operation_id = "show_mail",
    path = "/v1/datasets/{dataset}/mail", tag = "mail",
    params(("dataset" = String, Path, description = "Name of the dataset")),
    responses((status = 200, body = MailReply)))]
pub(super) async fn overview(
    caller: Caller,
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Answer<MailReply> {
    caller.may_one_of(Action::Administer, &[Action::Read], Resource::Dataset(&name))?;
    let dataset = dataset(&shared.node, &name)?;
    let state = dataset.state();
    let position = dataset.position_of(&state);
    Ok(Json(MailReply::of(&state.mail, position, &dataset.mail_counts(), now_ms())))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use instep_model::commit::{Operation, Proposal};
    use instep_model::position::Incarnation;

    use instep_model::state::State as Memory;
    use instep_node::dataset::Options;
    use instep_node::engine::{Engine, StoredBody};

    use instep_node::{Pools, Topics};
    use serde_json::json;

    use super::*;

    fn dataset() -> Dataset {
        let options = Options::new(Name::new("d").unwrap(), Uuid::from_u128(2));
        let engine = Engine::memory(Incarnation(Uuid::from_u128(1)));
        Dataset::open(engine, options, Topics::default(), &Pools::new().unwrap()).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_message_that_ends_while_it_is_shown_is_not_damaged() {
        let dataset = dataset();
        let send = json!({"op": "send", "queue": "mail", "to": "server/7", "body": {"n": 1},
            "ttl_ms": 50});
        let operations = [json!({"op": "create_queue", "queue": "mail"}), send];
        let operations = operations.map(|one| serde_json::from_value::<Operation>(one).unwrap());
        dataset.commit(Proposal::from(operations.to_vec())).await.unwrap();
        let before = dataset.state();
        let body = dataset.mail_body(Seq(1)).unwrap();

        while dataset.state().mail.message(Seq(1)).is_some_and(|message| !has_ended(&message))
            || dataset.mail_body(Seq(1)).unwrap() != StoredBody::Missing
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }

        let now = dataset.state();
        let with_body = |before, now, body: &StoredBody| {
            let shown = MessageReply::with_body((before, now), Seq(1), body, now_ms());
            serde_json::to_value(shown).unwrap()
        };
        let shown = with_body(&before, &now, &dataset.mail_body(Seq(1)).unwrap());
        assert_eq!((&shown["state"], &shown["damaged"]), (&json!("expired"), &Value::Null));
        let whole = with_body(&before, &now, &body);
        assert_eq!(whole["body"], json!({"n": 1}), "as it was when it was asked for");
        let lost = with_body(&before, &before, &StoredBody::Missing);
        assert_eq!((&lost["damaged"], &lost["body"]), (&json!(true), &Value::Null));
        assert_eq!(with_body(&before, &Memory::default(), &StoredBody::Missing), Value::Null);
        tokio::task::spawn_blocking(move || dataset.close()).await.unwrap();
    }
}
