//! The requests on one connection of HTTP: who asks, how often, and how their bodies come.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Body as _, Incoming};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use instep_edge::{Door, Line, Peer, RequestMeter, longpoll};

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
    routes: TowerToHyperService<axum::Router>,
}

impl Asked {
    pub(super) fn new(serving: &Serving, line: Line, requests: Requests) -> Self {
        let routes = TowerToHyperService::new(serving.router.clone());
        let (door, has_asked) = (serving.door.clone(), AtomicBool::new(false));
        Self { has_asked, door, line, requests, routes }
    }

    /// Answers one of them.
    pub(super) async fn answer(
        self: Arc<Self>,
        mut request: hyper::Request<Incoming>,
    ) -> Result<Response, Infallible> {
        self.has_asked.store(true, Ordering::Relaxed);
        let peer = self.client(&mut request);
        if let Some(problem) = self.refuse(&request, peer.ip()) {
            let is_longpoll = longpoll::is_at(request.uri().path());
            let refusal = refusal(problem, is_longpoll);
            let refusal = survivable(refusal, is_for_events(request.headers()));
            return Ok(self.closing(refusal, self.line.is_extra()));
        }
        let extensions = request.extensions_mut();
        extensions.insert(Peer(peer));
        extensions.insert(self.line.clone());
        if request.body().is_end_stream() {
            let answer = self.routes.call(request.map(Body::new)).await?;
            return Ok(weighed(answer, &self.door, peer.ip()));
        }
        let is_longpoll = longpoll::is_at(request.uri().path());
        let arriving = Arc::new(Arriving::default());
        let metered = |body| Metered::new(body, Arc::clone(&self), peer.ip(), &arriving);
        let answer = self.routes.call(request.map(|body| Body::new(metered(body)))).await?;
        Ok(match arriving.problem() {
            // Nothing behind a body that was not read can be read.
            Some(problem) => self.closing(refusal(problem, is_longpoll), true),
            None => weighed(answer, &self.door, peer.ip()),
        })
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
