//! Dumps over HTTP: a source puts chunks, those that asked for the dump get them.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use instep_access::{Action, Resource};
use instep_model::limits;
use instep_model::name::Name;
use instep_model::owner::Refusal;
use instep_model::position::Position;
use instep_model::registration::Generation;
use instep_model::site::{self, Scope, SiteError, SiteOperation, Start};
use instep_node::{Dataset, on_a_thread};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::super::{Answer, Body, Query, Shared, dataset, read_json};
use super::{DoneReply, RegisterReply, commit, commit_registration, on_disk, reply};
use crate::caller::Caller;
use crate::dumps::{Asked, DumpError, DumpState, DumpStatus, End, Sent, Wanted, write_tables};
use crate::problem::Problem;

/// Header with the SHA-256 digest of a chunk, in hex.
const DIGEST: HeaderName = HeaderName::from_static("instep-sha256");

/// Source of a dump that speaks.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct SourceQuery {
    /// Registration of the site that speaks.
    generation: u64,
}

/// A chunk of a source.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct ChunkQuery {
    /// Registration of the site that gives the dump.
    generation: u64,
    /// Form of the dump, with its first chunk: who takes it needs a store of the same kind.
    #[param(value_type = Option<String>)]
    kind: Option<Name>,
}

/// End of a dump.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EndRequest {
    /// Position of the store in the dump.
    #[schema(value_type = String)]
    position: Position,
    /// Number of chunks.
    chunks: usize,
    /// Bytes of all chunks.
    bytes: u64,
    /// SHA-256 digest of all bytes, in hex.
    sha256: String,
}

/// Failure of a dump.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DumpFailureRequest {
    /// Reason, for those that wait for the dump.
    reason: String,
}

/// A dump.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct DumpReply {
    /// Its id.
    dump: String,
    /// `server`, or the site that gives it.
    #[schema(value_type = String)]
    source: Name,
    /// `waiting`, `growing`, `complete` or `failed`.
    state: &'static str,
    /// Number of chunks that are there.
    chunks: usize,
    /// Bytes that are there.
    bytes: u64,
    /// Form of the dump, once there is a chunk.
    #[schema(required)]
    kind: Option<String>,
    /// Position of a complete dump.
    #[schema(value_type = Option<String>, required)]
    position: Option<Position>,
    /// SHA-256 digest of a complete dump, in hex.
    #[schema(required)]
    sha256: Option<String>,
    /// Reason of a failure.
    #[schema(required)]
    reason: Option<String>,
}

/// Registers a site that takes a dump: history is held first (I9), then the dump is begun, or the
/// one of the same source that is on its way is shared.
pub(super) async fn register(
    shared: &Shared,
    dataset: &Dataset,
    (site, scope, source): (Name, Scope, Name),
) -> Answer<RegisterReply> {
    let wanted =
        Wanted { dataset: dataset.name().clone(), source: source.clone(), scope: scope.clone() };
    let is_kept = |held: Position| dataset.follow(Some(held)).is_ok();
    let (dumps, of) = (shared.dumps.clone(), wanted.clone());
    let shares = on_disk(move || Ok(dumps.under_way(&of))).await?;
    let may_share = |held| site::may_share(&dataset.state(), &site, &source, held);
    let shares = shares.filter(|(_, held)| is_kept(*held) && may_share(*held));
    let is_server = source.as_str() == site::SERVER;
    if shares.is_none() && !is_server && !is_online(shared, dataset, &source) {
        let error = SiteError::BadSource(source, "it does not follow the log now".into());
        return Err(Refusal::Site { site, error }.into());
    }
    let since = shares.map(|(_, held)| held);
    let start = Start::Dump { source: source.clone(), since };
    let operation = SiteOperation::Register { site: site.clone(), scope: scope.clone(), start };
    let (registered, generation) = commit_registration(dataset, &site, operation).await?;
    shared.feeds.hear(dataset, site.as_str());
    let id = match shares {
        Some((id, held)) if is_kept(held) => id,
        // It was trimmed before it was held for this site, too: the site asks again.
        Some(_) => return Err(DumpError::Failed("its history is not kept any more".into()).into()),
        None => {
            let (dumps, held) = (shared.dumps.clone(), registered.cursor);
            let begun = on_disk(move || Ok(dumps.begin(wanted, held))).await??;
            if is_server {
                give_tables(shared, dataset, begun, scope);
            }
            begun
        }
    };
    Ok(Json(reply(&registered, generation, Some(id.simple().to_string()))))
}

