//! Rows from memory: one, a page, or all of a table as a stream.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use instep_access::{Action, Resource};
use instep_model::limits;
use instep_model::name::Key;
use instep_model::position::Position;
use instep_model::row::Row;
use instep_model::state::{State as DatasetState, StoredRow, Table};
use instep_node::Dataset;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::shapes::RowReply;
use super::{Query, Shared, absent, page_limit, streaming};
use crate::caller::Caller;
use crate::problem::Problem;

/// Maximum wait of a read for the position that it asks for.
const FRESH: Duration = Duration::from_secs(5);
/// Bytes of a snapshot that are handed to the socket at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// Page to read, and its freshness.
#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// Keys after this one.
    after: Option<String>,
    /// Keys that begin with this.
    prefix: Option<String>,
    /// This key and no other, whatever it looks like in a path.
    key: Option<String>,
    /// Rows on the page: 1 to 1,000, 100 by default. It ends after 1 MiB of them, too.
    limit: Option<usize>,
    /// At least as fresh as this position; waits up to 5 seconds for it.
    at_least: Option<String>,
}

/// Freshness of a read.
#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct FreshQuery {
    /// At least as fresh as this position; waits up to 5 seconds for it.
    at_least: Option<String>,
}

/// A page of rows.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes the answer, which is written without parsing the rows")]
struct Page {
    /// The table is read as it is here.
    position: String,
    /// The rows, in key order.
    rows: Vec<KeyedRow>,
    /// Pass it as `after` for the next page; absent on the last one.
    next: Option<String>,
}

/// A row with its key.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes the answer, which is written without parsing the rows")]
struct KeyedRow {
    /// The key.
    key: String,
    /// The row.
    row: serde_json::Value,
}

/// A page of rows in key order.
#[utoipa::path(get, operation_id = "list_rows",
    path = "/v1/datasets/{dataset}/tables/{table}/rows", tag = "rows",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("table" = String, Path, description = "Name of the table"), PageQuery),
    responses((status = 200, body = Page),
              (status = 400, description = "`bad_position`, `bad_query`", body = Problem),
              (status = 409, description = "`other_history`", body = Problem),
              (status = 503, description = "`position_not_reached`", body = Problem)))]
pub(super) async fn page(
    State(shared): State<Shared>,
    Path((name, table)): Path<(String, String)>,
    Query(query): Query<PageQuery>,
    caller: Caller,
) -> Result<Response, Problem> {
    let limit = page_limit(query.limit)?;
    let view = open(&shared, &name, &table, query.at_least.as_deref(), &caller).await?;
    let exactly = |key: &Key| query.key.as_deref().is_none_or(|wanted| key.as_str() == wanted);
    let prefix = query.prefix.or_else(|| query.key.clone()).unwrap_or_default();
    let from = match query.after.as_deref() {
        Some(after) if after >= prefix.as_str() => Bound::Excluded(after),
        _ => Bound::Included(prefix.as_str()),
    };
    let mut rows = view.table.rows.range::<_, str>((from, Bound::Unbounded));
    let mut out = format!("{{\"position\":\"{}\",\"rows\":[", view.position).into_bytes();
    let mut last = None;
    let fits = |key: &Key| key.as_str().starts_with(&prefix) && exactly(key);
    let mut fitting = rows.by_ref().take_while(|(key, _)| fits(key)).peekable();
    for count in 0..limit {
        let Some((key, stored)) = fitting.next_if(|_| out.len() < limits::PAGE_BYTES) else {
            break;
        };
        if count > 0 {
            out.push(b',');
        }
        push_row(&mut out, key, &stored.row);
        last = Some(key.clone());
    }
    out.push(b']');
    if let Some(key) = last.filter(|_| fitting.peek().is_some()) {
        out.extend_from_slice(b",\"next\":");
        push_text(&mut out, key.as_str());
    }
    out.push(b'}');
    Ok(json(out))
}

/// One row.
#[utoipa::path(get, operation_id = "show_row",
    path = "/v1/datasets/{dataset}/tables/{table}/rows/{key}", tag = "rows",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("table" = String, Path, description = "Name of the table"),
           ("key" = String, Path, description = "Key of the row, percent-encoded"), FreshQuery),
    responses((status = 200, body = RowReply),
              (status = 400, description = "`bad_position`, `bad_query`", body = Problem),
              (status = 409, description = "`other_history`", body = Problem),
              (status = 503, description = "`position_not_reached`", body = Problem)))]
pub(super) async fn one(
    State(shared): State<Shared>,
    Path((name, table, key)): Path<(String, String, String)>,
    Query(query): Query<FreshQuery>,
    caller: Caller,
) -> Result<Response, Problem> {
    let view = open(&shared, &name, &table, query.at_least.as_deref(), &caller).await?;
    let Some((key, StoredRow { row, .. })) = view.table.rows.get_key_value(key.as_str()) else {
        let detail = format!("there is no row {key:?} in table {table:?}");
        return Err(Problem::new(StatusCode::NOT_FOUND, "row_not_found", detail));
    };
    let mut out = format!("{{\"position\":\"{}\",", view.position).into_bytes();
    let mut body = Vec::new();
    push_row(&mut body, key, row);
    out.extend_from_slice(&body[1..]);
    Ok(json(out))
}

