//! Orders of operators: a site is paused, goes on, leaves a record out, or is removed.

use axum::Json;
use axum::extract::{Path, State};
use instep_access::{Action, Resource};
use instep_model::limits;
use instep_model::name::Name;
use instep_model::position::Position;
use instep_model::site::{SiteOperation, Stand};
use serde::Deserialize;
use utoipa::ToSchema;

use super::super::{Answer, Body, Shared, dataset, read_json, still_there};
use super::{DoneReply, commit};
use crate::caller::Caller;
use crate::problem::Problem;

/// Pauses a site: it is sent nothing until it goes on, and history is held for it.
#[utoipa::path(post, operation_id = "pause_site",
    path = "/v1/datasets/{dataset}/sites/{site}/pause", tag = "sites",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("site" = String, Path, description = "Name of the site")),
    responses((status = 200, body = DoneReply),
              (status = 404, description = "`unknown_dataset`, `unknown_site`", body = Problem),
              (status = 409, description = "`wrong_state`", body = Problem)))]
pub(in crate::api) async fn pause(
    caller: Caller,
    State(shared): State<Shared>,
    Path(named): Path<(String, String)>,
) -> Answer<DoneReply> {
    operate(&caller, &shared, named, |site| SiteOperation::Pause { site, paused: true }).await
}

/// Lets a paused site go on.
#[utoipa::path(post, operation_id = "unpause_site",
    path = "/v1/datasets/{dataset}/sites/{site}/resume", tag = "sites",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("site" = String, Path, description = "Name of the site")),
    responses((status = 200, body = DoneReply),
              (status = 404, description = "`unknown_dataset`, `unknown_site`", body = Problem),
              (status = 409, description = "`wrong_state`", body = Problem)))]
pub(in crate::api) async fn resume(
    caller: Caller,
    State(shared): State<Shared>,
    Path(named): Path<(String, String)>,
) -> Answer<DoneReply> {
    operate(&caller, &shared, named, |site| SiteOperation::Pause { site, paused: false }).await
}

/// Removes a site: no history is held for it, and it needs a dump to come back.
#[utoipa::path(delete, operation_id = "remove_site",
    path = "/v1/datasets/{dataset}/sites/{site}", tag = "sites",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("site" = String, Path, description = "Name of the site")),
    responses((status = 200, body = DoneReply),
              (status = 404, description = "`unknown_dataset`, `unknown_site`", body = Problem)))]
pub(in crate::api) async fn remove(
    caller: Caller,
    State(shared): State<Shared>,
    Path(named): Path<(String, String)>,
) -> Answer<DoneReply> {
    let (dataset, site) = named.clone();
    let removed = operate(&caller, &shared, named, |site| SiteOperation::Remove { site }).await?;
    shared.feeds.forget(&dataset, Some(&site));
    Ok(removed)
}

/// Record that a site leaves out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SkipRequest {
    /// Position of the commit that the site stands at.
    #[schema(value_type = String)]
    position: Position,
    /// Index of the record, as the site has reported it; none: all of the commit.
    #[serde(default)]
    record: Option<u32>,
    /// Reason, which is kept at the site beside the record: 1 to 2,048 bytes.
    reason: String,
}

/// Lets a site leave a record out that it stands at, and go on behind it. It names the record: one
/// that the site does not stand at, by now, is not left out. The rest of the commit is applied.
#[utoipa::path(post, operation_id = "skip_record",
    path = "/v1/datasets/{dataset}/sites/{site}/skip", tag = "sites",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("site" = String, Path, description = "Name of the site")),
    request_body = SkipRequest,
    responses((status = 200, body = DoneReply),
              (status = 400, description = "`bad_json`, `bad_name`", body = Problem),
              (status = 404, description = "`unknown_dataset`, `unknown_site`", body = Problem),
              (status = 409, description = "`stands_elsewhere`, `wrong_state`, `too_many_skips`",
               body = Problem)))]
pub(in crate::api) async fn skip(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, site)): Path<(String, String)>,
    body: Body<{ limits::SITE_BODY_BYTES }>,
) -> Answer<DoneReply> {
    let body = body.read_as(&caller, Action::Administer, Resource::Dataset(&name)).await?;
    let SkipRequest { position, record, reason } = read_json(&body)?;
    check_reason(&reason)?;
    let (at, why) = (Stand { position, record }, reason.clone());
    let skip = |site| SiteOperation::Skip { site, at, reason: why };
    let done = operate(&caller, &shared, (name.clone(), site.clone()), skip).await?;
    tracing::warn!(dataset = name, site, %position, record, reason, "a site skips a record");
    Ok(done)
}

/// Position of a site.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SeekRequest {
    /// The position: not ahead of the log, and not before what is kept of it.
    #[schema(value_type = String)]
    position: Position,
    /// Reason, for the log of the server: 1 to 2,048 bytes.
    reason: String,
}

/// Sets the position of a site: commits behind it are applied again, those before it are not. A
/// store that keeps its own position is set by the next registration of the site.
#[utoipa::path(post, operation_id = "seek_site",
    path = "/v1/datasets/{dataset}/sites/{site}/seek", tag = "sites",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("site" = String, Path, description = "Name of the site")),
    request_body = SeekRequest,
    responses((status = 200, body = DoneReply),
              (status = 400, description = "`bad_json`, `bad_name`", body = Problem),
              (status = 404, description = "`unknown_dataset`, `unknown_site`", body = Problem),
              (status = 409, description = "`other_history`, `position_ahead`, `wrong_state`, \
               `dump_required`", body = Problem),
              (status = 410, description = "`position_trimmed`", body = Problem)))]
pub(in crate::api) async fn seek(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, site)): Path<(String, String)>,
    body: Body<{ limits::SITE_BODY_BYTES }>,
) -> Answer<DoneReply> {
    let body = body.read_as(&caller, Action::Administer, Resource::Dataset(&name)).await?;
    let SeekRequest { position: to, reason } = read_json(&body)?;
    check_reason(&reason)?;
    let (floor, _) = dataset(&shared.node, &name)?.log_bounds();
    let seek = |site| SiteOperation::Seek { site, to, floor };
    let done = operate(&caller, &shared, (name.clone(), site.clone()), seek).await?;
    tracing::warn!(dataset = name, site, %to, reason, "the position of a site is set");
    Ok(done)
}

fn check_reason(reason: &str) -> Result<(), Problem> {
    if reason.trim().is_empty() || reason.len() > limits::SITE_REASON_BYTES {
        let detail = format!("reason: 1 to {} bytes are wanted", limits::SITE_REASON_BYTES);
        return Err(Problem::bad_request("bad_json", detail));
    }
    Ok(())
}

async fn operate(
    caller: &Caller,
    shared: &Shared,
    (name, site): (String, String),
    operation: impl FnOnce(Name) -> SiteOperation,
) -> Answer<DoneReply> {
    caller.may(Action::Administer, Resource::Dataset(&name))?;
    let dataset = dataset(&shared.node, &name)?;
    let site = super::super::new_name(&site)?;
    commit(&dataset, operation(site)).await?;
    still_there(&dataset)?;
    Ok(Json(DoneReply {}))
}
