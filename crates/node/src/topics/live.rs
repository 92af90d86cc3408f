//! State of a live topic besides its ring: an epoch, its newest message, who is present.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use instep_model::live::LivePlace;
use instep_model::presence::Presence;
use instep_model::ring::{Cursor, Frame, Message};
use instep_protocol::payload::live;
use instep_protocol::payload::since::Since;

use super::kept::Keep;
use super::{Map, Subscriber, Subscription, Topic, TopicState, Topics};
use crate::live::LivePattern;
use crate::sync::lock;

pub(super) struct LiveState {
    pub(super) pattern: Arc<LivePattern>,
    pub(super) epoch: u64,
    /// The newest message, where it is kept for joiners.
    last: Option<Arc<Frame>>,
    /// Presence; none when no client is present and all subscribers have been told so.
    pub(super) presence: Option<Box<Presence>>,
    /// A diff of presence is about to be told.
    pub(super) is_due: bool,
    /// Time of the last diff of presence, in milliseconds of the registry's clock.
    pub(super) told_at: u64,
    /// Place among the topics that are kept without subscribers.
    kept: Option<Keep>,
}

/// A join of a live topic.
pub struct LiveJoined {
    /// The joiner's place in the topic: in front of what it missed, if that is known.
    pub subscription: Subscription,
    /// The messages that follow are counted from here.
    pub place: LivePlace,
    /// The joiner said where it was.
    pub resumes: bool,
    /// True when no message is lost: the joiner gets all that it missed.
    pub recovered: bool,
    /// A message to send before all others.
    pub last: Option<Arc<Frame>>,
    /// Publish right on a socket, as the pattern has it.
    pub anyone_publishes: bool,
}

impl LiveJoined {
    /// The reply to the joiner, as JSON.
    #[must_use]
    pub fn reply(&self) -> Bytes {
        live::Joined::new(&self.place, self.resumes, self.recovered).encode()
    }
}

/// Reply to a publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Subscribers that had joined.
    pub subscribers: usize,
    /// The message's place; none when the topic had no subscriber and keeps nothing.
    pub place: Option<LivePlace>,
}

/// A message that was put on a ring.
pub(crate) struct Put {
    /// Subscribers that had joined.
    subscribers: usize,
    /// Its epoch and number.
    place: Option<(u64, u64)>,
}

impl Topics {
    /// Joins a live topic. `generation` is that of the node when it was found to be one.
    pub(crate) fn join_live(
        &self,
        name: &str,
        (pattern, generation): (&Arc<LivePattern>, u64),
        since: &Since,
        subscriber: &Subscriber,
    ) -> LiveJoined {
        let mut map = lock(&self.0.map);
        let topic = self.open(&mut map, name);
        let mut state = lock(&topic.state);
        self.make_live(&topic, &mut state, pattern, generation);
        if let Some(keep) = state.live.as_mut().and_then(|live| live.kept.take()) {
            map.kept.take(keep);
        }
        state.ring.expire(self.now());
        let missed = state.missed(since, |epoch| self.epoch_text(epoch));
        let live = state.live.as_ref();
        let last = live.and_then(|live| live.last.clone()).filter(|_| missed.is_none());
        let epoch = self.epoch_text(live.map_or(0, |live| live.epoch));
        let cursor = missed.unwrap_or(state.ring.end());
        let seat = state.seat(subscriber);
        drop(state);
        LiveJoined {
            place: LivePlace { epoch, offset: cursor.offset() - u64::from(last.is_some()) },
            resumes: *since != Since::Nothing,
            recovered: missed.is_some(),
            last,
            anyone_publishes: pattern.anyone_publishes,
            subscription: Subscription { topic, seat, cursor },
        }
    }

    /// The live topic, with subscribers or without.
    pub(crate) fn live(
        &self,
        name: &str,
        (pattern, generation): (&Arc<LivePattern>, u64),
    ) -> Arc<Topic> {
        let mut map = lock(&self.0.map);
        let topic = self.open(&mut map, name);
        self.make_live(&topic, &mut lock(&topic.state), pattern, generation);
        topic
    }

