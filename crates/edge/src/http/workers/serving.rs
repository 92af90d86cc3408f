//! One connection of HTTP: whether there is a place for it, its handshakes, its deadlines.

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use instep_model::limits;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tracing::Instrument as _;

use super::HttpWorker;
use super::requests::{Asked, Requests};
use crate::descriptors::is_scarce;
use crate::http::line::Line;
use crate::http::refusal::RequestRefusal;
use crate::http::request_id::Numbers;
use crate::http::socket::Socket;
use crate::rates::seconds;

const LINGER: Duration = Duration::from_millis(limits::DRAIN_LINGER_MS);

/// A connection that has come to the door.
struct Arrival {
    line: Line,
    requests: Requests,
    /// Timeout of the first request.
    patience: Duration,
}

/// Serves a connection once it says something: of a crowd most say nothing yet, and one that does
/// not has neither buffers nor what goes with them. The others shake hands a few at a time:
/// thousands at once would take the memory of all of them, and the core from a shard.
pub(super) async fn serve_one(
    mut stream: TcpStream,
    worker: Arc<HttpWorker>,
    mut stopping: watch::Receiver<bool>,
) {
    let Ok(mut peer) = stream.peer_addr() else { return };
    let serving = &worker.serving;
    if serving.proxied {
        let client = tokio::select! {
            biased;
            client = worker.http.edge().proxied(&mut stream, peer) => client,
            _ = stopping.wait_for(|stop| *stop) => None,
        };
        let Some(client) = client else { return };
        peer = client;
    }
    let Some(mut arrival) = arrive(&worker, &stream, peer) else { return };
    // A handshake of TLS begins at once, and is counted when it does not end in time.
    if serving.certificates.is_none() {
        let Some(left) = speaks(&stream, arrival.patience, &mut stopping).await else { return };
        arrival.patience = left;
    }
    worker.pacer.lock().await.next().await;
    let numbers = Numbers::new();
    let span = tracing::debug_span!("connection", id = %numbers, %peer, door = "http");
    let serving = serve_speaker(stream, &worker, stopping, (arrival, numbers));
    Box::pin(serving.instrument(span)).await;
}

/// Finds a place; none for one who goes without a word.
fn arrive(worker: &HttpWorker, stream: &TcpStream, peer: SocketAddr) -> Option<Arrival> {
    let HttpWorker { http, serving, .. } = worker;
    let handshake = http.edge().handshake();
    let extra = Duration::from_millis(limits::EXTRA_MS).min(handshake);
    if let Err(wait) = http.edge().may_connect(peer.ip()) {
        if serving.certificates.is_some() {
            // A handshake costs too much to say why.
            return None;
        }
        let refusal = RequestRefusal::Connections { retry_s: seconds(wait) };
        let line = http.extra_line(peer)?;
        return Some(Arrival { line, requests: Requests::Refused(refusal), patience: extra });
    }
    let (line, full) = http.line(peer, is_scarce(stream)).ok()?;
    let (requests, patience) = match full {
        None => (Requests::counted(http, peer), handshake),
        Some(full) => (Requests::Refused(RequestRefusal::Full(full)), extra),
    };
    Some(Arrival { line, requests, patience })
}

/// Waits for a client to say something; how much of its time is left then, none when it does not
/// in time, or the server stops.
async fn speaks(
    stream: &TcpStream,
    patience: Duration,
    stopping: &mut watch::Receiver<bool>,
) -> Option<Duration> {
    let began = Instant::now();
    let ready = tokio::select! {
        biased;
        ready = stream.readable() => Some(ready),
        () = tokio::time::sleep(patience) => {
            tracing::debug!("a client of HTTP said nothing in time");
            return None;
        }
        _ = stopping.wait_for(|stop| *stop) => None,
    };
    let ready = match ready {
        Some(ready) => ready,
        // It came before the stop, and no worker was told of it yet.
        None if has_said(stream) => stream.readable().await,
        None => return None,
    };
    ready.ok().map(|()| patience.saturating_sub(began.elapsed()))
}

/// True when bytes of the client are there.
fn has_said(stream: &TcpStream) -> bool {
    let mut first = [MaybeUninit::uninit()];
    SockRef::from(stream).peek(&mut first).is_ok_and(|bytes| bytes > 0)
}

impl HttpWorker {
    /// Shakes hands over TLS, if there are certificates. A slow client does not keep others
    /// waiting.
    async fn take(&self, stream: TcpStream, line: Line) -> Option<Socket> {
        let place = self.places.acquire().await.ok()?;
        let (edge, certificates) = (self.http.edge(), &self.serving.certificates);
        let mut taking = pin!(Socket::take(edge, stream, line.peer(), certificates.as_ref()));
        let patience = Duration::from_millis(limits::TLS_PLACE_MS);
        let taken = match tokio::time::timeout(patience, taking.as_mut()).await {
            Ok(socket) => socket,
            Err(_) => {
                drop(place);
                taking.await
            }
        };
        Some(taken?.on(line))
    }
}

async fn serve_speaker(
    stream: TcpStream,
    worker: &Arc<HttpWorker>,
    mut stopping: watch::Receiver<bool>,
    (Arrival { line, requests, patience }, numbers): (Arrival, Numbers),
) {
    let serving = &worker.serving;
    let is_extra = line.is_extra();
    let socket = tokio::select! {
        biased;
        taken = worker.take(stream, line.clone()) => taken,
        _ = stopping.wait_for(|stop| *stop) => return,
    };
    let Some(socket) = socket else { return };
    let asked = Arc::new(Asked::new(worker, line, requests, numbers));
    let service = {
        let asked = Arc::clone(&asked);
        service_fn(move |request| asked.answer(request))
    };
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(serving.idle);
    http.max_buf_size(limits::HEAD_BYTES).keep_alive(!is_extra);
    let mut connection = pin!(http.serve_connection(TokioIo::new(socket), service).with_upgrades());
    let mut first = pin!(tokio::time::sleep(patience));
    let (mut is_young, mut stays) = (true, true);
    loop {
        tokio::select! {
            // A request that has come is read before a stop ends what has none.
            biased;
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection of HTTP failed");
                }
                return;
            }
            () = &mut first, if is_young => {
                is_young = false;
                if !asked.has_asked.load(Ordering::Relaxed) {
                    return tracing::debug!("a client of HTTP asked for nothing in time");
                }
            }
            () = asked.last_asked(&mut stopping), if stays => {
                stays = false;
                connection.as_mut().graceful_shutdown();
                // The head of a request that is not complete is none that is in flight.
                let until = first.deadline().min(tokio::time::Instant::now() + LINGER);
                first.as_mut().reset(until);
            }
        }
    }
}
