//! A node: its datasets, its live topics, and who stands behind a topic.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use instep_model::feed::{JoinRefusal, Joined, TABLE_PREFIX};
use instep_model::limits;
use instep_model::name::Name;
use instep_model::position::Position;
use instep_protocol::encode::{binary_broadcast, encode_broadcast};
use instep_protocol::vsn::Vsn;
use serde::Deserialize;

use crate::dataset::Dataset;
use crate::ring::{Frame, Payload, RingLimits};
use crate::topics::{Listener, Subscription, Topic, Topics};

/// One node. Cloning gives another handle.
#[derive(Clone)]
pub struct Node(Arc<Shared>);

struct Shared {
    datasets: RwLock<BTreeMap<Name, Dataset>>,
    topics: Topics,
    live: Vec<LivePattern>,
    ready: RwLock<Option<String>>,
}

/// A declared pattern of live topics.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LivePattern {
    /// The topics: exact, or ending in `*`.
    pub topic: String,
    /// Who may publish from a socket: everybody who joined, or only holders of the admin key.
    #[serde(default)]
    pub anyone_publishes: bool,
}

/// Why a dataset cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// The name is taken.
    #[error("there is a dataset {0:?} already")]
    Exists(Name),
    /// The node has as many as it may.
    #[error("the node has {limit} datasets, the limit")]
    TooMany {
        /// Datasets allowed.
        limit: usize,
    },
}

/// Why nothing was published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LiveError {
    /// No live pattern matches the topic.
    #[error("no live topic matches {topic:?}")]
    Unmatched {
        /// The topic.
        topic: String,
    },
    /// The payload is over its limit.
    #[error("the payload is {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Bytes of the payload.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The event's name is reserved, empty or too long.
    #[error("the event {event:?} is reserved, empty or longer than {limit} bytes")]
    Event {
        /// The event.
        event: String,
        /// Bytes allowed.
        limit: usize,
    },
}

/// What a join gives.
pub enum NodeJoined {
    /// A topic fed by a dataset.
    View {
        /// The dataset.
        dataset: Dataset,
        /// What to tell the joiner.
        joined: Joined,
        /// Its place in the topic.
        subscription: Subscription,
    },
    /// A live topic.
    Live {
        /// The joiner's place in the topic.
        subscription: Subscription,
    },
}

impl Node {
    /// A node without datasets.
    #[must_use]
    pub fn new(live: Vec<LivePattern>, rings: RingLimits) -> Self {
        let ready = RwLock::new(Some("starting".into()));
        Self(Arc::new(Shared {
            datasets: RwLock::default(),
            topics: Topics::new(rings),
            live,
            ready,
        }))
    }

    /// The topics that somebody has joined.
    #[must_use]
    pub fn topics(&self) -> &Topics {
        &self.0.topics
    }

