//! Presence: tracked subscribers of a topic, and the changes since the last diff.
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
//! idempotently by `phx_ref`: a joiner may get what the next diff tells again. So lists of any
//! length are told in pieces: the first as `presence_state`, the others as diffs of joins.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::json::{INEXACT, is_deeper};
use crate::limits;

/// Event of the whole list.
pub const STATE_EVENT: &str = "presence_state";
/// Event of changes.
pub const DIFF_EVENT: &str = "presence_diff";
/// Event of the number of presences, on topics with too many to list.
pub const COUNT_EVENT: &str = "presence_count";

/// Error for which a presence is not tracked.
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
    /// The meta is nested too deeply.
    #[error("the presence meta is nested deeper than {limit} levels")]
    TooDeep {
        /// Levels allowed.
        limit: usize,
    },
    /// The key is there too many times.
    #[error(
        "the presence key {key:?} is there {limit} times, the limit of one key (`metas`): join \
         under another key, or with `{{\"presence\": false}}`"
    )]
    TooMany {
        /// The key.
        key: String,
        /// Metas allowed under one key.
        limit: usize,
    },
}

impl PresenceError {
    /// The stable code that clients see.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooDeep { .. } => INEXACT,
            Self::Key { .. } | Self::NoObject | Self::Meta { .. } | Self::TooMany { .. } => {
                "bad_presence"
            }
        }
    }
}

/// Meta of a present client.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Meta {
    /// Unique among all metas.
    reference: Arc<str>,
    previous: Option<Arc<str>>,
    /// JSON between its braces.
    fields: Arc<str>,
}

/// Bytes of a meta in JSON besides its texts, about.
const META_BYTES: usize = 64;

type Metas = BTreeMap<Arc<str>, Vec<Meta>>;

/// Presences of one topic.
#[derive(Debug, Default, Clone)]
pub struct Presence {
    present: Metas,
    metas: usize,
    joins: Metas,
    leaves: Metas,
    /// A joiner was told of `joins` before the other subscribers.
    seen: bool,
    /// Too many to list: only the count is told, until half of them are gone.
    crowded: bool,
    /// Presences are counted and never listed.
    counts: bool,
    told_count: usize,
}

/// Message to subscribers about presences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The event.
    pub event: &'static str,
    /// The payload, as JSON.
    pub payload: String,
}

/// First message to a joiner, and the place behind which the rest begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// Message to send now.
    pub told: Announcement,
    /// Place behind which the rest begins; none at the end.
    pub rest: Option<After>,
}

/// Place in the list of presences: behind this meta.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    key: Arc<str>,
    reference: Arc<str>,
}

impl Presence {
    /// Empty; only how many there are will ever be told.
    #[must_use]
    pub fn counting() -> Self {
        Self { counts: true, crowded: true, ..Self::default() }
    }

    /// Adds a presence. The reference must be new.
    ///
    /// # Errors
    /// [`PresenceError`] when the key or the meta is over its limit.
    pub fn track(
        &mut self,
        key: &str,
        reference: &str,
        fields: Map<String, Value>,
    ) -> Result<(), PresenceError> {
        let fields = self.admit(key, fields, 1)?;
        self.add(key, Meta { reference: reference.into(), previous: None, fields });
        Ok(())
    }

