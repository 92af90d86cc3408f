//! Administration of datasets, tables and journals.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use instep_access::{Action, Resource};
use instep_model::commit::Operation;
use instep_model::name::Name;
use instep_model::position::Position;
use instep_model::state::Journal;
use instep_node::journals::JournalRecords;
use instep_node::{Dataset, Unopened, blocking};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Answer, Body, Shared, dataset, new_name, read_json};
use crate::caller::Caller;
use crate::problem::Problem;

/// A dataset and how it is.
#[derive(Serialize, ToSchema)]
pub(super) struct DatasetStatus {
    /// Its name.
    name: String,
    /// `ready`; `degraded` when it takes commits and a part of it does not work for now;
    /// `stopped` when it takes no commits any more, its memory is served even then;
    /// `unopened` when it cannot be opened and is tried again; `damaged` when it does not open
    /// until an operator does something about it.
    state: &'static str,
    /// Reason why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Complete up to here; nothing is said of a dataset that is not open.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    position: Option<Position>,
    /// The oldest entry of the log that can be read.
    log_floor: u64,
    /// The newest entry of the log.
    log_head: u64,
    /// Commits made durable since the start.
    commits: u64,
    /// Commits refused since the start.
    refusals: u64,
    /// Group commits since the start.
    entries: u64,
    /// Snapshots written since the start.
    snapshots: u64,
    /// Rows that views could not show because an expression failed on them, since the start: see
    /// `/v1/datasets/{dataset}/views`.
    view_errors: u64,
    /// Its tables.
    tables: Vec<TableStatus>,
    /// Its journals, by name.
    journals: BTreeMap<String, JournalStatus>,
}

/// A journal, and which of its records can still be read. They are kept as long as history is.
#[derive(Serialize, ToSchema)]
pub(super) struct JournalStatus {
    /// Records ever appended: the number of the newest one. 0: there never was one.
    last: u64,
    /// The number of the oldest record that is kept; absent when none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_kept: Option<u64>,
    /// Records that are kept; absent when the log cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<u64>,
}

/// A view, and the rows that it could not show.
#[derive(Serialize, ToSchema)]
pub(super) struct ViewStatus {
    /// Its name.
    name: String,
    /// The table whose rows it shows.
    table: String,
    /// The topics that it shows them on.
    topic: String,
    /// The event by which it announces them.
    event: String,
    /// Rows written since the start that are hidden because an expression of the view failed on
    /// them, and those that were found so at the start.
    errors: u64,
    /// The newest of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    newest_error: Option<ViewFailure>,
}

/// A row on which an expression of a view failed.
#[derive(Serialize, ToSchema)]
pub(super) struct ViewFailure {
    /// The row's key.
    key: String,
    /// The expression, and what happened.
    error: String,
}

/// A table and its size.
#[derive(Serialize, ToSchema)]
pub(super) struct TableStatus {
    /// Its name.
    name: String,
    /// Any client may read it.
    public: bool,
    /// Rows.
    rows: usize,
    /// Bytes of keys and rows.
    bytes: u64,
}

/// Options of a table.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct TableRequest {
    /// Any client may read it and join its `table:` topic.
    public: bool,
}

/// Lists the datasets that the caller may see.
#[utoipa::path(get, operation_id = "list_datasets",
    path = "/v1/datasets", tag = "datasets",
    responses((status = 200, body = Vec<DatasetStatus>)))]
pub(super) async fn list(
    caller: Caller,
    State(shared): State<Shared>,
) -> Answer<Vec<DatasetStatus>> {
    let open = shared.node.datasets();
    let mut all = Vec::with_capacity(open.len());
    for dataset in &open {
        if may_see(&caller, dataset.name().as_str()).is_ok() {
            all.push(status(&caller, dataset).await);
        }
    }
    all.extend(shared.node.unopened().iter().map(|(name, unopened)| absent(name, unopened)));
    all.retain(|dataset| may_see(&caller, &dataset.name).is_ok());
    all.sort_by(|one, other| one.name.cmp(&other.name));
    if all.is_empty() {
        caller.may(Action::Administer, Resource::Server)?;
    }
    Ok(Json(all))
}

/// Shows a dataset.
#[utoipa::path(get, operation_id = "show_dataset",
    path = "/v1/datasets/{dataset}", tag = "datasets",
    params(("dataset" = String, Path, description = "Name of the dataset")),
    responses((status = 200, body = DatasetStatus)))]
