//! The topics of a node that have subscribers: a ring each, and the listeners to wake.
//!
//! A connection that is a task of its own is woken by itself. Connections that share a thread are
//! woken together: the thread has one [`Notifier`], and each of its topics is marked on it once,
//! however many of its connections have joined and however many frames have come since.

mod kept;
mod live;
mod notifier;
mod presence;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use instep_model::live::LivePlace;
use instep_model::ring::{Cursor, Frame, Read, Ring, RingBudget, RingLimits};
use tokio::sync::Notify;

use self::kept::Kept;
use self::live::LiveState;
pub use self::live::{LiveJoined, Published};
pub use self::notifier::Notifier;
pub use self::presence::{Audience, Crowd, Present};
use crate::clock::now_ms;
use crate::sync::lock;

/// Listener of a topic, which it wakes. A wake-up carries no data and is only a hint.
#[derive(Clone)]
pub enum Subscriber {
    /// One connection.
    Task(Arc<Notify>),
    /// All connections of a thread, for a topic that the thread knows as `mark`. All of its
    /// subscriptions of one topic carry the same mark.
    Shared {
        /// The thread's notifier.
        notifier: Arc<Notifier>,
        /// Mark that is put on the notifier.
        mark: u32,
    },
}

impl Subscriber {
    /// Wakes the listener.
    pub(crate) fn wake(&self) {
        match self {
            Self::Task(notify) => notify.notify_one(),
            Self::Shared { notifier, mark } => notifier.mark(*mark),
        }
    }
}

/// Every topic that has subscribers, and live topics that are kept without.
#[derive(Clone)]
pub struct Topics(Arc<Registry>);

struct Registry {
    limits: RingLimits,
    began: Instant,
    map: Mutex<Map>,
    /// Different for every start of every node.
    seed: u64,
    epochs: AtomicU64,
    references: AtomicU64,
    /// Budget of the rings of all topics together.
    rings: Arc<RingBudget>,
    /// Topics whose subscribers are about to be told who came and went.
    due: Mutex<Vec<Arc<Topic>>>,
}

#[derive(Default)]
struct Map {
    topics: HashMap<Arc<str>, Arc<Topic>>,
    kept: Kept,
}

/// One topic.
pub struct Topic {
    name: Arc<str>,
    registry: Topics,
    /// Generation of the node as of which the topic is known to be a live one; 0: it is not.
    live_since: AtomicU64,
    state: Mutex<TopicState>,
}

struct TopicState {
    ring: Ring,
    subscribers: usize,
    tasks: HashMap<u64, Arc<Notify>>,
    next_task: u64,
    /// One for each thread that has subscribers; few.
    shared: Vec<Shared>,
    live: Option<Box<LiveState>>,
}

struct Shared {
    notifier: Arc<Notifier>,
    mark: u32,
    subscribers: usize,
    /// The mark is on the notifier, and was not looked at since.
    marked: bool,
}

/// A subscriber's place in a topic. Dropping it leaves the topic.
pub struct Subscription {
    topic: Arc<Topic>,
    seat: Seat,
    cursor: Cursor,
}

enum Seat {
    Task(u64),
    Shared(Arc<Notifier>),
}

impl Default for Topics {
    fn default() -> Self {
        Self::new(RingLimits::default())
    }
}

impl Topics {
    /// No topics yet; each of them will have a ring within `limits`.
    #[must_use]
    pub fn new(limits: RingLimits) -> Self {
        Self(Arc::new(Registry {
            limits,
            began: Instant::now(),
            map: Mutex::default(),
            seed: seed(),
            epochs: AtomicU64::new(0),
            references: AtomicU64::new(0),
            rings: Arc::default(),
            due: Mutex::default(),
        }))
    }

    /// Subscribes to what is pushed from now on.
    #[must_use]
    pub fn subscribe(&self, name: &str, subscriber: &Subscriber) -> Subscription {
        let mut map = lock(&self.0.map);
        let topic = self.open(&mut map, name);
        let mut state = lock(&topic.state);
        let seat = state.seat(subscriber);
        let cursor = state.ring.end();
        drop(state);
        Subscription { topic, seat, cursor }
    }

    fn open(&self, map: &mut Map, name: &str) -> Arc<Topic> {
        if let Some(topic) = map.topics.get(name) {
            return Arc::clone(topic);
        }
        let name: Arc<str> = name.into();
        let topic = Arc::new(Topic::new(Arc::clone(&name), self.clone()));
        Arc::clone(map.topics.entry(name).or_insert(topic))
    }

