//! TLS: certificates that may change while the server runs, and handshakes.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use instep_access::Credential;
use instep_model::limits;
use instep_protocol::length;
use instep_protocol::vsn::Vsn;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::door::Door;
use crate::entrance::Entrance;
use crate::listen::is_scarce;
use crate::places::Sort;
use crate::shard::{Arrival, DoorKind, Side, Wire};
use crate::socket::Socket;
use crate::turned_away::TurnedAway;

/// Over TLS, HTTP/1.1 is spoken and nothing else.
const PROTOCOLS: [&[u8]; 1] = [b"http/1.1"];

/// The certificate of a server, with its key. Cloning gives another handle; what is exchanged holds
/// for every handshake that begins afterwards.
#[derive(Debug, Clone)]
pub struct Certificates(Arc<RwLock<Arc<ServerConfig>>>);

/// Reason why a certificate cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// No chain of certificates in PEM.
    #[error("no certificate in PEM (-----BEGIN CERTIFICATE): {0}")]
    Certificate(String),
    /// No key in PEM.
    #[error("no private key in PEM (-----BEGIN PRIVATE KEY): {0}")]
    Key(String),
    /// They do not belong together, or are of a kind that is not known.
    #[error("the certificate and the key do not go together: {0}")]
    Pair(String),
}

/// Counters of handshakes, by outcome.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    done: AtomicU64,
    failed: AtomicU64,
    late: AtomicU64,
}

/// Counters of TLS handshakes since the server began, by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TlsCounts {
    /// Completed.
    pub done: u64,
    /// Failed: the client does not speak TLS, or does not trust the certificate.
    pub failed: u64,
    /// Timed out.
    pub late: u64,
}

impl Certificates {
    /// Takes a chain of certificates and its private key, both in PEM.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn new(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(read(chain, key)?)))))
    }

    /// Takes others. What is connected stays.
    ///
    /// # Errors
    /// [`CertificateError`]; nothing has changed then.
    pub fn exchange(&self, chain: &[u8], key: &[u8]) -> Result<(), CertificateError> {
        let config = Arc::new(read(chain, key)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn read(chain: &[u8], key: &[u8]) -> Result<ServerConfig, CertificateError> {
    let bad = |error: &dyn std::fmt::Display| CertificateError::Certificate(error.to_string());
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad(&error))?;
    if chain.is_empty() {
        return Err(bad(&"the file holds none"));
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| CertificateError::Key(error.to_string()))?;
    let pair = |error: rustls::Error| CertificateError::Pair(error.to_string());
    // Said outright, because nobody installs one for the whole process.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(pair)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

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
    let house = door.house();
    if greeting.proxied {
        let Some(client) = door.proxied(&mut stream, peer).await else { return };
        peer = client;
    }
    let may = match greeting.proxied && door.may_connect(peer.ip()).is_err() {
        true => Err(TurnedAway::TooOften),
        false => house.take_place(Sort::Connection, Some(peer.ip())).map_err(TurnedAway::from),
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
        DoorKind::Janus => match house.janus_talk() {
            Ok(talk) => (Wire::Janus(Box::default()), talk),
            Err(error) => return tracing::error!(%error, "the system gives no random bytes"),
        },
        DoorKind::Tcp | DoorKind::WebSocket => {
            let talk = house.talk(Vsn::V2, Credential::anonymous());
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
        door.house().tls_handshakes().note_late();
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

impl Handshakes {
    /// Shakes hands within `limit`; none when that fails.
    pub(crate) async fn shake(
        &self,
        certificates: &Certificates,
        stream: TcpStream,
        limit: Duration,
    ) -> Option<TlsStream<TcpStream>> {
        let shaking = certificates.acceptor().accept(stream);
        let (count, shaken) = match tokio::time::timeout(limit, shaking).await {
            Ok(Ok(stream)) => (&self.done, Some(stream)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                (&self.failed, None)
            }
            Err(_) => (&self.late, None),
        };
        count.fetch_add(1, Ordering::Relaxed);
        shaken
    }

    /// Counts a client that has said nothing in time.
    pub(crate) fn note_late(&self) {
        self.late.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> TlsCounts {
        let [done, failed, late] =
            [&self.done, &self.failed, &self.late].map(|count| count.load(Ordering::Relaxed));
        TlsCounts { done, failed, late }
    }
}
