//! Ids of publications: the same id takes effect once.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};

use instep_model::limits;
use instep_model::ring::Payload;

use super::Published;
use crate::sync::lock;

/// Idempotency key of a message, chosen by its publisher.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PublishId(Arc<str>);

impl PublishId {
    /// Takes an id; none when it is empty or too long.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=limits::PUBLISH_ID_BYTES).contains(&text.len());
        fits.then(|| Self(text.into()))
    }
}

/// Outcome of publishing a message that has an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Once {
    /// Published now.
    Published(Published),
    /// Duplicate: it had been published before, with this answer; now nothing was.
    Replayed(Published),
    /// Conflict: another message had been published under the id; now nothing was.
    Conflict,
}

type Key = (Arc<str>, PublishId);

/// The ids that were given lately.
#[derive(Default)]
pub(crate) struct Ids(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    answers: HashMap<Key, (u64, Published)>,
    by_age: VecDeque<(u64, Key)>,
}

impl Ids {
    /// Publishes unless the id was given before. One at a time: two of the same must not meet.
    pub(crate) fn once<E>(
        &self,
        topic: &str,
        id: &PublishId,
        message: (&str, &Payload),
        now: u64,
        publish: impl FnOnce() -> Result<Published, E>,
    ) -> Result<Once, E> {
        let mut ids = lock(&self.0);
        ids.expire(now);
        let key: Key = (topic.into(), id.clone());
        let digest = digest(message);
        if let Some((known, answer)) = ids.answers.get(&key) {
            let same = *known == digest;
            return Ok(if same { Once::Replayed(answer.clone()) } else { Once::Conflict });
        }
        let published = publish()?;
        ids.answers.insert(key.clone(), (digest, published.clone()));
        ids.by_age.push_back((now, key));
        Ok(Once::Published(published))
    }

    /// Forgets ids that are too old.
    pub(crate) fn expire(&self, now: u64) {
        lock(&self.0).expire(now);
    }
}

impl Remembered {
    /// Makes room for one more.
    fn expire(&mut self, now: u64) {
        let oldest_kept = now.saturating_sub(limits::PUBLISH_ID_MS);
        while self
            .by_age
            .front()
            .is_some_and(|(at, _)| *at < oldest_kept || self.by_age.len() >= limits::PUBLISH_IDS)
        {
            if let Some((_, key)) = self.by_age.pop_front() {
                self.answers.remove(&key);
            }
        }
        if self.by_age.is_empty() && self.by_age.capacity() > 0 {
            *self = Self::default();
        }
    }
}

fn digest((event, payload): (&str, &Payload)) -> u64 {
    let mut hasher = DefaultHasher::new();
    event.hash(&mut hasher);
    match payload {
        Payload::Json(bytes) => (0, bytes).hash(&mut hasher),
        Payload::Binary(bytes) => (1, bytes).hash(&mut hasher),
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;

    use super::*;

    fn once(ids: &Ids, topic: &str, id: &str, text: &'static str, now: u64) -> Once {
        let payload = Payload::Json(Bytes::from_static(text.as_bytes()));
        let publish = || Ok::<_, Infallible>(Published { subscribers: 1, place: None });
        let id = PublishId::new(id).unwrap();
        ids.once(topic, &id, ("e", &payload), now, publish).unwrap()
    }

    #[test]
    fn an_id_takes_effect_once_on_its_topic_until_it_is_forgotten() {
        let ids = Ids::default();
        let published = Published { subscribers: 1, place: None };

        assert_eq!(once(&ids, "a", "1", "{}", 0), Once::Published(published.clone()));
        assert_eq!(once(&ids, "a", "1", "{}", 1), Once::Replayed(published.clone()));
        assert_eq!(once(&ids, "a", "1", "{ }", 2), Once::Conflict);
        assert_eq!(once(&ids, "b", "1", "{}", 3), Once::Published(published.clone()));
        let later = limits::PUBLISH_ID_MS + 1;
        assert_eq!(once(&ids, "a", "1", "{}", later), Once::Published(published));
    }

    #[test]
    fn law_6_only_so_many_ids_are_remembered() {
        let ids = Ids::default();

        for number in 0..=limits::PUBLISH_IDS {
            once(&ids, "a", &number.to_string(), "{}", 0);
        }

        assert_eq!(lock(&ids.0).answers.len(), limits::PUBLISH_IDS);
        assert!(matches!(once(&ids, "a", "0", "{}", 0), Once::Published(_)));
        assert_eq!(PublishId::new(""), None);
        assert_eq!(PublishId::new(&"x".repeat(limits::PUBLISH_ID_BYTES + 1)), None);
    }
}
