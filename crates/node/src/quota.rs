//! Quota: bound of the events of one source that are on their way to a task, by number and by
//! bytes, as a part of the bound of all sources.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bound of what is on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Most {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

/// Use of a bound by all that is on its way.
#[derive(Debug)]
pub(crate) struct Quota {
    most: Most,
    events: AtomicUsize,
    bytes: AtomicUsize,
    /// Quota that this one is a part of.
    whole: Option<Arc<Quota>>,
}

/// Permit for one event, which is on its way until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    quota: Arc<Quota>,
    bytes: usize,
}

impl Quota {
    pub(crate) fn new(most: Most) -> Arc<Self> {
        Arc::new(Self::within(most, None))
    }

    /// A part of this quota: what is on its way by it counts in both.
    pub(crate) fn part(self: &Arc<Self>, most: Most) -> Arc<Self> {
        Arc::new(Self::within(most, Some(Arc::clone(self))))
    }

    fn within(most: Most, whole: Option<Arc<Self>>) -> Self {
        Self { most, events: AtomicUsize::new(0), bytes: AtomicUsize::new(0), whole }
    }

    /// Permits an event of so many bytes; none when it would be too much.
    pub(crate) fn permit(self: &Arc<Self>, bytes: usize) -> Option<Permit> {
        self.add(bytes).then(|| Permit { quota: Arc::clone(self), bytes })
    }

    fn add(&self, bytes: usize) -> bool {
        let events = self.events.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let all = self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let fits = events <= self.most.events && all <= self.most.bytes;
        let added = fits && self.whole.as_ref().is_none_or(|whole| whole.add(bytes));
        if !added {
            self.subtract(bytes);
        }
        added
    }

    fn subtract(&self, bytes: usize) {
        self.events.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut quota = Some(&self.quota);
        while let Some(part) = quota {
            part.subtract(self.bytes);
            quota = part.whole.as_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn use_of(quota: &Quota) -> (usize, usize) {
        (quota.events.load(Ordering::Relaxed), quota.bytes.load(Ordering::Relaxed))
    }

    #[test]
    fn a_part_is_bounded_by_itself_and_by_the_whole() {
        let whole = Quota::new(Most { events: 3, bytes: 100 });
        let (one, other) = (
            whole.part(Most { events: 2, bytes: 1_000 }),
            whole.part(Most { events: 9, bytes: 50 }),
        );

        let first = one.permit(10);
        let _second = one.permit(10).expect("room for two");
        assert!(one.permit(0).is_none(), "no room for a third");
        assert!(other.permit(51).is_none(), "too many bytes for the part");
        let _third = other.permit(50).expect("room in both");
        assert!(other.permit(0).is_none(), "no room in the whole");
        assert_eq!(use_of(&whole), (3, 70), "what is refused is not counted");

        drop(first);
        assert!(other.permit(0).is_some());
        assert!(one.permit(41).is_none(), "too many bytes in all");
        assert_eq!((use_of(&whole), use_of(&one)), ((2, 60), (1, 10)));
    }
}
