//! Door of a server: the state that all its connections share.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use instep_access::{Action, Credential, Gate, Refusal, Resource};
use instep_model::limits;
use instep_node::Node;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::certificates::{Certificates, TlsCounts};
use crate::counts::{Counts, DoorKind};
use crate::entrance::Entrance;
use crate::entry;
use crate::listen::listen;
use crate::longpoll::{self, SessionHandle};
use crate::options::DoorOptions;
use crate::places::{Full, Place, Sort};
use crate::proxies::{Proxies, read_proxy_header};
use crate::rates::{self, RateCounts};
use crate::refusals::JOIN_REFUSALS;
use crate::rules::Channel;
use crate::shard::{self, Arrival, Mail, Shards};
use crate::state::EdgeState;
use crate::states::{self, ConnectionState, Lag};
use crate::times::{Clock, Times};
use crate::tls::{self, Greeting};

/// The door of a server: connections come in here. Cloning gives another handle; with the last one
/// the shards end.
#[derive(Clone)]
pub struct Door(Arc<Shared>);

struct Shared {
    edge: Arc<EdgeState>,
    shards: Arc<Shards>,
    drain: watch::Sender<bool>,
    /// Counts how often keys or rights have changed.
    review: watch::Sender<u64>,
    longpoll: Mutex<HashMap<String, SessionHandle>>,
    /// Waiting times at the listeners beside the shards.
    waits: Mutex<Vec<Arc<Clock>>>,
}

