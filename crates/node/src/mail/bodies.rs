//! Bodies of messages: the young ones in memory, the others in the engine's store.
//!
//! | a body is | where | leaves by |
//! | --- | --- | --- |
//! | young | memory | its message ends: it never touches the disk; or it is spilled |
//! | spilling | memory, and about to be in the store | the write succeeds, or fails: young again |
//! | stored | the store | its message ends: it is removed with the next write |
//!
//! The log has what the store has lost, back to the snapshot that a start begins with: so before
//! a snapshot counts, [`Bodies::secure`] puts everything that is not in the store there, and syncs
//! it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use instep_model::limits;
use instep_model::mail::Seq;

use crate::clock::TICK;
use crate::engine::{BodyStore, StoredBody};
use crate::pool::{Step, Task};
use crate::sync::lock;

/// Overhead of a body in memory, besides its bytes.
const OVERHEAD: usize = 96;
/// The owner waits at most this long at a time for bodies to be spilled.
const ROOM: Duration = Duration::from_secs(1);

/// The bodies of one dataset.
pub(crate) struct Bodies {
    store: Arc<dyn BodyStore>,
    limit: usize,
    state: Mutex<State>,
    /// Woken when there is something to spill, or when nothing will come any more.
    spiller: Task,
    /// Woken when the store has refused something.
    care: Task,
    /// Notified when something was spilled.
    spilled: Condvar,
    /// Lock of spilling: one spills at a time.
    spilling: Mutex<()>,
    /// Lock of the store: shared by readers, exclusive while it is checked and may begin anew.
    reading: RwLock<()>,
}

#[derive(Default)]
struct State {
    young: BTreeMap<Seq, Bytes>,
    spilling: BTreeMap<Seq, Bytes>,
    /// Bytes of both.
    bytes: usize,
    /// Bodies in the store whose messages have ended.
    ended: Vec<Seq>,
    failing: bool,
    /// Last error of the store; none since a check has found nothing wrong.
    trouble: Option<Trouble>,
    /// The store has begun anew, and is being filled again from the log.
    restoring: bool,
    closed: bool,
}

#[derive(Debug, Clone)]
struct Trouble {
    kind: io::ErrorKind,
    words: String,
}

/// Counters of the bodies of a dataset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BodyCounts {
    /// Bodies in memory.
    pub young: u64,
    /// Bytes in memory.
    pub young_bytes: u64,
    /// Bytes of the store.
    pub stored_bytes: u64,
    /// The store refuses to take any more.
    pub failing: bool,
}

impl Bodies {
    pub(crate) fn new(store: Arc<dyn BodyStore>, spiller: Task, care: Task) -> Self {
        Self::within(store, limits::MAIL_YOUNG_BYTES, spiller, care)
    }

    fn within(store: Arc<dyn BodyStore>, limit: usize, spiller: Task, care: Task) -> Self {
        let (state, spilling) = (Mutex::default(), Mutex::default());
        let (spilled, reading) = (Condvar::new(), RwLock::default());
        Self { store, limit, state, spiller, care, spilled, spilling, reading }
    }

    /// The task whose steps are those of [`Bodies::step`].
    pub(crate) fn spiller(&self) -> &Task {
        &self.spiller
    }

    /// Looks whether the store can be used; see [`BodyStore::begin`]. If it begins anew, nothing is
    /// missed in it until [`Bodies::restored`] is called.
    pub(crate) fn begin(&self) -> io::Result<Option<Arc<dyn BodyStore>>> {
        let _alone = lock(&self.spilling);
        // No read happens meanwhile: what is about to be restored is not missing.
        let _unread = self.reading.write().unwrap_or_else(PoisonError::into_inner);
        let begun = self.store.begin();
        let mut state = lock(&self.state);
        match &begun {
            Ok(Some(_)) => state.restoring = true,
            Ok(None) if !state.failing => state.trouble = None,
            Ok(None) => {}
            Err(error) => self.note(&mut state, error),
        }
        begun
    }

    /// Notes that everything that could be found is in the store again.
    pub(crate) fn restored(&self) {
        let mut state = lock(&self.state);
        state.restoring = false;
        state.trouble = None;
    }

    /// True when the store has refused something, and the housekeeping should look.
    pub(crate) fn wants_care(&self) -> bool {
        lock(&self.state).trouble.is_some()
    }

