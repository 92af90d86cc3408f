//! The HTTP API under `/v1`. Each route and its description are registered in one place, so the
//! OpenAPI document cannot leave one out.

mod changes;
mod commits;
mod datasets;
mod description;
mod events;
mod examples;
mod home;
mod inspect;
mod journals;
mod mail;
mod reference;
mod relay;
mod rows;
mod shapes;
mod sites;
pub(crate) mod streaming;
mod topics;

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use instep_access::{Action, Gate, Resource};
use instep_edge::{Door, longpoll, websocket};
use instep_model::json::{FieldError, read_object};
use instep_model::limits;
use instep_node::{Dataset, Node};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use self::sites::feeds::SiteFeeds;
pub(crate) use self::streaming::refuse;
use crate::admission::{Admission, admit};
use crate::caller::Caller;
use crate::config::RelayConfig;
use crate::dumps::Dumps;
use crate::metrics;
use crate::opener::Opener;
use crate::problem::Problem;
use crate::web::Web;

#[derive(OpenApi)]
#[openapi(info(
    title = "Instep",
    description = "Live data: commit, read, follow, publish. Requests show who asks as \
                   `Authorization: Bearer <key or token>`; errors are `application/problem+json` \
                   with a stable `code`, which [error codes](reference/errors) explains."
))]
struct Document;

/// State shared by the routes. Cloning gives another handle; a request clones it twice.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) node: Node,
    pub(crate) door: Door,
    pub(crate) opener: Opener,
    pub(crate) dumps: Dumps,
    pub(crate) feeds: SiteFeeds,
    pub(crate) relays: Vec<RelayConfig>,
}

impl Shared {
    pub(crate) fn new(node: Node, door: Door, (opener, dumps): (Opener, Dumps)) -> Self {
        let (feeds, relays) = (SiteFeeds::default(), opener.relays().to_vec());
        Self(Arc::new(Parts { node, door, opener, dumps, feeds, relays }))
    }
}

impl Deref for Shared {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// Everything that is served before applications add theirs.
pub(crate) fn router(shared: Shared, gate: Gate, web: Web, apps: Router) -> Router {
    let (node, door, feeds) = (shared.node.clone(), shared.door.clone(), shared.feeds.clone());
    let admission = Arc::new(Admission { node: node.clone(), gate, door: door.clone(), web });
    let unrouted = any(relay::serve).with_state(shared.clone());
    let (api, document) = routes().with_state(shared).split_for_parts();
    let document = reference::serve(document);
    let metrics = Router::new().route("/metrics", get(metrics::serve)).with_state((
        node,
        door.clone(),
        feeds,
    ));
    let mut sockets = Router::new();
    // A client is given `/socket` or `/socket/`, and puts a slash behind either.
    for (start, end) in [("/", ""), ("//", ""), ("/", "/"), ("//", "/")] {
        sockets = sockets
            .route(&format!("/socket{start}websocket{end}"), get(websocket::upgrade))
            .route(&format!("/socket{start}longpoll{end}"), any(longpoll::serve));
    }
    let sockets = sockets.with_state(door);
    Router::new()
        .merge(api)
        .merge(document)
        .merge(metrics)
        .merge(sockets)
        .merge(apps)
        .method_not_allowed_fallback(method_not_allowed)
        .fallback_service(unrouted)
        .layer(middleware::from_fn_with_state(admission, admit))
}

/// Routes of the API, each with its description.
fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(datasets::list))
        .routes(routes!(datasets::show, datasets::create, datasets::remove))
        .routes(routes!(datasets::list_views))
        .routes(routes!(datasets::list_tables))
        .routes(routes!(datasets::show_table, datasets::create_table, datasets::drop_table))
        .routes(routes!(datasets::create_journal))
        .routes(routes!(journals::append, journals::page))
        .routes(routes!(commits::commit))
        .routes(routes!(rows::page))
        .routes(routes!(rows::one))
        .routes(routes!(rows::snapshot))
        .routes(routes!(changes::changes))
        .routes(routes!(topics::publish_all, inspect::topics))
        .routes(routes!(topics::publish, topics::show))
        .routes(routes!(topics::presence))
        .routes(routes!(events::follow))
        .routes(routes!(events::follow_named))
        .routes(routes!(inspect::connections))
        .routes(routes!(inspect::session))
        .routes(routes!(mail::create_queue))
        .routes(routes!(mail::send, mail::list))
        .routes(routes!(mail::show))
        .routes(routes!(mail::retry))
        .routes(routes!(mail::overview))
        .routes(routes!(mail::routes::move_endpoint))
        .routes(routes!(mail::routes::readdress))
        .routes(routes!(mail::routes::backfill))
        .routes(routes!(mail::routes::import))
        .routes(routes!(mail::routes::audit))
        .routes(routes!(mail::servers::list))
        .routes(routes!(mail::servers::pull))
        .routes(routes!(mail::servers::answers))
        .routes(routes!(sites::status::list))
        .routes(routes!(sites::status::show, sites::register, sites::orders::remove))
        .routes(routes!(sites::acknowledge))
        .routes(routes!(sites::fail))
        .routes(routes!(sites::orders::pause))
        .routes(routes!(sites::orders::resume))
        .routes(routes!(sites::orders::skip))
        .routes(routes!(sites::orders::seek))
        .routes(routes!(sites::dumps::begin))
        .routes(routes!(sites::dumps::show))
        .routes(routes!(sites::dumps::get_chunk, sites::dumps::put_chunk))
        .routes(routes!(sites::dumps::complete))
        .routes(routes!(sites::dumps::fail))
        .routes(routes!(healthz))
        .routes(routes!(readyz))
}

