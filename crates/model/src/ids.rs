//! Commit ids: each takes effect at most once, and its reply is replayed (law 5).
//!
//! An id is a UUIDv7, so ids sort by the time they carry. What is forgotten leaves its span of ids
//! behind, and an id in such a span is refused: nothing forgotten can take effect again. Spans, and
//! not one horizon below which everything is refused: a clock that is ahead for a while leaves ids
//! of that time, and when these are forgotten, those of today must not go with them.

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::commit::Signature;
use crate::limits;
use crate::position::Place;

/// What is kept of a commit for the day its client asks again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Digest of the operations.
    pub digest: u64,
    /// Where the commit is.
    pub place: Place,
    /// What its operations computed; empty when none computed anything.
    pub results: Box<[Option<i64>]>,
}

/// What is known of an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recall {
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdMemory {
    principals: OrdMap<String, PrincipalIds>,
    bytes: usize,
}

/// The ids of one principal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrincipalIds {
    ids: OrdMap<Uuid, Remembered>,
    /// About how many bytes they take.
    bytes: usize,
    /// Ids that were forgotten, from and to, in order: whatever lies between may be one.
    forgotten: Vec<(Uuid, Uuid)>,
}

/// How much of one principal is remembered.
#[derive(Debug, Clone, Copy)]
struct Most {
    ids: usize,
    bytes: usize,
}

/// Forgotten ids that are no further apart are one span.
const SPAN_GAP_MS: u64 = 10 * 60 * 1000;
/// Spans of one principal; beyond it the oldest two become one.
const SPANS: usize = 8;
/// About what an id takes besides the numbers of its reply.
const ID_BYTES: usize = 128;

impl IdMemory {
    /// What is known of `id`, at `now_ms`.
    #[must_use]
    pub fn recall(&self, signature: &Signature, now_ms: u64) -> Recall {
        let Some(id_ms) = time_of(signature.id) else {
            return Recall::Invalid;
        };
        let known = self.principals.get(&signature.principal);
        // Whatever the clock says by now: what took effect did so once.
        if let Some(remembered) = known.and_then(|principal| principal.ids.get(&signature.id)) {
            return match signature.is_of(remembered.digest) {
                true => Recall::Known(remembered.clone()),
                false => Recall::Conflict,
            };
        }
        if id_ms > now_ms.saturating_add(limits::ID_AHEAD_MS) {
            return Recall::Invalid;
        }
        let forgotten = known.is_some_and(|principal| principal.has_forgotten(signature.id));
        if forgotten || id_ms.saturating_add(limits::ID_MEMORY_MS) < now_ms {
            return Recall::Expired;
        }
        Recall::Fresh
    }

    /// True when `principal` can be remembered: it is known, or there is room for one more.
    #[must_use]
    pub fn has_room_for(&self, principal: &str) -> bool {
        self.principals.len() < limits::ID_MEMORY_PRINCIPALS
            || self.principals.contains_key(principal)
    }

    /// Remembers a commit, and forgets what is over the limits at `now_ms`, the entry's time.
    pub fn remember(&mut self, signature: &Signature, remembered: Remembered, now_ms: u64) {
        let principal = self.principals.entry(signature.principal.clone()).or_default();
        let before = principal.bytes;
        principal.insert(signature.id, remembered);
        let most = Most {
            ids: limits::ID_MEMORY_PER_PRINCIPAL,
            bytes: limits::ID_MEMORY_BYTES_PER_PRINCIPAL,
        };
        principal.forget(now_ms, most);
        self.bytes = self.bytes + principal.bytes - before;
        if self.bytes > limits::ID_MEMORY_BYTES {
            self.shrink(now_ms, limits::ID_MEMORY_BYTES);
        }
    }

    /// Whoever has most gives way, an eighth at a time: looking for it is not cheap.
    fn shrink(&mut self, now_ms: u64, most: usize) {
        while self.bytes > most {
            let largest = self.principals.iter().max_by_key(|(_, principal)| principal.bytes);
            let Some((name, held)) = largest.map(|(name, held)| (name.clone(), held.bytes)) else {
                return;
            };
            let Some(principal) = self.principals.get_mut(&name) else { return };
            principal.forget(now_ms, Most { ids: usize::MAX, bytes: held - held / 8 });
            if principal.bytes == held {
                return;
            }
            self.bytes -= held - principal.bytes;
        }
    }