    /// Error of the store, if it is more than a lack of room.
    pub(crate) fn degraded(&self) -> Option<String> {
        let state = lock(&self.state);
        let trouble = state.trouble.as_ref();
        let trouble = trouble.filter(|trouble| trouble.kind != io::ErrorKind::StorageFull)?;
        Some(format!("bodies of messages cannot be kept or read: {}", trouble.words))
    }

    /// True while a body is in memory.
    pub(crate) fn is_in_memory(&self, seq: Seq) -> bool {
        let state = lock(&self.state);
        state.young.contains_key(&seq) || state.spilling.contains_key(&seq)
    }

    /// Takes the body of a message that was just stored in the log.
    pub(crate) fn put(&self, seq: Seq, body: Bytes) {
        let mut state = lock(&self.state);
        state.bytes += weight(&body);
        if let Some(before) = state.young.insert(seq, body) {
            state.bytes -= weight(&before);
        }
        if state.bytes > self.limit {
            self.spiller.wake();
        }
    }

    /// Forgets the body of a message that has ended.
    pub(crate) fn end(&self, seq: Seq) {
        let mut state = lock(&self.state);
        match state.young.remove(&seq) {
            Some(body) => state.bytes -= weight(&body),
            None => {
                state.ended.push(seq);
                if state.ended.len() > limits::MAIL_ENDED_BODIES {
                    self.spiller.wake();
                }
            }
        }
    }

