//! Changefeeds over HTTP: NDJSON or server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use instep_access::{Action, Resource};
use instep_edge::Held;
use instep_edge::event_stream::{EventId, Form, write_event, write_line};
use instep_model::commit::Record;
use instep_model::mail::MailRecord;
use instep_model::name::Name;
use instep_model::position::{Place, Position};
use instep_model::registration::Generation;
use instep_node::{Dataset, Follow, FollowError, FollowedCommit};
use instep_protocol::payload::refusal::RefusalPayload;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

use super::events::no_place_to_read;
use super::journals::{Content, digits};
use super::sites::feeds::SiteReader;
use super::{Query, Shared, dataset, still_there, streaming};
use crate::caller::Caller;
use crate::problem::Problem;

/// An idle feed says up to where it is complete this often (I16).
const BOOKMARK: Duration = Duration::from_secs(10);
/// Bytes handed to the socket at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// Parameters of a changefeed.
#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct ChangesQuery {
    /// Commits after this position; without it from the oldest one kept. `Last-Event-ID` wins.
    since: Option<String>,
    /// Go on with commits as they come, instead of ending at the newest one. Events always do.
    follow: bool,
    /// The site that follows: it gets what it registered for. Goes with `generation`.
    #[param(value_type = Option<String>)]
    site: Option<Name>,
    /// Registration of the site.
    generation: Option<u64>,
    /// A key or a token, for who has no headers to show it in; `Authorization` wins.
    token: Option<String>,
}

/// The commits of a dataset, in order: one JSON object per line, or server-sent events when the
/// client accepts `text/event-stream`.
#[utoipa::path(get, operation_id = "follow_changes",
    path = "/v1/datasets/{dataset}/changes", tag = "changes",
    params(("dataset" = String, Path, description = "Name of the dataset"), ChangesQuery),
    responses(
        (status = 200, description = "Lines or events {position, time_ms, records}, and \
         {bookmark: position} when nothing new came for a while; for a site also \
         {dump: {id}}: it is to give a dump",
         content_type = "application/x-ndjson", body = String),
        (status = 400, description = "`bad_position`", body = Problem),
        (status = 404, description = "`unknown_dataset`, `unknown_site`", body = Problem),
        (status = 409, description = "`other_history`, `position_ahead`, `fenced`, `dump_required`",
         body = Problem),
        (status = 429, description = "`too_many_sockets`, `rate_limited`", body = Problem),
        (status = 500, description = "`storage_error`", body = Problem),
        (status = 503, description = "`overloaded`", body = Problem),
        (status = 410, description = "`position_trimmed`: take a snapshot", body = Problem),
    ))]
pub(super) async fn changes(
    caller: Caller,
    State(shared): State<Shared>,
    Path(name): Path<String>,
    Query(query): Query<ChangesQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // A site is more than a reader: history is held for it, and others take it for a source.
    let action = if query.site.is_some() { Action::Administer } else { Action::Read };
    caller.may(action, Resource::Dataset(&name))?;
    let dataset = dataset(&shared.node, &name)?;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let last = text("last-event-id").filter(|last| !last.is_empty());
    let since = last.or(query.since.as_deref());
    let events = streaming::is_for_events(&headers);
    let site = site_of(&shared, &dataset, &query)?;
    let cursor = site.as_ref().map(|(_, cursor)| *cursor);
    let found = position_of(since)
        .map(|since| since.or(cursor))
        .and_then(|since| Ok((since, dataset.follow(since)?)));
    let (reset, (since, follow)) = match found {
        Ok(found) => (None, found),
        // A browser would say the same for ever, so it is told to begin anew, and does.
        Err(problem) if events => (Some(problem), (None, dataset.follow(None)?)),
        Err(problem) => return Err(problem),
    };
    let place = shared.door.http().reader(caller.address()).map_err(no_place_to_read)?;
    caller.follows();
    let form = if events { Form::Events } else { Form::Lines };
    let feed = Feed {
        _place: place,
        caller,
        position: since.unwrap_or_else(|| dataset.position()),
        follow,
        reset,
        site: site.map(|(site, _)| site),
        dataset,
        form,
        endless: query.follow || events,
        draining: shared.door.draining(),
        reviewing: shared.door.reviewing(),
    };
    let chunks = stream::unfold(Some(feed), |feed| async move {
        let mut feed = feed?;
        let (chunk, goes_on) = feed.chunk().await;
        Some((Ok::<_, Infallible>(Bytes::from(chunk)), goes_on.then_some(feed)))
    });
    Ok((streaming::headers(form.content_type()), Body::from_stream(chunks)).into_response())
}

