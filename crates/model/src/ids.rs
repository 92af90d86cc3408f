//! Commit ids: each takes effect at most once, and its reply is replayed (law 5).
//!
//! An id is a UUIDv7, so ids sort by the time they carry. A forgotten id leaves its span of ids
//! behind, and an id in such a span is refused: nothing forgotten can take effect again. Spans, and
//! not one horizon below which everything is refused: a clock that is ahead for a while leaves ids
//! of that time, and when these are forgotten, those of today must not go with them.
//!
//! A principal whose newest id is older than ids are remembered holds nothing, and is forgotten
//! where half of the room for principals is used. Where there are too many principals, the one
//! whose newest id is the oldest gives way to a new one, if that id is not of the last minutes.
//! Its ids then count as forgotten for every principal that is not known.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::commit::CommitId;
use crate::limits;
use crate::position::Place;

/// Record of a commit, kept for the retries of its client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Digest of the operations.
    pub digest: u64,
    /// Place of the commit.
    pub place: Place,
    /// Results of its operations; empty when none computed anything.
    pub results: Box<[Option<i64>]>,
}

/// Result of looking up an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// Never seen: go on.
    Fresh,
    /// Seen with the same operations: replay the reply.
    Known(Remembered),
    /// Seen with other operations.
    Conflict,
    /// Too old to know.
    Expired,
    /// Its time lies too far in the future, or it is no UUIDv7.
    Invalid,
}

/// The ids of one dataset. Cloning is cheap and shares.
#[derive(Debug, Clone, Default)]
pub struct DedupWindow {
    principals: OrdMap<Arc<str>, PrincipalIds>,
    /// The same by ids that are no newer than their newest ones, and are brought up to date when
    /// they are read.
    by_newest: OrdSet<(Uuid, Arc<str>)>,
    bytes: usize,
    /// Ids of principals that are forgotten themselves, as in [`PrincipalIds`].
    forgotten: Vec<(Uuid, Uuid)>,
}

impl PartialEq for DedupWindow {
    fn eq(&self, other: &Self) -> bool {
        // Whatever bounds are out of date.
        self.principals == other.principals
            && self.bytes == other.bytes
            && self.forgotten == other.forgotten
    }
}

impl Eq for DedupWindow {}

/// The ids of one principal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrincipalIds {
    ids: OrdMap<Uuid, Remembered>,
    /// About how many bytes they take.
    bytes: usize,
    /// Ids that were forgotten, from and to, in order: whatever lies between may be one.
    forgotten: Vec<(Uuid, Uuid)>,
}

/// Limits on the ids of one principal.
#[derive(Debug, Clone, Copy)]
struct Most {
    ids: usize,
    bytes: usize,
}

/// Principals that are forgotten by one commit.
const FORGOTTEN_AT_ONCE: usize = 16;
/// Forgotten ids that are no further apart are one span.
const SPAN_GAP_MS: u64 = 10 * 60 * 1000;
/// Spans of one principal; beyond it the oldest two become one.
const SPANS: usize = 8;
/// About what an id takes besides the numbers of its reply.
const ID_BYTES: usize = 128;

impl DedupWindow {
    /// Looks up the id of `commit_id`, at `now_ms`.
    #[must_use]
    pub fn recall(&self, commit_id: &CommitId, now_ms: u64) -> Lookup {
        let Some(id_ms) = time_of(commit_id.id) else {
            return Lookup::Invalid;
        };
        let known = self.principals.get(&*commit_id.principal);
        // Whatever the clock says by now: what took effect did so once.
        if let Some(remembered) = known.and_then(|principal| principal.ids.get(&commit_id.id)) {
            return if commit_id.is_of(remembered.digest) {
                Lookup::Known(remembered.clone())
            } else {
                Lookup::Conflict
            };
        }
        if id_ms > now_ms.saturating_add(limits::ID_AHEAD_MS) {
            return Lookup::Invalid;
        }
        let spans = known.map_or(&self.forgotten, |principal| &principal.forgotten);
        let forgotten = is_within(spans, commit_id.id);
        if forgotten || id_ms.saturating_add(limits::ID_MEMORY_MS) < now_ms {
            return Lookup::Expired;
        }
        Lookup::Fresh
    }

    /// True when `principal` can be remembered at `now_ms`: it is known, there is room for one
    /// more, or another one gives way.
    #[must_use]
    pub fn has_room_for(&self, principal: &str, now_ms: u64) -> bool {
        if self.principals.len() < limits::ID_MEMORY_PRINCIPALS
            || self.principals.contains_key(principal)
        {
            return true;
        }
        let may_give_way = |id: Uuid| is_older(id, limits::ID_PRINCIPAL_MS, now_ms);
        let mut oldest = self.by_newest.iter().take_while(|(bound, _)| may_give_way(*bound));
        oldest.any(|(_, name)| self.principals.get(name).is_some_and(|p| may_give_way(p.newest())))
    }

