//! Admission of requests: the checks and headers common to all of them, in front of the routes. It
//! is one layer, because each costs as much as the parsing of a small request.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use instep_access::Gate;
use instep_edge::{Door, RequestId, longpoll};
use instep_node::Node;

use crate::api::streaming::{is_for_events, survivable};
use crate::problem::Problem;
use crate::web::{self, Reader, Web};

/// State of the layer: everything by which a request is admitted. A request carries it on.
pub(crate) struct Admission {
    pub(crate) node: Node,
    pub(crate) gate: Gate,
    pub(crate) door: Door,
    pub(crate) web: Web,
}

/// Headers and form of an answer, as far as they follow from its request.
struct Dress {
    is_ours: bool,
    is_for_events: bool,
    /// Page that may read it, of an answer below `/v1`.
    reader: Option<Reader>,
    id: Option<RequestId>,
}

/// Admits a request to its route, or refuses it.
pub(crate) async fn admit(
    State(admission): State<Arc<Admission>>,
    mut request: Request,
    next: Next,
) -> Response {
    let mut dress = Dress::of(&request);
    let answer = match admission.check(&request, &mut dress) {
        Ok(()) => {
            request.extensions_mut().insert(Arc::clone(&admission));
            next.run(request).await
        }
        Err(refused) => *refused,
    };
    dress.put_on(answer, &admission.web)
}

impl Admission {
    /// Checks what holds for every request before its route is known; in `Err` its answer.
    fn check(&self, request: &Request, dress: &mut Dress) -> Result<(), Box<Response>> {
        let path = request.uri().path();
        // Clients of long-poll look into the body only, and know no 503 there.
        let is_longpoll = longpoll::is_at(path);
        let checked = self.web.check_host(request);
        let checked = checked.and_then(|()| Web::check_shown(request.headers()));
        checked.map_err(
            |problem| {
                if is_longpoll { longpoll::refused().into() } else { refused(problem) }
            },
        )?;
        if path.starts_with("/v1") {
            let reader = self.web.check_page(request.headers());
            dress.reader = Some(reader.map_err(refused)?);
            if let Some(allowed) = Web::preflight(request.method(), request.headers()) {
                return Err(allowed.into());
            }
        }
        // Until everything is in memory, nothing is answered but health and metrics.
        let is_health = ["/healthz", "/readyz", "/metrics"].contains(&path);
        if !is_health && self.node.waiting_for().is_some() {
            return Err(if is_longpoll {
                longpoll::not_yet().into()
            } else {
                refused(Problem::loading())
            });
        }
        if !is_text(path) {
            // Such a path names nothing. The routes' own answer would be plain text.
            let detail = format!("the path {path} does not decode to UTF-8");
            return Err(refused(Problem::bad_request("bad_name", detail)));
        }
        match request.uri().query().filter(|query| !is_text(query)) {
            // What cannot be read would be taken for something else.
            Some(query) => {
                let detail = format!("the query {query} does not decode to UTF-8");
                Err(refused(Problem::bad_request("bad_query", detail)))
            }
            None => Ok(()),
        }
    }
}

impl Dress {
    fn of(request: &Request) -> Self {
        let path = request.uri().path();
        let is_ours = path.starts_with("/v1") || path.starts_with("/reference");
        let id = request.extensions().get().cloned();
        Self { is_ours, is_for_events: is_for_events(request.headers()), reader: None, id }
    }

    fn put_on(self, answer: Response, web: &Web) -> Response {
        let mut answer = if answer.status().is_success() {
            answer
        } else {
            let answer = match &self.id {
                Some(id) => Problem::identified(answer, id),
                None => answer,
            };
            survivable(answer, self.is_for_events)
        };
        if let Some(reader) = self.reader {
            reader.allow(&mut answer);
        }
        if self.is_ours {
            web::protect(&mut answer);
        }
        web.keep_cookies(&mut answer);
        answer
    }
}

fn refused(problem: Problem) -> Box<Response> {
    problem.into_response().into()
}

fn is_text(path: &str) -> bool {
    if !path.contains('%') {
        return true;
    }
    let mut parts = path.split('%');
    let mut decoded = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let escape = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        // What only looks like an escape stands for itself.
        decoded.push(escape.unwrap_or(b'%'));
        decoded.extend(&part.as_bytes()[if escape.is_some() { 2 } else { 0 }..]);
    }
    std::str::from_utf8(&decoded).is_ok()
}
