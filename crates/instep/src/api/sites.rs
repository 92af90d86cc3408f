//! Sites over HTTP: copies of a dataset elsewhere that register, follow the log, say how far they
//! are, and take dumps.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use instep_access::{Action, Resource};
use instep_model::commit::Operation;
use instep_model::limits;
use instep_model::name::Name;
use instep_model::owner::Refusal;
use instep_model::position::Position;
use instep_model::registration::Generation;
use instep_model::site::{self, Scope, Site, SiteError, SiteOperation, Stand, Start, Tally};
use instep_node::Dataset;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Answer, Body, Shared, dataset, read_json};
use crate::caller::Caller;
use crate::problem::{Problem, on_disk};

pub(super) mod dumps;
pub(crate) mod feeds;
pub(super) mod orders;
pub(super) mod status;

/// Registration of a site.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RegisterRequest {
    /// `beginning`: at the first entry of the log; `head`: at the newest one; `dump`: with a dump;
    /// `resume`: where it stood.
    start: StartWord,
    /// With `dump`: `server`, or the site that gives it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    source: Option<Name>,
    /// The tables that it follows; all, if it says none.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    tables: Option<BTreeSet<Name>>,
    /// The journals that it follows; all, if it says none.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    journals: Option<BTreeSet<Name>>,
    /// With `resume`: the position in its own store.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    position: Option<Position>,
}

/// Start of a site.
#[derive(Deserialize, ToSchema, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum StartWord {
    Beginning,
    Head,
    Dump,
    Resume,
}

/// A registered site.
#[derive(Serialize, ToSchema)]
pub(super) struct RegisterReply {
    /// Its registration: it is shown in everything that the site says.
    #[schema(value_type = u64)]
    generation: Generation,
    /// State of the site.
    state: &'static str,
    /// Position that it follows the log from.
    #[schema(value_type = String)]
    cursor: Position,
    /// The dump that it asked for.
    #[schema(required)]
    dump: Option<String>,
    /// Rows at the site that were not as the log says, as far as it has told.
    drift: u64,
    /// Records that its content leaves out, as far as it has told.
    skipped: u64,
    /// An operator has set its position: it sets its store to the cursor and acknowledges that,
    /// before it follows the log.
    seek: bool,
}

/// Acknowledgement: everything up to a position is applied.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AckRequest {
    /// Registration of the site.
    generation: u64,
    /// The position.
    #[schema(value_type = String)]
    position: Position,
    /// Rows at the site that were not as the log says, since it took its content; as before, if it
    /// says none.
    #[serde(default)]
    drift: Option<u64>,
    /// Records that the content of the site leaves out; as before, if it says none.
    #[serde(default)]
    skipped: Option<u64>,
}

/// Failure of a site.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct FailureRequest {
    /// Registration of the site.
    generation: u64,
    /// Reason, in the words of its store.
    reason: String,
    /// Only a dump mends it: the site must take one before it follows the log again.
    #[serde(default)]
    needs_dump: bool,
    /// Position of the commit that it stands at, if it is one that its store refuses.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    position: Option<Position>,
    /// With `position`: index, from 0, of the record that is refused among those of the commit that
    /// the site is told; none: the commit is refused as a whole.
    #[serde(default)]
    record: Option<u32>,
}

/// Outcome that is nothing but done.
#[derive(Serialize, ToSchema)]
pub(super) struct DoneReply {}

/// Registers a site. The newest registration of a name wins, and what earlier ones say is refused.
#[utoipa::path(post, operation_id = "register_site",
    path = "/v1/datasets/{dataset}/sites/{site}", tag = "sites",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("site" = String, Path, description = "Name of the site")),
    request_body = RegisterRequest,
    responses((status = 200, body = RegisterReply),
              (status = 400, description = "`bad_json`, `bad_name`, `reserved_name`",
               body = Problem),
              (status = 404, description = "`unknown_dataset`", body = Problem),
              (status = 409, description = "`dump_required`, `other_history`, `position_ahead`, \
               `other_scope`, `bad_source`, `too_many_sites`", body = Problem),
              (status = 413, description = "`body_too_large`, `too_large`", body = Problem),
              (status = 503, description = "`overloaded`", body = Problem)))]
pub(super) async fn register(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, site)): Path<(String, String)>,
    body: Body<{ limits::COMMIT_BYTES }>,
) -> Answer<RegisterReply> {
    let of = Resource::Dataset(&name);
    let body = body.read_as(&caller, Action::Administer, of).await?;
    let dataset = dataset(&shared.node, &name)?;
    let request: RegisterRequest = read_json(&body)?;
    let site = super::new_name(&site)?;
    let RegisterRequest { start, source, tables, journals, position } = request;
    let scope = Scope { tables, journals };
    let misplaced = |field: &str, with: &str| {
        Problem::bad_request("bad_json", format!("{field}: it goes with `start` = `{with}` only"))
    };
    if source.is_some() && start != StartWord::Dump {
        return Err(misplaced("source", "dump"));
    }
    if position.is_some() && start != StartWord::Resume {
        return Err(misplaced("position", "resume"));
    }
    let (floor, _) = dataset.log_bounds();
    let start = match (start, source) {
        (StartWord::Beginning, _) => Start::Beginning { floor },
        (StartWord::Head, _) => Start::Head,
        (StartWord::Resume, _) => Start::Resume { position, floor },
        (StartWord::Dump, None) => {
            let detail = "source: `server`, or the name of a site, is missing";
            return Err(Problem::bad_request("bad_json", detail));
        }
        (StartWord::Dump, Some(source)) => {
            return dumps::register(&shared, &dataset, (site, scope, source)).await;
        }
    };
    let registration = SiteOperation::Register { site: site.clone(), scope, start };
    let (registered, generation) = commit_registration(&dataset, &site, registration).await?;
    shared.feeds.hear(&dataset, site.as_str());
    // History may have been trimmed before it was held.
    if let Err(error) = dataset.follow(Some(registered.cursor)) {
        let reason = error.to_string();
        let (of, why) = (site.clone(), reason.clone());
        commit(&dataset, SiteOperation::Evict { site: of, generation, reason: why }).await?;
        let error = SiteError::DumpRequired(reason);
        return Err(Refusal::Site { site, error }.into());
    }
    Ok(Json(reply(&registered, generation, None)))
}