    /// Remembers a commit, and forgets ids over the limits at `now_ms`, the entry's time.
    pub fn remember(&mut self, commit_id: &CommitId, remembered: Remembered, now_ms: u64) {
        self.forget_principals(&commit_id.principal, now_ms, limits::ID_MEMORY_PRINCIPALS);
        let most = Most {
            ids: limits::ID_MEMORY_PER_PRINCIPAL,
            bytes: limits::ID_MEMORY_BYTES_PER_PRINCIPAL,
        };
        self.change(&commit_id.principal, |principal| {
            principal.insert(commit_id.id, remembered);
            principal.forget(now_ms, most);
        });
        if self.bytes > limits::ID_MEMORY_BYTES {
            self.shrink(now_ms, limits::ID_MEMORY_BYTES);
        }
    }

    /// Forgets some principals whose ids are all too old to be remembered, and one that gives way
    /// if there is no room for `principal`.
    pub(crate) fn forget_principals(&mut self, principal: &str, now_ms: u64, most: usize) {
        for _ in 0..FORGOTTEN_AT_ONCE {
            // While there is room none is forgotten: a clock that is ahead for a moment makes all
            // of them look old, and principals that come back would have lost the ids of that
            // moment.
            let is_roomy = self.principals.len() <= most / 2;
            if is_roomy || !self.forget_oldest(limits::ID_MEMORY_MS, now_ms) {
                break;
            }
        }
        if self.principals.len() >= most && !self.principals.contains_key(principal) {
            self.forget_oldest(limits::ID_PRINCIPAL_MS, now_ms);
        }
    }

    /// Forgets the principal whose newest id is the oldest, if it is older than so much.
    fn forget_oldest(&mut self, age_ms: u64, now_ms: u64) -> bool {
        while let Some((bound, name)) = self.by_newest.get_min().cloned()
            && is_older(bound, age_ms, now_ms)
        {
            self.by_newest.remove_min();
            let newest = self.principals.get(&name).map_or(bound, PrincipalIds::newest);
            if newest != bound {
                self.by_newest.insert((newest, name));
                continue;
            }
            let Some(gone) = self.principals.remove(&name) else { continue };
            self.bytes -= gone.bytes;
            let ids = gone.ids.get_min().zip(gone.ids.get_max());
            let ids = ids.map(|((first, _), (last, _))| (*first, *last));
            for span in gone.forgotten.into_iter().chain(ids) {
                add_span(&mut self.forgotten, span);
            }
            return true;
        }
        false
    }

    /// Changes the memory of a principal. One that comes back after it was forgotten may have had
    /// any of the ids that were forgotten with such.
    fn change(&mut self, name: &str, change: impl FnOnce(&mut PrincipalIds)) {
        if !self.principals.contains_key(name) {
            let name: Arc<str> = name.into();
            let forgotten = self.forgotten.clone();
            let fresh = PrincipalIds { forgotten, ..PrincipalIds::default() };
            self.by_newest.insert((Uuid::nil(), Arc::clone(&name)));
            self.principals.insert(name, fresh);
        }
        if let Some(principal) = self.principals.get_mut(name) {
            let before = principal.bytes;
            change(principal);
            self.bytes = self.bytes + principal.bytes - before;
        }
    }

    /// Evicts from the principal with most bytes, an eighth at a time: looking for it is not cheap.
    fn shrink(&mut self, now_ms: u64, most: usize) {
        while self.bytes > most {
            let largest = self.principals.iter().max_by_key(|(_, principal)| principal.bytes);
            let Some((name, held)) = largest.map(|(name, held)| (name.clone(), held.bytes)) else {
                return;
            };
            let before = self.bytes;
            self.change(&name, |principal| {
                principal.forget(now_ms, Most { ids: usize::MAX, bytes: held - held / 8 });
            });
            if self.bytes == before {
                return;
            }
        }
    }

    /// About how many bytes the ids and their replies take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// True when more than a horizon is needed to name the forgotten ids.
    #[must_use]
    pub fn has_spans(&self) -> bool {
        self.principals.values().any(|principal| !principal.spans().is_empty())
    }

    /// Everything, for a snapshot.
    pub fn principals(&self) -> impl Iterator<Item = (&str, &PrincipalIds)> {
        self.principals.iter().map(|(name, principal)| (&**name, principal))
    }

    /// Ids that are forgotten with their principals, from and to, for a snapshot.
    #[must_use]
    pub fn spans(&self) -> &[(Uuid, Uuid)] {
        &self.forgotten
    }

    /// Puts back one principal from a snapshot: up to the horizon everything is forgotten.
    pub fn restore(&mut self, principal: &str, horizon: Option<Uuid>) {
        self.change(principal, |principal| {
            principal.forgotten.extend(horizon.map(|horizon| (Uuid::nil(), horizon)));
        });
    }

    /// Puts back its ids.
    pub fn restore_ids(&mut self, principal: &str, ids: Vec<(Uuid, Remembered)>) {
        self.change(principal, |principal| {
            ids.into_iter().for_each(|(id, remembered)| principal.insert(id, remembered));
        });
    }

