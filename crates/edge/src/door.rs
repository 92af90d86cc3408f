//! Door of a server: where its connections come in, and what is known of all of them.

mod handshakes;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use instep_access::{Credential, Gate, Refusal};
use instep_node::Node;
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::handshakes::Greeting;
use crate::certificates::{Certificates, TlsCounts};
use crate::counts::{Counts, DoorKind};
use crate::http::Http;
use crate::listen::listen;
use crate::options::DoorOptions;
use crate::permits::PermitKind;
use crate::rates::RateCounts;
use crate::refusals::JOIN_REFUSALS;
use crate::rules::Channel;
use crate::shard::{self, Command, Shards};
use crate::state::EdgeState;
use crate::states::{self, ConnectionState, Lag};
use crate::times::Times;

/// The door of a server: connections come in here. Cloning gives another handle; with the last one
/// the shards end.
#[derive(Clone)]
pub struct Door(Http);

impl FromRef<Door> for Http {
    fn from_ref(door: &Door) -> Self {
        door.0.clone()
    }
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
        Ok(Self(Http::new(edge, shards)))
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
        let edge = self.edge();
        let shards = Arc::downgrade(self.0.shards());
        let accept =
            handshakes::accept(edge.acceptor(listener), (Arc::clone(edge), shards), greeting);
        edge.runtime().spawn(accept);
        Ok(address)
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
        self.0.shards().listen(kind, &listener)?;
        Ok(address)
    }

    /// Accepts no client any more, and tells all of them to come back later (close code 1012): a
    /// few at once, many one after the other, within `drain_spread_ms`.
    pub fn drain(&self) {
        let edge = self.edge();
        let spread_ms = edge.spread_ms();
        tracing::info!(connections = self.connections(), spread_ms, "sending all clients away");
        edge.drain();
        let until = edge.drained_by();
        self.0.shards().send_all(|| Command::Drain { spread_ms, until });
    }

    /// Re-checks the rights of all clients, because what the gate decides by has changed: channels
    /// that are not allowed any more are closed (I24).
    pub fn review(&self) {
        self.edge().review();
        self.0.shards().send_all(|| Command::Review);
    }

    /// True when the door drains: all clients are being sent away.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.edge().is_draining()
    }

    /// Waits until no connection is left; false when `limit` passes first.
    pub async fn empty(&self, limit: Duration) -> bool {
        let edge = self.edge();
        let empty = async {
            loop {
                let told = edge.permits().empty.notified();
                if edge.permits().count(PermitKind::Socket) == 0 {
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
        self.edge().connections()
    }

    /// Counters of each shard.
    #[must_use]
    pub fn counts(&self) -> Vec<Counts> {
        self.0.shards().counts()
    }

    /// Waits at such listeners: for how long a client may have waited until the next was let in.
    #[must_use]
    pub fn waits(&self) -> Times {
        self.edge().waits()
    }

    /// Connections at all doors now, whatever is spoken on them.
    #[must_use]
    pub fn lines(&self) -> usize {
        self.edge().permits().count(PermitKind::Connection)
    }

    /// Bytes that wait for clients, or of clients are not complete.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.edge().permits().bytes()
    }

    /// Long-poll sessions now.
    #[must_use]
    pub fn longpoll_sessions(&self) -> usize {
        self.0.longpoll().count()
    }

    /// Counters of TLS handshakes, by outcome.
    #[must_use]
    pub fn tls_handshakes(&self) -> TlsCounts {
        self.edge().tls_handshakes().read()
    }

    /// Clients of HTTP that were sent away because they took nothing for too long.
    #[must_use]
    pub fn slow_readers(&self) -> u64 {
        self.edge().slow_readers()
    }

    /// Returns the credential of a key or token. An address that has shown too many invalid ones is
    /// refused for a while, unless what it shows is valid.
    ///
    /// # Errors
    /// Any [`Refusal`] of a key or a token, and [`Refusal::RateLimited`].
    pub fn credential(&self, text: &str, from: Option<IpAddr>) -> Result<Credential, Refusal> {
        self.edge().credential(text, from)
    }

    /// Counters of refusals by rate limits.
    #[must_use]
    pub fn rate_counts(&self) -> RateCounts {
        self.edge().rates().read()
    }

    /// Counters of refused joins, by [`JOIN_REFUSALS`].
    #[must_use]
    pub fn joins_refused(&self) -> [u64; JOIN_REFUSALS.len()] {
        self.edge().refusals().read()
    }

    /// Sums up the lag of the subscribers on sockets.
    pub async fn lag(&self) -> Lag {
        self.0.shards().lag().await
    }

    /// The connections that are the furthest behind, those first.
    pub async fn furthest(&self, most: usize) -> Vec<ConnectionState> {
        let mut states = self.0.shards().furthest(most).await;
        states.extend(self.0.longpoll().furthest(most).await);
        states::sort(&mut states);
        states.truncate(most);
        states
    }

    /// A connection by its id, or a long-poll session by its token, while it lasts.
    pub async fn session(&self, id: &str) -> Option<ConnectionState> {
        match shard::read_id(id) {
            Some((shard, number)) => self.0.shards().numbered(shard, number).await,
            None => self.0.longpoll().state(id).await,
        }
    }

    /// Tells when the door begins to drain.
    #[must_use]
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.edge().draining()
    }

    /// Tells when keys or rights have changed, or the clock was set.
    #[must_use]
    pub fn reviewing(&self) -> watch::Receiver<u64> {
        self.edge().reviewing()
    }

    /// HTTP on this edge.
    #[must_use]
    pub fn http(&self) -> &Http {
        &self.0
    }

    fn edge(&self) -> &Arc<EdgeState> {
        self.0.edge()
    }
}