    /// Replaces the meta of a presence, under a new reference. False when none is tracked under the
    /// old one.
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
        let fields = self.admit(key, fields, 0)?;
        if !self.untrack(key, reference) {
            return Ok(false);
        }
        let previous = Some(reference.into());
        self.add(key, Meta { reference: next.into(), previous, fields });
        Ok(true)
    }

    /// Removes a presence. False when none is tracked under the reference.
    pub fn untrack(&mut self, key: &str, reference: &str) -> bool {
        let Some(gone) = take(&mut self.present, key, reference) else {
            return false;
        };
        self.metas -= 1;
        // A presence that came and went between two diffs, without a joiner between, was never
        // seen.
        let untold = take(&mut self.joins, key, reference).is_some();
        if !untold || self.seen {
            self.leaves.entry(key.into()).or_default().push(gone);
        }
        true
    }

    /// Returns the number of keys that are present.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.present.len()
    }

    /// The keys that are here.
    pub fn present(&self) -> impl Iterator<Item = &Arc<str>> {
        self.present.keys()
    }

    /// Returns the number of metas that are present: connections, when each tracks itself once.
    #[must_use]
    pub fn metas(&self) -> usize {
        self.metas
    }

    /// Returns the first message to a joiner: a piece of the list, or the count if it is too long.
    #[must_use]
    pub fn greet(&mut self) -> Greeting {
        self.seen = true;
        if self.crowded {
            Greeting { told: self.count(), rest: None }
        } else {
            let (payload, rest) = piece(&self.present, None);
            Greeting { told: Announcement { event: STATE_EVENT, payload }, rest }
        }
    }

    /// Next piece of a joiner's list: the presences behind a place, as if they had just come. None
    /// when they have become too many to list: all subscribers are told their number, then.
    pub fn greet_on(&mut self, after: &After) -> Option<Greeting> {
        if self.crowded {
            return None;
        }
        self.seen = true;
        let (joins, rest) = piece(&self.present, Some(after));
        Some(Greeting { told: diff(&joins, "{}"), rest })
    }

    /// The first metas, at most so many, as `presence_state` has them.
    #[must_use]
    pub fn list(&self, most: usize) -> String {
        cut(&self.present, None, (most, usize::MAX)).0
    }

    /// Returns the messages to all subscribers, in pieces; none when nothing changed since the last
    /// time.
    pub fn tell(&mut self) -> Vec<Announcement> {
        let (joins, leaves) = (std::mem::take(&mut self.joins), std::mem::take(&mut self.leaves));
        let changed = !joins.is_empty() || !leaves.is_empty();
        self.seen = false;
        let was_crowded = self.crowded;
        let bound = limits::PRESENCE_LISTED / if was_crowded { 2 } else { 1 };
        self.crowded = self.counts || self.metas > bound;
        if self.crowded {
            let is_new = self.told_count != self.metas || !was_crowded;
            self.told_count = self.metas;
            return is_new.then(|| self.count()).into_iter().collect();
        }
        if was_crowded {
            let mut all = pieces(&self.present).into_iter();
            let first = all.next().map(|payload| Announcement { event: STATE_EVENT, payload });
            return first.into_iter().chain(all.map(|joins| diff(&joins, "{}"))).collect();
        }
        if !changed {
            return vec![];
        }
        let (mut joins, mut leaves) = (pieces(&joins), pieces(&leaves).into_iter());
        let last = diff(&joins.pop().unwrap_or_default(), &leaves.next().unwrap_or_default());
        let joins = joins.iter().map(|joins| diff(joins, "{}"));
        joins.chain([last]).chain(leaves.map(|leaves| diff("{}", &leaves))).collect()
    }

    fn count(&self) -> Announcement {
        let payload = json!({"count": self.metas, "keys": self.present.len()}).to_string();
        Announcement { event: COUNT_EVENT, payload }
    }

    /// Checks a meta, and returns its fields as they are kept.
    fn admit(
        &self,
        key: &str,
        mut fields: Map<String, Value>,
        more: usize,
    ) -> Result<Arc<str>, PresenceError> {
        if key.is_empty() || key.len() > limits::PRESENCE_KEY_BYTES {
            return Err(PresenceError::Key { limit: limits::PRESENCE_KEY_BYTES });
        }
        if fields.values().any(|value| is_deeper(value, limits::VALUE_DEPTH - 1)) {
            return Err(PresenceError::TooDeep { limit: limits::VALUE_DEPTH });
        }
        // Ours win over what the client says of itself.
        fields.remove("phx_ref");
        fields.remove("phx_ref_prev");
        let text = Value::Object(fields).to_string();
        if text.len() > limits::PRESENCE_META_BYTES {
            let bytes = text.len();
            return Err(PresenceError::Meta { bytes, limit: limits::PRESENCE_META_BYTES });
        }
        let limit = limits::PRESENCE_METAS_PER_KEY;
        if self.present.get(key).map_or(0, Vec::len) + more > limit {
            Err(PresenceError::TooMany { key: key.to_owned(), limit })
        } else {
            Ok(text[1..text.len() - 1].into())
        }
    }

    fn add(&mut self, key: &str, mut meta: Meta) {
        self.metas += 1;
        if self.counts {
            meta.fields = "".into();
        }
        let key: Arc<str> = key.into();
        self.joins.entry(Arc::clone(&key)).or_default().push(meta.clone());
        self.present.entry(key).or_default().push(meta);
    }
}

