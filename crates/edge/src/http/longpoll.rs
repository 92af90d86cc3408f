//! The long-poll transport: a session that lives between requests.

mod connection;
mod leaving;
mod polls;
mod revoked;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use instep_access::Credential;
use instep_model::limits;
use instep_protocol::longpoll::{Answer, decode_body, session_token};
use instep_protocol::session::{Event, SharedEvent};
use instep_protocol::vsn::Vsn;
use sha1::{Digest as _, Sha1};
use tokio::sync::{Notify, mpsc, oneshot};

use self::connection::Connection;
use self::leaving::{Leaving, drained};
use self::polls::{Polls, Reply, put_back};
use super::Http;
use super::admission::{self, Refused};
use super::socket::Peer;
use crate::states::{self, ConnectionState};

const WINDOW: Duration = Duration::from_millis(limits::LONGPOLL_WINDOW_MS);
const TOKEN_HEADER: &str = "x-phoenix-longpoll-token";
const HEADERS: [(HeaderName, &str); 3] = [
    (header::CONTENT_TYPE, "application/json"),
    (header::CACHE_CONTROL, "no-store"),
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
];

/// Long-poll sessions by their tokens.
#[derive(Default)]
pub(crate) struct Sessions {
    handles: Mutex<HashMap<String, SessionHandle>>,
    /// Told when the last one has gone.
    empty: Notify,
}

impl Sessions {
    /// Sessions now.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, SessionHandle>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, token: &str) -> Option<SessionHandle> {
        self.lock().get(token).cloned()
    }

    fn forget(&self, token: &str) {
        let mut handles = self.lock();
        handles.remove(token);
        if handles.is_empty() {
            self.empty.notify_waiters();
        }
    }

    /// Waits until no session is left.
    pub(crate) async fn gone(&self) {
        loop {
            let told = self.empty.notified();
            if self.count() == 0 {
                return;
            }
            told.await;
        }
    }

    /// States of the sessions that are the furthest behind.
    pub(crate) async fn furthest(&self, most: usize) -> Vec<ConnectionState> {
        let handles: Vec<_> = self.lock().values().cloned().collect();
        let mut states = vec![];
        for handle in handles {
            states.extend(handle.state().await);
            if states.len() > most.saturating_mul(2) {
                states::sort(&mut states);
                states.truncate(most);
            }
        }
        states
    }

    /// State of the session that has this token or public id.
    pub(crate) async fn state(&self, name: &str) -> Option<ConnectionState> {
        let handle = {
            let sessions = self.lock();
            let called = || sessions.iter().find(|(token, _)| public_id(token) == name);
            sessions.get(name).or_else(|| called().map(|(_, handle)| handle)).cloned()
        };
        handle?.state().await
    }
}

/// Reaches the session of one client.
#[derive(Clone)]
struct SessionHandle(mpsc::Sender<Request>);

/// Client of a session, as it was when the session was opened.
struct Visitor {
    /// Public id: the token is its client's secret.
    id: String,
    agent: Option<Arc<str>>,
    since: u64,
}

impl SessionHandle {
    async fn state(&self) -> Option<ConnectionState> {
        let (reply, state) = oneshot::channel();
        self.0.send(Request::State(reply)).await.ok()?;
        state.await.ok()
    }
}

enum Request {
    Poll(Reply),
    Post(Bytes, Option<String>, oneshot::Sender<()>),
    /// Request for the state of the session.
    State(oneshot::Sender<ConnectionState>),
}

