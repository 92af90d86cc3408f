//! Presence on live topics. Subscribers are told at intervals, by one timer for all topics.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use instep_model::limits;
use instep_model::presence::{After, Announcement, Greeting, Presence, PresenceError};
use instep_protocol::payload::frame;
use serde_json::{Map, Value, json};

use super::{Topic, TopicState, Topics};
use crate::live::PresenceMode;
use crate::sync::lock;

/// Presence on a topic. Dropping it ends it.
pub struct Present {
    topic: Arc<Topic>,
    key: Box<str>,
    reference: u64,
}

/// Counts of the clients that are present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Crowd {
    /// Connections, when each tracks itself once.
    pub count: usize,
    /// Keys: one for each user, say.
    pub keys: usize,
}

/// Counts of the clients that are present on several topics.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Audience {
    /// Counts by topic, where any client is present.
    pub topics: BTreeMap<Arc<str>, Crowd>,
    /// Different keys on all of them.
    pub keys: usize,
}

impl Topics {
    /// Counts the clients that are present on the topics that begin with `prefix`.
    #[must_use]
    pub fn audience(&self, prefix: &str) -> Audience {
        let (mut audience, mut keys) = (Audience::default(), HashSet::new());
        for topic in self.all().iter().filter(|topic| topic.name.starts_with(prefix)) {
            let state = lock(&topic.state);
            let presence = state.live.as_ref().and_then(|live| live.presence.as_deref());
            if let Some(presence) = presence.filter(|presence| presence.metas() > 0) {
                let crowd = Crowd { count: presence.metas(), keys: presence.keys() };
                audience.topics.insert(Arc::clone(&topic.name), crowd);
                keys.extend(presence.present().cloned());
            }
        }
        audience.keys = keys.len();
        audience
    }

    /// Tells the subscribers of every topic who came and went since the last time.
    pub(crate) fn tell_presence(&self) {
        let due = std::mem::take(&mut *lock(&self.0.due));
        let early: Vec<_> =
            due.into_iter().filter(|topic| !topic.tell_presence(self.now())).collect();
        lock(&self.0.due).extend(early);
    }
}

impl Topic {
    /// Tracks a presence: under `key`, or a key of its own. None when the topic keeps no presence.
    ///
    /// # Errors
    /// [`PresenceError`] when the key or what is said is over its limit.
    pub fn track(
        self: &Arc<Self>,
        key: Option<&str>,
        fields: Map<String, Value>,
    ) -> Result<Option<Present>, PresenceError> {
        let reference = self.registry.next_reference();
        let own = self.registry.reference_text(reference);
        let key = key.unwrap_or(&own);
        let mut state = lock(&self.state);
        let Some(presence) = state.presence() else {
            return Ok(None);
        };
        presence.track(key, &own, fields)?;
        self.falls_due(&mut state);
        Ok(Some(Present { topic: Arc::clone(self), key: key.into(), reference }))
    }

    /// Returns the presence that a joiner gets first: the list, its first part, or the count; none
    /// when the topic keeps no presence.
    #[must_use]
    pub fn greet(&self) -> Option<Greeting> {
        lock(&self.state).presence().map(|presence| presence.greet())
    }

    /// Returns the next part of the presence list, behind `after`; none when it is not listed any
    /// more.
    #[must_use]
    pub fn greet_on(&self, after: &After) -> Option<Greeting> {
        lock(&self.state).presence().and_then(|presence| presence.greet_on(after))
    }

    /// Counts the clients that are present; none when the topic keeps no presence.
    #[must_use]
    pub fn crowd(&self) -> Option<Crowd> {
        let state = lock(&self.state);
        let live = state.live.as_ref()?;
        live.pattern.presence?;
        let crowd = |presence: &Presence| Crowd { count: presence.metas(), keys: presence.keys() };
        Some(live.presence.as_deref().map(crowd).unwrap_or_default())
    }

    /// Lists the clients that are present, at most [`limits::PRESENCE_LISTED`] metas; none when the
    /// topic does not list.
    #[must_use]
    pub fn present(&self) -> Option<Value> {
        let state = lock(&self.state);
        let live = state.live.as_ref()?;
        let list = |presence: &Presence| presence.list(limits::PRESENCE_LISTED);
        let lists = live.pattern.presence == Some(PresenceMode::List);
        let listed = lists.then(|| live.presence.as_deref().map(list).unwrap_or_default())?;
        drop(state);
        Some(serde_json::from_str(&listed).unwrap_or_else(|_| json!({})))
    }

    fn falls_due(self: &Arc<Self>, state: &mut TopicState) {
        if let Some(live) = state.live.as_mut().filter(|live| !live.is_due) {
            live.is_due = true;
            lock(&self.registry.0.due).push(Arc::clone(self));
        }
    }

    /// Tells the subscribers which clients came and went; false when that must wait. The more there
    /// are, the rarer: a crowd that comes at once is not told of each other a million times.
    fn tell_presence(&self, now: u64) -> bool {
        let mut state = lock(&self.state);
        let crowds = state.subscribers.div_ceil(limits::PRESENCE_LISTED).max(1) as u64;
        let Some(live) = state.live.as_mut() else { return true };
        let Some(presence) = live.presence.as_mut() else {
            live.is_due = false;
            return true;
        };
        if crowds > 1 && now < live.told_at + limits::PRESENCE_MS * crowds {
            return false;
        }
        (live.is_due, live.told_at) = (false, now);
        let told = presence.tell();
        if presence.metas() == 0 {
            live.presence = None;
        }
        let is_told = !told.is_empty();
        for Announcement { event, payload } in told {
            let frame = frame::of_json(&self.name, event, payload.into(), None);
            state.ring.push(Arc::new(frame), now);
        }
        if is_told {
            state.wake();
        }
        true
    }
}

impl TopicState {
    fn presence(&mut self) -> Option<&mut Presence> {
        let live = self.live.as_mut()?;
        let mode = live.pattern.presence?;
        let new = || match mode {
            PresenceMode::List => Presence::default(),
            PresenceMode::Count => Presence::counting(),
        };
        Some(live.presence.get_or_insert_with(|| Box::new(new())))
    }
}

impl Topics {
    fn next_reference(&self) -> u64 {
        self.0.references.fetch_add(1, Ordering::Relaxed)
    }

    /// Unique among all metas of all nodes.
    fn reference_text(&self, reference: u64) -> String {
        format!("{:012x}{reference:x}", self.0.seed & 0xffff_ffff_ffff)
    }
}

impl Present {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Replaces its meta.
    ///
    /// # Errors
    /// [`PresenceError`] when what is said is over its limit; nothing changed then.
    pub fn update(&mut self, fields: Map<String, Value>) -> Result<(), PresenceError> {
        let topics = &self.topic.registry;
        let next = topics.next_reference();
        let (from, to) = (topics.reference_text(self.reference), topics.reference_text(next));
        let mut state = lock(&self.topic.state);
        if let Some(presence) = state.presence()
            && presence.update(&self.key, &from, &to, fields)?
        {
            self.reference = next;
            self.topic.falls_due(&mut state);
        }
        Ok(())
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let reference = self.topic.registry.reference_text(self.reference);
        let mut state = lock(&self.topic.state);
        if let Some(presence) = state.presence()
            && presence.untrack(&self.key, &reference)
        {
            self.topic.falls_due(&mut state);
        }
    }
}