/// A whole table at one position: a line with the position, a line for each row, and a last line
/// that says that it is complete.
#[utoipa::path(get, operation_id = "snapshot_table",
    path = "/v1/datasets/{dataset}/tables/{table}/snapshot", tag = "rows",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("table" = String, Path, description = "Name of the table"), FreshQuery),
    responses((status = 200, description = "Lines: {position, rows}, then {key, row} each, then \
               {bookmark: position}", content_type = "application/x-ndjson", body = String),
              (status = 400, description = "`bad_position`, `bad_query`", body = Problem),
              (status = 409, description = "`other_history`", body = Problem),
              (status = 503, description = "`position_not_reached`", body = Problem)))]
pub(super) async fn snapshot(
    State(shared): State<Shared>,
    Path((name, table)): Path<(String, String)>,
    Query(query): Query<FreshQuery>,
    caller: Caller,
) -> Result<Response, Problem> {
    let view = open(&shared, &name, &table, query.at_least.as_deref(), &caller).await?;
    let position = view.position;
    // A slow reader is asked for its right as long as it reads.
    let may = move || {
        let found = shared.node.dataset(&name);
        let public = found.is_some_and(|dataset| is_public(&dataset.state(), &table));
        caller.may(Action::Read, Resource::Table { dataset: &name, name: &table, public })
    };
    let may = Arc::new(may);
    let head = format!("{{\"position\":\"{position}\",\"rows\":{}}}\n", view.table.rows.len());
    let state = Some((view, None::<Key>, head.into_bytes()));
    // Cut by key, so that memory does not grow with the table (I15); the table itself is one
    // consistent snapshot that shares its rows.
    let chunks = stream::unfold(state, move |state| {
        let may = Arc::clone(&may);
        async move {
            let (view, after, mut out) = state?;
            if let Err(problem) = may() {
                let mut last = serde_json::json!({"error": problem}).to_string().into_bytes();
                last.push(b'\n');
                return Some((Ok::<_, std::convert::Infallible>(Bytes::from(last)), None));
            }
            out.reserve(CHUNK_BYTES + limits::KEY_BYTES);
            let from = match &after {
                Some(key) => Bound::Excluded(key.as_str()),
                None => Bound::Unbounded,
            };
            for (key, stored) in view.table.rows.range::<_, str>((from, Bound::Unbounded)) {
                push_row(&mut out, key, &stored.row);
                out.push(b'\n');
                if out.len() >= CHUNK_BYTES {
                    let after = Some(key.clone());
                    let chunk = Ok::<_, std::convert::Infallible>(Bytes::from(out));
                    return Some((chunk, Some((view, after, Vec::new()))));
                }
            }
            out.extend_from_slice(format!("{{\"bookmark\":\"{position}\"}}\n").as_bytes());
            Some((Ok(Bytes::from(out)), None))
        }
    });
    let headers = streaming::headers("application/x-ndjson");
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// A table as it is at one position.
struct TableView {
    table: Table,
    position: Position,
}

/// Finds a table that the request may read, at least as fresh as it asks.
async fn open(
    shared: &Shared,
    name: &str,
    table: &str,
    at_least: Option<&str>,
    caller: &Caller,
) -> Result<TableView, Problem> {
    let found = shared.node.dataset(name);
    let may =
        |public| caller.may(Action::Read, Resource::Table { dataset: name, name: table, public });
    // A caller may not even know that what it may not read exists, so rights come first.
    may(found.as_ref().is_some_and(|dataset| is_public(&dataset.state(), table)))?;
    let dataset = found.ok_or_else(|| absent(&shared.node, name))?;
    if let Some(at_least) = at_least {
        wait_for(&dataset, at_least).await?;
    }
    let state: Arc<DatasetState> = dataset.state();
    may(is_public(&state, table))?;
    let table = state.tables.get(table).ok_or_else(|| Problem::unknown_table(table))?.clone();
    Ok(TableView { table, position: dataset.position_of(&state) })
}

fn is_public(state: &DatasetState, table: &str) -> bool {
    state.tables.get(table).is_some_and(|table| table.options.public)
}

async fn wait_for(dataset: &Dataset, at_least: &str) -> Result<(), Problem> {
    let position: Position = at_least.parse().map_err(|error| {
        Problem::bad_request("bad_position", format!("at_least: {at_least:?} is {error}"))
    })?;
    let Some(place) = position.place_in(dataset.incarnation()) else {
        let detail = "at_least belongs to another history of the dataset";
        return Err(Problem::new(StatusCode::CONFLICT, "other_history", detail));
    };
    if dataset.reached(place, FRESH).await {
        Ok(())
    } else {
        let detail = format!("this node is at {}, after 5 seconds", dataset.position());
        Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "position_not_reached", detail))
    }
}

fn push_row(out: &mut Vec<u8>, key: &Key, row: &Row) {
    out.extend_from_slice(b"{\"key\":");
    push_text(out, key.as_str());
    out.extend_from_slice(b",\"row\":");
    out.extend_from_slice(row.as_bytes());
    out.push(b'}');
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    // Nearly every key needs no escapes, and a snapshot has one key for each row.
    let plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().fold(true, |all, byte| all & plain(byte)) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    serde_json::to_writer(out, text).expect("JSON always encodes into memory");
}

fn json(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
