//! An ordered set for millions of small members: shared like imbl's, and without its half empty
//! nodes.
//!
//! ```text
//!  runs   first ≤ ──▶ [member … member]   at most 42, exactly as many as there are
//!         first ≤ ──▶ [member … ]
//! ```
//!
//! A run is copied when it changes, and one that grows short joins a neighbour: a member costs its
//! own size and about two bytes.

use std::fmt::{self, Debug, Formatter};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use imbl::OrdMap;

/// Members of a full run: with 24 bytes each no more than a kilobyte, up to which an allocator has
/// pieces at hand.
const FULL: usize = 42;
/// A shorter run looks for a neighbour …
const SHORT: usize = FULL / 4;
/// … with which it comes to no more than this.
const JOINED: usize = FULL / 4 * 3;

/// The set.
#[derive(Clone)]
pub(super) struct RunSet<T> {
    /// Runs by a lower bound: no member of the run is less, all members of runs before are.
    runs: OrdMap<T, Arc<[T]>>,
    len: usize,
}

impl<T: Ord + Copy> RunSet<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.runs.values().flat_map(|run| run.iter().copied())
    }

    pub(super) fn first(&self) -> Option<T> {
        self.runs.get_min().and_then(|(_, run)| run.first().copied())
    }

    /// The first member that is not less than `from`.
    pub(super) fn next(&self, from: T) -> Option<T> {
        let run = self.runs.get_prev(&from).map(|(_, run)| run);
        let found = run.and_then(|run| run.get(run.partition_point(|member| *member < from)));
        let behind = || self.runs.get_next(&from).and_then(|(_, run)| run.first());
        found.or_else(behind).copied()
    }

    /// The members from one to another, both included.
    pub(super) fn range(&self, from: T, to: T) -> impl Iterator<Item = T> + '_ {
        let start = self.runs.get_prev(&from).map_or(from, |(key, _)| *key);
        self.runs.range(start..=to.max(start)).flat_map(move |(_, run)| {
            let begin = run.partition_point(|member| *member < from);
            let end = run.partition_point(|member| *member <= to);
            run.get(begin..end).unwrap_or_default().iter().copied()
        })
    }

    /// Puts a member in; false when it was there.
    pub(super) fn insert(&mut self, member: T) -> bool {
        let found = self.runs.get_prev(&member).or_else(|| self.runs.iter().next());
        let Some((key, run)) = found else {
            self.runs.insert(member, [member].into());
            self.len = 1;
            return true;
        };
        let Err(at) = run.binary_search(&member) else { return false };
        let (key, run) = (*key, Arc::clone(run));
        self.len += 1;
        if member < key {
            self.runs.remove(&key);
        }
        let key = key.min(member);
        if run.len() < FULL {
            self.runs.insert(key, with(&run, at, member));
            return true;
        }
        // Where members come one behind the other, among others too, full runs are left behind.
        let (left, right) = run.split_at(at.max(FULL / 2));
        if right.is_empty() {
            self.put([member].into());
        } else {
            self.runs.insert(key, with(left, at, member));
            self.put(right.into());
        }
        true
    }

    /// Takes a member out; false when it was not there.
    pub(super) fn remove(&mut self, member: T) -> bool {
        let Some((key, run)) = self.runs.get_prev(&member) else { return false };
        let Ok(at) = run.binary_search(&member) else { return false };
        let key = *key;
        let less: Arc<[T]> = run[..at].iter().chain(&run[at + 1..]).copied().collect();
        self.len -= 1;
        match less.len() {
            0 => {
                self.runs.remove(&key);
            }
            1..SHORT => self.join(key, less),
            _ => {
                self.runs.insert(key, less);
            }
        }
        true
    }

    /// Puts a short run back, together with a neighbour if that is short enough.
    fn join(&mut self, key: T, run: Arc<[T]>) {
        let fits = |other: &Arc<[T]>| other.len() + run.len() <= JOINED;
        let before = self.runs.range(..key).next_back().filter(|(_, other)| fits(other));
        if let Some((first, other)) = before {
            let (first, both) = (*first, joined(other, &run));
            self.runs.remove(&key);
            self.runs.insert(first, both);
            return;
        }
        let behind = self.runs.range((Excluded(key), Unbounded)).next();
        if let Some((gone, other)) = behind.filter(|(_, other)| fits(other)) {
            let (gone, both) = (*gone, joined(&run, other));
            self.runs.remove(&gone);
            self.runs.insert(key, both);
            return;
        }
        self.runs.insert(key, run);
    }

    fn put(&mut self, run: Arc<[T]>) {
        if let Some(first) = run.first() {
            self.runs.insert(*first, run);
        }
    }
}