/// The site that follows, with its cursor, if one does.
fn site_of(
    shared: &Shared,
    dataset: &Dataset,
    query: &ChangesQuery,
) -> Result<Option<(SiteReader, Position)>, Problem> {
    let named = match (&query.site, query.generation) {
        (None, None) => return Ok(None),
        (Some(site), Some(generation)) => (site.as_str(), Generation(generation)),
        (Some(_), None) | (None, Some(_)) => {
            let detail = "site, generation: one goes with the other";
            return Err(Problem::bad_request("bad_query", detail));
        }
    };
    let registries = (shared.feeds.clone(), shared.dumps.clone());
    SiteReader::new(dataset, named, registries).map(Some)
}

fn position_of(since: Option<&str>) -> Result<Option<Position>, Problem> {
    since.map(str::parse).transpose().map_err(|error| {
        let given = since.unwrap_or_default();
        Problem::bad_request("bad_position", format!("since: {given:?} is {error}"))
    })
}

struct Feed {
    /// It counts as a reader until it ends.
    _place: Held,
    /// Caller that follows the dataset: a right that is lost ends the feed (I24).
    caller: Caller,
    dataset: Dataset,
    follow: Follow,
    /// Reset to be reported to the reader: the reason why its position is of no use.
    reset: Option<Problem>,
    /// The site that follows, if it is one.
    site: Option<SiteReader>,
    form: Form,
    endless: bool,
    position: Position,
    /// Drain signal: the stream ends when the server is about to stop.
    draining: tokio::sync::watch::Receiver<bool>,
    /// Told when what the reader may could be less than before.
    reviewing: tokio::sync::watch::Receiver<u64>,
}

impl Feed {
    /// The next bytes, and whether more may come.
    async fn chunk(&mut self) -> (Vec<u8>, bool) {
        let (mut out, mut goes_on) = self.wait_for_chunk().await;
        // Asked behind the wait: nothing is told to who lost the right meanwhile.
        if let Err(problem) = self
            .caller
            .may(self.action(), Resource::Dataset(self.dataset.name().as_str()))
            .and_then(|()| still_there(&self.dataset))
            .and_then(|()| match &self.site {
                Some(site) => site.check(&self.dataset).map(drop),
                None => Ok(()),
            })
        {
            out.clear();
            self.put_error(&mut out, problem);
            goes_on = false;
        }
        (out, goes_on)
    }

    /// The next bytes as they would be for a caller that may read them.
    async fn wait_for_chunk(&mut self) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        if let Some(problem) = self.reset.take() {
            // An empty id: the browser forgets the one that is of no use.
            let (reason, detail) = (problem.code.as_str(), Some(problem.detail.as_str()));
            let told = RefusalPayload { detail, reason }.encode();
            write_event(&mut out, Some(EventId::Forget), "reset", &told);
            return (out, true);
        }
        if self.site.as_ref().is_some_and(SiteReader::may_give) {
            self.put_dumps(&mut out);
            if !out.is_empty() {
                return (out, true);
            }
        }
        if self.is_paused() {
            self.wait_while_paused().await;
            self.put_bookmark(&mut out);
            return (out, !*self.draining.borrow());
        }
        let mut next = match self.follow.try_next().await {
            Ok(None) if self.endless => {
                self.reached_head();
                match self.wait().await {
                    Some(commit) => commit.map(Some),
                    None => {
                        self.put_passed();
                        self.put_dumps(&mut out);
                        if out.is_empty() {
                            self.put_bookmark(&mut out);
                        }
                        // When the server stops, the reader comes back and goes on where it was.
                        return (out, !*self.draining.borrow());
                    }
                }
            }
            next => next,
        };
        loop {
            match next {
                Ok(Some(commit)) => self.put_commit(&mut out, commit),
                Ok(None) => {
                    if self.put_passed() && out.is_empty() {
                        self.put_bookmark(&mut out);
                    }
                    self.reached_head();
                    return (out, self.endless);
                }
                Err(error) => {
                    self.put_error(&mut out, error.into());
                    return (out, false);
                }
            }
            if out.is_empty() && self.put_passed() {
                self.put_bookmark(&mut out);
                return (out, true);
            }
            if out.len() >= CHUNK_BYTES {
                return (out, true);
            }
            next = self.follow.try_next().await;
        }
    }

    /// Right that the reader needs.
    fn action(&self) -> Action {
        if self.site.is_some() { Action::Administer } else { Action::Read }
    }

    /// True while an operator has paused the site that follows.
    fn is_paused(&self) -> bool {
        self.site.as_ref().is_some_and(|site| site.check(&self.dataset).is_ok_and(|paused| paused))
    }

    /// Waits for a commit, which may let the site go on.
    async fn wait_while_paused(&mut self) {
        let Position { place, .. } = self.dataset.position();
        let next = Place { revision: place.revision.next(), index: 0 };
        tokio::select! {
            _ = self.dataset.reached(next, BOOKMARK) => {}
            _ = self.draining.wait_for(|drain| *drain) => {}
            _ = self.reviewing.changed() => {}
        }
    }

    /// Moves the position over commits that were left out, once a site is to be told of them.
    fn put_passed(&mut self) -> bool {
        let passed = self.site.as_mut().and_then(SiteReader::passed);
        if let Some(position) = passed {
            self.position = position;
        }
        passed.is_some()
    }

    fn reached_head(&self) {
        self.site.iter().for_each(SiteReader::reached_head);
    }

    fn put_bookmark(&mut self, out: &mut Vec<u8>) {
        if let Some(site) = &mut self.site {
            site.sent(self.position);
        }
        let bookmark = json!({"bookmark": self.position}).to_string();
        self.put(out, "bookmark", None, &bookmark);
    }

    fn put_dumps(&mut self, out: &mut Vec<u8>) {
        for id in self.site.as_mut().map(SiteReader::dumps).unwrap_or_default() {
            let dump = json!({"dump": {"id": id.simple().to_string()}}).to_string();
            self.put(out, "dump", None, &dump);
        }
    }

    fn put_commit(&mut self, out: &mut Vec<u8>, mut commit: FollowedCommit) {
        if let Some(site) = &mut self.site {
            if !site.take(&mut commit) {
                return;
            }
            site.sent(commit.position);
        }
        self.position = commit.position;
        let mut text = format!(
            "{{\"position\":\"{}\",\"time_ms\":{},\"records\":[",
            commit.position, commit.time_ms
        );
        for (at, record) in commit.records.iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            push_record(&mut text, record);
        }
        text.push_str("]}");
        self.put(out, "commit", Some(commit.position), &text);
    }

    /// The next commit; none when there is something else to say, the server is about to stop, or
    /// rights have changed.
    async fn wait(&mut self) -> Option<Result<FollowedCommit, FollowError>> {
        let patience = self.caller.ends_in().map_or(BOOKMARK, |end| BOOKMARK.min(end));
        let soon = self.site.as_ref().and_then(SiteReader::patience);
        let patience = soon.map_or(patience, |soon| patience.min(soon));
        let wanted = async {
            match &mut self.site {
                // Fails only when the server has no dumps any more, at its end.
                Some(site) => site.wanted.changed().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            commit = self.follow.next() => Some(commit),
            () = tokio::time::sleep(patience) => None,
            _ = self.draining.wait_for(|drain| *drain) => None,
            // Fails only when the door is gone, and the server with it.
            _ = self.reviewing.changed() => None,
            _ = wanted => None,
        }
    }

    fn put_error(&self, out: &mut Vec<u8>, problem: Problem) {
        let text = json!({"error": problem}).to_string();
        self.put(out, "error", None, &text);
    }

    fn put(&self, out: &mut Vec<u8>, event: &str, id: Option<Position>, text: &str) {
        match self.form {
            Form::Events => {
                let id = id.as_ref().map(|id| EventId::At(id));
                write_event(out, id, event, text.as_bytes());
            }
            Form::Lines => write_line(out, |out| out.extend_from_slice(text.as_bytes())),
        }
    }
}

