//! Commits over HTTP.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use instep_access::{Action, Resource};
use instep_model::commit::{Condition, Operation, Proposal, Signature, digest, digest_of_values};
use instep_model::limits;
use instep_model::mail::sender;
use instep_model::name::{Key, Name};
use instep_model::owner::{Receipt, Refusal};
use instep_model::position::Position;
use instep_model::row::{Fields, RowError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::shapes::CommitRequest;
use super::{Answer, Body, Shared, dataset, read_json};
use crate::caller::Caller;
use crate::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommitBody<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
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
    request_body = CommitRequest,
    responses(
        (status = 200, description = "Durable and visible", body = CommitReply),
        (status = 400, description = "`bad_json`, `bad_operation`, `empty_commit`, \
         `expression_too_costly`, `id_invalid`",
         body = Problem),
        (status = 404, description = "`unknown_dataset`, `unknown_table`, `row_not_found` …",
         body = Problem),
        (status = 409, description = "`condition_failed`, `out_of_bounds`, `wrong_type`, \
         `id_conflict`", body = Problem),
        (status = 410, description = "`id_expired`", body = Problem),
        (status = 413, description = "`body_too_large`, `commit_too_large`, \
         `too_many_operations`, `row_too_large`",
         body = Problem),
        (status = 503, description = "`overloaded`, `stopped`, `outcome_unknown`", body = Problem),
        (status = 507, description = "`storage_full`", body = Problem),
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
    check_rights(&caller, &name, &proposal.operations)?;
    let dataset = found?;
    let Receipt { position, results, replayed } = dataset.commit(proposal).await?;
    let results = if results.is_empty() { vec![None; count] } else { results.into_vec() };
    Ok(Json(CommitReply { position, results, replayed }))
}

fn read_proposal(body: &[u8], principal: &str) -> Result<(Proposal, usize), Problem> {
    let CommitBody { id, ops } = read_json(body)?;
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
        let mut read = read_operation(operation, text.get())?;
        if let Operation::Send(letter) | Operation::Import(letter) = &mut read {
            letter.sender = sender(principal);
        }
        operations.push(read);
    }
    let signature = match id {
        Some(id) => {
            let bad = |_| Problem::bad_request("bad_json", "ops: not a list of operations");
            let values: Vec<Value> = serde_json::from_str(ops.get()).map_err(bad)?;
            let (digest, earlier) = (digest_of_values(&values), digest(ops.get().as_bytes()));
            Some(Signature { principal: principal.to_owned(), id, digest, earlier: Some(earlier) })
        }
        None => None,
    };
    Ok((Proposal { signature, operations }, found))
}

/// Everything that a commit touches, once each, against the rights of who sends it.
fn check_rights(caller: &Caller, dataset: &str, operations: &[Operation]) -> Result<(), Problem> {
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    enum Touched<'a> {
        Dataset,
        Written(&'a Name),
        Tested(&'a Name),
    }
    let touched = operations.iter().map(|operation| match operation {
        Operation::Put { table, .. }
        | Operation::Patch { table, .. }
        | Operation::Delete { table, .. }
        | Operation::Add { table, .. } => Touched::Written(table),
        Operation::Append { journal, .. } => Touched::Written(journal),
        Operation::Require { table, .. } => Touched::Tested(table),
        // A queue stands among the tables.
        Operation::Send(letter) => Touched::Written(&letter.queue),
        Operation::CreateTable { .. }
        | Operation::DropTable { .. }
        | Operation::CreateJournal { .. }
        | Operation::CreateQueue { .. }
        | Operation::Import(_)
        | Operation::Move { .. }
        | Operation::Readdress { .. }
        | Operation::Retry { .. }
        | Operation::Mail(_) => Touched::Dataset,
    });
    let named = |name| Resource::Table { dataset, name, public: false };
    let touched: BTreeSet<Touched<'_>> = touched.collect();
    touched.into_iter().try_for_each(|touched| match touched {
        Touched::Dataset => caller.may(Action::Administer, Resource::Dataset(dataset)),
        Touched::Written(name) => caller.may(Action::Commit, named(name.as_str())),
        // A condition tells what is in a row, as reading it does.
        Touched::Tested(name) => {
            caller.may_one_of(Action::Commit, &[Action::Read], named(name.as_str()))
        }
    })
}

fn read_operation(operation: usize, text: &str) -> Result<Operation, Refusal> {
    let bad = |detail: String| Refusal::BadOperation { operation, detail };
    if !text.starts_with('{') {
        // Serde would take a list of values as well.
        return Err(bad("not a JSON object".into()));
    }
    serde_json::from_str(text).map_err(|error| {
        let said = error.to_string();
        // The library tells only by its words; its limit is far above ours.
        if said.starts_with("recursion limit") {
            let error = RowError::TooDeep { limit: limits::VALUE_DEPTH };
            return Refusal::Row { operation, error };
        }
        bad(faulty_field(text).unwrap_or(said))
    })
}

/// Finds the field that does not parse, and why: serde does not tell for a tagged object.
fn faulty_field(text: &str) -> Option<String> {
    fn fault<'a, T: Deserialize<'a>>(value: &'a Value) -> Option<String> {
        T::deserialize(value).err().map(|error| error.to_string())
    }
    let fields: Fields = serde_json::from_str(text).ok()?;
    fields.iter().find_map(|(name, value)| {
        let fault = match name.as_str() {
            "table" | "journal" | "queue" => fault::<Name>(value),
            "to" | "endpoint" => fault::<String>(value),
            "id" => fault::<Option<Uuid>>(value),
            "priority" => fault::<Option<u8>>(value),
            "ttl_ms" | "not_before" | "generation" => fault::<Option<u64>>(value),
            "key" => fault::<Key>(value),
            "row" | "fields" => fault::<Fields>(value),
            "equals" => fault::<Option<Fields>>(value),
            "field" => fault::<String>(value),
            "text" | "base64" => fault::<Option<String>>(value),
            "by" => fault::<i64>(value),
            "min" | "max" => fault::<Option<i64>>(value),
            "public" => fault::<bool>(value),
            "exists" => fault::<Option<bool>>(value),
            "where" => fault::<Option<Condition>>(value),
            "unchanged_since" => fault::<Option<Position>>(value),
            _ => None,
        };
        fault.map(|fault| format!("{name}: {fault}"))
    })
}
