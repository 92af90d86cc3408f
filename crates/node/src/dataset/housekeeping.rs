//! The housekeeping thread: snapshots, trimming, bookmarks.

use std::io;
use std::sync::Condvar;

use instep_model::{limits, snapshot};

use crate::engine::BodyStore;

use super::recovery::{self, OpenError};
use super::{
    Arc, Dataset, Duration, Instant, Mutex, Options, PoisonError, Request, Revision, Shared,
    Snapshots, lock,
};

/// Interval of housekeeping.
const TICK: Duration = Duration::from_millis(250);

impl Dataset {
    pub(super) fn keep_house(
        &self,
        options: &Options,
        snapshots: Arc<dyn Snapshots>,
    ) -> io::Result<()> {
        let mut house = House {
            shared: Arc::clone(&self.0),
            snapshots,
            snapshot_after_bytes: options.snapshot_after_bytes,
            snapshot_after: options.snapshot_after,
            bookmark_every: options.bookmark_every,
            snapshot_revision: self.state().applied.revision,
            snapshot_bytes: 0,
            snapshot_size: 0,
            snapshot_at: Instant::now(),
            bookmark_at: Instant::now(),
            bodies_before: None,
            failures_told_at: None,
        };
        self.spawn("house", move || {
            while !house.shared.closing.within(TICK) {
                house.look();
            }
        })
    }

    /// Writes a snapshot now. Blocks.
    ///
    /// # Errors
    /// When the storage refuses.
    pub fn write_snapshot(&self, snapshots: &dyn Snapshots) -> io::Result<Revision> {
        self.0.write_snapshot(snapshots).map(|(revision, _)| revision)
    }
}

/// Close flag of the dataset. Setting it wakes everybody who waits in [`Closing::within`].
#[derive(Default)]
pub(super) struct Closing(Mutex<bool>, Condvar);

impl Closing {
    pub(super) fn close(&self) {
        *lock(&self.0) = true;
        self.1.notify_all();
    }

    /// Waits for `nap`, or less if the dataset is closed meanwhile; returns true if it is closed.
    fn within(&self, nap: Duration) -> bool {
        let waited = self.1.wait_timeout_while(lock(&self.0), nap, |closing| !*closing);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

struct House {
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
    bookmark_at: Instant,
    /// Earlier store of bodies, still readable, of a store that had to begin anew, until everything
    /// is in the new one.
    bodies_before: Option<Arc<dyn BodyStore>>,
    /// Time of the last warning about rows that views could not show.
    failures_told_at: Option<Instant>,
}

impl House {
    fn look(&mut self) {
        Dataset(Arc::clone(&self.shared)).start_mail();
        if self.shared.post.bodies.wants_care()
            && let Err(error) = self.care_for_bodies()
        {
            let dataset = &self.shared.name;
            tracing::warn!(%dataset, %error, "bodies of messages are not restored yet");
        }
        if self.bookmark_at.elapsed() >= self.bookmark_every {
            self.bookmark_at = Instant::now();
            self.shared.hub.bookmark();
        }
        let quiet = Duration::from_millis(limits::VIEW_FAILURES_TOLD_MS);
        if self.failures_told_at.is_none_or(|at| at.elapsed() >= quiet)
            && self.shared.hub.tell_failures(&self.shared.name)
        {
            self.failures_told_at = Some(Instant::now());
        }
        let head = self.shared.head.borrow().revision;
        let bytes = lock(&self.shared.counters).bytes;
        let after = log_before_next(self.snapshot_after_bytes, self.snapshot_size);
        let due = bytes - self.snapshot_bytes >= after
            || self.snapshot_at.elapsed() >= self.snapshot_after;
        if head == self.snapshot_revision || !due {
            return;
        }
        self.snapshot_at = Instant::now();
        self.snapshot_bytes = bytes;
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
}

impl House {
    /// Looks whether the store of bodies can be used, and fills one that had to begin anew.
    fn care_for_bodies(&mut self) -> Result<(), OpenError> {
        let Shared { name, post, reader, .. } = &*self.shared;
        if self.bodies_before.is_none() {
            self.bodies_before = post.bodies.begin()?;
        }
        let Some(before) = &self.bodies_before else { return Ok(()) };
        let state = Dataset(Arc::clone(&self.shared)).state();
        let restored = recovery::restore_bodies(name, &state, &**reader, &**before, post)?;
        self.bodies_before = None;
        // What ended meanwhile was forgotten before it was put there.
        let state = Dataset(Arc::clone(&self.shared)).state();
        for seq in restored {
            if !recovery::is_unfinished(&state, seq) {
                post.bodies.end(seq);
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
        self.post.bodies.secure()?;
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
    match last > limits::LARGE_SNAPSHOT_BYTES {
        true => wanted.max(last),
        false => wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_naps_until_a_dataset_is_closed_is_woken_by_its_end() {
        let closing = Closing::default();

        // A nap that lasts would hold up this test for as long.
        let woken = std::thread::scope(|scope| {
            let napping = scope.spawn(|| closing.within(Duration::from_secs(24 * 60 * 60)));
            closing.close();
            napping.join().unwrap()
        });

        assert!(woken && closing.within(TICK));
    }

    #[test]
    fn a_large_snapshot_waits_for_as_much_log() {
        let large = limits::LARGE_SNAPSHOT_BYTES;

        assert_eq!(log_before_next(1_000, 0), 1_000);
        assert_eq!(log_before_next(1_000, large), 1_000);
        assert_eq!(log_before_next(1_000, large * 10), large * 10);
        assert_eq!(log_before_next(large * 20, large * 10), large * 20);
    }
}
