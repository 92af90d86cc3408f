//! Housekeeping of a dataset: snapshots, trimming, bookmarks. The task sleeps while nothing is due:
//! a commit wakes it a tick later, and it is woken for what is due by itself.

use std::io;
use std::sync::atomic::fence;

use instep_model::{limits, snapshot};

use crate::clock::TICK;
use crate::engine::BodyStore;
use crate::pool::{Step, Task};

use super::recovery::{self, OpenError};
use super::{
    Arc, AtomicBool, Dataset, Duration, Instant, Options, Ordering, Request, Revision, Shared,
    Snapshots, lock,
};

impl Dataset {
    pub(super) fn keep_house(&self, options: &Options, snapshots: Arc<dyn Snapshots>) {
        let mut chores = Chores {
            shared: Arc::clone(&self.0),
            snapshots,
            snapshot_after_bytes: options.snapshot_after_bytes,
            snapshot_after: options.snapshot_after,
            bookmark_every: options.bookmark_every,
            snapshot_revision: self.state().applied.revision,
            snapshot_bytes: 0,
            snapshot_size: 0,
            snapshot_at: Instant::now(),
            bookmark_at: None,
            bodies_before: None,
            failures_told_at: None,
        };
        self.0.house.task.begin(move || chores.step());
    }

    /// Writes a snapshot now. Blocks.
    ///
    /// # Errors
    /// When the storage refuses.
    pub fn write_snapshot(&self, snapshots: &dyn Snapshots) -> io::Result<Revision> {
        self.0.write_snapshot(snapshots).map(|(revision, _)| revision)
    }
}

/// The task of housekeeping, for callers that have changed something.
pub(super) struct Housekeeper {
    task: Task,
    /// It has looked, and was told of no change since then.
    rests: AtomicBool,
}

impl Housekeeper {
    pub(super) fn new(task: Task) -> Self {
        Self { task, rests: AtomicBool::new(true) }
    }

    pub(super) fn task(&self) -> &Task {
        &self.task
    }

    /// Notices a change: housekeeping looks within a tick. Costs next to nothing where it does so
    /// anyway.
    pub(super) fn notice(&self) {
        // The change before the look at the flag, as the task sets the flag before it looks.
        fence(Ordering::SeqCst);
        if self.rests.load(Ordering::Relaxed) && self.rests.swap(false, Ordering::Relaxed) {
            self.task.wake_at(Instant::now() + TICK);
        }
    }

    fn rest(&self) {
        self.rests.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }
}

/// State of housekeeping from one look to the next.
struct Chores {
    shared: Arc<Shared>,
    snapshots: Arc<dyn Snapshots>,
    snapshot_after_bytes: u64,
    snapshot_after: Duration,
    bookmark_every: Duration,
    snapshot_revision: Revision,
    /// Bytes appended in all when the last snapshot was written.
    snapshot_bytes: u64,
    /// Bytes of the last snapshot.
    snapshot_size: u64,
    snapshot_at: Instant,
    /// Time of the next bookmark; none while there is nothing new to say.
    bookmark_at: Option<Instant>,
    /// Earlier store of bodies, still readable, of a store that had to begin anew, until everything
    /// is in the new one.
    bodies_before: Option<Arc<dyn BodyStore>>,
    /// Time of the last warning about rows that views could not show.
    failures_told_at: Option<Instant>,
}

impl Chores {
    fn step(&mut self) -> Step {
        if self.shared.is_closing() {
            return Step::Ended;
        }
        self.shared.house.rest();
        let due = [self.care(), self.bookmark(), self.tell_failures(), self.snapshot()];
        due.into_iter().flatten().min().map_or(Step::Idle, Step::At)
    }

    // Each chore does what is due, and answers when it is due next.

    fn care(&mut self) -> Option<Instant> {
        if !self.shared.mail.bodies.wants_care() {
            return None;
        }
        if let Err(error) = self.care_for_bodies() {
            let dataset = &self.shared.name;
            tracing::warn!(%dataset, %error, "bodies of messages are not restored yet");
        }
        Some(Instant::now() + TICK)
    }

    fn bookmark(&mut self) -> Option<Instant> {
        if !self.shared.hub.has_news() {
            self.bookmark_at = None;
            return None;
        }
        let now = Instant::now();
        let due = self.bookmark_at.or_else(|| now.checked_add(self.bookmark_every))?;
        if due <= now {
            self.bookmark_at = None;
            self.shared.hub.bookmark();
            return None;
        }
        self.bookmark_at = Some(due);
        self.bookmark_at
    }