/// Serves GET, POST and OPTIONS of the long-poll address. The HTTP status is 200 always; the
/// protocol's own status is in the body.
pub async fn serve(
    State(http): State<Http>,
    method: Method,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    peer: Option<Extension<Peer>>,
    body: Body,
) -> Response {
    let from = peer.map(|Extension(peer)| peer.0.ip());
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let token = session_token(text(TOKEN_HEADER), query.get("token").map(String::as_str));
    let session = token.and_then(|token| http.longpoll().find(token).map(|handle| (token, handle)));
    match method {
        Method::OPTIONS => preflight(&headers),
        Method::POST => match session {
            Some((token, handle)) => {
                // The body of a request without a session is not read.
                let Ok(body) = to_bytes(body, limits::LONGPOLL_BODY_BYTES).await else {
                    return not_yet();
                };
                let content_type = text("content-type").map(str::to_owned);
                post(&http, token, &handle, body, content_type).await
            }
            None => answer(&Answer::Gone),
        },
        Method::GET => match session {
            Some((token, handle)) => poll(&http, token, &handle).await,
            // A session that is gone. phoenix.js 1.6 and 1.7 would take a new one for it, and
            // wait for ever on channels that were not joined there.
            None if token.is_some_and(is_session_token) => not_yet(),
            None => {
                let shown = query.get("token").filter(|token| !is_session_token(token));
                let shown = shown.map(String::as_str);
                let admitted = admission::admit(http.edge(), &headers, shown, from);
                let agent = http.edge().user_agents().of(&headers);
                open(&http, query.get("vsn").map(String::as_str), admitted, agent, from)
            }
        },
        // Nothing else takes anything out of a session, or begins one.
        _ => (StatusCode::BAD_REQUEST, HEADERS, r#"{"status":400}"#).into_response(),
    }
}

/// Response to a client that is refused before its session is looked for.
#[must_use]
pub fn refused() -> Response {
    answer(&Answer::Refused)
}

/// Returns true if a path is the address of long-poll; superfluous slashes are ignored.
#[must_use]
pub fn is_at(path: &str) -> bool {
    path.split('/').filter(|part| !part.is_empty()).eq(["socket", "longpoll"])
}

/// Response to a client that cannot be served now, because not everything is in memory, or because
/// of a limit: it retries by itself. Any other response here is final for it.
#[must_use]
pub fn not_yet() -> Response {
    let mut response = answer(&Answer::Posted);
    *response.body_mut() = r#"{"status":500}"#.into();
    response
}

fn open(
    http: &Http,
    vsn: Option<&str>,
    admitted: Result<Credential, Refused>,
    agent: Option<Arc<str>>,
    from: Option<IpAddr>,
) -> Response {
    let credential = match admitted {
        Ok(credential) => credential,
        // What time alone will change is no refusal for good.
        Err(refused) if refused.retry_s().is_some() => return not_yet(),
        Err(_) => return answer(&Answer::Refused),
    };
    let Ok(vsn) = Vsn::parse(vsn) else {
        return answer(&Answer::Refused);
    };
    let (Ok(permit), Some(token)) = (http.enter(from), new_token()) else {
        return not_yet();
    };
    let (sender, requests) = mpsc::channel(16);
    http.longpoll().lock().insert(token.clone(), SessionHandle(sender));
    let connection = Connection::new(http.edge().clone(), credential, vsn, from, permit);
    let (since, id) = (http.edge().now(), public_id(&token));
    tracing::debug!(session = id, "a long-poll session begins");
    let visitor = Visitor { id, agent, since };
    tokio::spawn(run(http.clone(), connection, visitor, token.clone(), requests));
    answer(&Answer::Opened { token: &token })
}

async fn poll(http: &Http, token: &str, handle: &SessionHandle) -> Response {
    let (reply, frames) = oneshot::channel();
    if handle.0.send(Request::Poll(reply)).await.is_err() {
        http.longpoll().forget(token);
        return answer(&Answer::Gone);
    }
    match frames.await {
        Ok(told) => {
            let bytes = Answer::Polled { token, frames: &told.frames }.to_json();
            let length = bytes.len();
            let nothing = Answer::Polled { token, frames: &[] }.to_json();
            let mut response = (HEADERS, told.body(bytes, nothing)).into_response();
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
            response
        }
        Err(_) => answer(&Answer::Gone),
    }
}

async fn post(
    http: &Http,
    token: &str,
    handle: &SessionHandle,
    body: Bytes,
    content_type: Option<String>,
) -> Response {
    let (reply, done) = oneshot::channel();
    if handle.0.send(Request::Post(body, content_type, reply)).await.is_err() {
        http.longpoll().forget(token);
        return answer(&Answer::Gone);
    }
    match tokio::time::timeout(WINDOW, done).await {
        Ok(Ok(())) => answer(&Answer::Posted),
        Ok(Err(_)) => answer(&Answer::Gone),
        Err(_) => answer(&Answer::TimedOut),
    }
}

/// The life of one session: requests in, frames out, until no client polls any more.
async fn run(
    http: Http,
    mut connection: Connection,
    visitor: Visitor,
    token: String,
    mut requests: mpsc::Receiver<Request>,
) {
    let sent_away = drained(Arc::clone(http.edge()), token.clone());
    tokio::pin!(sent_away);
    let mut leaving: Option<Leaving> = None;
    let mut reviewing = http.edge().reviewing();
    let waker = connection.waker();
    let mut polls = Polls::default();
    loop {
        if leaving.as_ref().is_some_and(|leaving| leaving.is_due(connection.is_answered())) {
            connection.tell(SharedEvent::Drain);
        }
        let closed = connection.is_closed();
        polls.revoke(&connection.take_revoked());
        polls.serve(connection.outbox(), closed);
        if closed {
            break;
        }
        let due = Duration::from_millis(connection.due_in());
        let window = polls.window();
        let is_waited_for = polls.is_waited_for();
        tokio::select! {
            request = requests.recv() => match request {
                Some(Request::Poll(reply)) => {
                    connection.tell(Event::Alive);
                    connection.read_allowed(&mut reviewing);
                    polls.revoke(&connection.take_revoked());
                    polls.take(reply, WINDOW, connection.outbox());
                }
                Some(Request::Post(body, content_type, done)) => {
                    if let Some(leaving) = &mut leaving {
                        leaving.hold(done);
                        continue;
                    }
                    let posted = decode_body(content_type.as_deref(), &body);
                    for frame in &posted {
                        connection.receive(frame.incoming());
                    }
                    let _ = done.send(());
                }
                // The request that asked may have been given up.
                Some(Request::State(reply)) => {
                    drop(reply.send(connection.state(&visitor, http.edge().now())));
                }
                None => break,
            },
            completion = connection.completion() => connection.take_outside(completion),
            // Without a poll the ring keeps the news, and memory stays bounded.
            () = waker.notified(), if is_waited_for => {
                connection.read_allowed(&mut reviewing);
            }
            frames = polls.returned() => put_back(frames, connection.outbox()),
            () = sleep_until(window) => polls.time_out(),
            () = tokio::time::sleep(due) => connection.tell(SharedEvent::Tick),
            // Fails only when the http is gone, and this session with it.
            Ok(()) = reviewing.changed() => connection.review(),
            until = &mut sent_away, if leaving.is_none() => leaving = Some(Leaving::until(until)),
            () = sleep_until(leaving.as_ref().map(Leaving::deadline)) => {}
        }
    }
    if let Some(leaving) = leaving {
        leaving.give_rest(connection.outbox(), &mut polls, &mut requests).await;
    }
    connection.tell(SharedEvent::Lost);
    http.longpoll().forget(&token);
    tracing::debug!(session = visitor.id, "a long-poll session has gone");
}

/// Public id of a session: a digest of its token.
fn public_id(token: &str) -> String {
    let digest = Sha1::digest(token.as_bytes());
    format!("poll-{}", HEXLOWER.encode(&digest[..8]))
}

async fn sleep_until(instant: Option<tokio::time::Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// True for what [`new_token`] makes, which pages show in the place of a token of their own.
fn is_session_token(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// 128 random bits as text; none when the system has no randomness to give.
fn new_token() -> Option<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(HEXLOWER.encode(&bytes))
}

fn answer(answer: &Answer<'_>) -> Response {
    (StatusCode::OK, HEADERS, answer.to_json()).into_response()
}

fn preflight(request: &HeaderMap) -> Response {
    let asked = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let mut response = answer(&Answer::Posted);
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: HeaderValue| headers.insert(name, value);
    set(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("get, post, options"));
    set(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
    if let Some(asked) = asked {
        set(header::ACCESS_CONTROL_ALLOW_HEADERS, asked);
    }
    response
}
