//! What all connections of a server share.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use instep_access::origin::Origins;
use instep_access::{Action, Credential, Gate, Refusal, Resource};
use instep_model::limits;
use instep_node::Node;
use instep_protocol::janus::Token;
use instep_protocol::janus::session as janus;
use instep_protocol::session::Options;
use instep_protocol::vsn::Vsn;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use crate::agents::Agents;
use crate::listen::listen;
use crate::longpoll::{self, SessionHandle};
use crate::refusals::{JOIN_REFUSALS, Refusals};
use crate::rules::Channel;
use crate::shard::{self, Arrival, ConnectionState, Counts, DoorKind, Lag, Mail, Sessions, Shards};
use crate::talk::Talk;

/// What an operator decides about the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorOptions {
    /// Threads that serve sockets; 0 for one on each core that the process may use.
    pub shards: usize,
    /// A reader that takes nothing for this long, in milliseconds, is closed; it can resume.
    pub slow_reader_ms: u64,
    /// Sockets at a time.
    pub sockets: usize,
    /// How long sending many away takes when the server stops, in milliseconds.
    pub drain_spread_ms: u64,
    /// Whose pages come in besides those of the server itself.
    pub origins: Origins,
    /// What a session on the Janus wire allows.
    pub janus: janus::Options,
}

impl Default for DoorOptions {
    fn default() -> Self {
        Self {
            shards: 0,
            slow_reader_ms: limits::SLOW_READER_MS,
            sockets: limits::NODE_SOCKETS,
            drain_spread_ms: limits::DRAIN_SPREAD_MS,
            origins: Origins::default(),
            janus: janus::Options::default(),
        }
    }
}

/// The door of a server: connections come in here. Cloning gives another handle; with the last one
/// the shards end.
#[derive(Clone)]
pub struct Door(Arc<Shared>);

struct Shared {
    house: Arc<House>,
    shards: Arc<Shards>,
    drain: watch::Sender<bool>,
    longpoll: Mutex<HashMap<String, SessionHandle>>,
}

/// What is behind the door.
pub(crate) struct House {
    node: Node,
    gate: Gate,
    channels: Vec<Channel>,
    options: DoorOptions,
    began: Instant,
    sockets: AtomicUsize,
    /// Nobody comes in any more.
    draining: AtomicBool,
    refusals: Refusals,
    agents: Agents,
    /// Told when the last socket has gone.
    empty: Notify,
    /// Where rules of applications run.
    runtime: Handle,
    /// What sessions allow, shared by all of one version.
    sessions: [Arc<Options>; 2],
    /// Where the sessions of the Janus wire are.
    janus: Sessions,
}

