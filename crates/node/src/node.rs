//! A node: its datasets, its live topics, and who stands behind a topic.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use instep_model::feed::{JoinRefusal, Joined, TABLE_PREFIX};
use instep_model::limits;
use instep_model::name::Name;
use instep_model::ring::{Payload, RingLimits};
use instep_model::view::View;
use instep_protocol::payload::frame;
use instep_protocol::payload::since::Since;

use crate::dataset::Dataset;
use crate::live::{self, Ids, LiveError, LiveJoined, LivePattern, Once, PublishId, Published};
use crate::mail::SERVER_PREFIX;
use crate::pool::Pools;
use crate::topics::{Subscriber, Subscription, Topic, Topics};

/// One node. Cloning gives another handle.
#[derive(Clone)]
pub struct Node(Arc<Shared>);

struct Shared {
    datasets: RwLock<BTreeMap<Name, Dataset>>,
    unopened: RwLock<BTreeMap<Name, Arc<Unopened>>>,
    /// Datasets that it takes.
    limit: usize,
    topics: Topics,
    pools: Pools,
    live: Vec<Arc<LivePattern>>,
    /// Counts changes after which a live topic may be none any more.
    generation: AtomicU64,
    ids: Ids,
    /// Reason why it is not ready.
    waiting_for: ArcSwapOption<String>,
}

/// A dataset that is there and cannot be opened. The others do not wait for it.
#[derive(Debug, Clone)]
pub struct Unopened {
    /// Reason, for the operator.
    pub reason: String,
    /// True when the data on disk is damaged: it does not open by itself, however long one waits.
    pub is_damaged: bool,
    /// Its views: their topics are its own, and are no live topics meanwhile.
    pub views: Vec<View>,
}

/// Refusal to add a dataset.
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

/// Result of a join.
pub enum NodeJoined {
    /// A topic fed by a dataset.
    View {
        /// The dataset.
        dataset: Dataset,
        /// Reply to the joiner.
        joined: Joined,
        /// Its place in the topic.
        subscription: Subscription,
    },
    /// A live topic.
    Live(LiveJoined),
}

impl Node {
    /// A node without datasets, which takes [`limits::NODE_DATASETS`].
    ///
    /// # Errors
    /// As of [`Node::bounded`].
    pub fn new(live: Vec<LivePattern>, rings: RingLimits) -> io::Result<Self> {
        Self::bounded(live, rings, limits::NODE_DATASETS)
    }