async fn not_found(request: Request) -> Response {
    let path = request.uri().path();
    if path == "/" && [Method::GET, Method::HEAD].contains(request.method()) {
        return home::page(request.headers());
    }
    let detail = format!("there is nothing at {path}");
    Problem::new(StatusCode::NOT_FOUND, "not_found", detail).into_response()
}

async fn method_not_allowed(request: Request) -> Problem {
    let detail = format!("{} does not take {}", request.uri().path(), request.method());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

/// The process is alive.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, body = String)))]
async fn healthz() -> &'static str {
    "ok\n"
}

/// Everything is in memory, every dataset takes commits, and the server is not about to stop.
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = 200, body = String),
    (status = 503,
     description = "`loading`, `draining`, `stopped`, `dataset_unavailable`, `stalled` or \
                    `degraded`",
     body = Problem),
))]
async fn readyz(caller: Caller, State(shared): State<Shared>) -> Result<&'static str, Problem> {
    // Names and paths are told to operators of the server, and to no other caller.
    let operates = caller.may(Action::Administer, Resource::Server).is_ok();
    if let Some(what) = shared.node.waiting_for() {
        let problem = Problem::loading();
        let detail = format!("{}: {what}", problem.detail);
        return Err(if operates { Problem { detail, ..problem } } else { problem });
    }
    if shared.door.is_draining() {
        let detail = "the server is about to stop".to_owned();
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "draining", detail));
    }
    let stopped = shared.node.datasets().into_iter().find_map(|dataset| {
        dataset.stopped().map(|reason| format!("dataset {}: {reason}", dataset.name()))
    });
    if let Some(detail) = stopped {
        let plain = "a dataset takes no commits any more: see the server's log";
        let detail = if operates { detail } else { plain.to_owned() };
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopped", detail));
    }
    if let Some((name, _)) = shared.node.unopened().first() {
        let problem = Problem::unavailable_dataset(name.as_str());
        let plain = "a dataset cannot be opened: see the server's log".to_owned();
        return Err(if operates { problem } else { Problem { detail: plain, ..problem } });
    }
    let waits = shared.node.datasets().iter().filter_map(Dataset::stalled).max();
    if let Some(waits) = waits {
        let detail = format!("the disk has not answered for {} s", waits.as_secs());
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stalled", detail));
    }
    let degraded = shared.node.datasets().into_iter().find_map(|dataset| {
        dataset.degraded().map(|why| format!("dataset {}: {why}", dataset.name()))
    });
    match degraded {
        Some(detail) => {
            let plain = "a part of a dataset does not work now: see the server's log".to_owned();
            let detail = if operates { detail } else { plain };
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "degraded", detail))
        }
        None => Ok("ready\n"),
    }
}

