//! Live topics over HTTP: publishing, one message or many, and who is there.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use instep_access::{Action, Resource};
use instep_model::limits;
use instep_model::ring::Payload;
use instep_node::live::{LiveError, LivePlace, Once, PublishId, Published};
use instep_node::{Crowd, Node};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{Answer, Body, Shared, read_json};
use crate::caller::Caller;
use crate::problem::Problem;

/// The header that names a request, so that it can be said again.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Message to publish. The payload is passed on without parsing it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PublishRequest<'a> {
    /// The event.
    event: String,
    /// The payload: a JSON object of at most 64 KiB.
    #[serde(borrow)]
    #[schema(value_type = Value)]
    payload: &'a RawValue,
    /// An id of your own, at most 128 bytes: the same one on the topic publishes once. The header
    /// `Idempotency-Key` says the same.
    #[serde(default)]
    id: Option<String>,
}

/// Messages to publish, in this order.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MessagesRequest<'a> {
    /// At most 1,000 messages: 1 MiB in all.
    #[serde(borrow)]
    #[schema(value_type = Vec<MessageRequest<'static>>)]
    messages: Vec<MessageRequest<'a>>,
}

/// One of many messages.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MessageRequest<'a> {
    /// The topic.
    topic: String,
    /// The event.
    event: String,
    /// The payload: a JSON object of at most 64 KiB.
    #[serde(borrow)]
    #[schema(value_type = Value)]
    payload: &'a RawValue,
    /// An id of your own. Without one, `Idempotency-Key` and the message's index make one.
    #[serde(default)]
    id: Option<String>,
}

/// Result of a publication: its subscribers, and its place among the topic's messages.
#[derive(Serialize, ToSchema)]
pub(super) struct PublishReply {
    /// Subscribers of the topic on this node.
    subscribers: usize,
    /// Identity of the topic since it came to be; none without subscribers and kept messages.
    epoch: Option<String>,
    /// The message's number in the epoch.
    offset: Option<u64>,
    /// A message with the same id had been published before; now nothing was.
    replayed: bool,
}

/// Result of each message, in their order.
#[derive(Serialize, ToSchema)]
pub(super) struct PublishAllReply {
    results: Vec<PublishReply>,
}

/// A live topic.
#[derive(Serialize, ToSchema)]
pub(super) struct TopicReply {
    /// Subscribers on this node.
    subscribers: usize,
    /// Identity of the topic since it came to be; none without subscribers and kept messages.
    epoch: Option<String>,
    /// The number of its newest message.
    offset: Option<u64>,
    /// Size of the presence; none when the topic keeps no presence.
    presence: Option<CrowdReply>,
}

/// Size of a presence.
#[derive(Serialize, ToSchema)]
pub(super) struct CrowdReply {
    /// Connections.
    count: usize,
    /// Different keys.
    keys: usize,
}

/// Presence on a topic.
#[derive(Serialize, ToSchema)]
pub(super) struct PresenceReply {
    /// Connections.
    count: usize,
    /// Different keys.
    keys: usize,
    /// `{key: {metas: […]}}` as in `presence_state`, at most 1,000 metas; none when only their
    /// number is kept.
    present: Option<Value>,
}

/// Publishes to a live topic. Who has not joined gets it only from the topic's history.
#[utoipa::path(post, operation_id = "publish",
    path = "/v1/topics/{topic}", tag = "topics",
    params(("topic" = String, Path, description = "Name of the topic, percent-encoded"),
           ("Idempotency-Key" = Option<String>, Header, description = "An id of your own")),
    request_body = PublishRequest<'static>,
    responses((status = 200, body = PublishReply),
              (status = 400, description = "`bad_json`, `bad_event`, `id_invalid`", body = Problem),
              (status = 404, description = "`unmatched_topic`", body = Problem),
              (status = 409, description = "`id_conflict`", body = Problem),
              (status = 413, description = "`payload_too_large`", body = Problem)))]