    /// About how many bytes the ids and their replies take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// True when more than a horizon is needed to say what was forgotten.
    #[must_use]
    pub fn has_spans(&self) -> bool {
        self.principals.values().any(|principal| !principal.spans().is_empty())
    }

    /// Everything, for a snapshot.
    pub fn principals(&self) -> impl Iterator<Item = (&String, &PrincipalIds)> {
        self.principals.iter()
    }

    /// Puts back one principal from a snapshot: up to the horizon everything is forgotten.
    pub fn restore(&mut self, principal: String, horizon: Option<Uuid>) {
        let principal = self.principals.entry(principal).or_default();
        principal.forgotten.extend(horizon.map(|horizon| (Uuid::nil(), horizon)));
    }

    /// Puts back its ids.
    pub fn restore_ids(&mut self, principal: &str, ids: Vec<(Uuid, Remembered)>) {
        if let Some(principal) = self.principals.get_mut(principal) {
            let before = principal.bytes;
            ids.into_iter().for_each(|(id, remembered)| principal.insert(id, remembered));
            self.bytes = self.bytes + principal.bytes - before;
        }
    }

    /// Puts back which ids it has forgotten.
    pub fn restore_spans(&mut self, principal: &str, spans: Vec<(Uuid, Uuid)>) {
        if let Some(principal) = self.principals.get_mut(principal) {
            principal.forgotten.extend(spans);
        }
    }
}

impl PrincipalIds {
    /// The ids that are remembered.
    pub fn ids(&self) -> impl Iterator<Item = (&Uuid, &Remembered)> {
        self.ids.iter()
    }

    /// Up to here everything is forgotten.
    #[must_use]
    pub fn horizon(&self) -> Option<Uuid> {
        self.forgotten.first().filter(|(from, _)| from.is_nil()).map(|(_, to)| *to)
    }

    /// What is forgotten besides.
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