impl Door {
    /// A door to `node`, that asks `gate` who may come in and do what, with the rules of
    /// applications; the first pattern that matches decides.
    /// Its shards begin to run. Rules run on the current runtime.
    ///
    /// # Errors
    /// When the system gives no thread or no epoll.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open(
        node: Node,
        gate: Gate,
        channels: Vec<Channel>,
        options: DoorOptions,
    ) -> io::Result<Self> {
        let edge = Arc::new(EdgeState::new(node, gate, channels, options));
        let shards = Arc::new(Shards::start(&edge)?);
        let (drain, review) = (watch::Sender::new(false), watch::Sender::new(0));
        let (longpoll, waits) = (Mutex::default(), Mutex::default());
        Ok(Self(Arc::new(Shared { edge, shards, drain, review, longpoll, waits })))
    }

    /// Takes in plain TCP connections: messages behind 4 bytes of length. Returns the address.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn listen_tcp(&self, address: SocketAddr) -> io::Result<SocketAddr> {
        self.listen(DoorKind::Tcp, address)
    }

    /// Takes in plain TCP connections over TLS. The handshake is done beside the shards.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn listen_tcp_over_tls(
        &self,
        address: SocketAddr,
        certificates: Certificates,
    ) -> io::Result<SocketAddr> {
        let (proxied, certificates) = (false, Some(certificates));
        self.listen_beside(address, Greeting { proxied, certificates, kind: DoorKind::Tcp })
    }

    /// Takes in connections of trusted proxies, which begin with a header of the PROXY protocol:
    /// plain TCP, with TLS if there are certificates, or the Janus wire.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn listen_proxied(
        &self,
        kind: DoorKind,
        address: SocketAddr,
        certificates: Option<Certificates>,
    ) -> io::Result<SocketAddr> {
        self.listen_beside(address, Greeting { proxied: true, certificates, kind })
    }

    fn listen_beside(&self, address: SocketAddr, greeting: Greeting) -> io::Result<SocketAddr> {
        let listener = TcpListener::from_std(listen(address)?)?;
        let address = listener.local_addr()?;
        let door = Arc::downgrade(&self.0);
        let find = move || door.upgrade().map(Self);
        let entrance = self.entrance(listener);
        self.0.edge.runtime.spawn(tls::accept(entrance, find, greeting, self.draining()));
        Ok(address)
    }

    /// Trusted proxies: their word on where a request comes from is believed.
    #[must_use]
    pub fn proxies(&self) -> &Proxies {
        &self.0.edge.options.proxies
    }

    /// Hears from a trusted proxy who is behind a connection, in the time for a handshake; none
    /// when anybody else, or something else, comes.
    pub async fn proxied(&self, stream: &mut TcpStream, peer: SocketAddr) -> Option<SocketAddr> {
        if !self.proxies().contain(peer.ip()) {
            tracing::debug!(%peer, "this address is none of a trusted proxy");
            return None;
        }
        let limit = Duration::from_millis(self.0.edge.options.handshake_ms);
        match tokio::time::timeout(limit, read_proxy_header(stream)).await {
            Ok(Ok(client)) => Some(client.unwrap_or(peer)),
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "this is no header of the PROXY protocol");
                None
            }
            Err(_) => None,
        }
    }

    /// Takes in clients of the Janus wire. Returns the address.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn listen_janus(&self, address: SocketAddr) -> io::Result<SocketAddr> {
        self.listen(DoorKind::Janus, address)
    }

    fn listen(&self, kind: DoorKind, address: SocketAddr) -> io::Result<SocketAddr> {
        let listener = listen(address)?;
        let address = listener.local_addr()?;
        self.0.shards.listen(kind, &listener)?;
        Ok(address)
    }

    /// Takes nobody in any more, and tells everybody to come back later (close code 1012): a few at
    /// once, many one after the other, within `drain_spread_ms`.
    pub fn drain(&self) {
        let edge = &self.0.edge;
        edge.draining.store(true, Ordering::SeqCst);
        let spread_ms = self.spread_ms();
        tracing::info!(connections = self.connections(), spread_ms, "sending everybody away");
        self.0.drain.send_replace(true);
        self.0.shards.send_all(|| Mail::Drain { spread_ms });
    }

    /// Looks again at what everybody may, because what the gate decides by has changed: channels
    /// that are not allowed any more are closed (I24).
    pub fn review(&self) {
        self.0.review.send_modify(|times| *times += 1);
        self.0.shards.send_all(|| Mail::Review);
    }

    /// True when everybody is being sent away.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.edge.draining.load(Ordering::SeqCst)
    }

    /// Duration of a drain with the connections of now, in milliseconds.
    pub(crate) fn spread_ms(&self) -> u64 {
        match self.connections() > limits::DRAIN_AT_ONCE {
            true => self.0.edge.options.drain_spread_ms,
            false => 0,
        }
    }

    /// Waits until no connection is left; false when `limit` passes first.
    pub async fn empty(&self, limit: Duration) -> bool {
        let edge = &self.0.edge;
        let empty = async {
            loop {
                let told = edge.places.empty.notified();
                if edge.places.count(Sort::Socket) == 0 {
                    return;
                }
                told.await;
            }
        };
        tokio::time::timeout(limit, empty).await.is_ok()
    }

    /// Connections now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.edge.places.count(Sort::Socket)
    }

    /// Counters of each shard.
    #[must_use]
    pub fn counts(&self) -> Vec<Counts> {
        self.0.shards.counts()
    }

    /// A listener whose connections shake hands before they come to a shard.
    #[must_use]
    pub fn entrance(&self, listener: TcpListener) -> Entrance {
        let waits = Arc::new(Clock::default());
        self.entrances().push(Arc::clone(&waits));
        Entrance::new(listener, waits)
    }

    /// For how long somebody may have waited at such listeners until the next was let in.
    #[must_use]
    pub fn waits(&self) -> Times {
        let mut all = Times::default();
        self.entrances().iter().for_each(|waits| all.add(&waits.read()));
        all
    }

    fn entrances(&self) -> MutexGuard<'_, Vec<Arc<Clock>>> {
        self.0.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections at all doors now, whatever is spoken on them.
    #[must_use]
    pub fn lines(&self) -> usize {
        self.0.edge.places.count(Sort::Connection)
    }

    /// Bytes that wait for clients, or of clients are not complete.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.0.edge.places.bytes()
    }

    /// Long-poll sessions now.
    #[must_use]
    pub fn longpoll_sessions(&self) -> usize {
        self.longpoll().lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Counters of TLS handshakes, by outcome.
    #[must_use]
    pub fn tls_handshakes(&self) -> TlsCounts {
        self.0.edge.tls_handshakes.read()
    }

    /// Clients of HTTP that were sent away because they took nothing for too long.
    #[must_use]
    pub fn slow_readers(&self) -> u64 {
        self.0.edge.slow_readers.load(Ordering::Relaxed)
    }

    /// Returns the credential of a key or token. An address that has shown too many invalid ones is
    /// refused for a while, unless what it shows is valid.
    ///
    /// # Errors
    /// Any [`Refusal`] of a key or a token, and [`Refusal::RateLimited`].
    pub fn credential(&self, text: &str, from: Option<IpAddr>) -> Result<Credential, Refusal> {
        self.0.edge.credential(text, from)
    }

    /// Counts a connection of an address that was accepted; in `Err` how many seconds to wait for
    /// the next.
    ///
    /// # Errors
    /// When there were too many.
    pub fn may_connect(&self, from: IpAddr) -> Result<(), u64> {
        self.0.edge.may_connect(from).map_err(rates::seconds)
    }

    /// Counts a request of an address behind a proxy; in `Err` how many seconds to wait.
    ///
    /// # Errors
    /// When there were too many.
    pub fn may_ask(&self, from: IpAddr) -> Result<(), u64> {
        match self.0.edge.counts(from) {
            true => self.0.edge.rates.may_ask(from).map_err(rates::seconds),
            false => Ok(()),
        }
    }

    /// True when a request shows that it may administer the server.
    #[must_use]
    pub fn administers(&self, headers: &HeaderMap, from: IpAddr) -> bool {
        entry::bearer(headers)
            .and_then(|shown| self.credential(shown, Some(from)).ok())
            .is_some_and(|credential| {
                self.0.edge.may_do(&credential, Action::Administer, Resource::Server).is_ok()
            })
    }

    /// Timeout of a handshake, and then of the first request.
    #[must_use]
    pub fn handshake(&self) -> Duration {
        Duration::from_millis(self.0.edge.options.handshake_ms)
    }

    /// Counters of refusals by rate limits.
    #[must_use]
    pub fn rate_counts(&self) -> RateCounts {
        self.0.edge.rates.read()
    }

    /// Counters of refused joins, by [`JOIN_REFUSALS`].
    #[must_use]
    pub fn joins_refused(&self) -> [u64; JOIN_REFUSALS.len()] {
        self.0.edge.refusals.read()
    }

    /// Sums up the lag of the subscribers on sockets.
    pub async fn lag(&self) -> Lag {
        self.0.shards.lag().await
    }

    /// The connections that are the furthest behind, those first.
    pub async fn furthest(&self, most: usize) -> Vec<ConnectionState> {
        let mut states = self.0.shards.furthest(most).await;
        states.extend(longpoll::states(self, most).await);
        states::sort(&mut states);
        states.truncate(most);
        states
    }

    /// A connection by its id, or a long-poll session by its token, while it lasts.
    pub async fn session(&self, id: &str) -> Option<ConnectionState> {
        match shard::read_id(id) {
            Some((shard, number)) => self.0.shards.numbered(shard, number).await,
            None => longpoll::state(self, id).await,
        }
    }

    /// Gives a socket to a shard.
    pub(crate) fn admit(&self, arrival: Arrival) {
        self.0.shards.admit(arrival);
    }

    pub(crate) fn edge(&self) -> &Arc<EdgeState> {
        &self.0.edge
    }

    /// A place for one more connection, if there is one.
    pub(crate) fn enter(&self, from: Option<IpAddr>) -> Result<Place, Full> {
        self.0.edge.enter(from)
    }

    /// Tells when everybody is being sent away.
    #[must_use]
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.0.drain.subscribe()
    }

    /// Tells when keys or rights have changed, or the clock was set.
    #[must_use]
    pub fn reviewing(&self) -> watch::Receiver<u64> {
        self.0.review.subscribe()
    }

    pub(crate) fn longpoll(&self) -> &Mutex<HashMap<String, SessionHandle>> {
        &self.0.longpoll
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.longpoll.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.shards.send_all(|| Mail::Stop);
    }
}
