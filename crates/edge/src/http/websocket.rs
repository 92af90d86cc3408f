//! The WebSocket transport: the handshake over HTTP, after which a shard has the socket.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use base64::Engine as _;
use hyper::upgrade::{OnUpgrade, Parts, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade as auto;
use instep_protocol::encode::Frame;
use instep_protocol::subprotocol;
use instep_protocol::vsn::Vsn;
use instep_protocol::websocket::Decoder;
use sha1::{Digest as _, Sha1};
use tokio::net::TcpStream;

use super::Http;
use super::admission;
use super::line::Line;
use super::socket::{Peer, Socket};
use crate::driver::SessionDriver;
use crate::permits::{NoPermit, Permit};
use crate::raw::Raw;
pub use crate::raw::RawMessage;
use crate::shard::{Arrival, Side, Stream, Wire};

/// GUID that every server appends to the key of a handshake (RFC 6455, 1.3).
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Retry-After of a client that has too many sockets already, in seconds.
const RETRY_S: u64 = 10;

/// Upgrades a request to a Channels socket, or refuses it with a plain HTTP status.
pub async fn upgrade(
    State(http): State<Http>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    let refuse = |status: StatusCode, why: String| (status, why).into_response();
    let vsn = match Vsn::parse(query.get("vsn").map(String::as_str)) {
        Ok(vsn) => vsn,
        Err(error) => return refuse(StatusCode::FORBIDDEN, error.to_string()),
    };
    let offered = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let offered = subprotocol::parse(offered.iter().filter_map(|value| value.to_str().ok()));
    let offered = match offered {
        Ok(offered) => offered,
        Err(error) => return refuse(StatusCode::FORBIDDEN, error.to_string()),
    };
    let shown = offered.token.as_deref().or(query.get("token").map(String::as_str));
    let credential = match admission::admit(
        http.edge(),
        request.headers(),
        shown,
        Peer::address(request.extensions()),
    ) {
        Ok(credential) => credential,
        Err(refused) => {
            return match refused.retry_s() {
                Some(retry_s) => too_often(retry_s, refused.to_string()),
                None => refuse(StatusCode::FORBIDDEN, refused.to_string()),
            };
        }
    };
    let side = Side::Channels(SessionDriver::on_socket(vsn, credential, http.edge()));
    switch(&http, request, side, offered.answer)
}

/// Serves a socket that does not speak Channels: every message, of up to `limit` bytes, is given
/// to `answer`, on the thread that serves thousands of sockets, so that it must not wait.
pub fn raw<S>(
    http: Http,
    limit: usize,
    answer: impl Fn(RawMessage<'_>) -> Option<Frame> + Send + Sync + 'static,
) -> MethodRouter<S, Infallible>
where
    S: Clone + Send + Sync + 'static,
{
    let raw = Arc::new(Raw { limit, answer: Box::new(answer) });
    get(async move |request: Request| switch(&http, request, Side::Raw(Arc::clone(&raw)), None))
}

/// Answers the handshake; when the answer is written, the socket goes to a shard.
fn switch(
    http: &Http,
    mut request: Request,
    side: Side,
    protocol: Option<&'static str>,
) -> Response {
    let began = Instant::now();
    let key = match handshake_key(request.method(), request.headers()) {
        Ok(key) => key,
        Err(refusal) => return *refusal,
    };
    let Some(on_upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        let why = "this connection cannot be upgraded";
        return (StatusCode::UPGRADE_REQUIRED, why).into_response();
    };
    let permit = match http.enter(Peer::address(request.extensions())) {
        Ok(permit) => permit,
        Err(NoPermit::Server) => {
            let why = "no place for another socket";
            return (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
        }
        Err(NoPermit::Address) => {
            let why = "too_many_sockets: no place for another socket of this address";
            return too_often(RETRY_S, why.into());
        }
    };
    let agent = http.edge().user_agents().of(request.headers());
    let line = Line::of(request.extensions()).and_then(Line::take_permit);
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    let incomer = Incomer { side, permit, line, peer, agent, began };
    tokio::spawn(hand_over(http.clone(), on_upgrade, incomer));
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    response
}

/// Response with 429 and Retry-After.
fn too_often(retry_s: u64, why: String) -> Response {
    let headers = [(header::RETRY_AFTER, retry_s.to_string())];
    (StatusCode::TOO_MANY_REQUESTS, headers, why).into_response()
}

/// Checks what RFC 6455 (4.2.1) asks of a client; the answer to its key.
fn handshake_key(method: &Method, headers: &HeaderMap) -> Result<HeaderValue, Box<Response>> {
    let names = |name: header::HeaderName, wanted: &str| {
        let values = headers.get_all(name);
        let mut values = values.iter().filter_map(|value| value.to_str().ok());
        values.any(|value| value.split(',').any(|one| one.trim().eq_ignore_ascii_case(wanted)))
    };
    let refuse = |status, why: &'static str| Err(Box::new((status, why).into_response()));
    if method != Method::GET {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "a WebSocket begins with GET");
    }
    if !names(header::CONNECTION, "upgrade") || !names(header::UPGRADE, "websocket") {
        let why = "a WebSocket is asked for by Connection: upgrade and Upgrade: websocket";
        return refuse(StatusCode::BAD_REQUEST, why);
    }
    if !names(header::SEC_WEBSOCKET_VERSION, "13") {
        let headers = [(header::SEC_WEBSOCKET_VERSION, "13")];
        let why = "the version of WebSocket spoken here is 13";
        return Err(Box::new((StatusCode::UPGRADE_REQUIRED, headers, why).into_response()));
    }
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
        return refuse(StatusCode::BAD_REQUEST, "the header Sec-WebSocket-Key is missing");
    };
    let digest = Sha1::new().chain_update(key.as_bytes()).chain_update(KEY_SUFFIX).finalize();
    let accept = base64::engine::general_purpose::STANDARD.encode(digest);
    match HeaderValue::try_from(accept) {
        Ok(accept) => Ok(accept),
        Err(_) => refuse(StatusCode::BAD_REQUEST, "the key cannot be answered"),
    }
}

/// Client in its handshake.
struct Incomer {
    side: Side,
    permit: Permit,
    line: Option<Permit>,
    /// Address of the client, if that is not the other end.
    peer: Option<SocketAddr>,
    agent: Option<Arc<str>>,
    began: Instant,
}

async fn hand_over(http: Http, on_upgrade: OnUpgrade, incomer: Incomer) {
    let upgraded = match on_upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => return tracing::debug!(%error, "a handshake was not finished"),
    };
    let (stream, other_end, early) = match taken(upgraded) {
        Ok(Some(taken)) => taken,
        Ok(None) => return tracing::error!("a socket of an unknown kind was upgraded"),
        Err(error) => return tracing::debug!(%error, "a socket was lost in its handshake"),
    };
    let wire = Wire::WebSocket(Decoder::default());
    let Incomer { side, permit, line, peer, agent, began } = incomer;
    let peer = peer.unwrap_or(other_end);
    let (ready, early) = (Instant::now(), early.to_vec());
    let handshake = Some(ready - began);
    let arrival =
        Arrival { stream, wire, side, peer, agent, handshake, ready, permit, line, early };
    http.admit(arrival);
}

