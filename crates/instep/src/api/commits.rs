//! Commits over HTTP.

use axum::Json;
use axum::extract::{Path, State};
use instep_access::{Action, Resource};
use instep_model::commit::{
    CommitId, Operation, Proposal, digest as digest_of_bytes, digest_of_values, digest_with_nulls,
};
use instep_model::limits;
use instep_model::mail::sender;
use instep_model::owner::{Receipt, Refusal};
use instep_model::position::Position;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::shapes::CommitOperation;
use super::{Answer, Body, Shared, dataset, read_json};
use crate::caller::Caller;
use crate::problem::Problem;

/// Operations that become visible together or not at all.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CommitRequest<'a> {
    /// A UUIDv7 that makes retries safe: the commit takes effect at most once, and its reply is
    /// replayed for 24 hours.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>, format = "uuid")]
    id: Option<&'a RawValue>,
    /// One to 1,000 operations, decided in this order: each sees what those before it did.
    #[serde(borrow)]
    #[schema(value_type = Vec<CommitOperation>, min_items = 1, max_items = 1000)]
    ops: &'a RawValue,
}

/// The reply to a commit.
#[derive(Serialize, ToSchema)]
pub(super) struct CommitReply {
    /// Complete up to here: pass it as `at_least` or `since`.
    #[schema(value_type = String)]
    position: Position,
    /// For each operation the number that it computed, else null: the new value of an `add`, the
    /// number of the record of an `append`, of the message of a `send`.
    results: Vec<Option<i64>>,
    /// True when an earlier commit with the same id had taken effect already.
    replayed: bool,
}

/// Commits operations.
#[utoipa::path(post, operation_id = "commit",
    path = "/v1/datasets/{dataset}/commits", tag = "commits",
    params(("dataset" = String, Path, description = "Name of the dataset")),
    request_body = CommitRequest<'static>,
    responses(
        (status = 200, description = "Durable and visible", body = CommitReply),
        (status = 400, description = "`bad_json`, `bad_operation`, `bad_endpoint`, \
         `empty_commit`, `expression_too_costly`, `id_invalid`",
         body = Problem),
        (status = 404, description = "`unknown_dataset`, `unknown_table`, `unknown_journal`, \
         `unknown_queue`, `unknown_message`, `row_not_found`", body = Problem),
        (status = 409, description = "`condition_failed`, `out_of_bounds`, `wrong_type`, \
         `id_conflict`, `message_conflict`, `too_many_tables`", body = Problem),
        (status = 410, description = "`id_expired`", body = Problem),
        (status = 413, description = "`body_too_large`, `commit_too_large`, \
         `too_many_operations`, `row_too_large`, `row_too_deep`, `message_too_large`",
         body = Problem),
        (status = 422, description = "`no_route`, `not_movable`", body = Problem),
        (status = 503, description = "`overloaded`, `stopped`, `outcome_unknown`, \
         `too_many_principals`", body = Problem),
    ))]
pub(super) async fn commit(
    caller: Caller,
    State(shared): State<Shared>,
    Path(name): Path<String>,
    body: Body<{ limits::COMMIT_BYTES }>,
) -> Answer<CommitReply> {
    caller.may_at_all(Action::Commit).or_else(|refused| {
        // A commit may consist of nothing but new tables.
        caller.may(Action::Administer, Resource::Dataset(&name)).map_err(|_| refused)
    })?;
    let found = dataset(&shared.node, &name);
    if caller.may(Action::Commit, Resource::Dataset(&name)).is_ok() {
        // Who may everything here is told first that there is no such place.
        found.clone()?;
    }
    let (proposal, count) = read_proposal(&body.read().await?, caller.name())?;
    if proposal.operations.is_empty() {
        // It asks for no right, so it must not tell which datasets there are.
        return Err(Refusal::Empty.into());
    }
    proposal.needs().into_iter().try_for_each(|need| caller.may_meet(need, &name))?;
    let dataset = found?;
    let receipt = dataset.commit(proposal).await.map_err(Problem::of_commit)?;
    let Receipt { position, results, replayed } = receipt;
    let results = if results.is_empty() { vec![None; count] } else { results.into_vec() };
    Ok(Json(CommitReply { position, results, replayed }))
}

fn read_proposal(body: &[u8], principal: &str) -> Result<(Proposal, usize), Problem> {
    let CommitRequest { id, ops } = read_json(body)?;
    let id = id.map(|id| serde_json::from_str::<Uuid>(id.get())).transpose();
    let id = id.map_err(|_| Problem::from(Refusal::IdInvalid))?;
    let list: Vec<&RawValue> = serde_json::from_str(ops.get())
        .map_err(|_| Problem::bad_request("bad_json", "ops: not a list of operations"))?;
    let found = list.len();
    if found > limits::COMMIT_PROPOSALS {
        return Err(Refusal::TooManyOperations { found, limit: limits::COMMIT_PROPOSALS }.into());
    }
    let mut operations = Vec::with_capacity(found);
    for (operation, text) in list.into_iter().enumerate() {
        let mut read = Operation::read(text.get())
            .map_err(|error| Problem::of_commit(Refusal::unread(operation, error)))?;
        if let Operation::Send(letter) | Operation::Import(letter) = &mut read {
            letter.sender = sender(principal);
        }
        operations.push(read);
    }
    let commit_id = match id {
        Some(id) => {
            let bad = |_| Problem::bad_request("bad_json", "ops: not a list of operations");
            let values: Vec<Value> = serde_json::from_str(ops.get()).map_err(bad)?;
            // Digest of versions before: of operations with nulls, the one with those.
            let with_nulls = digest_with_nulls(&values);
            let digest = digest_of_values(values);
            let earlier = if digest == with_nulls {
                digest_of_bytes(ops.get().as_bytes())
            } else {
                with_nulls
            };
            Some(CommitId { principal: principal.to_owned(), id, digest, earlier: Some(earlier) })
        }
        None => None,
    };
    Ok((Proposal { commit_id, operations }, found))
}
