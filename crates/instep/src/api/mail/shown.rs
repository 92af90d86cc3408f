//! Mail as it is shown: messages, queues and counts.

use instep_model::mail::{Mail, Message, QueueState, Seq, ServerNo, Status};
use instep_model::position::Position;
use instep_model::state::State as Memory;
use instep_node::engine::StoredBody;
use instep_node::mail::{MailCounts, Sent, SentMessage};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

/// Messages that are stored.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct SentAllReply {
    /// Complete up to here.
    #[schema(value_type = String)]
    position: Position,
    /// In the order of the request.
    messages: Vec<SentReply>,
}

/// A message that is stored.
#[derive(Serialize, ToSchema)]
struct SentReply {
    /// Its number in the dataset.
    #[schema(value_type = u64)]
    seq: Seq,
    /// Its permanent id.
    #[schema(value_type = String)]
    id: Uuid,
    /// The server that it is routed to.
    server: Option<String>,
}

impl From<Sent> for SentAllReply {
    fn from(Sent { position, messages }: Sent) -> Self {
        let reply = |SentMessage { seq, id, server }: SentMessage| {
            let server = server.map(|server| server.to_string());
            SentReply { seq, id, server }
        };
        Self { position, messages: messages.into_iter().map(reply).collect() }
    }
}

/// A message and how it stands.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(in crate::api) struct MessageStatus {
    /// Its number in the dataset.
    #[schema(value_type = u64)]
    seq: Seq,
    /// Its permanent id.
    #[schema(value_type = String)]
    id: Uuid,
    /// Name of its queue.
    queue: String,
    /// The endpoint.
    to: String,
    /// Id of the server that it is routed to.
    #[schema(required)]
    server: Option<String>,
    /// `pending`, `delayed`, `unrouted`, `dead`, `confirmed` or `expired`.
    state: &'static str,
    /// 0 to 9.
    priority: u8,
    /// Failures so far.
    attempts: u16,
    /// Generation of its route.
    generation: u32,
    /// Time of storing it, in milliseconds since 1970.
    stored_ms: u64,
    /// Milliseconds since then.
    age_ms: u64,
    /// Bytes of its body.
    bytes: u32,
    /// It is not delivered before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    not_before: Option<u64>,
    /// It expires then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    expires_ms: Option<u64>,
    /// It was finished then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ended_ms: Option<u64>,
    /// Reason why it is dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
}

impl MessageStatus {
    pub(super) fn of(mail: &Mail, seq: Seq, message: &Message, now: u64) -> Self {
        let at = |at: u64| (at > 0).then_some(at);
        let (expires_ms, ended_ms) = if has_ended(message) {
            (None, at(message.expires))
        } else {
            (at(message.expires), None)
        };
        Self {
            seq,
            id: message.id,
            queue: mail.queue_name(message.queue).to_string(),
            to: mail.endpoint(message.endpoint).to_owned(),
            server: mail.server(message.server).map(|server| server.server.to_string()),
            state: state_of(mail, seq, message, now),
            priority: message.priority,
            attempts: message.attempts,
            generation: message.generation,
            stored_ms: message.stored_ms,
            age_ms: now.saturating_sub(message.stored_ms),
            bytes: message.body_bytes,
            not_before: at(message.not_before),
            expires_ms,
            ended_ms,
            reason: mail.reason(seq).map(|reason| reason.to_string()),
        }
    }
}

pub(super) fn state_of(mail: &Mail, seq: Seq, message: &Message, now: u64) -> &'static str {
    match message.status {
        // Its time is over, also when the log does not say so yet.
        Status::Pending if mail.has_expired(seq, message, now) => "expired",
        Status::Pending if message.server == ServerNo::NOWHERE => "unrouted",
        Status::Pending if message.not_before > 0 => "delayed",
        Status::Pending => "pending",
        Status::Dead => "dead",
        Status::Confirmed => "confirmed",
        Status::Expired => "expired",
    }
}

pub(super) fn has_ended(message: &Message) -> bool {
    matches!(message.status, Status::Confirmed | Status::Expired)
}

/// A message with its body.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(in crate::api) struct MessageReply {
    #[serde(flatten)]
    status: MessageStatus,
    /// The body, while it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Value>,
    /// True when the body cannot be read any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    damaged: Option<bool>,
}

impl MessageReply {
    /// A message that has ended: its body is gone.
    pub(super) fn ended(status: MessageStatus) -> Self {
        Self { status, body: None, damaged: None }
    }