fn diff(joins: &str, leaves: &str) -> Announcement {
    let payload = format!("{{\"joins\":{joins},\"leaves\":{leaves}}}");
    Announcement { event: DIFF_EVENT, payload }
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

/// The piece of a list that begins behind a place: at most [`limits::PRESENCE_PIECE_BYTES`] of
/// JSON, but one meta at least.
fn piece(metas: &Metas, after: Option<&After>) -> (String, Option<After>) {
    cut(metas, after, (usize::MAX, limits::PRESENCE_PIECE_BYTES))
}

/// Cuts out the part of a list behind a place: at most so many metas, and bytes of JSON.
fn cut(
    metas: &Metas,
    after: Option<&After>,
    (most, bytes): (usize, usize),
) -> (String, Option<After>) {
    let mut written = Written::default();
    let mut last: Option<(&Arc<str>, &Meta)> = None;
    let range: (Bound<&str>, Bound<&str>) = match after {
        Some(After { key, .. }) => (Bound::Included(&**key), Bound::Unbounded),
        None => (Bound::Unbounded, Bound::Unbounded),
    };
    for (key, under) in metas.range::<str, _>(range) {
        let told = after.filter(|after| after.key == *key);
        let told = told.and_then(|after| {
            under.iter().position(|meta| meta.reference == after.reference).map(|at| at + 1)
        });
        for meta in &under[told.unwrap_or(0)..] {
            if written.metas >= most || written.metas > 0 && written.bytes_with(key, meta) > bytes {
                let after = last.map(|(key, meta)| After {
                    key: Arc::clone(key),
                    reference: Arc::clone(&meta.reference),
                });
                return (written.finish(), after);
            }
            written.add(key, meta);
            last = Some((key, meta));
        }
    }
    (written.finish(), None)
}

/// All pieces of a list.
fn pieces(metas: &Metas) -> Vec<String> {
    let (mut all, mut after) = (vec![], None);
    loop {
        let (text, rest) = piece(metas, after.as_ref());
        all.push(text);
        match rest {
            Some(rest) => after = Some(rest),
            None => return all,
        }
    }
}

/// Metas as JSON: `{key: {"metas": [{…}]}}`.
#[derive(Default)]
struct Written {
    json: String,
    key: Option<Arc<str>>,
    metas: usize,
}

impl Written {
    /// About how many bytes there are with one more.
    fn bytes_with(&self, key: &str, meta: &Meta) -> usize {
        let more = key.len() + meta.fields.len() + 2 * meta.reference.len() + META_BYTES;
        self.json.len() + more
    }

    fn add(&mut self, key: &Arc<str>, meta: &Meta) {
        match &self.key {
            Some(open) if open == key => self.json.push(','),
            open => {
                self.json.push_str(if open.is_some() { "]}," } else { "{" });
                self.json.push_str(&quoted(key));
                self.json.push_str(":{\"metas\":[");
                self.key = Some(Arc::clone(key));
            }
        }
        self.json.push('{');
        self.json.push_str(&meta.fields);
        if !meta.fields.is_empty() {
            self.json.push(',');
        }
        self.json.push_str("\"phx_ref\":");
        self.json.push_str(&quoted(&meta.reference));
        if let Some(previous) = &meta.previous {
            self.json.push_str(",\"phx_ref_prev\":");
            self.json.push_str(&quoted(previous));
        }
        self.json.push('}');
        self.metas += 1;
    }

    fn finish(mut self) -> String {
        self.json.push_str(if self.key.is_some() { "]}}" } else { "{}" });
        self.json
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