    fn has_forgotten(&self, id: Uuid) -> bool {
        self.forgotten.iter().any(|(from, to)| (*from..=*to).contains(&id))
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
        let is_near = |one: Uuid, other: Uuid| {
            let (one, other) = (time_of(one).unwrap_or(0), time_of(other).unwrap_or(0));
            one.abs_diff(other) <= SPAN_GAP_MS
        };
        match at.checked_sub(1) {
            Some(below) if is_near(spans[below].1, id) => spans[below].1 = id,
            _ => match spans.get_mut(at) {
                Some((from, _)) if *from <= id => {}
                Some((from, _)) if is_near(*from, id) => *from = id,
                _ => spans.insert(at, (id, id)),
            },
        }
        if spans.len() > SPANS {
            let (_, to) = spans.remove(0);
            spans[0] = (Uuid::nil(), spans[0].1.max(to));
        }
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
mod tests {
    use super::*;

    fn id(ms: u64, tail: u64) -> Uuid {
        Uuid::from_u128(
            (u128::from(ms) << 80) | (0x7 << 76) | (0b10 << 62) | u128::from(tail & 0xffff),
        )
    }

    fn signature(id: Uuid, digest: u64) -> Signature {
        Signature { principal: "p".into(), id, digest, earlier: None }
    }

    fn remembered(digest: u64) -> Remembered {
        Remembered { digest, place: Place::default(), results: Box::default() }
    }

    #[test]
    fn law_5_a_known_id_is_replayed_and_with_other_operations_a_conflict() {
        let mut memory = IdMemory::default();
        let mine = signature(id(1_000, 1), 7);

        assert_eq!(memory.recall(&mine, 1_000), Recall::Fresh);
        memory.remember(&mine, remembered(7), 1_000);

        assert_eq!(memory.recall(&mine, 1_500), Recall::Known(remembered(7)));
        assert_eq!(memory.recall(&signature(mine.id, 8), 1_500), Recall::Conflict);
        let other = Signature { principal: "q".into(), ..mine };
        assert_eq!(memory.recall(&other, 1_500), Recall::Fresh);
    }

    #[test]
    fn law_5_an_id_that_may_have_been_forgotten_is_refused() {
        let day = limits::ID_MEMORY_MS;
        let mut memory = IdMemory::default();
        memory.remember(&signature(id(1_000, 1), 7), remembered(7), 1_000);

        memory.remember(&signature(id(day + 1_002, 2), 7), remembered(7), day + 1_002);

        assert_eq!(memory.recall(&signature(id(1_000, 1), 7), day + 1_002), Recall::Expired);
        assert_eq!(memory.recall(&signature(id(1_000, 0), 7), day + 1_002), Recall::Expired);
        assert_eq!(memory.recall(&signature(id(1_001, 0), 7), day + 1_002), Recall::Expired);
        assert_eq!(memory.recall(&signature(id(1_002, 0), 7), day + 1_002), Recall::Fresh);
    }

    #[test]
    fn law_5_what_falls_out_by_count_moves_the_horizon() {
        let mut ids = PrincipalIds::default();
        for tail in 0..5 {
            ids.insert(id(1_000 + tail, tail), remembered(0));
        }

        ids.forget(1_010, Most { ids: 3, bytes: usize::MAX });

        assert_eq!((ids.ids.len(), ids.spans()), (3, &[(id(1_000, 0), id(1_001, 1))][..]));
    }

    #[test]
    fn ids_and_their_replies_are_bounded_by_bytes_for_a_principal_and_in_all() {
        let large = || Remembered { results: vec![Some(1); 1_000].into(), ..remembered(0) };
        let one = size_of_one(&large());
        let mut ids = PrincipalIds::default();
        (0..10).for_each(|tail| ids.insert(id(1_000 + tail, tail), large()));
        let mut memory = IdMemory::default();
        for (principal, count) in [("much", 9), ("little", 1)] {
            for tail in 0..count {
                let signature =
                    Signature { principal: principal.into(), ..signature(id(9, tail), 0) };
                memory.remember(&signature, large(), 9);
            }
        }

        ids.forget(1_010, Most { ids: usize::MAX, bytes: 3 * one });
        memory.shrink(9, 4 * one);

        assert_eq!((ids.ids.len(), ids.bytes), (3, 3 * one));
        assert!(memory.bytes() <= 4 * one && memory.bytes() > one, "{}", memory.bytes());
        let held = memory.principals().map(|(name, ids)| (name.as_str(), ids.bytes / one));
        assert_eq!(held.collect::<Vec<_>>(), [("little", 1), ("much", memory.bytes() / one - 1)]);
        let again = Signature { principal: "much".into(), ..signature(id(9, 0), 0) };
        assert_eq!(memory.recall(&again, 9), Recall::Expired);
    }

    #[test]
    fn ids_of_a_time_ahead_cost_nothing_when_the_clock_is_right_again() {
        const HOUR: u64 = 60 * 60 * 1_000;
        let now = 1_000 * HOUR;
        let mut memory = IdMemory::default();
        let at = |hours: u64, tail| signature(id(now + hours * HOUR, tail), 0);
        memory.remember(&at(0, 1), remembered(0), now);
        // The clock is ahead for two days, so that even ids of that time are forgotten.
        for hours in [25, 26, 51, 76] {
            memory.remember(&at(hours, 0), remembered(0), now + hours * HOUR);
        }

        assert_eq!(memory.recall(&at(0, 2), now), Recall::Fresh);
        assert_eq!(memory.recall(&at(0, 1), now), Recall::Expired, "it took effect");
        assert_eq!(memory.recall(&at(76, 0), now), Recall::Known(remembered(0)));
        assert_eq!(memory.recall(&at(25, 1), now), Recall::Invalid);
        assert_eq!(memory.recall(&at(26, 0), now + 26 * HOUR), Recall::Expired, "it took effect");
        memory.remember(&at(1, 0), remembered(0), now + HOUR);
        assert_eq!(memory.recall(&at(1, 0), now + HOUR), Recall::Known(remembered(0)));
        assert_eq!(memory.recall(&at(2, 0), now + 2 * HOUR), Recall::Fresh);
    }

    #[test]
    fn an_id_from_the_future_or_of_another_version_is_invalid() {
        let memory = IdMemory::default();
        let ahead = id(limits::ID_AHEAD_MS + 1_001, 0);

        assert_eq!(memory.recall(&signature(ahead, 0), 1_000), Recall::Invalid);
        assert_eq!(memory.recall(&signature(Uuid::from_u128(5), 0), 1_000), Recall::Invalid);
    }
}
