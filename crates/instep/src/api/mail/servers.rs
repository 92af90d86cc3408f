//! Servers that take mail, over HTTP.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use instep_access::{Action, Resource};
use instep_model::limits;
use instep_model::mail::Seq;
use instep_model::mail::kinds::id_of_server;
use instep_model::mail::outcome::word;
use instep_model::registration::Generation;
use instep_node::mail::{Answered, Answers, Kept, MailError, Pull, SERVER_PREFIX};
use instep_node::now_ms;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::super::shapes::PullReply;
use super::super::{Answer, Body, Query, Shared, dataset, read_json, still_there};
use super::server_of;
use crate::caller::Caller;
use crate::problem::{CROWDED_RETRY_S, Problem};

/// Headers of a body that is JSON text already.
const JSON: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "application/json")];

/// Filter of servers.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct ServersQuery {
    /// Not only the ids.
    #[serde(default)]
    detail: bool,
    /// Only those that are registered now.
    #[serde(default)]
    registered: bool,
}

/// Servers that have mail or have registered.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct ServersReply {
    /// Ids, or with `detail` more.
    servers: Vec<ServerReply>,
}

/// A server: its id, or with `detail` how it is.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum ServerReply {
    /// Its id.
    Id(String),
    /// State of a server and of its mail.
    Detailed(ServerDetail),
}

/// A server and its mail.
#[derive(Serialize, ToSchema)]
struct ServerDetail {
    /// Its id.
    server: String,
    /// Messages that are routed to it and not finished.
    pending: u64,
    /// Milliseconds since the oldest of them was stored.
    #[schema(required)]
    oldest_ms: Option<u64>,
    /// It is registered now.
    registered: bool,
    /// Generation of its newest registration.
    generation: u64,
}

/// Size and wait of a pull.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PullRequest {
    /// Registration that the first pull answered; without it a new registration takes over.
    #[serde(default)]
    registration: Option<u64>,
    /// Maximum number of messages, 1 to 1,024 (default 10).
    #[serde(default = "few")]
    max: usize,
    /// Maximum wait for the first message, in milliseconds; at most 20,000.
    #[serde(default)]
    wait_ms: u64,
}

fn few() -> usize {
    10
}

/// Answers to messages.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "describes the body; it is read where sockets read theirs, too")]
pub(in crate::api) struct AnswersRequest {
    /// Registration that the first pull answered.
    registration: u64,
    /// Acknowledged messages: done.
    #[serde(default)]
    ack: Vec<u64>,
    /// Messages that cannot be worked on now: they are given again later.
    #[serde(default)]
    nack: Vec<NackRequest>,
    /// Rejected messages: they will never succeed.
    #[serde(default)]
    reject: Vec<RejectRequest>,
    /// Asked about, and not there: they are given again, in their places.
    #[serde(default)]
    not: Vec<u64>,
}

/// A message that cannot be worked on now.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "describes the body; it is read where sockets read theirs, too")]
pub(in crate::api) struct NackRequest {
    /// The message.
    seq: u64,
    /// Delay until it is given again, in milliseconds.
    #[serde(default)]
    delay_ms: u64,
    /// It was tried, and failed: that counts.
    #[serde(default)]
    failed: bool,
}

/// A message that will never succeed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "describes the body; it is read where sockets read theirs, too")]
pub(in crate::api) struct RejectRequest {
    /// The message.
    seq: u64,
    /// Reason of the rejection.
    reason: String,
}

/// Outcomes of answers.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct AnswersReply {
    /// In the order `ack`, `nack`, `reject`.
    outcomes: Vec<AnswerOutcome>,
}

/// Outcome of an answer.
#[derive(Serialize, ToSchema)]
struct AnswerOutcome {
    /// Number of the message.
    #[schema(value_type = u64)]
    seq: Seq,
    /// `ok`; `done`: it was finished before; `fenced`: another registration has taken over;
    /// `not_yours`: it is another server's; `unknown_message`.
    outcome: &'static str,
}

/// Lists servers that have mail or have registered.
#[utoipa::path(get, operation_id = "list_servers",
    path = "/v1/datasets/{dataset}/servers", tag = "mail",
    params(("dataset" = String, Path, description = "Name of the dataset"), ServersQuery),
    responses((status = 200, body = ServersReply)))]
pub(in crate::api) async fn list(
    caller: Caller,
    State(shared): State<Shared>,
    Path(name): Path<String>,
    Query(query): Query<ServersQuery>,
) -> Answer<ServersReply> {
    caller.may_one_of(Action::Administer, &[Action::Read], Resource::Dataset(&name))?;
    let dataset = dataset(&shared.node, &name)?;
    let (state, now) = (dataset.state(), now_ms());
    let servers = state.mail.servers();
    let servers = servers.filter(|(number, _)| !query.registered || dataset.is_registered(*number));
    let servers = servers.map(|(number, server)| {
        if query.detail {
            ServerReply::Detailed(ServerDetail {
                server: server.server.to_string(),
                pending: server.pending,
                oldest_ms: state.mail.oldest_ms(Some(number)).map(|at| now.saturating_sub(at)),
                registered: dataset.is_registered(number),
                generation: server.generation.0,
            })
        } else {
            ServerReply::Id(server.server.to_string())
        }
    });
    Ok(Json(ServersReply { servers: servers.collect() }))
}

/// Takes messages of a server, for programs that hold no socket.
#[utoipa::path(post, operation_id = "pull_messages",
    path = "/v1/datasets/{dataset}/servers/{server}/pull", tag = "mail",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("server" = String, Path, description = "The server: its id, or `server/` and its id")),
    request_body = PullRequest,
    responses((status = 200, description = "Messages, maybe none", body = PullReply),
              (status = 404, description = "`unknown_dataset`, `no_mail`", body = Problem),
              (status = 400, description = "`bad_json`", body = Problem),
              (status = 409, description = "`fenced`: another registration has taken over; \
               `not_registered`: there was no such registration", body = Problem),
              (status = 429, description = "`too_many_pulls`, `too_many_registrations`",
               body = Problem),
              (status = 503, description = "`overloaded`: try again", body = Problem)))]