/// The socket, its other end, and what the client sent behind the handshake; none when it is of
/// another kind.
fn taken(upgraded: Upgraded) -> io::Result<Option<(Stream, SocketAddr, Bytes)>> {
    match upgraded.downcast::<TokioIo<Socket>>() {
        Ok(Parts { io, read_buf, .. }) => {
            let socket = io.into_inner();
            let peer = socket.peer();
            Ok(Some((socket.into_stream()?, peer, read_buf)))
        }
        // A program serves by itself, with what axum brings along.
        Err(upgraded) => match auto::downcast::<TokioIo<TcpStream>>(upgraded) {
            Ok(auto::Parts { io, read_buf, .. }) => {
                let stream = io.into_inner().into_std()?;
                let peer = stream.peer_addr()?;
                let stream = Stream::Plain(mio::net::TcpStream::from_std(stream));
                Ok(Some((stream, peer, read_buf)))
            }
            Err(_) => Ok(None),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (header::HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        list.iter().map(pair).collect()
    }

    #[test]
    fn the_key_of_the_rfc_is_answered_as_the_rfc_says() {
        let asked = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ]);

        let answer = handshake_key(&Method::GET, &asked).unwrap();

        assert_eq!(answer, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn another_version_is_told_which_one_is_spoken() {
        let asked = headers(&[
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "8"),
            ("sec-websocket-key", "x"),
        ]);

        let refused = handshake_key(&Method::GET, &asked).unwrap_err();

        assert_eq!(refused.status(), StatusCode::UPGRADE_REQUIRED);
        assert_eq!(refused.headers()[header::SEC_WEBSOCKET_VERSION], "13");
    }
}
