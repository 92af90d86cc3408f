//! A node: its datasets and its live topics.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use instep_model::feed::{JoinRefusal, Joined};
use instep_model::limits;
use instep_model::name::Name;
use instep_model::ring::{Payload, RingLimits};
use instep_protocol::payload::frame;
use instep_protocol::payload::since::Since;

use crate::dataset::Dataset;
use crate::directory::{Behind, Directory, NodeError, Unopened};
use crate::live::{self, Ids, LiveError, LiveJoined, LivePattern, Once, PublishId, Published};
use crate::pool::Pools;
use crate::topics::{Subscriber, Subscription, Topic, Topics};

/// One node. Cloning gives another handle.
#[derive(Clone)]
pub struct Node(Arc<Shared>);

struct Shared {
    directory: Directory,
    /// Datasets that it takes.
    limit: usize,
    topics: Topics,
    pools: Pools,
    ids: Ids,
    /// Reason why it is not ready.
    waiting_for: ArcSwapOption<String>,
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
            directory: Directory::new(live),
            limit,
            topics: Topics::new(rings),
            pools: Pools::new()?,
            ids: Ids::default(),
            waiting_for: ArcSwapOption::from_pointee("starting".to_owned()),
        });
        keep_live_house(&shared)?;
        Ok(Self(shared))
    }

    /// The topics that have subscribers.
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
        self.0.directory.add(dataset, self.0.limit)
    }

    /// Datasets that it takes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Datasets that are open.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.directory.count()
    }

    /// The names of all datasets. One that cannot be opened has a place of its own.
    #[must_use]
    pub fn names(&self) -> BTreeSet<Name> {
        self.0.directory.names()
    }

    /// Notes that a dataset is there and cannot be opened.
    pub fn set_unopened(&self, name: Name, unopened: Unopened) {
        self.0.directory.set_unopened(name, unopened);
    }

    /// Notes that a dataset is not there any more, or is open.
    pub fn forget_unopened(&self, name: &Name) {
        self.0.directory.forget_unopened(name);
    }

    /// The datasets that are there and cannot be opened, by name.
    #[must_use]
    pub fn unopened(&self) -> Vec<(Name, Arc<Unopened>)> {
        self.0.directory.unopened()
    }

    /// Reason why a dataset is not open, if it is there.
    #[must_use]
    pub fn why_unopened(&self, name: &str) -> Option<Arc<Unopened>> {
        self.0.directory.why_unopened(name)
    }

    /// Takes a dataset out, and ends its topics; it is still open.
    #[must_use]
    pub fn remove(&self, name: &str) -> Option<Dataset> {
        let removed = self.0.directory.remove(name);
        if let Some(dataset) = &removed {
            dataset.end_topics();
        }
        removed
    }

    /// A dataset by name.
    #[must_use]
    pub fn dataset(&self, name: &str) -> Option<Dataset> {
        self.0.directory.dataset(name)
    }

    /// All datasets, by name.
    #[must_use]
    pub fn datasets(&self) -> Vec<Dataset> {
        self.0.directory.datasets()
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
        self.join_by(topic, since, listener, |dataset| {
            dataset.join(topic, since.position(), listener)
        })
    }

    /// The same as [`Node::join`], for a thread that must not wait: none while subscribers of the
    /// topic's dataset are being told of an entry.
    ///
    /// # Errors
    /// See [`JoinRefusal`].
    pub fn try_join(
        &self,
        topic: &str,
        since: &Since,
        listener: &Subscriber,
    ) -> Option<Result<NodeJoined, JoinRefusal>> {
        let mut is_busy = false;
        let joined = self.join_by(topic, since, listener, |dataset| {
            let tried = dataset.try_join(topic, since.position(), listener);
            is_busy = tried.is_none();
            tried.unwrap_or(Err(JoinRefusal::Unavailable))
        });
        (!is_busy).then_some(joined)
    }

    fn join_by(
        &self,
        topic: &str,
        since: &Since,
        listener: &Subscriber,
        join: impl FnOnce(&Dataset) -> Result<(Joined, Subscription), JoinRefusal>,
    ) -> Result<NodeJoined, JoinRefusal> {
        match self.0.directory.behind(topic) {
            Behind::Dataset(dataset) => {
                let (joined, subscription) = join(&dataset)?;
                Ok(NodeJoined::View { dataset, joined, subscription })
            }
            Behind::Live(pattern, generation) => {
                let found = (&pattern, generation);
                Ok(NodeJoined::Live(self.0.topics.join_live(topic, found, since, listener)))
            }
            Behind::Unopened => Err(JoinRefusal::Unavailable),
            Behind::Table(_) | Behind::Nothing => Err(JoinRefusal::Unmatched),
        }
    }

    /// True when a client that joins the topic now is told everything that was acknowledged.
    #[must_use]
    pub fn is_settled(&self, topic: &str) -> bool {
        self.waits_for(topic).is_none_or(|dataset| dataset.is_settled())
    }

    /// Waits until what is visible now has been told to the topic's subscribers: a table that was
    /// just made may have no topic yet.
    pub async fn settled(&self, topic: &str) {
        if let Some(dataset) = self.waits_for(topic) {
            dataset.settled().await;
        }
    }

    /// The dataset that decides what a joiner of the topic is told.
    fn waits_for(&self, topic: &str) -> Option<Dataset> {
        match self.0.directory.behind(topic) {
            Behind::Dataset(dataset) | Behind::Table(dataset) => Some(dataset),
            Behind::Unopened | Behind::Live(..) | Behind::Nothing => None,
        }
    }

    /// True when a declared live pattern matches, and no dataset stands behind the topic.
    #[must_use]
    pub fn is_live(&self, topic: &str) -> bool {
        self.live_pattern(topic).is_some()
    }

    /// True when the subscribers of the live topic may publish to it from a socket.
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
    fn live_pattern(&self, topic: &str) -> Option<(Arc<LivePattern>, u64)> {
        match self.0.directory.behind(topic) {
            Behind::Live(pattern, generation) => Some((pattern, generation)),
            Behind::Dataset(_) | Behind::Unopened | Behind::Table(_) | Behind::Nothing => None,
        }
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
            Some(known) if known.is_live_since(self.0.directory.generation()) => known,
            known => {
                let unmatched = || LiveError::Unmatched { topic: topic.to_owned() };
                let (pattern, generation) = self.live_pattern(topic).ok_or_else(unmatched)?;
                if known.is_none() && !pattern.keeps() {
                    return Ok(Published { subscribers: 0, place: None });
                }
                self.0.topics.live(topic, (&pattern, generation))
            }
        };
        let put = topic.publish(event, frame::message(topic.name(), event, payload));
        Ok(topic.told(&put))
    }

    /// Publishes to a live topic that has subscribers, for a publisher that only wants to know
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
        if self.is_live(topic) {
            Ok(())
        } else {
            Err(LiveError::Unmatched { topic: topic.to_owned() })
        }
    }

    /// Datasets that do not close, each with its parts that have not ended.
    #[must_use]
    pub fn unclosed(&self) -> Vec<(Dataset, Vec<&'static str>)> {
        let parts = self.datasets().into_iter().map(|dataset| {
            let unclosed = dataset.unclosed();
            (dataset, unclosed)
        });
        parts.filter(|(_, unclosed)| !unclosed.is_empty()).collect()
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