fn reply(site: &Site, generation: Generation, dump: Option<String>) -> RegisterReply {
    let Tally { drift, skipped } = site.tally;
    let (state, cursor) = (site.state.word(), site.cursor);
    let seek = site.is_seeking();
    RegisterReply { generation, state, cursor, dump, drift, skipped, seek }
}

/// Commits a registration; returns the site as it is then, and the generation.
async fn commit_registration(
    dataset: &Dataset,
    site: &Name,
    operation: SiteOperation,
) -> Result<(Site, Generation), Problem> {
    let receipt = dataset.commit(vec![Operation::Site(operation)].into()).await?;
    let computed = receipt.results.first().copied().flatten().unwrap_or_default();
    let generation = Generation(u64::try_from(computed).unwrap_or_default());
    match site::site(&dataset.state(), site.as_str()) {
        Some(found) if found.generation == generation => Ok((found, generation)),
        found => {
            let newest = found.map_or(Generation::NONE, |found| found.generation);
            let error = SiteError::Fenced { newest };
            Err(Refusal::Site { site: site.clone(), error }.into())
        }
    }
}

async fn commit(dataset: &Dataset, operation: SiteOperation) -> Result<(), Problem> {
    dataset.commit(vec![Operation::Site(operation)].into()).await?;
    Ok(())
}

/// Acknowledges everything up to a position: it is applied at the site, durably. A position before
/// the site's own changes nothing.
#[utoipa::path(post, operation_id = "acknowledge_site",
    path = "/v1/datasets/{dataset}/sites/{site}/ack", tag = "sites",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("site" = String, Path, description = "Name of the site")),
    request_body = AckRequest,
    responses((status = 200, body = DoneReply),
              (status = 400, description = "`bad_json`, `bad_name`", body = Problem),
              (status = 404, description = "`unknown_dataset`, `unknown_site`", body = Problem),
              (status = 409, description = "`fenced`, `position_ahead`, `other_history`, \
               `wrong_state`, `dump_required`", body = Problem)))]
pub(super) async fn acknowledge(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, site)): Path<(String, String)>,
    body: Body<{ limits::SITE_BODY_BYTES }>,
) -> Answer<DoneReply> {
    let body = body.read_as(&caller, Action::Administer, Resource::Dataset(&name)).await?;
    let dataset = dataset(&shared.node, &name)?;
    let (request, site): (AckRequest, _) = (read_json(&body)?, super::new_name(&site)?);
    let AckRequest { generation, position, drift, skipped } = request;
    let generation = Generation(generation);
    let state = dataset.state();
    let (known, head) = (site::site(&state, site.as_str()), dataset.position_of(&state));
    let before = known.as_ref().map_or(Tally::default(), |known| known.tally);
    let tally =
        Tally { drift: drift.unwrap_or(before.drift), skipped: skipped.unwrap_or(before.skipped) };
    let tally = Some(tally);
    if known.as_ref().is_some_and(|known| known.generation == generation) {
        shared.feeds.hear(&dataset, site.as_str());
    }
    // One that says nothing new costs no entry of the log.
    if known.is_some_and(|known| known.is_acknowledged(generation, (position, tally), head)) {
        return Ok(Json(DoneReply {}));
    }
    commit(&dataset, SiteOperation::Ack { site, generation, position, tally }).await?;
    Ok(Json(DoneReply {}))
}

/// A site reports that it cannot go on: it stands at a record, or needs a dump.
#[utoipa::path(post, operation_id = "fail_site",
    path = "/v1/datasets/{dataset}/sites/{site}/failure", tag = "sites",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("site" = String, Path, description = "Name of the site")),
    request_body = FailureRequest,
    responses((status = 200, body = DoneReply),
              (status = 400, description = "`bad_json`, `bad_name`", body = Problem),
              (status = 404, description = "`unknown_dataset`, `unknown_site`", body = Problem),
              (status = 409, description = "`fenced`", body = Problem)))]
pub(super) async fn fail(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, site)): Path<(String, String)>,
    body: Body<{ limits::SITE_BODY_BYTES }>,
) -> Answer<DoneReply> {
    let body = body.read_as(&caller, Action::Administer, Resource::Dataset(&name)).await?;
    let dataset = dataset(&shared.node, &name)?;
    let (request, site): (FailureRequest, _) = (read_json(&body)?, super::new_name(&site)?);
    let FailureRequest { generation, reason, needs_dump, position, record } = request;
    if position.is_none() && record.is_some() {
        return Err(Problem::bad_request("bad_json", "record: it goes with `position` only"));
    }
    let stands = position.map(|position| Stand { position, record });
    tracing::warn!(dataset = name, site = %site, reason, needs_dump, "a site cannot go on");
    let generation = Generation(generation);
    let failed = SiteOperation::Fail { site, generation, reason, needs_dump, stands };
    commit(&dataset, failed).await?;
    Ok(Json(DoneReply {}))
}