    /// The topic, if it has subscribers or is kept.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Topic>> {
        lock(&self.0.map).topics.get(name).cloned()
    }

    /// The topics that have subscribers or are kept.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Topic>> {
        lock(&self.0.map).topics.values().cloned().collect()
    }

    /// Forgets frames that are too old, in topics that are too quiet to do it themselves, and
    /// topics that were kept for such frames.
    pub fn expire(&self) {
        let now = self.now();
        let mut unused = vec![];
        for topic in self.all() {
            let mut state = lock(&topic.state);
            state.ring.expire(now);
            if state.subscribers == 0 {
                drop(state);
                unused.push(topic);
            }
        }
        let mut map = lock(&self.0.map);
        unused.iter().for_each(|topic| self.keep_or_forget(&mut map, topic, false));
        // What a crowd needed is given back when it has gone.
        if map.topics.capacity() > 4 * map.topics.len() + 1024 {
            map.topics.shrink_to_fit();
        }
    }

    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Topic {
    fn new(name: Arc<str>, registry: Topics) -> Self {
        let state = TopicState {
            ring: Ring::within(registry.0.limits, &registry.0.rings),
            subscribers: 0,
            tasks: HashMap::new(),
            next_task: 0,
            shared: vec![],
            live: None,
        };
        Self { name, registry, live_since: AtomicU64::new(0), state: Mutex::new(state) }
    }

    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Puts frames on the ring and wakes the subscribers; returns how many have joined.
    pub fn push(&self, frames: impl IntoIterator<Item = Arc<Frame>>) -> usize {
        let now = self.registry.now();
        let mut state = lock(&self.state);
        frames.into_iter().for_each(|frame| state.ring.push(frame, now));
        state.wake();
        state.subscribers
    }

    /// Makes every subscriber catch up, and wakes it.
    pub fn cut(&self) {
        let mut state = lock(&self.state);
        state.ring.cut();
        state.wake();
    }

    /// Subscribers that have joined.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        lock(&self.state).subscribers
    }

    /// Frames and bytes on the ring now.
    #[must_use]
    pub fn occupancy(&self) -> (usize, usize) {
        lock(&self.state).ring.occupancy()
    }

    /// The place behind the newest frame.
    #[must_use]
    pub fn end(&self) -> Cursor {
        lock(&self.state).ring.end()
    }

    /// Reads for all subscribers of a thread at once: at most `most` frames and about `bytes`
    /// bytes, from `cursor` on. Also says whether there is more, which the thread comes back to by
    /// itself; otherwise new frames mark its notifier again from here on.
    pub fn read_shared(
        &self,
        notifier: &Arc<Notifier>,
        cursor: &mut Cursor,
        most: usize,
        bytes: usize,
    ) -> (Read, bool) {
        let mut state = lock(&self.state);
        let read = state.ring.read_within(cursor, most, bytes);
        let more = state.ring.end().since(*cursor).is_some_and(|left| left > 0);
        if let Some(shared) =
            state.shared.iter_mut().find(|shared| Arc::ptr_eq(&shared.notifier, notifier))
        {
            shared.marked = more;
        }
        (read, more)
    }
}

impl TopicState {
    fn seat(&mut self, subscriber: &Subscriber) -> Seat {
        self.subscribers += 1;
        match subscriber {
            Subscriber::Task(notify) => {
                let number = self.next_task;
                self.next_task += 1;
                self.tasks.insert(number, Arc::clone(notify));
                Seat::Task(number)
            }
            Subscriber::Shared { notifier, mark } => {
                match self.shared.iter_mut().find(|shared| Arc::ptr_eq(&shared.notifier, notifier))
                {
                    Some(shared) => shared.subscribers += 1,
                    None => self.shared.push(Shared {
                        notifier: Arc::clone(notifier),
                        mark: *mark,
                        subscribers: 1,
                        marked: false,
                    }),
                }
                Seat::Shared(Arc::clone(notifier))
            }
        }
    }

    fn leave(&mut self, seat: &Seat) {
        self.subscribers -= 1;
        match seat {
            Seat::Task(number) => {
                self.tasks.remove(number);
            }
            Seat::Shared(notifier) => {
                let of = |shared: &Shared| Arc::ptr_eq(&shared.notifier, notifier);
                if let Some(at) = self.shared.iter().position(of) {
                    self.shared[at].subscribers -= 1;
                    if self.shared[at].subscribers == 0 {
                        self.shared.swap_remove(at);
                    }
                }
            }
        }
    }

    fn wake(&mut self) {
        self.tasks.values().for_each(|task| task.notify_one());
        for shared in self.shared.iter_mut().filter(|shared| !shared.marked) {
            shared.marked = true;
            shared.notifier.mark(shared.mark);
        }
    }
}

