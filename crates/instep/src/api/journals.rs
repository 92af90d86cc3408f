//! Journals over HTTP: a body of any bytes becomes a record, and records are read by page.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use instep_access::{Action, Resource};
use instep_model::commit::{CommitId, Operation, Proposal, digest_of_values};
use instep_model::limits;
use instep_model::log::ReadError;
use instep_model::name::Name;
use instep_model::owner::{Receipt, Refusal};
use instep_model::position::Position;
use instep_node::journals::JournalRecord;
use instep_node::{Dataset, FollowError, blocking};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::topics::key_of;
use super::{Answer, Body, Query, Shared, dataset, new_name, page_limit};
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

/// Page of a journal to read.
#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct JournalQuery {
    /// Number of the first record, from 1; without it the oldest that is kept.
    from: Option<u64>,
    /// Records on the page: 1 to 1,000, 100 by default. It ends after 1 MiB of them, too.
    limit: Option<usize>,
}

/// Page of a journal.
#[derive(Serialize, ToSchema)]
pub(super) struct JournalReply {
    /// The records, one after the other; none: there are none yet.
    records: Vec<RecordReply>,
    /// Number of the next record, which may not be there yet: pass it as `from`.
    next: String,
    /// Number of the newest record; zero: there never was one.
    last: String,
}

/// Record of a journal.
#[derive(Serialize, ToSchema)]
struct RecordReply {
    /// Its number, with 20 digits as in a changefeed.
    ordinal: String,
    /// Position of its commit: a changefeed goes on behind it.
    #[schema(value_type = String)]
    position: Position,
    /// Time of its commit, in milliseconds since 1970.
    time_ms: u64,
    /// The record, if it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// The record, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

impl From<JournalRecord> for RecordReply {
    fn from(JournalRecord { ordinal, position, time_ms, bytes }: JournalRecord) -> Self {
        let (text, base64) = Content::of(&bytes).into_fields();
        Self { ordinal: digits(ordinal), position, time_ms, text, base64 }
    }
}

/// Reads records of a journal, by their numbers.
#[utoipa::path(get, operation_id = "list_records",
    path = "/v1/datasets/{dataset}/journals/{journal}/records", tag = "rows",
    params(("dataset" = String, Path, description = "Name of the dataset"),
           ("journal" = String, Path, description = "Name of the journal"), JournalQuery),
    responses((status = 200, body = JournalReply),
              (status = 400, description = "`bad_query`", body = Problem),
              (status = 404, description = "`unknown_dataset`, `unknown_journal`", body = Problem),
              (status = 410, description = "`position_trimmed`: the record is not kept any more",
               body = Problem),
              (status = 503, description = "`resources_exhausted`", body = Problem)))]
pub(super) async fn page(
    caller: Caller,
    State(shared): State<Shared>,
    Path((name, journal)): Path<(String, String)>,
    Query(JournalQuery { from, limit }): Query<JournalQuery>,
) -> Answer<JournalReply> {
    let of = Resource::Table { dataset: &name, name: &journal, public: false };
    caller.may(Action::Read, of)?;
    let limit = page_limit(limit)?;
    if from == Some(0) {
        return Err(Problem::bad_request("bad_query", "from is 0, allowed is 1 or more"));
    }
    let dataset = dataset(&shared.node, &name)?;
    let unknown = || Problem::unknown_journal(&journal);
    let asked = Name::new(&journal).map_err(|_| unknown())?;
    let read = move || dataset.journal_page((&asked, from), (limit, limits::PAGE_BYTES));
    let page = blocking(read).await;
    let page = page.map_err(|error| FollowError::Exhausted { detail: error.to_string() })?;
    let page = page.map_err(|error| match error {
        ReadError::Trimmed { .. } => {
            let detail = "the record is not kept any more; without `from` the oldest kept comes";
            Problem::new(StatusCode::GONE, "position_trimmed", detail)
        }
        other => FollowError::from(other).into(),
    })?;
    let page = page.ok_or_else(unknown)?;
    let records = page.records.into_iter().map(RecordReply::from).collect();
    Ok(Json(JournalReply { records, next: digits(page.next), last: digits(page.last) }))
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
    let id = id_of(&headers)?;
    append_bytes(&dataset, (caller.name(), id), journal, &body).await.map(Json)
}

/// The id that makes retries of a request safe.
///
/// # Errors
/// [`Problem`] `id_invalid`.
pub(super) fn id_of(headers: &HeaderMap) -> Result<Option<Uuid>, Problem> {
    let id = key_of(headers)?.map(Uuid::parse_str).transpose();
    id.map_err(|_| Refusal::IdInvalid.into())
}

/// Appends bytes to a journal as they are, for a principal; the same again under one id takes
/// effect once.
///
/// # Errors
/// [`Problem`] of the commit.
pub(super) async fn append_bytes(
    dataset: &Dataset,
    (principal, id): (&str, Option<Uuid>),
    journal: Name,
    bytes: &[u8],
) -> Result<AppendReply, Problem> {
    let content = Content::of(bytes);
    let commit_id = id.map(|id| {
        // As the same operation of a commit would be known by this id.
        let mut operation = json!({"op": "append", "journal": journal});
        content.put(&mut operation);
        let (principal, digest) = (principal.to_owned(), digest_of_values(vec![operation]));
        CommitId { principal, id, digest, earlier: None }
    });
    let (text, base64) = content.into_fields();
    let operations = vec![Operation::Append { journal, text, base64 }];
    let committed = dataset.commit(Proposal { commit_id, operations }).await;
    let Receipt { position, results, replayed } = committed.map_err(Problem::from)?;
    let ordinal = results.first().copied().flatten().unwrap_or_default();
    Ok(AppendReply { position, ordinal: digits(ordinal.unsigned_abs()), replayed })
}

/// Bytes as JSON has them: in the field `text`, or in `base64` if they are none.
pub(super) enum Content<'a> {
    Text(&'a str),
    Base64(String),
}

impl<'a> Content<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(_) => Self::Base64(BASE64.encode(bytes)),
        }
    }

    /// Puts its field into an object.
    pub(super) fn put(&self, object: &mut Value) {
        match self {
            Self::Text(text) => object["text"] = json!(text),
            Self::Base64(base64) => object["base64"] = json!(base64),
        }
    }

    fn into_fields(self) -> (Option<String>, Option<String>) {
        match self {
            Self::Text(text) => (Some(text.to_owned()), None),
            Self::Base64(base64) => (None, Some(base64)),
        }
    }
}

/// The number of a record as a changefeed has it.
pub(super) fn digits(ordinal: u64) -> String {
    format!("{ordinal:020}")
}