pub(super) async fn show(
    caller: Caller,
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Answer<DatasetStatus> {
    may_see(&caller, &name)?;
    if let (Ok(name), Some(unopened)) = (Name::new(&name), shared.node.why_unopened(&name)) {
        return Ok(Json(absent(&name, &unopened)));
    }
    Ok(Json(status(&caller, &dataset(&shared.node, &name)?).await))
}

/// Creates a dataset; no error when it exists. One that cannot be opened is tried again.
#[utoipa::path(put, operation_id = "create_dataset",
    path = "/v1/datasets/{dataset}", tag = "datasets",
    params(("dataset" = String, Path, description = "Name of the dataset")),
    responses((status = 200, body = DatasetStatus),
              (status = 409, description = "`too_many_datasets`: nothing was made",
               body = Problem),
              (status = 503, description = "`dataset_unavailable`: it cannot be opened",
               body = Problem)))]
pub(super) async fn create(
    caller: Caller,
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Answer<DatasetStatus> {
    caller.may(Action::Administer, Resource::Dataset(&name))?;
    let name = new_name(&name)?;
    let dataset = shared.opener.create(&shared.node, &name).await?;
    Ok(Json(status(&caller, &dataset).await))
}

/// Removes a dataset with everything in it. One that is created again has another history.
#[utoipa::path(delete, operation_id = "remove_dataset",
    path = "/v1/datasets/{dataset}", tag = "datasets",
    params(("dataset" = String, Path, description = "Name of the dataset")),
    responses((status = 204)))]
pub(super) async fn remove(
    caller: Caller,
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.may(Action::Administer, Resource::Dataset(&name))?;
    // To its end, also when the caller has gone: clients of the dataset are told.
    let removed = tokio::spawn(async move {
        let removed = shared.opener.remove(&shared.node, &name).await;
        if removed.is_ok() {
            shared.feeds.forget(&name, None);
        }
        shared.door.review();
        removed
    });
    match removed.await {
        Ok(removed) => removed?,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the views of a dataset, with the rows that they could not show.
#[utoipa::path(get, operation_id = "list_views",
    path = "/v1/datasets/{dataset}/views", tag = "datasets",
    params(("dataset" = String, Path, description = "Name of the dataset")),
    responses((status = 200, body = Vec<ViewStatus>)))]
pub(super) async fn list_views(
    caller: Caller,
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Answer<Vec<ViewStatus>> {
    may_see(&caller, &name)?;
    let views = dataset(&shared.node, &name)?.views().into_iter().map(|(view, failures)| {
        let newest_error = failures.newest.map(|failure| ViewFailure {
            key: failure.key.to_string(),
            error: failure.error.to_string(),
        });
        ViewStatus {
            name: view.name.to_string(),
            table: view.table.to_string(),
            topic: view.topic.to_string(),
            event: view.event.to_string(),
            errors: failures.count,
            newest_error,
        }
    });
    Ok(Json(views.collect()))
}

/// Lists the tables of a dataset.
#[utoipa::path(get, operation_id = "list_tables",
    path = "/v1/datasets/{dataset}/tables", tag = "tables",
    params(("dataset" = String, Path, description = "Name of the dataset")),
    responses((status = 200, body = Vec<TableStatus>)))]
pub(super) async fn list_tables(
    caller: Caller,
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Answer<Vec<TableStatus>> {
    may_see(&caller, &name)?;
    Ok(Json(tables(&dataset(&shared.node, &name)?)))
}

/// Shows a table.
#[utoipa::path(get, operation_id = "show_table",
    path = "/v1/datasets/{dataset}/tables/{table}", tag = "tables",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("table" = String, Path, description = "Name of the table")),
    responses((status = 200, body = TableStatus)))]
pub(super) async fn show_table(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, table)): Path<(String, String)>,
) -> Answer<TableStatus> {
    if let Err(refused) = may_see(&caller, &name) {
        let table = Resource::Table { dataset: &name, name: &table, public: false };
        caller.may(Action::Read, table).map_err(|_| refused)?;
    }
    let found = tables(&dataset(&shared.node, &name)?).into_iter().find(|t| t.name == table);
    found.map(Json).ok_or_else(|| Problem::unknown_table(&table))
}

/// Creates a table, or sets the options of one that exists.
#[utoipa::path(put, operation_id = "create_table",
    path = "/v1/datasets/{dataset}/tables/{table}", tag = "tables",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("table" = String, Path, description = "Name of the table")),
    request_body = TableRequest,
    responses((status = 200, body = TableStatus),
              (status = 409, description = "`too_many_tables`", body = Problem)))]