fn push_record(text: &mut String, record: &Record) {
    let named = |value: &str| Value::from(value).to_string();
    match record {
        Record::Put { table, key, row } => {
            let (table, key) = (named(table.as_str()), named(key.as_str()));
            let row = row.as_json();
            text.push_str(&format!(
                "{{\"put\":{{\"table\":{table},\"key\":{key},\"row\":{row}}}}}"
            ));
        }
        Record::Delete { table, key } => {
            let (table, key) = (named(table.as_str()), named(key.as_str()));
            text.push_str(&format!("{{\"delete\":{{\"table\":{table},\"key\":{key}}}}}"));
        }
        Record::Append { journal, ordinal, bytes } => {
            let mut append = json!({"journal": journal, "ordinal": digits(*ordinal)});
            Content::of(bytes).put(&mut append);
            text.push_str(&json!({"append": append}).to_string());
        }
        Record::CreateTable { table, options } => {
            let made = json!({"create_table": {"table": table, "public": options.public}});
            text.push_str(&made.to_string());
        }
        Record::DropTable { table } => {
            text.push_str(&json!({"drop_table": {"table": table}}).to_string());
        }
        Record::CreateJournal { journal } => {
            text.push_str(&json!({"create_journal": {"journal": journal}}).to_string());
        }
        Record::Mail(record) => text.push_str(&mail(record).to_string()),
    }
}

/// A record of mail. The body of a message is the JSON that it was.
fn mail(record: &MailRecord) -> Value {
    if let MailRecord::SentBy { seq, scope } = record {
        return json!({"mail": {"sent_by": {"seq": seq, "scope": format!("{scope:016x}")}}});
    }
    let mut bare = record.clone();
    let mut body = None;
    if let MailRecord::Stored { body: bytes, .. } = &mut bare {
        body = serde_json::from_slice::<Value>(&std::mem::take(bytes)).ok();
    }
    let mut value = serde_json::to_value(&bare).unwrap_or_default();
    if let (Some(body), Some(stored)) = (body, value.get_mut("stored")) {
        stored["body"] = body;
    }
    json!({"mail": value})
}
