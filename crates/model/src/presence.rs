//! Presence: who is on a topic now, and what changed since the last time everybody was told.
//!
//! | state of a meta | track | update | untrack | `tell` |
//! | --- | --- | --- | --- | --- |
//! | absent | present; joins | – | – | – |
//! | present, joins | – | present under a new ref; joins | absent; leaves if seen | told |
//! | present, told | – | present under a new ref; joins, the old one leaves | absent; leaves | – |
//!
//! *Seen*: a joiner was greeted in between.
//!
//! A diff is told at intervals, so a burst of joins costs one frame. Clients take diffs
//! idempotently by `phx_ref`: a joiner may get what the next diff tells again.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::limits;

/// The event that carries everybody.
pub const STATE_EVENT: &str = "presence_state";
/// The event that carries what changed.
pub const DIFF_EVENT: &str = "presence_diff";
/// The event that carries how many there are, on topics with too many to list.
pub const COUNT_EVENT: &str = "presence_count";

/// Why somebody is not tracked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PresenceError {
    /// The key is empty or too long.
    #[error("the presence key is empty or longer than {limit} bytes")]
    Key {
        /// Bytes allowed.
        limit: usize,
    },
    /// The meta is no object.
    #[error("the presence meta is no JSON object")]
    NoObject,
    /// The meta is too large.
    #[error("the presence meta is {bytes} bytes of JSON, the limit is {limit}")]
    Meta {
        /// Bytes of the meta.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The key is there too many times.
    #[error("the presence key is tracked {limit} times, the limit")]
    TooMany {
        /// Metas allowed under one key.
        limit: usize,
    },
}

/// What a present client says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Meta {
    /// Unique among all metas.
    reference: Arc<str>,
    previous: Option<Arc<str>>,
    fields: Arc<Map<String, Value>>,
}

type Metas = BTreeMap<Arc<str>, Vec<Meta>>;

/// Everybody on one topic.
#[derive(Debug, Default, Clone)]
pub struct Presence {
    present: Metas,
    metas: usize,
    joins: Metas,
    leaves: Metas,
    /// A joiner was told of `joins` before everybody is.
    seen: bool,
    /// Too many to list: only the count is told, until half of them are gone.
    crowded: bool,
    /// Nobody is ever listed.
    counts: bool,
    told_count: usize,
}

/// What subscribers are told.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The event.
    pub event: &'static str,
    /// The payload.
    pub payload: Value,
}

impl Presence {
    /// Nobody yet; only how many there are will ever be told.
    #[must_use]
    pub fn counting() -> Self {
        Self { counts: true, crowded: true, ..Self::default() }
    }

    /// Somebody is here. The reference must be new.
    ///
    /// # Errors
    /// [`PresenceError`] when the key or the meta is over its limit.
    pub fn track(
        &mut self,
        key: &str,
        reference: &str,
        fields: Map<String, Value>,
    ) -> Result<(), PresenceError> {
        self.admit(key, &fields, 1)?;
        self.add(key, Meta { reference: reference.into(), previous: None, fields: fields.into() });
        Ok(())
    }

    /// Says something else of somebody who is here, under a new reference. False when nobody is
    /// tracked under the old one.
    ///
    /// # Errors
    /// [`PresenceError`] when the meta is over its limit; nothing changed then.
    pub fn update(
        &mut self,
        key: &str,
        reference: &str,
        next: &str,
        fields: Map<String, Value>,
    ) -> Result<bool, PresenceError> {
        self.admit(key, &fields, 0)?;
        if !self.untrack(key, reference) {
            return Ok(false);
        }
        let previous = Some(reference.into());
        self.add(key, Meta { reference: next.into(), previous, fields: fields.into() });
        Ok(true)
    }

    /// Somebody is gone. False when nobody is tracked under the reference.
    pub fn untrack(&mut self, key: &str, reference: &str) -> bool {
        let Some(gone) = take(&mut self.present, key, reference) else {
            return false;
        };
        self.metas -= 1;
        // Who came and went between two diffs, and no joiner between, was never seen by anybody.
        let untold = take(&mut self.joins, key, reference).is_some();
        if !untold || self.seen {
            self.leaves.entry(key.into()).or_default().push(gone);
        }
        true
    }