pub(in crate::api) async fn pull(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, server)): Path<(String, String)>,
    body: Body<4096>,
) -> Result<([(HeaderName, &'static str); 1], Vec<u8>), Problem> {
    may_take(&caller, &name, id_of_server(&server))?;
    let dataset = dataset(&shared.node, &name)?;
    let server = server_of(&dataset, &server)?;
    let PullRequest { registration, max, wait_ms } = read_json(&body.read().await?)?;
    if !(1..=limits::MAIL_CREDIT_MOST).contains(&max) {
        let most = limits::MAIL_CREDIT_MOST;
        return Err(Problem::bad_request("bad_json", format!("max: 1 to {most}")));
    }
    if wait_ms > limits::MAIL_PULL_WAIT_MS {
        let most = limits::MAIL_PULL_WAIT_MS;
        return Err(Problem::bad_request("bad_json", format!("wait_ms: at most {most}")));
    }
    may_take(&caller, &name, &server)?;
    let from = caller.address();
    // Held while it waits.
    let _place = shared.door.http().pull(from).map_err(|crowded| {
        let details =
            ["there is no place for another pull", "as many pulls of this address wait as may"];
        Problem::crowded(crowded, "too_many_pulls", details)
    })?;
    let let_in = || {
        let held = shared.door.http().registration(from);
        held.map(|held| Box::new(held) as Kept).map_err(MailError::from)
    };
    let registration = registration.map(Generation);
    let pull = Pull { registration, max, wait: Duration::from_millis(wait_ms) };
    let may_go_on = || may_take(&caller, &name, &server).and_then(|()| still_there(&dataset));
    let over = over(&shared, || may_go_on().is_ok());
    let pulled = dataset.pull(&server, pull, let_in, over).await.map_err(refused)?;
    // A caller that lost the right while it waited is told nothing; the next registration is given
    // it.
    may_go_on()?;
    let head = json!({"registration": pulled.registration, "ask": pulled.ask});
    let mut text = head.to_string().into_bytes();
    text.pop();
    text.extend_from_slice(b",\"messages\":[");
    for (at, delivery) in pulled.messages.iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        text.extend_from_slice(&delivery.to_json());
    }
    text.extend_from_slice(b"]}");
    Ok((JSON, text))
}

/// End of a wait: the server is about to stop, or the caller may not go on.
fn over(shared: &Shared, may_go_on: impl Fn() -> bool) -> impl Future<Output = ()> {
    // From now on, not from when it is first waited for.
    let (mut draining, mut reviewing) = (shared.door.draining(), shared.door.reviewing());
    async move {
        let lost = async {
            // Fails only when the door is gone, and the server with it.
            while reviewing.changed().await.is_ok() && may_go_on() {}
        };
        tokio::select! {
            _ = draining.wait_for(|drain| *drain) => {}
            () = lost => {}
        }
    }
}

/// Says what became of messages that were pulled.
#[utoipa::path(post, operation_id = "answer_messages",
    path = "/v1/datasets/{dataset}/servers/{server}/answers", tag = "mail",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("server" = String, Path, description = "The server: its id, or `server/` and its id")),
    request_body = AnswersRequest,
    responses((status = 200, description = "What became of each answer", body = AnswersReply),
              (status = 404, description = "`unknown_dataset`, `no_mail`", body = Problem),
              (status = 409, description = "`not_registered`: there was no such registration",
               body = Problem),
              (status = 503, description = "`overloaded`: try again", body = Problem)))]
pub(in crate::api) async fn answers(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, server)): Path<(String, String)>,
    body: Body<{ 64 * 1024 }>,
) -> Answer<AnswersReply> {
    may_take(&caller, &name, id_of_server(&server))?;
    let dataset = dataset(&shared.node, &name)?;
    let server = server_of(&dataset, &server)?;
    let said = Answers::read(&body.read().await?).map_err(|error| refused(error.into()))?;
    may_take(&caller, &name, &server)?;
    let answered = dataset.answer_pulled(&server, said).await.map_err(refused)?;
    let outcome = |one: &Answered| AnswerOutcome { seq: one.seq, outcome: word(one.outcome) };
    Ok(Json(AnswersReply { outcomes: answered.iter().map(outcome).collect() }))
}

fn may_take(caller: &Caller, dataset: &str, server: &str) -> Result<(), Problem> {
    let topic = format!("{SERVER_PREFIX}{server}");
    caller.may(Action::Register, Resource::Mailbox { dataset, topic: &topic })
}

fn refused(error: MailError) -> Problem {
    match error {
        MailError::Refused(refusal) => refusal.into(),
        MailError::Unsent(refusal) => refusal.into(),
        MailError::Fenced | MailError::NotRegistered { .. } => {
            Problem::new(StatusCode::CONFLICT, error.code(), error.to_string())
        }
        MailError::Crowded => Problem::too_often(error.code(), error.to_string(), CROWDED_RETRY_S),
        MailError::Full | MailError::Busy => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.code(), error.to_string())
        }
        MailError::Unavailable => {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Problem::new(status, "dataset_unavailable", error.to_string())
        }
        MailError::NoMail { .. } => {
            Problem::new(StatusCode::NOT_FOUND, error.code(), error.to_string())
        }
        MailError::Unmatched | MailError::Which | MailError::Bad(_) | MailError::Event { .. } => {
            Problem::bad_request("bad_json", error.to_string())
        }
    }
}