    /// Waits while far too much is in memory, unless the store does not take it anyway.
    pub(crate) fn wait_for_room(&self) {
        let state = lock(&self.state);
        if state.bytes > 2 * self.limit && !state.failing {
            drop(self.spilled.wait_timeout(state, ROOM).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// True when the bodies of one more entry fit without a wait.
    pub(crate) fn has_room(&self) -> bool {
        lock(&self.state).bytes.saturating_add(limits::ENTRY_BYTES) <= 2 * self.limit
    }

    /// True when no body may come any more: the store refuses, and memory is full.
    pub(crate) fn is_full(&self) -> bool {
        let state = lock(&self.state);
        state.failing && state.bytes > 2 * self.limit
    }

    /// Spills some if too much is in memory, until the bodies are closed. For a task.
    pub(crate) fn step(&self) -> Step {
        let state = lock(&self.state);
        let is_closed = state.closed;
        let is_full = state.bytes > self.limit || state.ended.len() > limits::MAIL_ENDED_BODIES;
        drop(state);
        match (is_closed, is_full) {
            (true, _) => Step::Ended,
            (false, false) => Step::Idle,
            (false, true) => match self.spill_some() {
                Ok(_) => Step::Again,
                Err(error) => {
                    tracing::warn!(%error, "bodies of messages stay in memory");
                    Step::At(Instant::now() + ROOM)
                }
            },
        }
    }

    /// Ends the task.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.spiller.wake();
    }

    /// Spills until no more is in memory than may be: for a start, whose tasks do not run yet.
    pub(crate) fn spill_surplus(&self) -> io::Result<()> {
        while lock(&self.state).bytes > self.limit {
            self.spill_some()?;
        }
        Ok(())
    }

    /// Puts everything into the store, and syncs it.
    pub(crate) fn secure(&self) -> io::Result<()> {
        // Until then nothing but the log has them.
        self.check_restored()?;
        let mut wrote = false;
        while self.spill_some()? {
            wrote = true;
        }
        // Something may have been written and not synced before.
        if wrote || self.store.size() > 0 {
            self.store.sync()?;
        }
        Ok(())
    }

    /// Writes the oldest bodies in memory to the store; false when there was nothing to write.
    fn spill_some(&self) -> io::Result<bool> {
        let _alone = lock(&self.spilling);
        let mut state = lock(&self.state);
        let mut bytes = 0;
        while bytes < limits::MAIL_SPILL_BYTES
            && let Some((seq, body)) = state.young.pop_first()
        {
            bytes += weight(&body);
            state.spilling.insert(seq, body);
        }
        let put: Vec<(Seq, Bytes)> =
            state.spilling.iter().map(|(seq, body)| (*seq, body.clone())).collect();
        let ended = std::mem::take(&mut state.ended);
        drop(state);
        if put.is_empty() && ended.is_empty() {
            return Ok(false);
        }
        let written = self.store.write(&put, &ended);
        let mut state = lock(&self.state);
        let spilled = std::mem::take(&mut state.spilling);
        state.failing = written.is_err();
        match &written {
            Ok(()) => state.bytes -= bytes,
            Err(error) => {
                self.note(&mut state, error);
                // Those that ended meanwhile are in the list behind these.
                state.young.extend(spilled);
                let later = std::mem::replace(&mut state.ended, ended);
                for seq in later {
                    match state.young.remove(&seq) {
                        Some(body) => state.bytes -= weight(&body),
                        None => state.ended.push(seq),
                    }
                }
            }
        }
        self.spilled.notify_all();
        written.map(|()| true)
    }

    /// Reads bodies, in the order of `seqs`.
    ///
    /// # Errors
    /// When the storage refuses.
    pub(crate) fn read(&self, seqs: &[Seq]) -> io::Result<Vec<StoredBody>> {
        let state = lock(&self.state);
        let find = |seq: &Seq| state.young.get(seq).or_else(|| state.spilling.get(seq)).cloned();
        let found: Vec<Option<Bytes>> = seqs.iter().map(find).collect();
        drop(state);
        let missing: Vec<Seq> = seqs
            .iter()
            .zip(&found)
            .filter(|(_, body)| body.is_none())
            .map(|(seq, _)| *seq)
            .collect();
        let mut stored = self.read_stored(&missing)?.into_iter();
        let all = found.into_iter().map(|body| match body {
            Some(body) => StoredBody::Whole(body),
            None => stored.next().unwrap_or(StoredBody::Missing),
        });
        Ok(all.collect())
    }

    fn read_stored(&self, seqs: &[Seq]) -> io::Result<Vec<StoredBody>> {
        if seqs.is_empty() {
            return Ok(vec![]);
        }
        let _reading = self.reading.read().unwrap_or_else(PoisonError::into_inner);
        self.check_restored()?;
        self.store.read(seqs).inspect_err(|error| self.note(&mut lock(&self.state), error))
    }

    fn note(&self, state: &mut State, error: &io::Error) {
        state.note(error);
        self.care.wake_at(Instant::now() + TICK);
    }

    fn check_restored(&self) -> io::Result<()> {
        let detail = "bodies of messages are being read from the log again";
        if lock(&self.state).restoring {
            Err(io::Error::new(io::ErrorKind::ResourceBusy, detail))
        } else {
            Ok(())
        }
    }

    /// Counters of the bodies.
    pub(crate) fn counts(&self) -> BodyCounts {
        let state = lock(&self.state);
        BodyCounts {
            young: (state.young.len() + state.spilling.len()) as u64,
            young_bytes: state.bytes as u64,
            stored_bytes: self.store.size(),
            failing: state.failing,
        }
    }
}

impl State {
    fn note(&mut self, error: &io::Error) {
        let words = error.to_string();
        if self.trouble.as_ref().is_none_or(|before| before.words != words) {
            tracing::error!(%error, "bodies of messages cannot be kept or read");
        }
        self.trouble = Some(Trouble { kind: error.kind(), words });
    }
}

fn weight(body: &Bytes) -> usize {
    body.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;
    use crate::engine::MemoryBodies;
    use crate::pool::Pools;

    /// A store that counts, and refuses while it is told to.
    #[derive(Default)]
    struct Fake {
        kept: MemoryBodies,
        refuses: AtomicBool,
        written: AtomicUsize,
        syncs: AtomicUsize,
    }

    impl BodyStore for Fake {
        fn write(&self, put: &[(Seq, Bytes)], removed: &[Seq]) -> io::Result<()> {
            if self.refuses.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.written.fetch_add(put.len(), Ordering::SeqCst);
            self.kept.write(put, removed)
        }

        fn sync(&self) -> io::Result<()> {
            self.syncs.fetch_add(1, Ordering::SeqCst);
            self.kept.sync()
        }

        fn read(&self, seqs: &[Seq]) -> io::Result<Vec<StoredBody>> {
            self.kept.read(seqs)
        }

        fn size(&self) -> u64 {
            self.kept.size()
        }
    }

    fn body(seq: Seq) -> Bytes {
        Bytes::from(format!("body {seq:020}"))
    }

    fn bodies(limit: usize) -> (Arc<Fake>, Bodies) {
        bodies_of(&Pools::new().unwrap(), limit)
    }

    fn bodies_of(pools: &Pools, limit: usize) -> (Arc<Fake>, Bodies) {
        let (fake, task) = (Arc::new(Fake::default()), |name| pools.storage().task(name));
        (Arc::clone(&fake), Bodies::within(fake, limit, task("bodies"), task("care")))
    }

    fn whole(seqs: &[Seq]) -> Vec<StoredBody> {
        seqs.iter().map(|seq| StoredBody::Whole(body(*seq))).collect()
    }

    #[test]
    fn a_body_whose_message_ends_young_never_touches_the_disk() {
        let (fake, bodies) = bodies(usize::MAX / 4);
        (1..=3).for_each(|seq| bodies.put(Seq(seq), body(Seq(seq))));

        bodies.end(Seq(2));
        bodies.secure().unwrap();

        assert_eq!(fake.written.load(Ordering::SeqCst), 2);
        assert_eq!(fake.read(&[1, 3].map(Seq)).unwrap(), whole(&[1, 3].map(Seq)));
        assert_eq!(bodies.read(&[Seq(2)]).unwrap(), [StoredBody::Missing]);
    }

    #[test]
    fn what_is_too_much_for_memory_is_spilled_oldest_first_and_read_from_both() {
        let (fake, bodies) = bodies(3 * weight(&body(Seq::ZERO)));
        (1..=9).for_each(|seq| bodies.put(Seq(seq), body(Seq(seq))));

        bodies.spill_surplus().unwrap();
        (10..=11).for_each(|seq| bodies.put(Seq(seq), body(Seq(seq))));

        assert!(fake.written.load(Ordering::SeqCst) >= 6);
        assert_eq!(bodies.read(&[11, 1, 9, 5].map(Seq)).unwrap(), whole(&[11, 1, 9, 5].map(Seq)));
        assert_eq!(bodies.counts().young_bytes, 2 * weight(&body(Seq::ZERO)) as u64);
    }

    #[test]
    fn a_snapshot_waits_for_every_body_and_for_the_sync() {
        let (fake, bodies) = bodies(usize::MAX / 4);
        bodies.secure().unwrap();
        assert_eq!(fake.syncs.load(Ordering::SeqCst), 0, "nothing, nothing to sync");
        (1..=3).for_each(|seq| bodies.put(Seq(seq), body(Seq(seq))));

        bodies.secure().unwrap();
        bodies.end(Seq(1));
        bodies.secure().unwrap();

        assert_eq!(fake.syncs.load(Ordering::SeqCst), 2);
        assert_eq!(
            fake.read(&[Seq(1)]).unwrap(),
            [StoredBody::Missing],
            "removed with the next write"
        );
        assert_eq!(fake.read(&[2, 3].map(Seq)).unwrap(), whole(&[2, 3].map(Seq)));
    }

    #[test]
    fn a_store_that_refuses_loses_nothing_and_says_so() {
        let (fake, bodies) = bodies(weight(&body(Seq::ZERO)));
        fake.refuses.store(true, Ordering::SeqCst);
        (1..=4).for_each(|seq| bodies.put(Seq(seq), body(Seq(seq))));

        assert!(bodies.secure().is_err());
        assert!(bodies.is_full() && bodies.counts().failing);
        bodies.wait_for_room();
        bodies.end(Seq(2));
        assert_eq!(bodies.read(&[1, 3, 4].map(Seq)).unwrap(), whole(&[1, 3, 4].map(Seq)));

        fake.refuses.store(false, Ordering::SeqCst);
        bodies.secure().unwrap();
        assert!(!bodies.is_full());
        assert_eq!(fake.read(&[1, 3, 4].map(Seq)).unwrap(), whole(&[1, 3, 4].map(Seq)));
        assert_eq!(fake.read(&[Seq(2)]).unwrap(), [StoredBody::Missing]);
    }

    #[test]
    fn a_task_spills_while_messages_come_and_end() {
        const MESSAGES: u64 = 20_000;
        let pools = Pools::new().unwrap();
        let (fake, bodies) = bodies_of(&pools, 100 * weight(&body(Seq::ZERO)));
        let bodies = Arc::new(bodies);
        let spilling = Arc::clone(&bodies);
        bodies.spiller().begin(move || spilling.step());

        for seq in 1..=MESSAGES {
            bodies.put(Seq(seq), body(Seq(seq)));
            bodies.wait_for_room();
            if seq % 2 == 0 {
                bodies.end(Seq(seq - 1));
            }
            if seq % 1_000 == 0 {
                assert_eq!(bodies.read(&[seq, 2].map(Seq)).unwrap(), whole(&[seq, 2].map(Seq)));
            }
        }
        bodies.close();
        bodies.spiller().join();
        bodies.secure().unwrap();

        let kept: Vec<Seq> = (1..=MESSAGES).filter(|seq| seq % 2 == 0).map(Seq).collect();
        assert_eq!(bodies.read(&kept).unwrap(), whole(&kept));
        assert_eq!(fake.kept.size(), MESSAGES / 2 * body(Seq::ZERO).len() as u64);
    }
}