pub(super) async fn publish(
    caller: Caller,
    State(shared): State<Shared>,
    Path(topic): Path<String>,
    headers: HeaderMap,
    body: Body<{ limits::PUBLISH_BYTES + 1024 }>,
) -> Answer<PublishReply> {
    let body = body.read_as(&caller, Action::Publish, published(&topic)).await?;
    let PublishRequest { event, payload, id } = read_json(&body)?;
    let id = match id.as_deref().or(key_of(&headers)?) {
        Some(id) => Some(id_of("id", id)?),
        None => None,
    };
    let message = Message { topic, event, payload: object("payload", payload)?, id };
    Ok(Json(message.publish(&shared.node)?))
}

/// Publishes many messages in their order. They are checked first: if one of them is refused,
/// none is published.
#[utoipa::path(post, operation_id = "publish_many",
    path = "/v1/topics", tag = "topics",
    params(("Idempotency-Key" = Option<String>, Header, description = "An id of your own")),
    request_body = MessagesRequest<'static>,
    responses((status = 200, body = PublishAllReply),
              (status = 400, description = "`bad_json`, `bad_event`, `id_invalid`, \
                                            `too_many_messages`", body = Problem),
              (status = 404, description = "`unmatched_topic`", body = Problem),
              (status = 409, description = "`id_conflict`: what stands before it is published",
               body = Problem),
              (status = 413, description = "`payload_too_large`", body = Problem)))]
pub(super) async fn publish_all(
    caller: Caller,
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: Body<{ limits::COMMIT_BYTES }>,
) -> Answer<PublishAllReply> {
    caller.may_at_all(Action::Publish)?;
    let body = body.read().await?;
    let MessagesRequest { messages } = read_json(&body)?;
    if messages.len() > limits::PUBLISH_MESSAGES {
        let (given, limit) = (messages.len(), limits::PUBLISH_MESSAGES);
        let detail = format!("messages: {given}, the limit is {limit}");
        return Err(Problem::bad_request("too_many_messages", detail));
    }
    let key = key_of(&headers)?;
    let read = |(at, message): (usize, MessageRequest<'_>)| {
        let MessageRequest { topic, event, payload, id } = message;
        may_publish(&caller, &topic)?;
        let name = |field: &str| format!("messages[{at}].{field}");
        let id = id.or_else(|| key.map(|key| format!("{key}#{at}")));
        let id = id.map(|id| id_of(&name("id"), &id)).transpose()?;
        let message = Message { topic, event, payload: object(&name("payload"), payload)?, id };
        shared.node.check_publication(&message.topic, &message.event, &message.payload).map_err(
            |error| {
                let problem = Problem::from(error);
                Problem { detail: format!("messages[{at}]: {}", problem.detail), ..problem }
            },
        )?;
        Ok(message)
    };
    let messages: Vec<Message> =
        messages.into_iter().enumerate().map(read).collect::<Result<_, Problem>>()?;
    let publish = |message: Message| message.publish(&shared.node);
    let results = messages.into_iter().map(publish).collect::<Result<_, _>>()?;
    Ok(Json(PublishAllReply { results }))
}

/// A live topic: how many have joined, its newest message, how many are present.
#[utoipa::path(get, operation_id = "show_topic",
    path = "/v1/topics/{topic}", tag = "topics",
    params(("topic" = String, Path, description = "Name of the topic, percent-encoded")),
    responses((status = 200, body = TopicReply),
              (status = 404, description = "`unmatched_topic`", body = Problem)))]
pub(super) async fn show(
    caller: Caller,
    State(shared): State<Shared>,
    Path(topic): Path<String>,
) -> Answer<TopicReply> {
    may_publish(&caller, &topic)?;
    let known = live(&shared.node, &topic)?;
    let (epoch, offset) = parts(known.as_ref().and_then(|topic| topic.newest()));
    let presence = match &known {
        Some(topic) => topic.crowd(),
        None => shared.node.tracks(&topic).then(Crowd::default),
    };
    Ok(Json(TopicReply {
        subscribers: known.map_or(0, |topic| topic.subscribers()),
        epoch,
        offset,
        presence: presence.map(|Crowd { count, keys }| CrowdReply { count, keys }),
    }))
}