    /// Says that everything is in memory.
    pub fn set_ready(&self) {
        *self.0.ready.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What the node is still waiting for; none when it serves.
    #[must_use]
    pub fn waiting_for(&self) -> Option<String> {
        self.0.ready.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds an opened dataset.
    ///
    /// # Errors
    /// [`NodeError`] when the name is taken or the node is full.
    pub fn add(&self, dataset: Dataset) -> Result<(), NodeError> {
        let mut datasets = self.0.datasets.write().unwrap_or_else(PoisonError::into_inner);
        if datasets.contains_key(dataset.name()) {
            return Err(NodeError::Exists(dataset.name().clone()));
        }
        if datasets.len() >= limits::NODE_DATASETS {
            return Err(NodeError::TooMany { limit: limits::NODE_DATASETS });
        }
        datasets.insert(dataset.name().clone(), dataset);
        Ok(())
    }

    /// Takes a dataset out; it is still open.
    #[must_use]
    pub fn remove(&self, name: &str) -> Option<Dataset> {
        self.0.datasets.write().unwrap_or_else(PoisonError::into_inner).remove(name)
    }

    /// A dataset by name.
    #[must_use]
    pub fn dataset(&self, name: &str) -> Option<Dataset> {
        self.0.datasets.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All datasets, by name.
    #[must_use]
    pub fn datasets(&self) -> Vec<Dataset> {
        self.0.datasets.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Joins a topic: a view topic, a public table or a live topic. The joiner is told what was
    /// acknowledged before, if the topic was settled.
    ///
    /// # Errors
    /// See [`JoinRefusal`].
    pub fn join(
        &self,
        topic: &str,
        since: Option<Option<Position>>,
        listener: &Listener,
    ) -> Result<NodeJoined, JoinRefusal> {
        if let Some(dataset) = self.behind(topic) {
            let (joined, subscription) = dataset.join(topic, since, listener)?;
            return Ok(NodeJoined::View { dataset, joined, subscription });
        }
        match self.is_live(topic) {
            true => {
                let subscription = self.0.topics.subscribe(topic, listener);
                Ok(NodeJoined::Live { subscription })
            }
            false => Err(JoinRefusal::Unmatched),
        }
    }

    /// True when whoever joins the topic now is told everything that was acknowledged.
    #[must_use]
    pub fn is_settled(&self, topic: &str) -> bool {
        match self.behind(topic) {
            Some(dataset) => dataset.is_settled(),
            None => self.is_live(topic) || self.datasets().iter().all(Dataset::is_settled),
        }
    }

    /// Waits until what is visible now has been told to the topic's subscribers: a table that was
    /// just made may have no topic yet.
    pub async fn settled(&self, topic: &str) {
        match self.behind(topic) {
            Some(dataset) => dataset.settled().await,
            None if self.is_live(topic) => {}
            None => {
                for dataset in self.datasets() {
                    dataset.settled().await;
                }
            }
        }
    }

    /// The dataset that stands behind a topic.
    fn behind(&self, topic: &str) -> Option<Dataset> {
        self.datasets().into_iter().find(|dataset| dataset.has_topic(topic))
    }

    /// True when a declared live pattern matches, and no dataset stands behind the topic.
    #[must_use]
    pub fn is_live(&self, topic: &str) -> bool {
        self.live_pattern(topic).is_some()
    }

    /// True when whoever has joined the live topic may publish to it from a socket.
    #[must_use]
    pub fn anyone_publishes(&self, topic: &str) -> bool {
        self.live_pattern(topic).is_some_and(|pattern| pattern.anyone_publishes)
    }

    fn live_pattern(&self, topic: &str) -> Option<&LivePattern> {
        let reserved = topic.starts_with(TABLE_PREFIX) || topic.starts_with("phoenix");
        if reserved || topic.len() > limits::TOPIC_BYTES {
            return None;
        }
        let matches = |pattern: &&LivePattern| match pattern.topic.strip_suffix('*') {
            Some(prefix) => topic.starts_with(prefix) && topic.len() > prefix.len(),
            None => topic == pattern.topic,
        };
        let found = self.0.live.iter().find(matches)?;
        self.behind(topic).is_none().then_some(found)
    }

    /// Publishes to a live topic; returns how many had joined it.
    ///
    /// # Errors
    /// [`LiveError`] when the topic, the event or the payload is refused.
    pub fn publish(&self, topic: &str, event: &str, payload: Payload) -> Result<usize, LiveError> {
        if !self.is_live(topic) {
            return Err(LiveError::Unmatched { topic: topic.to_owned() });
        }
        check_publication(event, &payload)?;
        Ok(self.0.topics.get(topic).map_or(0, |topic| tell(&topic, event, payload)))
    }

    /// Publishes to a live topic that somebody has joined; returns how many have.
    ///
    /// # Errors
    /// [`LiveError`] when the event or the payload is refused.
    pub fn publish_to(
        &self,
        topic: &Topic,
        event: &str,
        payload: Payload,
    ) -> Result<usize, LiveError> {
        check_publication(event, &payload)?;
        Ok(tell(topic, event, payload))
    }

    /// Closes every dataset. Blocks until what was queued is done.
    pub fn close(&self) {
        self.datasets().iter().for_each(Dataset::close);
    }
}

fn check_publication(event: &str, payload: &Payload) -> Result<(), LiveError> {
    let reserved = event.starts_with("phx_") || event.is_empty() || event == "gap";
    if reserved || event.len() > limits::EVENT_BYTES {
        let limit = limits::EVENT_BYTES;
        return Err(LiveError::Event { event: event.to_owned(), limit });
    }
    let bytes = match payload {
        Payload::Json(bytes) | Payload::Binary(bytes) => bytes.len(),
    };
    match bytes > limits::PUBLISH_BYTES {
        true => Err(LiveError::TooLarge { bytes, limit: limits::PUBLISH_BYTES }),
        false => Ok(()),
    }
}

/// Puts a message on a live topic's ring, encoded.
fn tell(topic: &Topic, event: &str, payload: Payload) -> usize {
    let encoded = match &payload {
        Payload::Json(json) => encode_broadcast(Vsn::V2, topic.name(), event, json),
        Payload::Binary(bytes) => {
            binary_broadcast(topic.name(), event, bytes).unwrap_or_else(|_| Bytes::new())
        }
    };
    topic.push([Arc::new(Frame { event: event.into(), payload, position: None, encoded })])
}
