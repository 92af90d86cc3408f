//! Status of sites: their states, positions and lag, for operators.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use instep_access::{Action, Resource};
use instep_model::name::Name;
use instep_model::owner::Refusal;
use instep_model::position::Position;
use instep_model::registration::Generation;
use instep_model::site::{self, Site, SiteError, Skip, Stand};
use instep_model::state::State as DatasetState;
use instep_node::{Dataset, now_ms};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::{Answer, Shared, dataset};
use crate::caller::Caller;
use crate::problem::{Problem, on_disk};

/// Sites of a dataset.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct SitesReply {
    /// The newest commit.
    #[schema(value_type = String)]
    position: Position,
    /// The sites, by name.
    sites: Vec<SiteReply>,
}

/// A site, and how far it is.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct SiteReply {
    /// Its name.
    site: String,
    /// `reserved`, `dumping`, `catching-up`, `live`, `paused`, `failed` or `evicted`.
    state: &'static str,
    /// Reason of a failure or an eviction.
    #[schema(required)]
    reason: Option<String>,
    /// Registration of the site.
    #[schema(value_type = u64)]
    generation: Generation,
    /// Position up to which everything is applied.
    #[schema(value_type = String)]
    cursor: Position,
    /// Position from which its newest registration has followed the log; none: it takes a dump.
    #[schema(value_type = Option<String>, required)]
    start: Option<Position>,
    /// Entries of the log behind the cursor; none when it belongs to another history.
    #[schema(required)]
    behind_entries: Option<u64>,
    /// Bytes of these entries, about.
    #[schema(required)]
    behind_bytes: Option<u64>,
    /// Milliseconds since the oldest commit for it that it has not acknowledged; 0 when there is
    /// none.
    #[schema(required)]
    behind_ms: Option<u64>,
    /// Milliseconds since it said anything; none: nothing since the server has started.
    #[schema(required)]
    silent_ms: Option<u64>,
    /// It said nothing for more than 30 seconds.
    stale: bool,
    /// It follows the log now.
    online: bool,
    /// The newest commit that it was sent since it has followed the log.
    #[schema(value_type = Option<String>, required)]
    sent: Option<Position>,
    /// The tables that it follows; none: all.
    #[schema(value_type = Option<Vec<String>>, required)]
    tables: Option<BTreeSet<Name>>,
    /// The journals that it follows; none: all.
    #[schema(value_type = Option<Vec<String>>, required)]
    journals: Option<BTreeSet<Name>>,
    /// Source of its newest dump.
    #[schema(value_type = Option<String>, required)]
    source: Option<Name>,
    /// Milliseconds since its state changed.
    since_ms: u64,
    /// An operator has paused it; while it takes a dump, or has failed, it is told by this alone.
    paused: bool,
    /// Record that it stands at, while it is `failed` and has named one.
    #[schema(required)]
    stands: Option<StandReply>,
    /// An operator has set its position to the cursor, and its store is not known to be there yet.
    seek: bool,
    /// Records that it is to leave out, and has not passed yet.
    skips: Vec<SkipReply>,
    /// Records that its content leaves out.
    skipped: u64,
    /// Rows that were not as the log says, since the site took its content.
    drift: u64,
}

/// Record that a site stands at.
#[derive(Serialize, ToSchema)]
struct StandReply {
    /// Position of its commit.
    #[schema(value_type = String)]
    position: Position,
    /// Index of the record among those of the commit that the site is told, from 0; none: the
    /// commit is refused as a whole.
    #[schema(required)]
    record: Option<u32>,
}

/// Record that a site is to leave out.
#[derive(Serialize, ToSchema)]
struct SkipReply {
    /// Position of its commit.
    #[schema(value_type = String)]
    position: Position,
    /// Index of the record; none: all of the commit.
    #[schema(required)]
    record: Option<u32>,
    /// Reason, in the words of the operator.
    reason: String,
}

/// Sites of a dataset.
#[utoipa::path(get, operation_id = "list_sites",
    path = "/v1/datasets/{dataset}/sites", tag = "sites",
    params(("dataset" = String, Path, description = "Name of the dataset")),
    responses((status = 200, body = SitesReply),
              (status = 404, description = "`unknown_dataset`", body = Problem)))]
pub(in crate::api) async fn list(
    caller: Caller,
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Answer<SitesReply> {
    caller.may(Action::Administer, Resource::Dataset(&name))?;
    let dataset = dataset(&shared.node, &name)?;
    // How far sites are behind is read in the log.
    let list = on_disk(move || {
        let state = dataset.state();
        let of = (&dataset, &*state);
        let sites = site::sites(&state).map(|(name, site)| reply(&shared, of, (name, site)));
        Ok(SitesReply { position: dataset.position_of(&state), sites: sites.collect() })
    });
    list.await.map(Json)
}

/// A site of a dataset.
#[utoipa::path(get, operation_id = "show_site",
    path = "/v1/datasets/{dataset}/sites/{site}", tag = "sites",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("site" = String, Path, description = "Name of the site")),
    responses((status = 200, body = SiteReply),
              (status = 404, description = "`unknown_dataset`, `unknown_site`", body = Problem)))]
pub(in crate::api) async fn show(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, site)): Path<(String, String)>,
) -> Answer<SiteReply> {
    caller.may(Action::Administer, Resource::Dataset(&name))?;
    let dataset = dataset(&shared.node, &name)?;
    let of = site.clone();
    let known = on_disk(move || {
        let state = dataset.state();
        let known = site::site(&state, &of);
        Ok(known.map(|known| reply(&shared, (&dataset, &state), (&of, known))))
    });
    match known.await? {
        Some(known) => Ok(Json(known)),
        None => {
            let site = super::super::new_name(&site)?;
            Err(Refusal::Site { site, error: SiteError::Unknown }.into())
        }
    }
}

fn reply(
    shared: &Shared,
    (dataset, state): (&Dataset, &DatasetState),
    (name, site): (&str, Site),
) -> SiteReply {
    let lag = shared.feeds.lag(dataset, state, (name, &site));
    let (paused, seek) = (site.is_paused(), site.is_seeking());
    let told = |skip: Skip| {
        let Stand { position, record } = skip.at;
        SkipReply { position, record, reason: skip.reason }
    };
    SiteReply {
        site: name.to_owned(),
        state: site.state.word(),
        reason: site.reason,
        generation: site.generation,
        cursor: site.cursor,
        start: site.start,
        behind_entries: lag.behind.map(|behind| behind.entries),
        behind_bytes: lag.behind.map(|behind| behind.bytes),
        behind_ms: lag.behind.map(|behind| behind.ms),
        silent_ms: lag.silent_ms,
        stale: lag.is_stale(),
        online: lag.sent.is_some(),
        sent: lag.sent,
        tables: site.scope.tables,
        journals: site.scope.journals,
        source: site.source,
        since_ms: now_ms().saturating_sub(site.changed_ms),
        paused,
        seek,
        stands: site.stands.map(|Stand { position, record }| StandReply { position, record }),
        skips: site.skips.into_iter().map(told).collect(),
        skipped: site.tally.skipped,
        drift: site.tally.drift,
    }
}
