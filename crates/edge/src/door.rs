//! What all connections of a server share.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Instant;

use instep_model::limits;
use instep_node::Node;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::longpoll::SessionHandle;
use crate::rules::Channel;

/// The door of a server: connections come in here. Cloning gives another handle.
#[derive(Clone)]
pub struct Door(Arc<Shared>);

struct Shared {
    node: Node,
    channels: Vec<Channel>,
    sockets: Arc<Semaphore>,
    drain: watch::Sender<bool>,
    began: Instant,
    longpoll: Mutex<HashMap<String, SessionHandle>>,
}

impl Door {
    /// A door to `node`, with the rules of applications; the first pattern that matches decides.
    #[must_use]
    pub fn new(node: Node, channels: Vec<Channel>) -> Self {
        Self(Arc::new(Shared {
            node,
            channels,
            sockets: Arc::new(Semaphore::new(limits::NODE_SOCKETS)),
            drain: watch::Sender::new(false),
            began: Instant::now(),
            longpoll: Mutex::default(),
        }))
    }

    /// Tells every connection to come back later (close code 1012).
    pub fn drain(&self) {
        self.0.drain.send_replace(true);
    }

    /// Connections now.
    #[must_use]
    pub fn connections(&self) -> usize {
        limits::NODE_SOCKETS - self.0.sockets.available_permits()
    }

    pub(crate) fn node(&self) -> &Node {
        &self.0.node
    }

    pub(crate) fn rules_for(&self, topic: &str) -> Option<Channel> {
        self.0.channels.iter().find(|channel| channel.pattern.matches(topic)).cloned()
    }

    /// A place for one more connection, if there is one.
    pub(crate) fn enter(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.sockets).try_acquire_owned().ok()
    }

    pub(crate) fn draining(&self) -> watch::Receiver<bool> {
        self.0.drain.subscribe()
    }

    /// Milliseconds of the clock that sessions live by.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn longpoll(&self) -> &Mutex<HashMap<String, SessionHandle>> {
        &self.0.longpoll
    }
}