    /// A node without datasets, which takes `limit` of them.
    ///
    /// # Errors
    /// When the system does not give the few threads that all datasets and topics share.
    pub fn bounded(live: Vec<LivePattern>, rings: RingLimits, limit: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            datasets: RwLock::default(),
            unopened: RwLock::default(),
            limit,
            topics: Topics::new(rings),
            pools: Pools::new()?,
            live: live.into_iter().map(Arc::new).collect(),
            generation: AtomicU64::new(1),
            ids: Ids::default(),
            waiting_for: ArcSwapOption::from_pointee("starting".to_owned()),
        });
        keep_live_house(&shared)?;
        Ok(Self(shared))
    }

    /// The topics that somebody has joined.
    #[must_use]
    pub fn topics(&self) -> &Topics {
        &self.0.topics
    }

    /// The threads that its datasets share.
    #[must_use]
    pub fn pools(&self) -> &Pools {
        &self.0.pools
    }

    /// Marks the node as ready: everything is in memory.
    pub fn set_ready(&self) {
        self.0.waiting_for.store(None);
    }

    /// Reason why the node is not ready; none when it serves.
    #[must_use]
    pub fn waiting_for(&self) -> Option<Arc<String>> {
        self.0.waiting_for.load().clone()
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
        if datasets.len() >= self.0.limit {
            return Err(NodeError::TooMany { limit: self.0.limit });
        }
        self.forget_unopened(dataset.name());
        datasets.insert(dataset.name().clone(), dataset);
        self.0.generation.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Datasets that it takes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Datasets that are open.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.datasets.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The names of all datasets. One that cannot be opened has a place of its own.
    #[must_use]
    pub fn names(&self) -> BTreeSet<Name> {
        let unopened = self.unopened().into_iter().map(|(name, _)| name);
        self.datasets().iter().map(|dataset| dataset.name().clone()).chain(unopened).collect()
    }

    /// Notes that a dataset is there and cannot be opened.
    pub fn set_unopened(&self, name: Name, unopened: Unopened) {
        let mut all = self.0.unopened.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(name, Arc::new(unopened));
        self.0.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a dataset is not there any more, or is open.
    pub fn forget_unopened(&self, name: &Name) {
        self.0.unopened.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.0.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// The datasets that are there and cannot be opened, by name.
    #[must_use]
    pub fn unopened(&self) -> Vec<(Name, Arc<Unopened>)> {
        let all = self.0.unopened.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(name, unopened)| (name.clone(), Arc::clone(unopened))).collect()
    }

    /// Reason why a dataset is not open, if it is there.
    #[must_use]
    pub fn why_unopened(&self, name: &str) -> Option<Arc<Unopened>> {
        self.0.unopened.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// True when the topic is that of a dataset which is not open.
    fn is_unavailable(&self, topic: &str) -> bool {
        let all = self.0.unopened.read().unwrap_or_else(PoisonError::into_inner);
        let table = topic.strip_prefix(TABLE_PREFIX).and_then(|rest| rest.split_once('/'));
        all.iter().any(|(name, unopened)| {
            table.is_some_and(|(dataset, _)| dataset == name.as_str())
                || unopened.views.iter().any(|view| view.topic.matches(topic))
        })
    }

    /// Takes a dataset out, and ends its topics; it is still open.
    #[must_use]
    pub fn remove(&self, name: &str) -> Option<Dataset> {
        let removed = self.0.datasets.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.0.generation.fetch_add(1, Ordering::Relaxed);
        if let Some(dataset) = &removed {
            dataset.end_topics();
        }
        removed
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
        since: &Since,
        listener: &Subscriber,
    ) -> Result<NodeJoined, JoinRefusal> {
        if let Some(dataset) = self.behind(topic) {
            let (joined, subscription) = dataset.join(topic, since.position(), listener)?;
            return Ok(NodeJoined::View { dataset, joined, subscription });
        }
        match self.live_pattern(topic) {
            Some(found) => {
                Ok(NodeJoined::Live(self.0.topics.join_live(topic, found, since, listener)))
            }
            None if self.is_unavailable(topic) => Err(JoinRefusal::Unavailable),
            None => Err(JoinRefusal::Unmatched),
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
        let datasets = self.0.datasets.read().unwrap_or_else(PoisonError::into_inner);
        datasets.values().find(|dataset| dataset.has_topic(topic)).cloned()
    }

    /// True when a declared live pattern matches, and no dataset stands behind the topic.
    #[must_use]
    pub fn is_live(&self, topic: &str) -> bool {
        self.live_pattern(topic).is_some()
    }

    /// True when whoever has joined the live topic may publish to it from a socket.
    #[must_use]
    pub fn anyone_publishes(&self, topic: &str) -> bool {
        self.live_pattern(topic).is_some_and(|(pattern, _)| pattern.anyone_publishes)
    }

    /// True when it is known of the live topic who is on it.
    #[must_use]
    pub fn tracks(&self, topic: &str) -> bool {
        self.live_pattern(topic).is_some_and(|(pattern, _)| pattern.presence.is_some())
    }

    /// The pattern that makes a topic a live one, and when that was found.
    fn live_pattern(&self, topic: &str) -> Option<(&Arc<LivePattern>, u64)> {
        let generation = self.0.generation.load(Ordering::Relaxed);
        let reserved = [TABLE_PREFIX, SERVER_PREFIX, "phoenix"];
        let reserved = reserved.iter().any(|prefix| topic.starts_with(prefix));
        if reserved || topic.len() > limits::TOPIC_BYTES {
            return None;
        }
        let found = self.0.live.iter().find(|pattern| pattern.matches(topic))?;
        let is_a_datasets = self.behind(topic).is_some() || self.is_unavailable(topic);
        (!is_a_datasets).then_some((found, generation))
    }

    /// Publishes to a live topic. Without subscribers and history nothing is kept of it.
    ///
    /// # Errors
    /// [`LiveError`] when the topic, the event or the payload is refused.
    pub fn publish(
        &self,
        topic: &str,
        event: &str,
        payload: Payload,
    ) -> Result<Published, LiveError> {
        live::check(event, &payload)?;
        let topic = match self.0.topics.get(topic) {
            Some(known) if known.is_live_since(self.0.generation.load(Ordering::Relaxed)) => known,
            known => {
                let unmatched = || LiveError::Unmatched { topic: topic.to_owned() };
                let found = self.live_pattern(topic).ok_or_else(unmatched)?;
                if known.is_none() && !found.0.keeps() {
                    return Ok(Published { subscribers: 0, place: None });
                }
                self.0.topics.live(topic, found)
            }
        };
        let put = topic.publish(event, frame::message(topic.name(), event, payload));
        Ok(topic.told(&put))
    }

    /// Publishes to a live topic that somebody has joined, for a publisher that only wants to know
    /// that it was done.
    ///
    /// # Errors
    /// [`LiveError`] when the event or the payload is refused.
    pub fn publish_to(
        &self,
        topic: &Arc<Topic>,
        event: &str,
        payload: Payload,
    ) -> Result<(), LiveError> {
        live::check(event, &payload)?;
        topic.publish(event, frame::message(topic.name(), event, payload));
        Ok(())
    }

    /// Publishes a message that has an id, unless it was published before.
    ///
    /// # Errors
    /// [`LiveError`] when the topic, the event or the payload is refused.
    pub fn publish_once(
        &self,
        topic: &str,
        event: &str,
        payload: Payload,
        id: &PublishId,
    ) -> Result<Once, LiveError> {
        let publish = || self.publish(topic, event, payload.clone());
        self.0.ids.once(topic, id, (event, &payload), self.0.topics.now(), publish)
    }

    /// Checks whether a message would be published.
    ///
    /// # Errors
    /// [`LiveError`] when the topic, the event or the payload is refused.
    pub fn check_publication(
        &self,
        topic: &str,
        event: &str,
        payload: &Payload,
    ) -> Result<(), LiveError> {
        live::check(event, payload)?;
        match self.is_live(topic) {
            true => Ok(()),
            false => Err(LiveError::Unmatched { topic: topic.to_owned() }),
        }
    }

    /// Closes every dataset, all at once. Blocks until what was queued is done.
    pub fn close(&self) {
        let datasets = self.datasets();
        datasets.iter().for_each(Dataset::begin_to_close);
        datasets.iter().for_each(Dataset::close);
    }
}

/// Starts the thread that tells who came and went, and forgets what is too old, as long as there
/// is a node.
fn keep_live_house(shared: &Arc<Shared>) -> io::Result<()> {
    let node = Arc::downgrade(shared);
    let every = Duration::from_millis(limits::PRESENCE_MS);
    std::thread::Builder::new().name("live".into()).spawn(move || {
        let mut ticks = 0_u64;
        loop {
            std::thread::sleep(every);
            let Some(node) = node.upgrade() else { return };
            ticks += 1;
            node.topics.tell_presence();
            if ticks.is_multiple_of(limits::LIVE_HOUSE_MS / limits::PRESENCE_MS) {
                node.topics.expire();
                node.ids.expire(node.topics.now());
            }
        }
    })?;
    Ok(())
}
