//! State of the edge: what everything connected shares.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use instep_access::{Action, Credential, Gate, Refusal, Resource};
use instep_model::limits;
use instep_node::{Node, now_ms};
use instep_protocol::session::Options;
use instep_protocol::vsn::Vsn;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::acceptor::Acceptor;
use crate::certificates::Handshakes;
use crate::options::DoorOptions;
use crate::permits::{NoPermit, Permit, PermitKind, Permits};
use crate::proxies::read_proxy_header;
use crate::rates::{self, Rates};
use crate::refusals::Refusals;
use crate::rules::Channel;
use crate::sessions::Sessions;
use crate::times::{Clock, Times};
use crate::user_agents::UserAgents;
use crate::wall_clock::left_ms;

/// State that everything connected shares.
pub(crate) struct EdgeState {
    node: Node,
    gate: Gate,
    channels: Vec<Channel>,
    options: DoorOptions,
    began: Instant,
    permits: Arc<Permits>,
    rates: Rates,
    /// Drain flag: no client is let in any more.
    draining: AtomicBool,
    refusals: Refusals,
    user_agents: UserAgents,
    tls_handshakes: Handshakes,
    /// Clients of HTTP that took nothing for too long.
    slow_readers: AtomicU64,
    /// Runtime on which rules of applications run.
    runtime: Handle,
    /// Session options, shared by all sessions of one version.
    sessions: [Arc<Options>; 2],
    /// Registry of the sessions of the Janus wire.
    janus: Sessions,
    drain: watch::Sender<bool>,
    /// Time by which every client has to be told to go, once a drain has begun.
    drained_by: AtomicU64,
    /// Counts how often keys or rights have changed.
    review: watch::Sender<u64>,
    /// Waiting times at the listeners beside the shards.
    waits: Mutex<Vec<Arc<Clock>>>,
}

impl EdgeState {
    pub(crate) fn new(
        node: Node,
        gate: Gate,
        channels: Vec<Channel>,
        options: DoorOptions,
    ) -> Self {
        Self {
            node,
            gate,
            channels,
            began: Instant::now(),
            permits: Arc::new(Permits::new(&options)),
            rates: Rates::new(options.rates.clone()),
            draining: AtomicBool::new(false),
            refusals: Refusals::default(),
            user_agents: UserAgents::default(),
            tls_handshakes: Handshakes::default(),
            slow_readers: AtomicU64::new(0),
            runtime: Handle::current(),
            sessions: [Vsn::V1, Vsn::V2].map(|vsn| Arc::new(session(vsn, &options))),
            janus: Sessions::default(),
            drain: watch::Sender::new(false),
            drained_by: AtomicU64::new(u64::MAX),
            review: watch::Sender::new(0),
            waits: Mutex::default(),
            options,
        }
    }

    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(crate) fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    pub(crate) fn tls_handshakes(&self) -> &Handshakes {
        &self.tls_handshakes
    }

    pub(crate) fn permits(&self) -> &Arc<Permits> {
        &self.permits
    }

