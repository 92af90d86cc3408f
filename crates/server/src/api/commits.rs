//! Commits over HTTP.

use axum::Json;
use axum::extract::{Path, State};
use instep_model::commit::{Operation, Proposal, digest};
use instep_model::limits;
use instep_model::owner::{Receipt, Refusal};
use instep_model::position::Position;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Answer, Body, Shared, dataset};
use crate::admin::Admin;
use crate::problem::Problem;

/// The principal of those who hold the admin key.
const ADMIN: &str = "admin";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommitBody<'a> {
    #[serde(default)]
    id: Option<Uuid>,
    #[serde(borrow)]
    ops: &'a RawValue,
}

/// Operations that become visible together or not at all.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes the body; the body itself is read without copies")]
struct CommitRequest {
    /// A UUIDv7 that makes retries safe: the commit takes effect at most once, and its reply is
    /// replayed for 24 hours.
    id: Option<String>,
    /// One to 1,000 operations, in order: `put` {table, key, row}, `patch` {table, key, fields},
    /// `delete` {table, key}, `add` {table, key, field, by, min?, max?}, `require` {table, key,
    /// exists?, equals?, where?, unchanged_since?}, `append` {journal, text | base64},
    /// `create_table` {table, public?}, `drop_table` {table}, `create_journal` {journal}.
    #[schema(example = json!([
        {"op": "require", "table": "items", "key": "7", "where": "row.released"},
        {"op": "add", "table": "items", "key": "7", "field": "count", "by": -1, "min": 0}
    ]))]
    ops: Vec<serde_json::Value>,
}

/// The reply to a commit.
#[derive(Serialize, ToSchema)]
pub(super) struct CommitReply {
    /// Complete up to here: pass it as `at_least` or `since`.
    #[schema(value_type = String)]
    position: Position,
    /// For each operation the number that it computed (`add`, `append`), else null.
    results: Vec<Option<i64>>,
    /// True when an earlier commit with the same id had taken effect already.
    replayed: bool,
}

/// Commits operations.
#[utoipa::path(post, path = "/v1/datasets/{dataset}/commits", tag = "commits",
    params(("dataset" = String, Path, description = "Name of the dataset")),
    request_body = CommitRequest,
    responses(
        (status = 200, description = "Durable and visible", body = CommitReply),
        (status = 400, description = "`bad_json`, `bad_operation`, `empty_commit`, `id_invalid`",
         body = Problem),
        (status = 404, description = "`unknown_dataset`, `unknown_table`, `row_not_found` …",
         body = Problem),
        (status = 409, description = "`condition_failed`, `out_of_bounds`, `wrong_type`, \
         `id_conflict`", body = Problem),
        (status = 410, description = "`id_expired`", body = Problem),
        (status = 413, description = "`body_too_large`, `too_many_operations`, `row_too_large`",
         body = Problem),
        (status = 503, description = "`overloaded`, `stopped`, `outcome_unknown`", body = Problem),
        (status = 507, description = "`storage_full`", body = Problem),
    ))]
pub(super) async fn commit(
    _: Admin,
    State(shared): State<Shared>,
    Path(name): Path<String>,
    Body(body): Body<{ limits::COMMIT_BYTES }>,
) -> Answer<CommitReply> {
    let dataset = dataset(&shared.node, &name)?;
    let (proposal, count) = read_proposal(&body)?;
    let Receipt { position, results, replayed } = dataset.commit(proposal).await?;
    let results = if results.is_empty() { vec![None; count] } else { results.into_vec() };
    Ok(Json(CommitReply { position, results, replayed }))
}

fn read_proposal(body: &[u8]) -> Result<(Proposal, usize), Problem> {
    let bad_json =
        |error: serde_json::Error| Problem::bad_request("bad_json", format!("the body: {error}"));
    let CommitBody { id, ops } = serde_json::from_slice(body).map_err(bad_json)?;
    let list: Vec<&RawValue> = serde_json::from_str(ops.get())
        .map_err(|error| Problem::bad_request("bad_json", format!("ops: {error}")))?;
    let found = list.len();
    if found > limits::COMMIT_PROPOSALS {
        return Err(Refusal::TooManyOperations { found, limit: limits::COMMIT_PROPOSALS }.into());
    }
    let mut operations = Vec::with_capacity(found);
    for (operation, text) in list.into_iter().enumerate() {
        operations.push(serde_json::from_str::<Operation>(text.get()).map_err(|error| {
            Problem::from(Refusal::BadOperation { operation, detail: error.to_string() })
        })?);
    }
    let digest = digest(ops.get().as_bytes());
    Ok((Proposal { principal: ADMIN.to_owned(), id, digest, operations }, found))
}
