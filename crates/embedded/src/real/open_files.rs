//! Descriptors that the files of all datasets of this process have, so that a server can tell them
//! from those of its connections.

use std::sync::atomic::{AtomicUsize, Ordering};

static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Descriptors of files and locks that are open in this process now.
#[must_use]
pub fn descriptors() -> usize {
    OPEN.load(Ordering::Relaxed)
}

/// Descriptors that are counted until this is dropped.
pub(crate) struct Counted(usize);

impl Counted {
    pub(crate) fn new(descriptors: usize) -> Self {
        OPEN.fetch_add(descriptors, Ordering::Relaxed);
        Self(descriptors)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        OPEN.fetch_sub(self.0, Ordering::Relaxed);
    }
}