/// The right to one connection, until it is dropped.
pub(crate) struct Place(Arc<House>);

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
        let house = Arc::new(House {
            node,
            gate,
            channels,
            options,
            began: Instant::now(),
            sockets: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            refusals: Refusals::default(),
            agents: Agents::default(),
            empty: Notify::new(),
            runtime: Handle::current(),
            sessions: [Vsn::V1, Vsn::V2].map(|vsn| Arc::new(Options::websocket(vsn))),
            janus: Sessions::default(),
        });
        let shards = Arc::new(Shards::start(&house)?);
        let drain = watch::Sender::new(false);
        Ok(Self(Arc::new(Shared { house, shards, drain, longpoll: Mutex::default() })))
    }

    /// Takes in plain TCP connections: messages behind 4 bytes of length. Returns the address.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn listen_tcp(&self, address: SocketAddr) -> io::Result<SocketAddr> {
        self.listen(DoorKind::Tcp, address)
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
        let house = &self.0.house;
        house.draining.store(true, Ordering::SeqCst);
        let spread_ms = self.spread_ms();
        tracing::info!(connections = self.connections(), spread_ms, "sending everybody away");
        self.0.drain.send_replace(true);
        self.0.shards.send_all(|| Mail::Drain { spread_ms });
    }

    /// True when everybody is being sent away.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.house.draining.load(Ordering::SeqCst)
    }

    /// How long sending away takes those who are there now.
    pub(crate) fn spread_ms(&self) -> u64 {
        match self.connections() > limits::DRAIN_AT_ONCE {
            true => self.0.house.options.drain_spread_ms,
            false => 0,
        }
    }

    /// Waits until no connection is left; false when `limit` passes first.
    pub async fn empty(&self, limit: Duration) -> bool {
        let house = &self.0.house;
        let empty = async {
            loop {
                let told = house.empty.notified();
                if house.sockets.load(Ordering::SeqCst) == 0 {
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
        self.0.house.sockets.load(Ordering::Relaxed)
    }

    /// What each shard has counted.
    #[must_use]
    pub fn counts(&self) -> Vec<Counts> {
        self.0.shards.counts()
    }

    /// Long-poll sessions now.
    #[must_use]
    pub fn longpoll_sessions(&self) -> usize {
        self.longpoll().lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// How often a join was refused, by [`JOIN_REFUSALS`].
    #[must_use]
    pub fn joins_refused(&self) -> [u64; JOIN_REFUSALS.len()] {
        self.0.house.refusals.read()
    }

    /// How far the subscribers on sockets are behind.
    pub async fn lag(&self) -> Lag {
        self.0.shards.lag().await
    }

    /// The connections that are the furthest behind, those first.
    pub async fn furthest(&self, most: usize) -> Vec<ConnectionState> {
        let mut states = self.0.shards.furthest(most).await;
        states.extend(longpoll::states(self, most).await);
        shard::sort(&mut states);
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

    pub(crate) fn house(&self) -> &Arc<House> {
        &self.0.house
    }

    /// A place for one more connection, if there is one.
    pub(crate) fn enter(&self) -> Option<Place> {
        self.0.house.enter()
    }

    /// Tells when everybody is being sent away.
    #[must_use]
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.0.drain.subscribe()
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

impl House {
    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(crate) fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    pub(crate) fn agents(&self) -> &Agents {
        &self.agents
    }

    /// May the holder do `action` to a topic now?
    pub(crate) fn may(
        &self,
        credential: &Credential,
        action: Action,
        topic: &str,
        anyone_publishes: bool,
    ) -> Result<(), Refusal> {
        let resource = Resource::Topic { name: topic, anyone_publishes };
        credential.may(&self.gate.access(), action, resource, wall_ms())
    }

    /// When a credential ends, by the clock that sessions live by.
    pub(crate) fn end_of(&self, credential: &Credential) -> Option<u64> {
        let left = credential.next_deadline()?.saturating_sub(wall_ms());
        Some(self.now().saturating_add(left))
    }

    pub(crate) fn options(&self) -> &DoorOptions {
        &self.options
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// A talk on a socket.
    pub(crate) fn talk(&self, vsn: Vsn, credential: Credential) -> Talk {
        let [v1, v2] = &self.sessions;
        let options = match vsn {
            Vsn::V1 => v1,
            Vsn::V2 => v2,
        };
        Talk::new(Arc::clone(options), credential, self)
    }

    /// A talk on the Janus wire, under a token that nobody guesses.
    pub(crate) fn janus_talk(&self) -> io::Result<Talk> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let token = Token::new(u128::from_be_bytes(random));
        Ok(Talk::janus(self.options.janus, token, self))
    }

    pub(crate) fn janus_sessions(&self) -> &Sessions {
        &self.janus
    }

    pub(crate) fn rules_for(&self, topic: &str) -> Option<&Channel> {
        self.channels.iter().find(|channel| channel.pattern.matches(topic))
    }

    /// Milliseconds of the clock that sessions live by.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn enter(self: &Arc<Self>) -> Option<Place> {
        if self.draining.load(Ordering::SeqCst) {
            return None;
        }
        let most = self.options.sockets;
        let entered = self.sockets.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| {
            (now < most).then_some(now + 1)
        });
        entered.ok().map(|_| Place(Arc::clone(self)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.0.sockets.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.empty.notify_waiters();
        }
    }
}

/// Milliseconds since 1970, by which tokens expire.
pub(crate) fn wall_ms() -> u64 {
    wall_us() / 1_000
}

/// Microseconds since 1970.
pub(crate) fn wall_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