pub(super) async fn create_table(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, table)): Path<(String, String)>,
    body: Body<4096>,
) -> Answer<TableStatus> {
    let body = body.read_as(&caller, Action::Administer, Resource::Dataset(&name)).await?;
    let dataset = dataset(&shared.node, &name)?;
    let TableRequest { public } =
        if body.is_empty() { TableRequest::default() } else { read_json(&body)? };
    let name = new_name(&table)?;
    dataset.commit(vec![Operation::CreateTable { table: name, public }].into()).await?;
    let found = tables(&dataset).into_iter().find(|t| t.name == table);
    found.map(Json).ok_or_else(|| Problem::unknown_table(&table))
}

/// Removes a table with all its rows.
#[utoipa::path(delete, operation_id = "drop_table",
    path = "/v1/datasets/{dataset}/tables/{table}", tag = "tables",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("table" = String, Path, description = "Name of the table")),
    responses((status = 204)))]
pub(super) async fn drop_table(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, table)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    caller.may(Action::Administer, Resource::Dataset(&name))?;
    let dataset = dataset(&shared.node, &name)?;
    let table = Name::new(&table).map_err(|_| Problem::unknown_table(&table))?;
    dataset.commit(vec![Operation::DropTable { table }].into()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Creates a journal; no error when it exists.
#[utoipa::path(put, operation_id = "create_journal",
    path = "/v1/datasets/{dataset}/journals/{journal}", tag = "tables",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("journal" = String, Path, description = "Name of the journal")),
    responses((status = 204),
              (status = 409, description = "`too_many_tables`", body = Problem)))]
pub(super) async fn create_journal(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, journal)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    caller.may(Action::Administer, Resource::Dataset(&name))?;
    let dataset = dataset(&shared.node, &name)?;
    let journal = new_name(&journal)?;
    dataset.commit(vec![Operation::CreateJournal { journal }].into()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Checks that the caller may see a dataset's state: a right to administer it or to read all of it.
fn may_see(caller: &Caller, dataset: &str) -> Result<(), Problem> {
    caller.may_one_of(Action::Administer, &[Action::Read], Resource::Dataset(dataset))
}

async fn status(caller: &Caller, dataset: &Dataset) -> DatasetStatus {
    let (floor, head) = dataset.log_bounds();
    let counters = dataset.counters();
    let state = dataset.state();
    let (state_word, reason) = match (dataset.stopped(), dataset.degraded()) {
        (Some(reason), _) => ("stopped", Some(reason)),
        (None, Some(reason)) => ("degraded", Some(reason)),
        (None, None) => ("ready", None),
    };
    // It names paths of the machine.
    let operates = caller.may(Action::Administer, Resource::Dataset(dataset.name().as_str()));
    let reason = reason.filter(|_| operates.is_ok());
    DatasetStatus {
        name: dataset.name().to_string(),
        state: state_word,
        reason,
        position: Some(dataset.position_of(&state)),
        log_floor: floor.0,
        log_head: head.0,
        commits: counters.commits,
        refusals: counters.refusals,
        entries: counters.entries,
        snapshots: counters.snapshots,
        view_errors: dataset.views().iter().map(|(_, failures)| failures.count).sum(),
        tables: tables(dataset),
        journals: journals(dataset).await,
    }
}

async fn journals(dataset: &Dataset) -> BTreeMap<String, JournalStatus> {
    let state = dataset.state();
    if state.journals.is_empty() {
        return BTreeMap::new();
    }
    let asked = dataset.clone();
    if let Ok(Ok(records)) = blocking(move || asked.journals()).await {
        let status = |(name, of): (Name, JournalRecords)| {
            let JournalRecords { last, first_kept } = of;
            (name.to_string(), JournalStatus { last, first_kept, kept: Some(of.kept()) })
        };
        return records.into_iter().map(status).collect();
    }
    // The log cannot be read now; how it is says the state.
    let last = |(name, journal): (&Name, &Journal)| {
        (name.to_string(), JournalStatus { last: journal.last, first_kept: None, kept: None })
    };
    state.journals.iter().map(last).collect()
}

/// The status of a dataset that is there and not open.
fn absent(name: &Name, unopened: &Unopened) -> DatasetStatus {
    DatasetStatus {
        name: name.to_string(),
        state: if unopened.is_damaged { "damaged" } else { "unopened" },
        reason: Some(unopened.reason.clone()),
        position: None,
        log_floor: 0,
        log_head: 0,
        commits: 0,
        refusals: 0,
        entries: 0,
        snapshots: 0,
        view_errors: 0,
        tables: vec![],
        journals: BTreeMap::new(),
    }
}

fn tables(dataset: &Dataset) -> Vec<TableStatus> {
    let state = dataset.state();
    let tables = state.tables.iter().map(|(name, table)| TableStatus {
        name: name.to_string(),
        public: table.options.public,
        rows: table.rows.len(),
        bytes: table.bytes,
    });
    tables.collect()
}