/// True while a site follows the log; of one that is not known the owner says so.
fn is_online(shared: &Shared, dataset: &Dataset, source: &Name) -> bool {
    let state = dataset.state();
    site::site(&state, source.as_str()).is_none_or(|known| {
        !known.state.is_ready()
            || shared.feeds.lag(dataset, &state, (source.as_str(), &known)).sent.is_some()
    })
}

/// Fails a dump that history has outrun.
fn notice_outrun(shared: &Shared, dataset: &Dataset, id: Uuid) {
    let Ok((wanted, held)) = shared.dumps.held(dataset.name(), id) else { return };
    if let Some(history) = site::outrun(&dataset.state(), &wanted.source, held) {
        shared.dumps.outrun(dataset.name(), id, &history);
    }
}

/// Number of a chunk in a path.
fn number_of(chunk: &str) -> Result<usize, Problem> {
    chunk.parse().map_err(|_| {
        Problem::bad_request("bad_query", format!("chunk: {chunk:?} is no number from 0"))
    })
}

/// Gives a dump of the tables in memory, on a thread of its own.
fn give_tables(shared: &Shared, dataset: &Dataset, id: Uuid, scope: Scope) {
    let (dumps, name, state) = (shared.dumps.clone(), dataset.name().clone(), dataset.state());
    let position = dataset.position_of(&state);
    let (to, of) = (dumps.clone(), name.clone());
    let write = move || write_tables(&to, (&of, id), (&state, position), &scope);
    tokio::spawn(async move {
        // A system that gives no thread is told to those that wait, too.
        let given = on_a_thread("dump", write).await.map_err(DumpError::from).flatten();
        if let Err(error) = given {
            tracing::warn!(dataset = %name, %error, "a dump was not given");
            // The failure of a dump that is gone concerns no site.
            let _ = dumps.fail(&name, id, error.to_string());
        }
    });
}

/// State of a dump.
#[utoipa::path(get, operation_id = "show_dump",
    path = "/v1/datasets/{dataset}/dumps/{dump}", tag = "sites",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("dump" = String, Path, description = "Id of the dump")),
    responses((status = 200, body = DumpReply),
              (status = 404, description = "`unknown_dataset`, `unknown_dump`", body = Problem)))]
pub(in crate::api) async fn show(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, dump)): Path<(String, String)>,
) -> Answer<DumpReply> {
    caller.may(Action::Administer, Resource::Dataset(&name))?;
    let dataset = dataset(&shared.node, &name)?;
    let id = id_of(&dump)?;
    notice_outrun(&shared, &dataset, id);
    let (dumps, of) = (shared.dumps.clone(), dataset.name().clone());
    let status = on_disk(move || Ok(dumps.status(&of, id))).await??;
    let DumpStatus { source, kind, state, chunks, bytes } = status;
    let (mut position, mut sha256, mut reason) = (None, None, None);
    let word = state.word();
    match state {
        DumpState::Waiting | DumpState::Growing => {}
        DumpState::Complete { position: at, digest } => {
            (position, sha256) = (Some(at), Some(HEXLOWER.encode(&digest)));
        }
        DumpState::Failed { reason: why } => reason = Some(why),
    }
    let state = word;
    Ok(Json(DumpReply { dump, source, state, chunks, bytes, kind, position, sha256, reason }))
}

/// A chunk of a dump; waits up to 20 seconds for one that is not there yet.
#[utoipa::path(get, operation_id = "get_chunk",
    path = "/v1/datasets/{dataset}/dumps/{dump}/chunks/{chunk}", tag = "sites",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("dump" = String, Path, description = "Id of the dump"),
           ("chunk" = usize, Path, description = "Number of the chunk, from 0")),
    responses((status = 200, description = "Its bytes; the header `instep-sha256` has their digest",
               content_type = "application/octet-stream", body = String),
              (status = 400, description = "`bad_query`", body = Problem),
              (status = 204, description = "It is not there yet: ask again"),
              (status = 404, description = "`unknown_dataset`, `unknown_dump`", body = Problem),
              (status = 410, description = "`dump_failed`", body = Problem),
              (status = 416, description = "`no_such_chunk`: the dump ends before it",
               body = Problem)))]