    /// How many keys are here.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.present.len()
    }

    /// The keys that are here.
    pub fn present(&self) -> impl Iterator<Item = &Arc<str>> {
        self.present.keys()
    }

    /// How many metas are here: connections, when each tracks itself once.
    #[must_use]
    pub fn metas(&self) -> usize {
        self.metas
    }

    /// What a joiner is told: everybody, or how many when they are too many.
    #[must_use]
    pub fn greet(&mut self) -> Told {
        self.seen = true;
        self.everybody()
    }

    /// The first keys, at most so many, as `presence_state` has them.
    #[must_use]
    pub fn list(&self, most: usize) -> Value {
        encode(self.present.iter().take(most))
    }

    fn everybody(&self) -> Told {
        match self.crowded {
            true => self.count(),
            false => Told { event: STATE_EVENT, payload: encode(self.present.iter()) },
        }
    }

    /// What everybody is told now; none when nothing changed since the last time.
    pub fn tell(&mut self) -> Option<Told> {
        let (joins, leaves) = (std::mem::take(&mut self.joins), std::mem::take(&mut self.leaves));
        let changed = !joins.is_empty() || !leaves.is_empty();
        self.seen = false;
        let was_crowded = self.crowded;
        let bound = limits::PRESENCE_LISTED / if was_crowded { 2 } else { 1 };
        self.crowded = self.counts || self.metas > bound;
        if self.crowded {
            return (self.told_count != self.metas || !was_crowded).then(|| {
                self.told_count = self.metas;
                self.count()
            });
        }
        if was_crowded {
            return Some(self.everybody());
        }
        let payload = || json!({"joins": encode(joins.iter()), "leaves": encode(leaves.iter())});
        changed.then(|| Told { event: DIFF_EVENT, payload: payload() })
    }

    fn count(&self) -> Told {
        let payload = json!({"count": self.metas, "keys": self.present.len()});
        Told { event: COUNT_EVENT, payload }
    }

    fn admit(
        &self,
        key: &str,
        fields: &Map<String, Value>,
        more: usize,
    ) -> Result<(), PresenceError> {
        if key.is_empty() || key.len() > limits::PRESENCE_KEY_BYTES {
            return Err(PresenceError::Key { limit: limits::PRESENCE_KEY_BYTES });
        }
        let bytes = serde_json::to_vec(fields).map_or(usize::MAX, |text| text.len());
        if bytes > limits::PRESENCE_META_BYTES {
            return Err(PresenceError::Meta { bytes, limit: limits::PRESENCE_META_BYTES });
        }
        let limit = limits::PRESENCE_METAS_PER_KEY;
        match self.present.get(key).map_or(0, Vec::len) + more > limit {
            true => Err(PresenceError::TooMany { limit }),
            false => Ok(()),
        }
    }

    fn add(&mut self, key: &str, mut meta: Meta) {
        self.metas += 1;
        if self.counts {
            meta.fields = Arc::default();
        }
        let key: Arc<str> = key.into();
        self.joins.entry(Arc::clone(&key)).or_default().push(meta.clone());
        self.present.entry(key).or_default().push(meta);
    }
}

fn take(metas: &mut Metas, key: &str, reference: &str) -> Option<Meta> {
    let under = metas.get_mut(key)?;
    let at = under.iter().position(|meta| &*meta.reference == reference)?;
    let taken = under.remove(at);
    if under.is_empty() {
        metas.remove(key);
    }
    Some(taken)
}

fn encode<'a>(metas: impl Iterator<Item = (&'a Arc<str>, &'a Vec<Meta>)>) -> Value {
    let one = |meta: &Meta| {
        let mut fields = Map::clone(&meta.fields);
        // Ours win over what the client says of itself.
        fields.insert("phx_ref".into(), (*meta.reference).into());
        match &meta.previous {
            Some(previous) => fields.insert("phx_ref_prev".into(), (**previous).into()),
            None => fields.remove("phx_ref_prev"),
        };
        Value::Object(fields)
    };
    let all = metas.map(|(key, metas)| {
        let metas: Vec<Value> = metas.iter().map(one).collect();
        ((**key).to_owned(), json!({"metas": metas}))
    });
    Value::Object(all.collect())
}

#[cfg(test)]
mod tests;