    fn tell_failures(&mut self) -> Option<Instant> {
        let (now, quiet) = (Instant::now(), Duration::from_millis(limits::VIEW_FAILURES_TOLD_MS));
        let due = self.failures_told_at.map(|at| at + quiet).filter(|due| *due > now);
        if due.is_none() && self.shared.hub.tell_failures(&self.shared.name) {
            self.failures_told_at = Some(now);
            return Some(now + quiet);
        }
        due
    }

    fn snapshot(&mut self) -> Option<Instant> {
        let head = self.shared.head.borrow().revision;
        if head == self.snapshot_revision {
            return None;
        }
        let bytes = lock(&self.shared.counters).bytes;
        let after = log_before_next(self.snapshot_after_bytes, self.snapshot_size);
        let is_due = bytes - self.snapshot_bytes >= after
            || self.snapshot_at.elapsed() >= self.snapshot_after;
        if is_due {
            self.snapshot_at = Instant::now();
            self.snapshot_bytes = bytes;
            self.write_snapshot();
        }
        let is_covered = self.snapshot_revision == self.shared.head.borrow().revision;
        if is_covered { None } else { self.snapshot_at.checked_add(self.snapshot_after) }
    }

    fn write_snapshot(&mut self) {
        match self.shared.write_snapshot(self.snapshots.as_ref()) {
            Ok((revision, size)) => {
                self.snapshot_revision = revision;
                self.snapshot_size = size;
                if let Some(covered) = self.snapshots.covered() {
                    let _ = self.shared.inbox.put(Request::Trim { covered }, false);
                }
            }
            // The log still has everything; the next try comes when the next snapshot is due.
            Err(error) => {
                lock(&self.shared.counters).snapshot_failures += 1;
                tracing::warn!(dataset = %self.shared.name, %error, "no snapshot was written");
            }
        }
    }

    /// Looks whether the store of bodies can be used, and fills one that had to begin anew.
    fn care_for_bodies(&mut self) -> Result<(), OpenError> {
        let Shared { name, mail, reader, .. } = &*self.shared;
        if self.bodies_before.is_none() {
            self.bodies_before = mail.bodies.begin()?;
        }
        let Some(before) = &self.bodies_before else { return Ok(()) };
        let state = Dataset(Arc::clone(&self.shared)).state();
        let restored = recovery::restore_bodies(name, &state, &**reader, &**before, mail)?;
        self.bodies_before = None;
        // What ended meanwhile was forgotten before it was put there.
        let state = Dataset(Arc::clone(&self.shared)).state();
        for seq in restored {
            if !recovery::is_unfinished(&state, seq) {
                mail.bodies.end(seq);
            }
        }
        Ok(())
    }
}

impl Shared {
    /// Writes one; gives its revision and its bytes.
    fn write_snapshot(&self, snapshots: &dyn Snapshots) -> io::Result<(Revision, u64)> {
        let state =
            Arc::clone(&self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner));
        let revision = state.applied.revision;
        // The log may be trimmed once there is a snapshot, and nothing else has the bodies.
        self.mail.bodies.secure()?;
        let mut size = 0;
        snapshots.write(revision, &mut |take| {
            snapshot::write(&state, &mut |chunk| {
                size += chunk.len() as u64;
                take(chunk)
            })
        })?;
        lock(&self.counters).snapshots += 1;
        *lock(&self.snapshot_at) = Instant::now();
        Ok((revision, size))
    }
}

/// Bytes of log before the next snapshot. A large one waits for as much log as it is large itself,
/// so that what is written in all stays a small multiple of what is stored.
fn log_before_next(wanted: u64, last: u64) -> u64 {
    if last > limits::LARGE_SNAPSHOT_BYTES { wanted.max(last) } else { wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_snapshot_waits_for_as_much_log() {
        let large = limits::LARGE_SNAPSHOT_BYTES;

        assert_eq!(log_before_next(1_000, 0), 1_000);
        assert_eq!(log_before_next(1_000, large), 1_000);
        assert_eq!(log_before_next(1_000, large * 10), large * 10);
        assert_eq!(log_before_next(large * 20, large * 10), large * 20);
    }
}
