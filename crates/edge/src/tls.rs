//! Connections that begin with a handshake or the header of a proxy, before a shard serves them.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use instep_access::Credential;
use instep_model::limits;
use instep_protocol::length;
use instep_protocol::vsn::Vsn;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};

use crate::certificates::Certificates;
use crate::counts::DoorKind;
use crate::door::Door;
use crate::entrance::Entrance;
use crate::listen::is_scarce;
use crate::places::Sort;
use crate::shard::{Arrival, Side, Wire};
use crate::socket::Socket;
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

/// Takes in clients who say something before a shard serves them, until everybody is sent away or
/// the door is gone.
pub(crate) async fn accept(
    mut entrance: Entrance,
    door: impl Fn() -> Option<Door>,
    greeting: Greeting,
    mut draining: watch::Receiver<bool>,
) {
    let busy = Arc::new(Semaphore::new(limits::TLS_PLACES));
    loop {
        let stream = tokio::select! {
            stream = entrance.next() => stream,
            _ = draining.wait_for(|drain| *drain) => return,
        };
        let Some(door) = door() else { return };
        // Who has no address has gone again; who takes one of the last descriptors goes at once.
        let Ok(peer) = stream.peer_addr() else { continue };
        if is_scarce(&stream) {
            continue;
        }
        // A handshake costs too much to say why.
        if greeting.proxied || door.may_connect(peer.ip()).is_ok() {
            let (greeting, busy) = (greeting.clone(), Arc::clone(&busy));
            tokio::spawn(async move { take_in(&door, (stream, peer), &greeting, &busy).await });
        }
    }
}

/// Hears who it is, shakes hands, and gives the connection to a shard.
async fn take_in(
    door: &Door,
    (mut stream, mut peer): (TcpStream, SocketAddr),
    greeting: &Greeting,
    busy: &Semaphore,
) {
    let began = Instant::now();
    let edge = door.edge();
    if greeting.proxied {
        let Some(client) = door.proxied(&mut stream, peer).await else { return };
        peer = client;
    }
    let may = match greeting.proxied && door.may_connect(peer.ip()).is_err() {
        true => Err(TurnedAway::TooOften),
        false => edge.take_place(Sort::Connection, Some(peer.ip())).map_err(TurnedAway::from),
    };
    let line = match may {
        Ok(line) => line,
        Err(why) => {
            // A handshake costs too much to say why.
            if greeting.certificates.is_none() {
                let _ = stream.try_write(&why.words(greeting.kind));
            }
            return;
        }
    };
    let certificates = greeting.certificates.as_ref();
    let Some(mut socket) = shake(door, stream, peer, certificates, busy).await else { return };
    let place = match door.enter(Some(peer.ip())) {
        Ok(place) => place,
        Err(full) => {
            let words = TurnedAway::from(full).words(greeting.kind);
            // Somebody who does not take it misses it.
            let _ = tokio::time::timeout(door.handshake(), say(&mut socket, &words)).await;
            return;
        }
    };
    let (wire, talk) = match greeting.kind {
        DoorKind::Janus => match edge.janus_talk() {
            Ok(talk) => (Wire::Janus(Box::default()), talk),
            Err(error) => return tracing::error!(%error, "the system gives no random bytes"),
        },
        DoorKind::Tcp | DoorKind::WebSocket => {
            let talk = edge.talk(Vsn::V2, Credential::anonymous());
            (Wire::Length(length::Decoder::default()), talk)
        }
    };
    match socket.into_stream() {
        Ok(stream) => {
            let ready = Instant::now();
            door.admit(Arrival {
                stream,
                wire,
                side: Side::Channels(talk),
                peer,
                agent: None,
                handshake: Some(ready - began),
                ready,
                place,
                line: Some(line),
                early: vec![],
            });
        }
        Err(error) => tracing::debug!(%error, "a socket was lost behind its handshake"),
    }
}

/// Writes the last bytes of a connection and shuts it down.
async fn say(socket: &mut Socket, words: &[u8]) -> std::io::Result<()> {
    socket.write_all(words).await?;
    socket.shutdown().await
}

/// Shakes hands, if there are certificates. Whoever says nothing keeps nobody from it, and who is
/// slow at it not for long.
async fn shake(
    door: &Door,
    stream: TcpStream,
    peer: SocketAddr,
    certificates: Option<&Certificates>,
    busy: &Semaphore,
) -> Option<Socket> {
    if certificates.is_none() {
        return Socket::take(door, stream, peer, None).await;
    }
    let Ok(Ok(())) = tokio::time::timeout(door.handshake(), stream.readable()).await else {
        door.edge().tls_handshakes().note_late();
        return None;
    };
    let permit = busy.acquire().await.ok()?;
    let mut taking = pin!(Socket::take(door, stream, peer, certificates));
    let patience = Duration::from_millis(limits::TLS_PLACE_MS);
    match tokio::time::timeout(patience, taking.as_mut()).await {
        Ok(socket) => socket,
        Err(_) => {
            drop(permit);
            taking.await
        }
    }
}
