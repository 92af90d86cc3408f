//! Journals over HTTP: a body becomes a record, whatever its bytes are.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use instep_access::{Action, Resource};
use instep_model::commit::{CommitId, Operation, Proposal, digest_of_values};
use instep_model::limits;
use instep_model::owner::{Receipt, Refusal};
use instep_model::position::Position;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::topics::key_of;
use super::{Answer, Body, Shared, dataset, new_name};
use crate::caller::Caller;
use crate::problem::Problem;

/// A record that was appended.
#[derive(Serialize, ToSchema)]
pub(super) struct AppendReply {
    /// Complete up to here: pass it as `since`.
    #[schema(value_type = String)]
    position: Position,
    /// Number of the record in its journal, from 1, with 20 digits as in a changefeed.
    ordinal: String,
    /// True when an earlier request with the same id had taken effect already.
    replayed: bool,
}

/// Appends the body to a journal, as it is. It is durable when this answers.
#[utoipa::path(post, operation_id = "append_record",
    path = "/v1/datasets/{dataset}/journals/{journal}/records", tag = "commits",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("journal" = String, Path, description = "Name of the journal"),
           ("Idempotency-Key" = Option<String>, Header,
            description = "A UUIDv7 that makes retries safe, as the id of a commit")),
    request_body(content = String, content_type = "application/octet-stream"),
    responses((status = 200, body = AppendReply),
              (status = 400, description = "`id_invalid`, `bad_name`, `reserved_name`",
               body = Problem),
              (status = 404, description = "`unknown_dataset`, `unknown_journal`", body = Problem),
              (status = 409, description = "`id_conflict`", body = Problem),
              (status = 410, description = "`id_expired`", body = Problem),
              (status = 413, description = "`body_too_large`", body = Problem),
              (status = 503, description = "`overloaded`, `stopped`, `outcome_unknown`",
               body = Problem)))]
pub(super) async fn append(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, journal)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body<{ limits::JOURNAL_RECORD_BYTES }>,
) -> Answer<AppendReply> {
    let of = Resource::Table { dataset: &name, name: &journal, public: false };
    let body = body.read_as(&caller, Action::Commit, of).await?;
    let dataset = dataset(&shared.node, &name)?;
    let journal = new_name(&journal)?;
    let id = key_of(&headers)?.map(Uuid::parse_str).transpose();
    let id = id.map_err(|_| Problem::from(Refusal::IdInvalid))?;
    let (text, base64) = match std::str::from_utf8(&body) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(BASE64.encode(&body))),
    };
    let commit_id = id.map(|id| {
        // As the same operation of a commit would be known by this id.
        let mut operation = json!({"op": "append", "journal": journal});
        match (&text, &base64) {
            (Some(text), _) => operation["text"] = json!(text),
            (None, content) => operation["base64"] = json!(content),
        }
        let (principal, digest) = (caller.name().to_owned(), digest_of_values(vec![operation]));
        CommitId { principal, id, digest, earlier: None }
    });
    let operations = vec![Operation::Append { journal, text, base64 }];
    let committed = dataset.commit(Proposal { commit_id, operations }).await;
    let Receipt { position, results, replayed } = committed.map_err(Problem::from)?;
    let ordinal = results.first().copied().flatten().unwrap_or_default();
    Ok(Json(AppendReply { position, ordinal: format!("{ordinal:020}"), replayed }))
}