/// A dataset by name.
fn dataset(node: &Node, name: &str) -> Result<Dataset, Problem> {
    node.dataset(name).ok_or_else(|| absent(node, name))
}

/// Asked behind a wait: a dataset may have been removed meanwhile.
fn still_there(dataset: &Dataset) -> Result<(), Problem> {
    if dataset.is_removed() {
        Err(Problem::unknown_dataset(dataset.name().as_str()))
    } else {
        Ok(())
    }
}

/// Problem of a dataset that is not open: unavailable or unknown.
fn absent(node: &Node, name: &str) -> Problem {
    match node.why_unopened(name) {
        Some(_) => Problem::unavailable_dataset(name),
        None => Problem::unknown_dataset(name),
    }
}

/// The name of something that is to be made.
fn new_name(text: &str) -> Result<instep_model::name::Name, Problem> {
    instep_model::name::Name::new(text)
        .map_err(|error| Problem::bad_request("bad_name", format!("the name {text:?} {error}")))
}

/// A query string that does not fit is an error like any other.
struct Query<T>(T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> axum::extract::FromRequestParts<S>
    for Query<T>
{
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        state: &S,
    ) -> Result<Self, Problem> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(error) => Err(Problem::bad_request("bad_query", error.body_text())),
        }
    }
}

/// A body that is not read to its end, or not the JSON that is wanted, is an error like any other.
fn read_json<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    read_object(body).map_err(|error| unread(&error))
}

/// Problem of a body that does not read: the field at fault is named, or else the body.
fn unread(error: &FieldError) -> Problem {
    let detail = match error.field {
        Some(_) => error.to_string(),
        None => format!("the body: {error}"),
    };
    Problem::bad_request("bad_json", detail)
}

/// A body that is read, up to a limit, once its sender is known to have the right.
struct Body<const LIMIT: usize>(axum::body::Body);

impl<const LIMIT: usize> Body<LIMIT> {
    /// Reads it for a caller that may do `action`, asked before, and again behind the wait for it.
    async fn read_as(
        self,
        caller: &Caller,
        action: Action,
        resource: Resource<'_>,
    ) -> Result<axum::body::Bytes, Problem> {
        caller.may(action, resource)?;
        let read = self.read().await?;
        caller.may(action, resource)?;
        Ok(read)
    }

    async fn read(self) -> Result<axum::body::Bytes, Problem> {
        read_body(self.0, LIMIT).await
    }
}

/// Reads a body of so many bytes at most.
///
/// # Errors
/// [`Problem`] `body_too_large`.
async fn read_body(body: axum::body::Body, limit: usize) -> Result<axum::body::Bytes, Problem> {
    axum::body::to_bytes(body, limit).await.map_err(|error| {
        let detail = format!("the body: {error}; the limit is {limit} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
    })
}

/// Number of rows or records on a page.
///
/// # Errors
/// [`Problem`] `bad_query`.
fn page_limit(limit: Option<usize>) -> Result<usize, Problem> {
    let limit = limit.unwrap_or(100);
    if !(1..=limits::PAGE_ROWS).contains(&limit) {
        let detail = format!("limit is {limit}, allowed is 1 to {}", limits::PAGE_ROWS);
        return Err(Problem::bad_request("bad_query", detail));
    }
    Ok(limit)
}

impl<S: Send + Sync, const LIMIT: usize> axum::extract::FromRequest<S> for Body<LIMIT> {
    type Rejection = std::convert::Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(request.into_body()))
    }
}

/// An answer in JSON.
type Answer<T> = Result<Json<T>, Problem>;
