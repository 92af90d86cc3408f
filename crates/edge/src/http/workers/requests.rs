//! The requests on one connection of HTTP: who asks, how often, and how their bodies come.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::routing::future::RouteFuture;
use hyper::body::{Body as _, Incoming};
use tokio::sync::watch;
use tower_service::Service as _;
use tracing::Span;

use super::HttpWorker;
use super::answers::weighed;
use super::bodies::{Arriving, Metered};
use crate::http::event_stream::is_for_events;
use crate::http::line::Line;
use crate::http::refusal::RequestRefusal;
use crate::http::request_id::{Numbers, REQUEST_ID, RequestId};
use crate::http::request_meter::RequestMeter;
use crate::http::socket::Peer;
use crate::http::{Http, admission, longpoll};
use crate::rates::seconds;

/// Limit of the requests on one connection.
pub(super) enum Requests {
    /// No requests but those of operators of the server: there are too many connections.
    Refused(RequestRefusal),
    /// Rate of requests, if it is limited.
    Counted(Option<RequestMeter>),
}

impl Requests {
    /// Counts those on a connection. On one of a proxy, those of each client are counted.
    pub(super) fn counted(http: &Http, peer: SocketAddr) -> Self {
        Self::Counted(http.requests(peer.ip()))
    }
}

/// State shared by all requests on a connection.
pub(super) struct Asked {
    pub(super) has_asked: AtomicBool,
    /// True when the last request was one of long-poll.
    is_of_longpoll: AtomicBool,
    numbers: Numbers,
    worker: Arc<HttpWorker>,
    line: Line,
    requests: Requests,
}

/// Answer to a request, while it is made. A state of its own, and no `async` block, because that
/// would hold most of it twice.
pub(super) struct Answering {
    asked: Arc<Asked>,
    from: IpAddr,
    is_longpoll: bool,
    id: RequestId,
    span: Span,
    step: Step,
}

enum Step {
    Refused(Option<Response>),
    Routed { answer: RouteFuture<Infallible>, arriving: Option<Arc<Arriving>> },
}

impl Future for Answering {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { asked, from, is_longpoll, id, span, step } = self.get_mut();
        let _entered = span.enter();
        let mut answer = match step {
            Step::Refused(refusal) => refusal.take().expect("it is polled until it is ready"),
            Step::Routed { answer, arriving } => {
                let answer = ready!(Pin::new(answer).poll(cx))?;
                match arriving.as_ref().and_then(|arriving| arriving.refusal()) {
                    // Nothing behind a body that was not read can be read.
                    Some(why) => asked.closing(asked.refusal(why, (*is_longpoll, false), id), true),
                    None => weighed(answer, &asked.worker, (*from, id)),
                }
            }
        };
        answer.headers_mut().insert(REQUEST_ID, id.header());
        Poll::Ready(Ok(answer))
    }
}

impl Asked {
    pub(super) fn new(
        worker: &Arc<HttpWorker>,
        line: Line,
        requests: Requests,
        numbers: Numbers,
    ) -> Self {
        let (has_asked, is_of_longpoll) = (AtomicBool::new(false), AtomicBool::new(false));
        let worker = Arc::clone(worker);
        Self { has_asked, is_of_longpoll, numbers, worker, line, requests }
    }

    /// Waits until the connection takes no further request: a server stops, and no long-poll
    /// session is left whose next poll may come here.
    pub(super) async fn last_asked(&self, stopping: &mut watch::Receiver<bool>) {
        // Fails only when the server is gone.
        let _ = stopping.wait_for(|stop| *stop).await;
        if self.is_of_longpoll.load(Ordering::Relaxed) {
            self.http().longpoll().gone().await;
        }
    }

    /// Answers one of them. What can be decided at once is: the connection keeps the future.
    pub(super) fn answer(self: &Arc<Self>, mut request: hyper::Request<Incoming>) -> Answering {
        self.has_asked.store(true, Ordering::Relaxed);
        let peer = self.client(&mut request);
        let is_longpoll = longpoll::is_at(request.uri().path());
        self.is_of_longpoll.store(is_longpoll, Ordering::Relaxed);
        let (asked, from) = (Arc::clone(self), peer.ip());
        let id = RequestId::of(request.headers(), &self.numbers);
        // Without the query, in which a token may stand. Who asks is noted when it is known.
        let span = tracing::debug_span!(
            "request",
            %id,
            method = %request.method(),
            path = request.uri().path(),
            principal = tracing::field::Empty,
        );
        let entered = span.enter();
        if let Some(why) = self.refuse(&request, from) {
            let refusal = self.refusal(why, (is_longpoll, is_for_events(request.headers())), &id);
            let refusal = self.closing(refusal, self.line.is_extra());
            let step = Step::Refused(Some(refusal));
            drop(entered);
            return Answering { asked, from, is_longpoll, id, span, step };
        }
        let extensions = request.extensions_mut();
        extensions.insert(Peer(peer));
        extensions.insert(id.clone());
        extensions.insert(self.line.clone());
        let mut routes = self.worker.serving.router.clone();
        let (answer, arriving) = if request.body().is_end_stream() {
            (routes.call(request), None)
        } else {
            let arriving = Arc::new(Arriving::default());
            let metered = |body| Metered::new(body, Arc::clone(self), from, &arriving);
            (routes.call(request.map(metered)), Some(arriving))
        };
        drop(entered);
        Answering { asked, from, is_longpoll, id, span, step: Step::Routed { answer, arriving } }
    }

    /// Returns the address of the client and corrects the host: a trusted proxy tells both.
    fn client(&self, request: &mut hyper::Request<Incoming>) -> SocketAddr {
        let (peer, proxies) = (self.line.peer(), &self.http().edge().options().proxies);
        if proxies.is_empty() {
            return peer;
        }
        proxies.put_host(peer.ip(), request.headers_mut());
        proxies.client(peer.ip(), request.headers()).map_or(peer, |client| (client, 0).into())
    }

    /// Counts a request; its refusal if it is one too many.
    fn refuse(&self, request: &hyper::Request<Incoming>, from: IpAddr) -> Option<RequestRefusal> {
        let edge = self.http().edge();
        let too_often = |retry_s| RequestRefusal::Requests { retry_s };
        match &self.requests {
            Requests::Refused(refusal) => {
                let administers = admission::administers(edge, request.headers(), from);
                (!administers).then_some(*refusal)
            }
            Requests::Counted(Some(meter)) => meter.check().err().map(too_often),
            Requests::Counted(None) if from == self.line.peer().ip() => None,
            Requests::Counted(None) => {
                let opens = request.headers().contains_key(header::UPGRADE);
                let may = if opens { edge.may_connect(from) } else { edge.may_ask(from) };
                may.err().map(|wait| too_often(seconds(wait)))
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

    pub(super) fn http(&self) -> &Http {
        &self.worker.http
    }

    /// A refusal as its client can read it: those of long-poll look into the body only, where a
    /// status means what their protocol says.
    fn refusal(
        &self,
        why: RequestRefusal,
        (is_longpoll, for_events): (bool, bool),
        id: &RequestId,
    ) -> Response {
        if is_longpoll {
            longpoll::not_yet()
        } else {
            (self.worker.serving.refuse)(why, for_events, id)
        }
    }

    fn closing(&self, mut answer: Response, closes: bool) -> Response {
        if closes {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}