    /// A message that had not ended, with its body. One that has ended by now is shown so: its
    /// body is gone, and not damaged. None: it is forgotten by now.
    pub(super) fn with_body(
        (before, now): (&Memory, &Memory),
        seq: Seq,
        body: &StoredBody,
        now_ms: u64,
    ) -> Option<Self> {
        let body = match body {
            StoredBody::Whole(body) => serde_json::from_slice::<Value>(body).ok(),
            StoredBody::Missing | StoredBody::Damaged => None,
        };
        let state = if body.is_some() { before } else { now };
        let message = state.mail.message(seq)?;
        let status = MessageStatus::of(&state.mail, seq, &message, now_ms);
        if has_ended(&message) {
            return Some(Self::ended(status));
        }
        let damaged = body.is_none().then_some(true);
        Some(Self { status, body: Some(body.unwrap_or_default()), damaged })
    }
}

/// A dead letter that is queued again.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct RetryReply {
    /// Number of the message.
    #[schema(value_type = u64)]
    pub(super) seq: Seq,
    /// Complete up to here.
    #[schema(value_type = String)]
    pub(super) position: Position,
}

/// The mail of a dataset.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct MailReply {
    /// It is so here.
    #[schema(value_type = String)]
    position: Position,
    /// Messages with a route that are not finished.
    pending: u64,
    /// Messages without a route.
    unrouted: u64,
    /// Dead letters.
    dead: u64,
    /// Milliseconds since the oldest unfinished message was stored.
    #[schema(required)]
    oldest_ms: Option<u64>,
    /// Servers that have mail, or had.
    servers: u64,
    /// Servers that are registered now.
    registered: u64,
    /// Messages that are given and not confirmed.
    unconfirmed: u64,
    /// Messages given since the start.
    given: u64,
    /// Messages looked at for that.
    looked_at: u64,
    /// Bodies that cannot be read any more.
    damaged: u64,
    /// Answers refused because another registration had taken over.
    fenced: u64,
    /// Storage of the bodies.
    bodies: BodiesReply,
    /// Each queue.
    queues: Vec<QueueReply>,
}

/// Bodies of messages.
#[derive(Serialize, ToSchema)]
struct BodiesReply {
    /// Bodies in memory only until the log is trimmed.
    young: u64,
    /// Bytes of those.
    young_bytes: u64,
    /// Bytes in files of their own.
    stored_bytes: u64,
    /// Writing them fails now.
    failing: bool,
}

/// A queue and its counts.
#[derive(Serialize, ToSchema)]
struct QueueReply {
    /// Its name.
    name: String,
    /// Messages stored so far.
    stored: u64,
    /// Messages confirmed so far.
    confirmed: u64,
    /// Messages expired so far.
    expired: u64,
    /// Dead letters given up so far, because there were too many.
    given_up: u64,
    /// Messages pending now, with and without a route.
    pending: u64,
    /// Messages without a route now.
    unrouted: u64,
    /// Dead letters now.
    dead: u64,
    /// Finished messages that are remembered now.
    kept: u64,
}

impl MailReply {
    pub(super) fn of(mail: &Mail, position: Position, counts: &MailCounts, now: u64) -> Self {
        let sum = |read: fn(&QueueState) -> u64| mail.queues().map(read).sum::<u64>();
        let MailCounts { delivery, bodies, damaged, fenced } = counts;
        let unrouted = sum(|queue| queue.unrouted);
        Self {
            position,
            pending: sum(|queue| queue.pending) - unrouted,
            unrouted,
            dead: sum(|queue| queue.dead),
            oldest_ms: mail.oldest_ms(None).map(|at| now.saturating_sub(at)),
            servers: mail.servers().count() as u64,
            registered: delivery.registered,
            unconfirmed: delivery.unconfirmed,
            given: delivery.given,
            looked_at: delivery.looked_at,
            damaged: *damaged,
            fenced: *fenced,
            bodies: BodiesReply {
                young: bodies.young,
                young_bytes: bodies.young_bytes,
                stored_bytes: bodies.stored_bytes,
                failing: bodies.failing,
            },
            queues: mail.queues().map(QueueReply::from).collect(),
        }
    }
}

impl From<&QueueState> for QueueReply {
    fn from(queue: &QueueState) -> Self {
        let QueueState {
            name,
            stored,
            confirmed,
            expired,
            given_up,
            pending,
            unrouted,
            dead,
            kept,
        } = queue;
        Self {
            name: name.to_string(),
            stored: *stored,
            confirmed: *confirmed,
            expired: *expired,
            given_up: *given_up,
            pending: *pending,
            unrouted: *unrouted,
            dead: *dead,
            kept: *kept,
        }
    }
}