/// Shows the presence on a live topic.
#[utoipa::path(get, operation_id = "list_presence",
    path = "/v1/topics/{topic}/presence", tag = "topics",
    params(("topic" = String, Path, description = "Name of the topic, percent-encoded")),
    responses((status = 200, body = PresenceReply),
              (status = 404, description = "`unmatched_topic`: no live topic, or one without \
                                            presence", body = Problem)))]
pub(super) async fn presence(
    caller: Caller,
    State(shared): State<Shared>,
    Path(topic): Path<String>,
) -> Answer<PresenceReply> {
    may_publish(&caller, &topic)?;
    let known = live(&shared.node, &topic)?;
    if !shared.node.tracks(&topic) {
        let detail = format!("the live topic {topic:?} keeps no presence");
        return Err(Problem::new(StatusCode::NOT_FOUND, "unmatched_topic", detail));
    }
    let Crowd { count, keys } = known.as_ref().and_then(|topic| topic.crowd()).unwrap_or_default();
    let present = known.and_then(|topic| topic.present());
    Ok(Json(PresenceReply { count, keys, present }))
}

/// Checks the right to publish on a topic, which is also the right to see its presence. Where
/// all subscribers publish, it is from sockets that have joined.
fn may_publish(caller: &Caller, topic: &str) -> Result<(), Problem> {
    caller.may(Action::Publish, published(topic))
}

fn published(topic: &str) -> Resource<'_> {
    Resource::Topic { name: topic, anyone_publishes: false }
}

struct Message {
    topic: String,
    event: String,
    payload: Payload,
    id: Option<PublishId>,
}

impl Message {
    fn publish(self, node: &Node) -> Result<PublishReply, Problem> {
        let Self { topic, event, payload, id } = self;
        let Some(id) = id else {
            return Ok(reply(node.publish(&topic, &event, payload)?, false));
        };
        match node.publish_once(&topic, &event, payload, &id)? {
            Once::Published(published) => Ok(reply(published, false)),
            Once::Replayed(published) => Ok(reply(published, true)),
            Once::Conflict => {
                let detail = format!("another message was published to {topic:?} under this id");
                Err(Problem::new(StatusCode::CONFLICT, "id_conflict", detail))
            }
        }
    }
}

fn reply(published: Published, replayed: bool) -> PublishReply {
    let (epoch, offset) = parts(published.place);
    PublishReply { subscribers: published.subscribers, epoch, offset, replayed }
}

fn parts(place: Option<LivePlace>) -> (Option<String>, Option<u64>) {
    place.map(|place| (place.epoch, place.offset)).unzip()
}

/// A live topic, if it has subscribers or is kept.
fn live(node: &Node, topic: &str) -> Result<Option<std::sync::Arc<instep_node::Topic>>, Problem> {
    if node.is_live(topic) {
        Ok(node.topics().get(topic))
    } else {
        Err(LiveError::Unmatched { topic: topic.to_owned() }.into())
    }
}

fn object(field: &str, payload: &RawValue) -> Result<Payload, Problem> {
    if payload.get().starts_with('{') {
        Ok(Payload::Json(Bytes::copy_from_slice(payload.get().as_bytes())))
    } else {
        Err(Problem::bad_request("bad_json", format!("{field}: not a JSON object")))
    }
}

pub(super) fn key_of(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let text = headers.get(IDEMPOTENCY_KEY).map(|value| value.to_str());
    text.transpose().map_err(|_| bad_id("Idempotency-Key"))
}

fn id_of(field: &str, id: &str) -> Result<PublishId, Problem> {
    PublishId::new(id).ok_or_else(|| bad_id(field))
}

fn bad_id(field: &str) -> Problem {
    let limit = limits::PUBLISH_ID_BYTES;
    Problem::bad_request("id_invalid", format!("{field}: not a text of 1 to {limit} bytes"))
}