    /// True once a drain has begun.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    pub(crate) fn slow_readers(&self) -> u64 {
        self.slow_readers.load(Ordering::Relaxed)
    }

    pub(crate) fn note_slow_reader(&self) {
        self.slow_readers.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn user_agents(&self) -> &UserAgents {
        &self.user_agents
    }

    pub(crate) fn rates(&self) -> &Rates {
        &self.rates
    }

    /// Returns the credential of a key or token that is shown from that address.
    pub(crate) fn credential(
        &self,
        text: &str,
        from: Option<IpAddr>,
    ) -> Result<Credential, Refusal> {
        let (access, now) = (self.gate.access(), now_ms());
        let limit = from.and_then(|from| self.rates.may_show(from).err());
        let Some(wait) = limit else {
            let shown = access.credential(text, now);
            if let (Err(refusal), Some(from)) = (&shown, from)
                && refusal.is_of_a_proof()
            {
                self.rates.note_failure(from);
            }
            return shown;
        };
        // What others at this address show does not lock out who shows something good.
        let shown = (!access.is_over(text, now)).then(|| access.credential(text, now).ok());
        shown.flatten().ok_or_else(|| {
            self.rates.note(rates::Refused::Proof);
            Refusal::RateLimited { retry_s: rates::seconds(wait) }
        })
    }

    /// Returns the same, but none for an invalid key or token before tokens or rights are
    /// configured: it may mean nothing here then.
    pub(crate) fn shown(
        &self,
        text: &str,
        from: Option<IpAddr>,
    ) -> Result<Option<Credential>, Refusal> {
        let access = self.gate.access();
        if access.is_configured() {
            self.credential(text, from).map(Some)
        } else {
            Ok(access.credential(text, now_ms()).ok())
        }
    }

    /// Checks that the holder may do `action` to a topic now.
    pub(crate) fn may(
        &self,
        credential: &Credential,
        action: Action,
        topic: &str,
        anyone_publishes: bool,
    ) -> Result<(), Refusal> {
        self.may_do(credential, action, Resource::Topic { name: topic, anyone_publishes })
    }

    /// Checks that the holder may do `action` to what is no topic.
    pub(crate) fn may_do(
        &self,
        credential: &Credential,
        action: Action,
        resource: Resource<'_>,
    ) -> Result<(), Refusal> {
        credential.may(&self.gate.access(), action, resource, now_ms())
    }

    /// Returns the time at which a credential ends, in milliseconds of the clock of the edge.
    pub(crate) fn end_of(&self, credential: &Credential) -> Option<u64> {
        Some(self.now().saturating_add(left_ms(credential)?))
    }

    pub(crate) fn options(&self) -> &DoorOptions {
        &self.options
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Session options of sockets that speak that version.
    pub(crate) fn session_options(&self, vsn: Vsn) -> &Arc<Options> {
        let [v1, v2] = &self.sessions;
        match vsn {
            Vsn::V1 => v1,
            Vsn::V2 => v2,
        }
    }

    pub(crate) fn janus_sessions(&self) -> &Sessions {
        &self.janus
    }

    pub(crate) fn rules_for(&self, topic: &str) -> Option<&Channel> {
        self.channels.iter().find(|channel| channel.pattern.matches(topic))
    }

    /// Milliseconds of the clock that sessions live by.
    pub(crate) fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    /// Converts an instant to milliseconds of this clock.
    pub(crate) fn at(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.began);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// True for an address whose permits, rates and bytes are counted: that of a proxy is not its
    /// clients'.
    pub(crate) fn counts(&self, address: IpAddr) -> bool {
        !self.rates.is_exempt(address) && !self.options.proxies.contain(address)
    }

    /// Counts a connection; in `Err` how long to wait for the next.
    pub(crate) fn may_connect(&self, from: IpAddr) -> Result<(), Duration> {
        if self.counts(from) { self.rates.may_connect(from) } else { Ok(()) }
    }

    /// Counts a request of an address behind a proxy; in `Err` how long to wait.
    pub(crate) fn may_ask(&self, from: IpAddr) -> Result<(), Duration> {
        if self.counts(from) { self.rates.may_ask(from) } else { Ok(()) }
    }

    /// A permit for a socket, a session without one, or a reader of events.
    pub(crate) fn enter(&self, from: Option<IpAddr>) -> Result<Permit, NoPermit> {
        if self.is_draining() {
            return Err(NoPermit::Server);
        }
        self.take_permit(PermitKind::Socket, from)
    }

    /// A permit, if there is one.
    pub(crate) fn take_permit(
        &self,
        kind: PermitKind,
        from: Option<IpAddr>,
    ) -> Result<Permit, NoPermit> {
        Permits::take(
            &self.permits,
            kind,
            from.filter(|from| self.counts(*from)).map(rates::one_of),
        )
    }

    /// Connections now.
    pub(crate) fn connections(&self) -> usize {
        self.permits.count(PermitKind::Socket)
    }

    /// Duration of a drain with the connections of now, in milliseconds.
    pub(crate) fn spread_ms(&self) -> u64 {
        if self.connections() > limits::DRAIN_AT_ONCE { self.options.drain_spread_ms } else { 0 }
    }

    /// Begins a drain: no client is let in from here on.
    pub(crate) fn drain(&self) {
        let drain_ms = self.options.drain_ms;
        // A client that is told at the end has a moment to go.
        let told_ms = drain_ms - limits::DRAIN_LINGER_MS.min(drain_ms / 2);
        self.drained_by.store(self.now().saturating_add(told_ms), Ordering::SeqCst);
        self.draining.store(true, Ordering::SeqCst);
        self.drain.send_replace(true);
    }

    /// Time by which every client has to be told to go, in milliseconds of the clock, once a drain
    /// has begun: who waits for an answer has it until then.
    pub(crate) fn drained_by(&self) -> u64 {
        self.drained_by.load(Ordering::SeqCst)
    }

    /// Tells when a drain begins.
    pub(crate) fn draining(&self) -> watch::Receiver<bool> {
        self.drain.subscribe()
    }

    /// Notes that keys or rights have changed, or the clock was set.
    pub(crate) fn review(&self) {
        self.review.send_modify(|times| *times += 1);
    }

    /// Tells when keys or rights have changed, or the clock was set.
    pub(crate) fn reviewing(&self) -> watch::Receiver<u64> {
        self.review.subscribe()
    }

    /// Timeout of a handshake, and then of the first request.
    pub(crate) fn handshake(&self) -> Duration {
        Duration::from_millis(self.options.handshake_ms)
    }

    /// A listener whose connections shake hands before they come to a shard.
    pub(crate) fn acceptor(&self, listener: TcpListener) -> Acceptor {
        let waits = Arc::new(Clock::default());
        self.waits.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&waits));
        Acceptor::new(listener, waits)
    }

    /// Waits at such listeners: for how long a client may have waited until the next was let in.
    pub(crate) fn waits(&self) -> Times {
        let mut all = Times::default();
        let waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        waits.iter().for_each(|waits| all.add(&waits.read()));
        all
    }

    /// Reads the header of a trusted proxy, in the time for a handshake: the client's address; none
    /// when another peer, or something else, comes.
    pub(crate) async fn proxied(
        &self,
        stream: &mut TcpStream,
        peer: SocketAddr,
    ) -> Option<SocketAddr> {
        if !self.options.proxies.contain(peer.ip()) {
            tracing::debug!(%peer, "this address is none of a trusted proxy");
            return None;
        }
        match tokio::time::timeout(self.handshake(), read_proxy_header(stream)).await {
            Ok(Ok(client)) => Some(client.unwrap_or(peer)),
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "this is no header of the PROXY protocol");
                None
            }
            Err(_) => None,
        }
    }
}

/// Builds the options of a session on a socket.
fn session(vsn: Vsn, options: &DoorOptions) -> Options {
    Options {
        idle_ms: options.socket_idle_ms,
        channels: options.socket_channels,
        held_bytes: options.frame_bytes,
        ..Options::websocket(vsn)
    }
}
