//! Connections that begin with a handshake or the header of a proxy, before a shard serves them.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use instep_model::limits;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::acceptor::Acceptor;
use crate::certificates::Certificates;
use crate::counts::DoorKind;
use crate::descriptors::is_scarce;
use crate::http::socket::Socket;
use crate::permits::PermitKind;
use crate::shard::{Arrival, Shards, Side, begin};
use crate::state::EdgeState;

use crate::turned_away::TurnedAway;

/// Preamble of TCP clients, before their messages.
#[derive(Clone)]
pub(crate) struct Greeting {
    /// The header of a proxy, which says where they come from.
    pub(crate) proxied: bool,
    /// TLS.
    pub(crate) certificates: Option<Certificates>,
    pub(crate) kind: DoorKind,
}

/// Accepts clients that send something before a shard serves them, until a drain begins or
/// the door is gone.
pub(crate) async fn accept(
    mut acceptor: Acceptor,
    (edge, shards): (Arc<EdgeState>, Weak<Shards>),
    greeting: Greeting,
) {
    let mut draining = edge.draining();
    let busy = Arc::new(Semaphore::new(limits::TLS_PLACES));
    loop {
        let stream = tokio::select! {
            stream = acceptor.next() => stream,
            _ = draining.wait_for(|drain| *drain) => return,
        };
        let Some(shards) = shards.upgrade() else { return };
        // Who has no address has gone again; who takes one of the last descriptors goes at once.
        let Ok(peer) = stream.peer_addr() else { continue };
        if is_scarce(&stream) {
            continue;
        }
        // A handshake costs too much to say why.
        if greeting.proxied || edge.may_connect(peer.ip()).is_ok() {
            let (greeting, busy) = (greeting.clone(), Arc::clone(&busy));
            let edge = Arc::clone(&edge);
            tokio::spawn(async move {
                if let Some(arrival) = take_in(&edge, (stream, peer), &greeting, &busy).await {
                    shards.admit(arrival);
                }
            });
        }
    }
}

/// Hears who it is and shakes hands: the connection for a shard, if it comes so far.
async fn take_in(
    edge: &Arc<EdgeState>,
    (mut stream, mut peer): (TcpStream, SocketAddr),
    greeting: &Greeting,
    busy: &Semaphore,
) -> Option<Arrival> {
    let began = Instant::now();
    if greeting.proxied {
        peer = edge.proxied(&mut stream, peer).await?;
    }
    let may = if greeting.proxied && edge.may_connect(peer.ip()).is_err() {
        Err(TurnedAway::TooOften)
    } else {
        edge.take_permit(PermitKind::Connection, Some(peer.ip())).map_err(TurnedAway::from)
    };
    let line = match may {
        Ok(line) => line,
        Err(why) => {
            // A handshake costs too much to say why.
            if greeting.certificates.is_none() {
                let _ = stream.try_write(&why.words(greeting.kind));
            }
            return None;
        }
    };
    let certificates = greeting.certificates.as_ref();
    let mut socket = shake(edge, stream, peer, certificates, busy).await?;
    let permit = match edge.enter(Some(peer.ip())) {
        Ok(permit) => permit,
        Err(full) => {
            let words = TurnedAway::from(full).words(greeting.kind);
            // A client that does not take it misses it.
            let _ = tokio::time::timeout(edge.handshake(), say(&mut socket, &words)).await;
            return None;
        }
    };
    let (wire, driver) = begin(greeting.kind, edge)?;
    match socket.into_stream() {
        Ok(stream) => {
            let ready = Instant::now();
            Some(Arrival {
                stream,
                wire,
                side: Side::Channels(driver),
                peer,
                agent: None,
                handshake: Some(ready - began),
                ready,
                permit,
                line: Some(line),
                early: vec![],
            })
        }
        Err(error) => {
            tracing::debug!(%error, "a socket was lost behind its handshake");
            None
        }
    }
}

/// Writes the last bytes of a connection and shuts it down.
async fn say(socket: &mut Socket, words: &[u8]) -> std::io::Result<()> {
    socket.write_all(words).await?;
    socket.shutdown().await
}

/// Shakes hands, if there are certificates. A client that says nothing keeps no other from it, and
/// one that is slow at it not for long.
async fn shake(
    edge: &Arc<EdgeState>,
    stream: TcpStream,
    peer: SocketAddr,
    certificates: Option<&Certificates>,
    busy: &Semaphore,
) -> Option<Socket> {
    if certificates.is_none() {
        return Socket::take(edge, stream, peer, None).await;
    }
    let Ok(Ok(())) = tokio::time::timeout(edge.handshake(), stream.readable()).await else {
        edge.tls_handshakes().note_late();
        return None;
    };
    let permit = busy.acquire().await.ok()?;
    let mut taking = pin!(Socket::take(edge, stream, peer, certificates));
    let patience = Duration::from_millis(limits::TLS_PLACE_MS);
    match tokio::time::timeout(patience, taking.as_mut()).await {
        Ok(socket) => socket,
        Err(_) => {
            drop(permit);
            taking.await
        }
    }
}
