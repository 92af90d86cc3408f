//! The requests on one connection of HTTP: who asks, how often, and how their bodies come.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::future::RouteFuture;
use hyper::body::{Body as _, Incoming};
use instep_edge::{Door, Line, Peer, RequestMeter, longpoll};
use tower_service::Service as _;

use super::Serving;
use super::answers::weighed;
use super::bodies::{Arriving, Metered};
use crate::api::streaming::{is_for_events, survivable};
use crate::problem::Problem;

/// Limit of the requests on one connection.
pub(super) enum Requests {
    /// Not at all, but by those who administer the server: there are too many connections.
    Refused(Problem),
    /// As a count of them says.
    Counted(Option<RequestMeter>),
}

impl Requests {
    /// Counts those on a connection. On one of a proxy, those of each client are counted.
    pub(super) fn counted(door: &Door, peer: SocketAddr) -> Self {
        Self::Counted(door.requests(peer.ip()))
    }
}

/// State shared by all requests on a connection.
pub(super) struct Asked {
    pub(super) has_asked: AtomicBool,
    door: Door,
    line: Line,
    requests: Requests,
    routes: Router,
}

/// Answer to a request, while it is made. A state of its own, and no `async` block, because that
/// would hold most of it twice.
pub(super) struct Answering {
    asked: Arc<Asked>,
    from: IpAddr,
    is_longpoll: bool,
    step: Step,
}

enum Step {
    Refused(Option<Response>),
    Routed { answer: RouteFuture<Infallible>, arriving: Option<Arc<Arriving>> },
}

impl Future for Answering {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { asked, from, is_longpoll, step } = self.get_mut();
        let answer = match step {
            Step::Refused(refusal) => refusal.take().expect("it is polled until it is ready"),
            Step::Routed { answer, arriving } => {
                let answer = ready!(Pin::new(answer).poll(cx))?;
                match arriving.as_ref().and_then(|arriving| arriving.problem()) {
                    // Nothing behind a body that was not read can be read.
                    Some(problem) => asked.closing(refusal(problem, *is_longpoll), true),
                    None => weighed(answer, &asked.door, *from),
                }
            }
        };
        Poll::Ready(Ok(answer))
    }
}

impl Asked {
    pub(super) fn new(serving: &Serving, line: Line, requests: Requests) -> Self {
        let (routes, door) = (serving.router.clone(), serving.door.clone());
        let has_asked = AtomicBool::new(false);
        Self { has_asked, door, line, requests, routes }
    }

    /// Answers one of them. What can be decided at once is: the connection keeps the future.
    pub(super) fn answer(self: &Arc<Self>, mut request: hyper::Request<Incoming>) -> Answering {
        self.has_asked.store(true, Ordering::Relaxed);
        let peer = self.client(&mut request);
        let is_longpoll = longpoll::is_at(request.uri().path());
        let (asked, from) = (Arc::clone(self), peer.ip());
        if let Some(problem) = self.refuse(&request, from) {
            let refusal = refusal(problem, is_longpoll);
            let refusal = survivable(refusal, is_for_events(request.headers()));
            let refusal = self.closing(refusal, self.line.is_extra());
            return Answering { asked, from, is_longpoll, step: Step::Refused(Some(refusal)) };
        }
        let extensions = request.extensions_mut();
        extensions.insert(Peer(peer));
        extensions.insert(self.line.clone());
        let mut routes = self.routes.clone();
        let (answer, arriving) = match request.body().is_end_stream() {
            true => (routes.call(request), None),
            false => {
                let arriving = Arc::new(Arriving::default());
                let metered = |body| Metered::new(body, Arc::clone(self), from, &arriving);
                (routes.call(request.map(metered)), Some(arriving))
            }
        };
        Answering { asked, from, is_longpoll, step: Step::Routed { answer, arriving } }
    }

    /// Returns the address of the client and corrects the host: a trusted proxy tells both.
    fn client(&self, request: &mut hyper::Request<Incoming>) -> SocketAddr {
        let (peer, proxies) = (self.line.peer(), self.door.proxies());
        if proxies.is_empty() {
            return peer;
        }
        proxies.put_host(peer.ip(), request.headers_mut());
        proxies.client(peer.ip(), request.headers()).map_or(peer, |client| (client, 0).into())
    }

    /// Counts a request; what it is answered if it is one too many.
    fn refuse(&self, request: &hyper::Request<Incoming>, from: IpAddr) -> Option<Problem> {
        let asks = || {
            let detail = "too many requests";
            move |retry_s| Problem::too_often("rate_limited", detail, retry_s)
        };
        match &self.requests {
            Requests::Refused(problem) => {
                let administers = self.door.administers(request.headers(), from);
                (!administers).then(|| problem.clone())
            }
            Requests::Counted(Some(meter)) => meter.check().err().map(asks()),
            Requests::Counted(None) if from == self.line.peer().ip() => None,
            Requests::Counted(None) => {
                let opens = request.headers().contains_key(header::UPGRADE);
                let may = if opens { self.door.may_connect(from) } else { self.door.may_ask(from) };
                may.err().map(asks())
            }
        }
    }

    /// Counts a piece of a body that brings next to nothing; false when it is one too many.
    pub(super) fn count_crumb(&self) -> bool {
        match &self.requests {
            Requests::Counted(Some(meter)) => meter.check().is_ok(),
            Requests::Counted(None) | Requests::Refused(_) => true,
        }
    }

    pub(super) fn door(&self) -> &Door {
        &self.door
    }

    fn closing(&self, mut answer: Response, closes: bool) -> Response {
        if closes {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}

/// A refusal as its client can read it: those of long-poll look into the body only, where a
/// status means what their protocol says.
fn refusal(problem: Problem, is_longpoll: bool) -> Response {
    match is_longpoll {
        true => longpoll::not_yet(),
        false => problem.into_response(),
    }
}