fn with<T: Copy>(run: &[T], at: usize, member: T) -> Arc<[T]> {
    let (before, behind) = run.split_at(at);
    before.iter().copied().chain([member]).chain(behind.iter().copied()).collect()
}

fn joined<T: Copy>(left: &[T], right: &[T]) -> Arc<[T]> {
    left.iter().chain(right).copied().collect()
}

impl<T: Ord + Copy> Default for RunSet<T> {
    fn default() -> Self {
        Self { runs: OrdMap::new(), len: 0 }
    }
}

/// By its members: where the runs end follows from the history.
impl<T: Ord + Copy> PartialEq for RunSet<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<T: Ord + Copy> Eq for RunSet<T> {}

impl<T: Ord + Copy + Debug> Debug for RunSet<T> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    impl<T: Ord + Copy + Debug> RunSet<T> {
        fn check(&self) {
            let mut before = None;
            for (key, run) in &self.runs {
                assert!(!run.is_empty() && run.len() <= FULL);
                assert!(run.is_sorted() && *key <= run[0]);
                assert!(before.is_none_or(|last| last < *key), "runs do not overlap");
                before = run.last().copied();
            }
        }
    }

    fn of(members: impl IntoIterator<Item = u32>) -> RunSet<u32> {
        let mut runs = RunSet::default();
        members.into_iter().for_each(|member| assert!(runs.insert(member)));
        runs
    }

    #[test]
    fn growth_at_an_end_leaves_full_runs() {
        let runs = of((0..1_000).chain(5_000..6_000).chain(1_000..2_000));

        runs.check();
        assert!(runs.runs.len() <= 3_000 / FULL + 3, "{} runs", runs.runs.len());
    }

    #[test]
    fn the_rest_of_many_stands_close_together() {
        let mut runs = of((0..64_000).rev());

        (0..64_000).filter(|member| member % 100 != 0).for_each(|member| {
            assert!(runs.remove(member));
        });

        runs.check();
        assert!(runs.iter().eq((0..64_000).step_by(100)));
        assert!(runs.runs.len() <= 640 / SHORT * 2, "{} runs", runs.runs.len());
    }

    #[test]
    fn a_copy_stays_as_it_was() {
        let mut runs = of(0..500);
        let copy = runs.clone();

        (0..500).for_each(|member| {
            runs.remove(member);
            runs.insert(member + 1_000);
        });

        assert!(copy.iter().eq(0..500));
        assert_ne!(copy, runs);
        assert_eq!(runs, of((1_000..1_500).rev()), "however it came about");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn it_is_a_set(steps in prop::collection::vec((any::<bool>(), 0..600_u32), 1..3_000)) {
            let (mut runs, mut naive) = (RunSet::default(), BTreeSet::new());
            for (inserts, member) in steps {
                if inserts {
                    prop_assert_eq!(runs.insert(member), naive.insert(member));
                } else {
                    prop_assert_eq!(runs.remove(member), naive.remove(&member));
                }
                let (from, to) = (member.saturating_sub(70), member + 70);
                prop_assert!(runs.range(from, to).eq(naive.range(from..=to).copied()));
                prop_assert_eq!(runs.next(to), naive.range(to..).next().copied());
                prop_assert_eq!(runs.first(), naive.first().copied());
            }
            runs.check();
            prop_assert_eq!(runs.len(), naive.len());
            prop_assert!(runs.iter().eq(naive));
        }
    }
}
