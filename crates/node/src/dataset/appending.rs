//! The append that is under way: how long a disk has not answered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The append that is under way, for readers of its state.
pub(super) struct Appending {
    opened: Instant,
    /// Milliseconds since then, and one; zero: none is under way.
    begun_ms: AtomicU64,
}

impl Appending {
    pub(super) fn new() -> Self {
        Self { opened: Instant::now(), begun_ms: AtomicU64::new(0) }
    }

    pub(super) fn begins(&self, at: Instant) {
        let ms = at.duration_since(self.opened).as_millis() as u64 + 1;
        self.begun_ms.store(ms, Ordering::Relaxed);
    }

    pub(super) fn ends(&self) {
        self.begun_ms.store(0, Ordering::Relaxed);
    }

    pub(super) fn since(&self) -> Option<Duration> {
        let begun = self.begun_ms.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.opened.elapsed().saturating_sub(Duration::from_millis(begun)))
    }
}
