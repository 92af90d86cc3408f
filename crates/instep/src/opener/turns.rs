//! Turns at datasets: making, opening and removing the same name must not meet, and a thread that
//! works on a disk that does not answer holds up none that works on another.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use instep_model::name::Name;

/// The datasets that a thread works on.
#[derive(Default)]
pub(super) struct Turns {
    taken: Mutex<BTreeSet<Name>>,
    ended: Condvar,
}

/// The right to work on one dataset, until it is dropped.
pub(super) struct Turn {
    turns: Arc<Turns>,
    name: Name,
    is_over: bool,
}

/// Reason why there is no turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoTurn {
    /// Another thread works on the dataset for longer than there was patience.
    Taken,
    /// It was not admitted.
    Refused,
}

impl Turns {
    /// Takes a turn. Waits for the thread that has it; `admit` is then asked, with all datasets
    /// that are worked on, and no other turn is admitted meanwhile.
    pub(super) fn take(
        self: &Arc<Self>,
        name: &Name,
        patience: Duration,
        admit: impl FnOnce(&BTreeSet<Name>) -> bool,
    ) -> Result<Turn, NoTurn> {
        let is_taken = |taken: &mut BTreeSet<Name>| taken.contains(name);
        let waited = self.ended.wait_timeout_while(self.taken(), patience, is_taken);
        let (mut taken, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() && taken.contains(name) {
            return Err(NoTurn::Taken);
        }
        if !admit(&taken) {
            return Err(NoTurn::Refused);
        }
        taken.insert(name.clone());
        Ok(Turn { turns: Arc::clone(self), name: name.clone(), is_over: false })
    }

    /// Does something if a thread works on the dataset, before that comes to its end.
    pub(super) fn while_taken(&self, name: &Name, work: impl FnOnce()) {
        let taken = self.taken();
        if taken.contains(name) {
            work();
        }
    }

    fn taken(&self) -> MutexGuard<'_, BTreeSet<Name>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Does something, and ends the turn with it.
    pub(super) fn end(mut self, work: impl FnOnce()) {
        let turns = Arc::clone(&self.turns);
        let mut taken = turns.taken();
        work();
        self.is_over = true;
        taken.remove(&self.name);
        turns.ended.notify_all();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.is_over {
            self.turns.taken().remove(&self.name);
            self.turns.ended.notify_all();
        }
    }
}
