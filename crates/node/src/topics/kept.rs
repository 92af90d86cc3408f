//! Live topics without subscribers, kept for clients that come back: few enough, and the least
//! recently used go first.

use std::collections::BTreeMap;
use std::sync::Arc;

use instep_model::limits;

/// Overhead of a topic in memory, besides its frames.
const TOPIC_BYTES: usize = 512;

/// A topic's place among those that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Keep(u64);

#[derive(Default)]
pub(super) struct Kept {
    by_use: BTreeMap<Keep, (Arc<str>, usize)>,
    bytes: usize,
    next: u64,
}

impl Kept {
    /// Keeps a topic that was just used.
    pub(super) fn put(&mut self, name: Arc<str>, bytes: usize) -> Keep {
        let keep = Keep(self.next);
        self.next += 1;
        let bytes = bytes + name.len() + TOPIC_BYTES;
        self.bytes += bytes;
        self.by_use.insert(keep, (name, bytes));
        keep
    }

    /// The topic is not kept any more, or was used again.
    pub(super) fn take(&mut self, keep: Keep) {
        if let Some((_, bytes)) = self.by_use.remove(&keep) {
            self.bytes -= bytes;
        }
    }

    /// Takes out the least recently used topic if there are too many.
    pub(super) fn take_surplus(&mut self) -> Option<Arc<str>> {
        let within = self.by_use.len() <= limits::LIVE_TOPICS_KEPT
            && self.bytes <= limits::LIVE_TOPICS_KEPT_BYTES;
        if within {
            return None;
        }
        let (_, (name, bytes)) = self.by_use.pop_first()?;
        self.bytes -= bytes;
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_6_the_least_recently_used_topic_goes_first() {
        let mut kept = Kept::default();
        let a = kept.put("a".into(), limits::LIVE_TOPICS_KEPT_BYTES / 2);
        kept.put("b".into(), limits::LIVE_TOPICS_KEPT_BYTES / 3);
        assert_eq!(kept.take_surplus(), None);

        kept.take(a);
        kept.put("a".into(), limits::LIVE_TOPICS_KEPT_BYTES / 2);
        kept.put("c".into(), limits::LIVE_TOPICS_KEPT_BYTES / 3);

        assert_eq!(kept.take_surplus().as_deref(), Some("b"));
        assert_eq!(kept.take_surplus(), None);
        for _ in 0..limits::LIVE_TOPICS_KEPT {
            let _ = kept.put("d".into(), 0);
        }
        assert_eq!(kept.take_surplus().as_deref(), Some("a"));
    }
}