pub(in crate::api) async fn get_chunk(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, dump, chunk)): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    let may = || caller.may(Action::Administer, Resource::Dataset(&name));
    may()?;
    let dataset = dataset(&shared.node, &name)?;
    let (id, chunk) = (id_of(&dump)?, number_of(&chunk)?);
    let mut changes = shared.dumps.changes();
    let wait = tokio::time::sleep(Duration::from_millis(limits::DUMP_WAIT_MS));
    tokio::pin!(wait);
    let mut draining = shared.door.draining();
    loop {
        changes.mark_unchanged();
        notice_outrun(&shared, &dataset, id);
        let (dumps, of) = (shared.dumps.clone(), dataset.name().clone());
        let asked = on_disk(move || Ok(dumps.read(&of, id, chunk))).await??;
        may()?;
        if let Asked::There { bytes, digest } = asked {
            let digest = HeaderValue::from_str(&HEXLOWER.encode(&digest))
                .map_err(|error| Problem::storage(&error))?;
            return Ok(([(DIGEST, digest)], Bytes::from(bytes)).into_response());
        }
        // A source that has gone silent is noticed by the next look.
        let look = tokio::time::sleep(Duration::from_secs(1));
        tokio::select! {
            () = &mut wait => return Ok(StatusCode::NO_CONTENT.into_response()),
            _ = draining.wait_for(|drain| *drain) => {
                return Ok(StatusCode::NO_CONTENT.into_response());
            }
            _ = changes.changed() => {}
            () = look => {}
        }
    }
}

/// A source puts the next chunk of a dump.
#[utoipa::path(put, operation_id = "put_chunk",
    path = "/v1/datasets/{dataset}/dumps/{dump}/chunks/{chunk}", tag = "sites",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("dump" = String, Path, description = "Id of the dump"),
           ("chunk" = usize, Path, description = "Number of the chunk, from 0"), ChunkQuery),
    request_body(content = String, content_type = "application/octet-stream"),
    responses((status = 200, body = DoneReply),
              (status = 400, description = "`bad_query`", body = Problem),
              (status = 404, description = "`unknown_dataset`, `unknown_dump`", body = Problem),
              (status = 409, description = "`bad_chunk`, `fenced`", body = Problem),
              (status = 410, description = "`dump_failed`", body = Problem),
              (status = 413, description = "`body_too_large`", body = Problem)))]
pub(in crate::api) async fn put_chunk(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, dump, chunk)): Path<(String, String, String)>,
    Query(ChunkQuery { generation, kind }): Query<ChunkQuery>,
    headers: HeaderMap,
    body: Body<{ limits::DUMP_CHUNK_BYTES }>,
) -> Answer<DoneReply> {
    let body = body.read_as(&caller, Action::Administer, Resource::Dataset(&name)).await?;
    let dataset = dataset(&shared.node, &name)?;
    let (id, chunk) = (source_of(&shared, &dataset, &dump, generation)?, number_of(&chunk)?);
    notice_outrun(&shared, &dataset, id);
    let given = headers.get(DIGEST).and_then(|value| value.to_str().ok()).and_then(from_hex);
    let bad = |detail: &str| Problem::new(StatusCode::CONFLICT, "bad_chunk", detail);
    let digest = given.ok_or_else(|| bad("the header instep-sha256: 64 hex digits are wanted"))?;
    if body.is_empty() {
        return Err(bad("the body: a chunk has at least one byte"));
    }
    let (dumps, of) = (shared.dumps.clone(), dataset.name().clone());
    let put = move || {
        let sent = Sent { at: chunk, digest, kind: kind.as_ref().map(Name::as_str) };
        Ok(dumps.put(&of, id, sent, &body))
    };
    on_disk(put).await??;
    Ok(Json(DoneReply {}))
}

/// A source ends a dump that is complete.
#[utoipa::path(post, operation_id = "complete_dump",
    path = "/v1/datasets/{dataset}/dumps/{dump}/complete", tag = "sites",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("dump" = String, Path, description = "Id of the dump"), SourceQuery),
    request_body = EndRequest,
    responses((status = 200, body = DoneReply),
              (status = 400, description = "`bad_json`", body = Problem),
              (status = 404, description = "`unknown_dataset`, `unknown_dump`", body = Problem),
              (status = 409, description = "`bad_chunk`, `fenced`, `other_history`, \
               `position_ahead`", body = Problem),
              (status = 410, description = "`dump_failed`", body = Problem)))]
