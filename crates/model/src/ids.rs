//! Commit ids: each takes effect at most once, and its reply is replayed (law 5).
//!
//! An id is a UUIDv7, so ids sort by the time they carry. What was forgotten is exactly what lies
//! at or below the horizon, and an id at or below the horizon is refused: nothing forgotten can
//! take effect again.

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
}

/// The ids of one principal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrincipalIds {
    /// The largest id that was forgotten.
    pub horizon: Option<Uuid>,
    /// The ids that are remembered.
    pub ids: OrdMap<Uuid, Remembered>,
}

impl IdMemory {
    /// What is known of `id`, at `now_ms`.
    #[must_use]
    pub fn recall(&self, signature: &Signature, now_ms: u64) -> Recall {
        let Some(id_ms) = time_of(signature.id) else {
            return Recall::Invalid;
        };
        if id_ms > now_ms + limits::ID_AHEAD_MS {
            return Recall::Invalid;
        }
        let known = self.principals.get(&signature.principal);
        if let Some(remembered) = known.and_then(|principal| principal.ids.get(&signature.id)) {
            return match remembered.digest == signature.digest {
                true => Recall::Known(remembered.clone()),
                false => Recall::Conflict,
            };
        }
        let horizon = known.and_then(|principal| principal.horizon);
        let forgotten = horizon.is_some_and(|horizon| signature.id <= horizon);
        if forgotten || id_ms + limits::ID_MEMORY_MS < now_ms {
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
        principal.ids.insert(signature.id, remembered);
        principal.forget(now_ms, limits::ID_MEMORY_PER_PRINCIPAL);
    }

    /// Everything, for a snapshot.
    pub fn principals(&self) -> impl Iterator<Item = (&String, &PrincipalIds)> {
        self.principals.iter()
    }

    /// Puts back one principal's ids from a snapshot.
    pub fn restore(&mut self, principal: String, horizon: Option<Uuid>) -> &mut PrincipalIds {
        let ids = self.principals.entry(principal).or_default();
        ids.horizon = ids.horizon.max(horizon);
        ids
    }
}

impl PrincipalIds {
    fn forget(&mut self, now_ms: u64, most: usize) {
        while let Some((id, _)) = self.ids.get_min() {
            let id = *id;
            let old = time_of(id).is_none_or(|ms| ms + limits::ID_MEMORY_MS < now_ms);
            if !old && self.ids.len() <= most {
                break;
            }
            self.ids.remove(&id);
            self.horizon = self.horizon.max(Some(id));
        }
    }
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
        Signature { principal: "p".into(), id, digest }
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
            ids.ids.insert(id(1_000 + tail, tail), remembered(0));
        }

        ids.forget(1_010, 3);

        assert_eq!((ids.ids.len(), ids.horizon), (3, Some(id(1_001, 1))));
    }

    #[test]
    fn an_id_from_the_future_or_of_another_version_is_invalid() {
        let memory = IdMemory::default();
        let ahead = id(limits::ID_AHEAD_MS + 1_001, 0);

        assert_eq!(memory.recall(&signature(ahead, 0), 1_000), Recall::Invalid);
        assert_eq!(memory.recall(&signature(Uuid::from_u128(5), 0), 1_000), Recall::Invalid);
    }
}