    fn make_live(
        &self,
        topic: &Topic,
        state: &mut TopicState,
        pattern: &Arc<LivePattern>,
        generation: u64,
    ) {
        topic.live_since.store(generation, Ordering::Relaxed);
        if state.live.is_some() {
            return;
        }
        state.ring.become_live(pattern.ring_limits(self.0.limits));
        state.live = Some(Box::new(LiveState {
            pattern: Arc::clone(pattern),
            epoch: self.0.epochs.fetch_add(1, Ordering::Relaxed),
            last: None,
            presence: None,
            is_due: false,
            told_at: 0,
            kept: None,
        }));
    }

    fn epoch_text(&self, epoch: u64) -> String {
        format!("{:012x}{epoch:x}", self.0.seed & 0xffff_ffff_ffff)
    }

    /// Keeps or forgets a topic without subscribers.
    pub(super) fn keep_or_forget(&self, map: &mut Map, topic: &Arc<Topic>, used: bool) {
        let mut state = lock(&topic.state);
        let ours = map.topics.get(&topic.name).is_some_and(|known| Arc::ptr_eq(known, topic));
        if state.subscribers > 0 || !ours {
            return;
        }
        let kept = state.trim(self.now());
        let before = state.live.as_mut().and_then(|live| live.kept.take());
        match (kept, before) {
            // Still kept, and not used: its place among the kept stays.
            (Some(_), Some(keep)) if !used => state.keep(keep),
            (kept, before) => {
                before.into_iter().for_each(|keep| map.kept.take(keep));
                match kept {
                    Some(bytes) => state.keep(map.kept.put(Arc::clone(&topic.name), bytes)),
                    None => drop(map.topics.remove(&topic.name)),
                }
            }
        }
        drop(state);
        while let Some(surplus) = map.kept.take_surplus() {
            map.topics.remove(&surplus);
        }
    }
}

impl Topic {
    /// True when the topic was found to be live, and nothing has changed since `generation`.
    pub(crate) fn is_live_since(&self, generation: u64) -> bool {
        self.live_since.load(Ordering::Relaxed) == generation
    }

    /// Puts a message on the ring and wakes the subscribers.
    pub(crate) fn publish(self: &Arc<Self>, event: &str, message: Message) -> Put {
        let now = self.registry.now();
        let mut state = lock(&self.state);
        let frame = state.ring.push_message(event, message, now);
        let live = state.live.as_mut();
        let epoch = live.map(|live| {
            live.last = live.pattern.last_value.then(|| Arc::clone(&frame));
            live.epoch
        });
        state.wake();
        let subscribers = state.subscribers;
        drop(state);
        if subscribers == 0 {
            let topics = &self.registry;
            topics.keep_or_forget(&mut lock(&topics.0.map), self, true);
        }
        Put { subscribers, place: epoch.zip(frame.offset) }
    }

    /// Makes the reply to a publisher, if it wants one.
    pub(crate) fn told(&self, put: &Put) -> Published {
        let place = put
            .place
            .map(|(epoch, offset)| LivePlace { epoch: self.registry.epoch_text(epoch), offset });
        Published { subscribers: put.subscribers, place }
    }

    /// The place of a reader of a live topic.
    #[must_use]
    pub fn place(&self, cursor: Cursor) -> Option<LivePlace> {
        let epoch = lock(&self.state).live.as_ref()?.epoch;
        Some(LivePlace { epoch: self.registry.epoch_text(epoch), offset: cursor.offset() })
    }

    /// The place of the newest message of a live topic.
    #[must_use]
    pub fn newest(&self) -> Option<LivePlace> {
        self.place(self.end())
    }
}

impl TopicState {
    /// Returns the place from which a joiner has missed messages; none when that cannot be told.
    fn missed(&self, since: &Since, text: impl Fn(u64) -> String) -> Option<Cursor> {
        let live = self.live.as_ref()?;
        match since {
            Since::Live(place) if place.epoch == text(live.epoch) => self.ring.behind(place.offset),
            Since::Live(_) | Since::Position(_) | Since::Nothing | Since::Unreadable => None,
        }
    }

    /// Forgets what is not kept without subscribers; the bytes of what is, none when nothing is.
    fn trim(&mut self, now: u64) -> Option<usize> {
        let live = self.live.as_ref()?;
        self.ring.trim(live.pattern.history_limits(), now);
        let last = live.last.as_ref().map_or(0, |frame| frame.encoded.len());
        let (frames, bytes) = self.ring.occupancy();
        (frames > 0 || live.last.is_some()).then_some(bytes + last)
    }

    fn keep(&mut self, keep: Keep) {
        if let Some(live) = &mut self.live {
            live.kept = Some(keep);
        }
    }
}