impl Subscription {
    /// The next frames, at most `most`.
    pub fn read(&mut self, most: usize) -> Read {
        self.read_within(most, usize::MAX)
    }

    /// The next frames, at most `most` and about `bytes` bytes.
    pub fn read_within(&mut self, most: usize, bytes: usize) -> Read {
        lock(&self.topic.state).ring.read_within(&mut self.cursor, most, bytes)
    }

    /// Goes to the end: what is on the ring now is known from elsewhere.
    pub fn skip_to_end(&mut self) {
        self.cursor = self.topic.end();
    }

    /// The place of the next frame to read.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Goes to a place up to which the frames have been read for this subscriber.
    pub fn go_to(&mut self, cursor: Cursor) {
        self.cursor = cursor;
    }

    /// Frames that are pushed but not read.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.topic.end().since(self.cursor).unwrap_or(0)
    }

    /// Place of the subscriber of a live topic, once it has been given what it has read.
    #[must_use]
    pub fn place(&self) -> Option<LivePlace> {
        self.topic.place(self.cursor)
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Arc<Topic> {
        &self.topic
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // The registry first, so that no client joins a topic that is being forgotten.
        let topics = &self.topic.registry;
        let mut map = lock(&topics.0.map);
        let mut state = lock(&self.topic.state);
        state.leave(&self.seat);
        if state.subscribers == 0 {
            drop(state);
            topics.keep_or_forget(&mut map, &self.topic, true);
        }
    }
}

/// Random bits, or at least those of the clock and of the process.
fn seed() -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        Err(_) => now_ms() ^ (u64::from(std::process::id()) << 40),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;

    use super::*;
    use instep_model::ring::Payload;

    fn frame(text: &'static str) -> Arc<Frame> {
        let encoded = Bytes::from_static(text.as_bytes());
        let payload = Payload::Json(encoded.clone());
        Arc::new(Frame { event: "e".into(), payload, position: None, offset: None, encoded })
    }

    fn texts(read: Read) -> Vec<String> {
        let Read::Frames(frames) = read else { panic!("lagged") };
        let text = |frame: &Arc<Frame>| String::from_utf8(frame.encoded.to_vec()).unwrap();
        frames.iter().map(text).collect()
    }

    fn notifier() -> (Arc<Notifier>, Arc<AtomicUsize>) {
        let rung = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&rung);
        let notifier = Notifier::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        (Arc::new(notifier), rung)
    }

    #[test]
    fn a_publisher_pays_once_for_a_thread_however_many_of_its_connections_have_joined() {
        let topics = Topics::default();
        let (notifier, rung) = notifier();
        let subscriber = Subscriber::Shared { notifier: Arc::clone(&notifier), mark: 7 };
        let joined: Vec<_> = (0..100).map(|_| topics.subscribe("t", &subscriber)).collect();
        let topic = topics.get("t").unwrap();
        let mut cursor = joined[0].cursor();
        assert!(notifier.falls_asleep());

        let told: Vec<_> = ["a", "b", "c"].map(|text| topic.push([frame(text)])).into();

        let mut marks = vec![];
        notifier.take(&mut marks);
        assert_eq!((told, marks, rung.load(Ordering::SeqCst)), (vec![100; 3], vec![7], 1));
        assert_eq!(texts(topic.read_shared(&notifier, &mut cursor, 9, 999).0), ["a", "b", "c"]);
    }

    #[test]
    fn a_thread_that_has_looked_is_marked_again_and_rung_only_when_it_sleeps() {
        let topics = Topics::default();
        let (notifier, rung) = notifier();
        let joined =
            topics.subscribe("t", &Subscriber::Shared { notifier: Arc::clone(&notifier), mark: 1 });
        let topic = Arc::clone(joined.topic());
        let mut cursor = joined.cursor();
        let mut marks = vec![];

        topic.push([frame("a")]);
        notifier.take(&mut marks);
        topic.read_shared(&notifier, &mut cursor, 9, 999);
        topic.push([frame("b")]);
        let sleeps = notifier.falls_asleep();
        notifier.take(&mut marks);

        assert_eq!((marks, sleeps, rung.load(Ordering::SeqCst)), (vec![1, 1], false, 0));
    }

    #[test]
    fn a_topic_is_forgotten_with_its_last_subscriber() {
        let topics = Topics::default();
        let (notifier, _) = notifier();
        let subscriber = Subscriber::Shared { notifier, mark: 1 };
        let first = topics.subscribe("t", &subscriber);
        let second = topics.subscribe("t", &Subscriber::Task(Arc::default()));

        drop(first);
        assert_eq!(topics.get("t").unwrap().subscribers(), 1);
        drop(second);

        assert!(topics.get("t").is_none());
    }
}
