//! Connections, their topics and their lag, for administrators of the server.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use instep_edge::ConnectionState;
use instep_model::limits;
use instep_node::blocking;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Answer, Query, Shared};
use crate::caller::Admin;
use crate::problem::Problem;

/// Default number of results.
const USUALLY: usize = 100;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TopQuery {
    /// Maximum number of results (default 100, at most 1,000).
    top: Option<usize>,
}

/// Connections, the furthest behind first.
#[derive(Serialize, ToSchema)]
pub(super) struct Connections {
    /// Connections in all.
    count: usize,
    connections: Vec<Connection>,
}

/// A connection.
#[derive(Serialize, ToSchema)]
pub(super) struct Connection {
    /// Its name while it lasts.
    id: String,
    /// `websocket`, `tcp`, `janus` or `longpoll`.
    door: &'static str,
    /// The other end.
    peer: Option<String>,
    /// Principal, by the credential that was shown; `anonymous` without one.
    principal: String,
    /// User agent, as the client states it.
    user_agent: Option<String>,
    /// Milliseconds since it came.
    age_ms: u64,
    /// Frames that it is behind on the topic where it is the furthest.
    lag_frames: u64,
    /// Bytes that wait for its socket.
    waiting_bytes: usize,
    /// Milliseconds since its socket last took something, while something waits.
    blocked_ms: Option<u64>,
    /// Topics that it has joined.
    topics: Vec<Joined>,
}

/// A joined topic.
#[derive(Serialize, ToSchema)]
pub(super) struct Joined {
    topic: String,
    /// Frames that the connection has not been given.
    lag_frames: u64,
}

/// Topics, those that most have joined first.
#[derive(Serialize, ToSchema)]
pub(super) struct Topics {
    /// Topics in all.
    count: usize,
    topics: Vec<Topic>,
}

/// A topic that is joined, or kept.
#[derive(Serialize, ToSchema)]
pub(super) struct Topic {
    topic: String,
    /// Subscribers on this node.
    subscribers: usize,
    /// Frames that it keeps.
    frames: usize,
    /// Bytes of them.
    bytes: usize,
}

/// Lists connections, the furthest behind first.
#[utoipa::path(get, operation_id = "list_connections",
    path = "/v1/connections", tag = "server", params(TopQuery),
    responses((status = 200, body = Connections)))]
pub(super) async fn connections(
    _: Admin,
    State(shared): State<Shared>,
    Query(query): Query<TopQuery>,
) -> Answer<Connections> {
    let found = shared.door.furthest(query.most()).await;
    let connections = found.into_iter().map(Connection::from).collect();
    Ok(Json(Connections { count: shared.door.connections(), connections }))
}

/// A connection by its id, or a long-poll session by its token, while it lasts.
#[utoipa::path(get, operation_id = "show_connection",
    path = "/v1/sessions/{id}", tag = "server",
    params(("id" = String, Path, description = "Id of a connection, or token of a session")),
    responses((status = 200, body = Connection),
              (status = 404, description = "`unknown_session`", body = Problem)))]
pub(super) async fn session(
    _: Admin,
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Answer<Connection> {
    match shared.door.session(&id).await {
        Some(state) => Ok(Json(Connection::from(state))),
        None => {
            let detail = "no connection has that id now".to_owned();
            Err(Problem::new(StatusCode::NOT_FOUND, "unknown_session", detail))
        }
    }
}

/// Topics that are joined or kept, those that most have joined first.
#[utoipa::path(get, operation_id = "list_topics",
    path = "/v1/topics", tag = "server", params(TopQuery),
    responses((status = 200, body = Topics)))]
pub(super) async fn topics(
    _: Admin,
    State(shared): State<Shared>,
    Query(query): Query<TopQuery>,
) -> Answer<Topics> {
    let looked = blocking(move || {
        let all = shared.node.topics().all();
        let states = all.iter().map(|topic| {
            let ((frames, bytes), subscribers) = (topic.occupancy(), topic.subscribers());
            Topic { topic: topic.name().to_string(), subscribers, frames, bytes }
        });
        let mut topics: Vec<_> = states.collect();
        topics
            .sort_by(|a, b| b.subscribers.cmp(&a.subscribers).then_with(|| a.topic.cmp(&b.topic)));
        topics.truncate(query.most());
        Topics { count: all.len(), topics }
    });
    looked.await.map(Json).map_err(|error| Problem::exhausted(&error))
}

impl TopQuery {
    fn most(&self) -> usize {
        self.top.unwrap_or(USUALLY).min(limits::CONNECTIONS_LISTED)
    }
}

impl From<ConnectionState> for Connection {
    fn from(state: ConnectionState) -> Self {
        let lag_frames = state.lag();
        let joined =
            |topic: instep_edge::TopicState| Joined { topic: topic.topic, lag_frames: topic.lag };
        Self {
            id: state.id,
            door: state.door,
            peer: state.peer.map(|peer| peer.to_string()),
            principal: state.principal,
            user_agent: state.agent.map(|agent| agent.to_string()),
            age_ms: state.age_ms,
            lag_frames,
            waiting_bytes: state.waiting_bytes,
            blocked_ms: state.blocked_ms,
            topics: state.topics.into_iter().map(joined).collect(),
        }
    }
}