pub(in crate::api) async fn complete(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, dump)): Path<(String, String)>,
    Query(query): Query<SourceQuery>,
    body: Body<{ limits::SITE_BODY_BYTES }>,
) -> Answer<DoneReply> {
    let body = body.read_as(&caller, Action::Administer, Resource::Dataset(&name)).await?;
    let dataset = dataset(&shared.node, &name)?;
    let id = source_of(&shared, &dataset, &dump, query.generation)?;
    let EndRequest { position, chunks, bytes, sha256 } = read_json(&body)?;
    let digest = from_hex(&sha256)
        .ok_or_else(|| Problem::bad_request("bad_json", "sha256: 64 hex digits are wanted"))?;
    dataset.follow(Some(position)).map_err(Problem::from)?;
    let end = End { position, chunks, bytes, digest };
    shared.dumps.complete(dataset.name(), id, end)?;
    Ok(Json(DoneReply {}))
}

/// A source cannot give a dump: those that wait for it are told why.
#[utoipa::path(post, operation_id = "fail_dump",
    path = "/v1/datasets/{dataset}/dumps/{dump}/failure", tag = "sites",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("dump" = String, Path, description = "Id of the dump"), SourceQuery),
    request_body = DumpFailureRequest,
    responses((status = 200, body = DoneReply),
              (status = 400, description = "`bad_json`", body = Problem),
              (status = 404, description = "`unknown_dataset`, `unknown_dump`", body = Problem),
              (status = 409, description = "`fenced`", body = Problem)))]
pub(in crate::api) async fn fail(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, dump)): Path<(String, String)>,
    Query(query): Query<SourceQuery>,
    body: Body<{ limits::SITE_BODY_BYTES }>,
) -> Answer<DoneReply> {
    let body = body.read_as(&caller, Action::Administer, Resource::Dataset(&name)).await?;
    let dataset = dataset(&shared.node, &name)?;
    let id = source_of(&shared, &dataset, &dump, query.generation)?;
    let DumpFailureRequest { reason } = read_json(&body)?;
    shared.dumps.fail(dataset.name(), id, reason)?;
    Ok(Json(DoneReply {}))
}

/// A site that takes a dump has begun to.
#[utoipa::path(post, operation_id = "begin_dump",
    path = "/v1/datasets/{dataset}/sites/{site}/dumping", tag = "sites",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("site" = String, Path, description = "Name of the site"), SourceQuery),
    responses((status = 200, body = DoneReply),
              (status = 404, description = "`unknown_dataset`, `unknown_site`", body = Problem),
              (status = 409, description = "`fenced`, `wrong_state`", body = Problem)))]
pub(in crate::api) async fn begin(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, site)): Path<(String, String)>,
    Query(query): Query<SourceQuery>,
) -> Answer<DoneReply> {
    caller.may(Action::Administer, Resource::Dataset(&name))?;
    let dataset = dataset(&shared.node, &name)?;
    let (site, generation) = (super::super::new_name(&site)?, Generation(query.generation));
    commit(&dataset, SiteOperation::Dumping { site, generation }).await?;
    Ok(Json(DoneReply {}))
}

/// The id of a dump whose source speaks: its newest registration.
fn source_of(
    shared: &Shared,
    dataset: &Dataset,
    dump: &str,
    generation: u64,
) -> Result<Uuid, Problem> {
    let id = id_of(dump)?;
    let source = shared.dumps.source(dataset.name(), id)?;
    let known = site::site(&dataset.state(), source.as_str());
    let newest = known.map_or(Generation::NONE, |site| site.generation);
    if Generation(generation) == newest && newest > Generation::NONE {
        Ok(id)
    } else {
        let error = SiteError::Fenced { newest };
        Err(Refusal::Site { site: source, error }.into())
    }
}

fn id_of(dump: &str) -> Result<Uuid, Problem> {
    Uuid::try_parse(dump).map_err(|_| DumpError::Unknown.into())
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok()
}

impl From<DumpError> for Problem {
    fn from(error: DumpError) -> Self {
        let detail = error.to_string();
        let (status, code) = match error {
            DumpError::Unknown => (StatusCode::NOT_FOUND, "unknown_dump"),
            DumpError::Failed(_) => (StatusCode::GONE, "dump_failed"),
            DumpError::NoChunk(_) => (StatusCode::RANGE_NOT_SATISFIABLE, "no_such_chunk"),
            DumpError::Gap { .. }
            | DumpError::Differs(_)
            | DumpError::TooManyChunks
            | DumpError::End(_)
            | DumpError::Kind(_) => (StatusCode::CONFLICT, "bad_chunk"),
            DumpError::TooMany => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            DumpError::System(error) => return Self::storage(&error),
        };
        Self::new(status, code, detail)
    }
}