    /// Puts back which ids it has forgotten.
    pub fn restore_spans(&mut self, principal: &str, spans: Vec<(Uuid, Uuid)>) {
        self.change(principal, |principal| principal.forgotten.extend(spans));
    }

    /// Puts back which ids are forgotten with their principals. It comes behind the principals.
    pub fn restore_unknown(&mut self, spans: Vec<(Uuid, Uuid)>) {
        self.forgotten = spans;
    }
}

impl PrincipalIds {
    /// The ids that are remembered.
    pub fn ids(&self) -> impl Iterator<Item = (&Uuid, &Remembered)> {
        self.ids.iter()
    }

    /// Horizon: ids up to this one are forgotten.
    #[must_use]
    pub fn horizon(&self) -> Option<Uuid> {
        self.forgotten.first().filter(|(from, _)| from.is_nil()).map(|(_, to)| *to)
    }

    /// Returns the spans that are forgotten behind the horizon.
    #[must_use]
    pub fn spans(&self) -> &[(Uuid, Uuid)] {
        &self.forgotten[usize::from(self.horizon().is_some())..]
    }

    fn insert(&mut self, id: Uuid, remembered: Remembered) {
        self.bytes += size_of_one(&remembered);
        if let Some(before) = self.ids.insert(id, remembered) {
            self.bytes -= size_of_one(&before);
        }
    }

    /// The newest id that it has had.
    fn newest(&self) -> Uuid {
        let held = self.ids.get_max().map(|(id, _)| *id);
        held.into_iter().chain(self.forgotten.last().map(|(_, to)| *to)).max().unwrap_or_default()
    }

    fn forget(&mut self, now_ms: u64, most: Most) {
        while let Some((id, _)) = self.ids.get_min() {
            let id = *id;
            let old = time_of(id).is_none_or(|ms| ms.saturating_add(limits::ID_MEMORY_MS) < now_ms);
            if old {
                self.forget_one(id);
                continue;
            }
            let fits = self.ids.len() <= most.ids && self.bytes <= most.bytes;
            if fits || self.ids.len() <= 1 {
                break;
            }
            // Those of a time that has not come are in the way of those of today.
            let latest = self.ids.get_max().map_or(id, |(latest, _)| *latest);
            let is_ahead = time_of(latest).is_some_and(|ms| ms > now_ms + limits::ID_AHEAD_MS);
            self.forget_one(if is_ahead { latest } else { id });
        }
    }

    fn forget_one(&mut self, id: Uuid) {
        if let Some(forgotten) = self.ids.remove(&id) {
            self.bytes -= size_of_one(&forgotten);
            self.note_forgotten(id);
        }
    }

    fn note_forgotten(&mut self, id: Uuid) {
        let spans = &mut self.forgotten;
        let at = spans.partition_point(|(_, to)| *to < id);
        match at.checked_sub(1) {
            Some(below) if is_near(spans[below].1, id) => spans[below].1 = id,
            _ => match spans.get_mut(at) {
                Some((from, _)) if *from <= id => {}
                Some((from, _)) if is_near(*from, id) => *from = id,
                _ => spans.insert(at, (id, id)),
            },
        }
        join_oldest(spans);
    }
}

fn is_older(id: Uuid, age_ms: u64, now_ms: u64) -> bool {
    time_of(id).unwrap_or(0).saturating_add(age_ms) < now_ms
}

fn is_within(spans: &[(Uuid, Uuid)], id: Uuid) -> bool {
    spans.iter().any(|(from, to)| (*from..=*to).contains(&id))
}

/// Adds a span to spans in their order: near ones become one with it.
fn add_span(spans: &mut Vec<(Uuid, Uuid)>, (mut from, mut to): (Uuid, Uuid)) {
    spans.retain(|span| {
        let overlap = span.0 <= to && from <= span.1;
        let meets = overlap || is_near(span.0, to) || is_near(span.1, from);
        if meets {
            (from, to) = (from.min(span.0), to.max(span.1));
        }
        !meets
    });
    let at = spans.partition_point(|span| span.1 < from);
    spans.insert(at, (from, to));
    join_oldest(spans);
}

/// Returns true if the times of two ids are so near that one span has both.
fn is_near(one: Uuid, other: Uuid) -> bool {
    let (one, other) = (time_of(one).unwrap_or(0), time_of(other).unwrap_or(0));
    one.abs_diff(other) <= SPAN_GAP_MS
}

/// Makes the oldest two spans one, from the beginning of time, if there are too many.
fn join_oldest(spans: &mut Vec<(Uuid, Uuid)>) {
    if spans.len() > SPANS {
        let (_, to) = spans.remove(0);
        spans[0] = (Uuid::nil(), spans[0].1.max(to));
    }
}

fn size_of_one(remembered: &Remembered) -> usize {
    ID_BYTES + std::mem::size_of_val(&*remembered.results)
}

/// The milliseconds since 1970 that a UUIDv7 carries.
fn time_of(id: Uuid) -> Option<u64> {
    (id.get_version_num() == 7).then(|| (id.as_u128() >> 80) as u64)
}

#[cfg(test)]
mod tests;
