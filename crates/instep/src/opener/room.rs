//! Descriptors for datasets that are being opened: each is counted before its files are.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use instep_edge::{NoDescriptors, check_descriptors};
use instep_embedded::real;
use instep_model::limits;

/// Datasets that are being opened.
#[derive(Default)]
pub(super) struct Room {
    opening: Mutex<usize>,
    ended: Condvar,
}

/// Descriptors that are counted for one dataset, until this is dropped.
pub(super) struct Counted<'a>(&'a Room);

impl Room {
    /// Counts the descriptors of one more dataset. While others are being opened, some of theirs
    /// are counted twice: then a refusal waits for their end.
    ///
    /// # Errors
    /// [`NoDescriptors`].
    pub(super) fn take(&self, patience: Duration) -> Result<Counted<'_>, NoDescriptors> {
        let is_unsure = |opening: &mut usize| *opening > 0 && check(*opening).is_err();
        let waited = self.ended.wait_timeout_while(self.opening(), patience, is_unsure);
        let (mut opening, _) = waited.unwrap_or_else(PoisonError::into_inner);
        check(*opening)?;
        *opening += 1;
        Ok(Counted(self))
    }

    fn opening(&self) -> MutexGuard<'_, usize> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(opening: usize) -> Result<(), NoDescriptors> {
    check_descriptors(real::descriptors() + opening * limits::DATASET_DESCRIPTORS)
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        *self.0.opening() -= 1;
        self.0.ended.notify_all();
    }
}

/// Datasets that were not opened for a shortage since the log has told of it: many at once are one
/// line.
#[derive(Default)]
pub(super) struct Short(Mutex<(usize, String)>);

impl Short {
    /// Notes one more, with its reason.
    pub(super) fn note(&self, reason: &str) {
        let mut noted = self.noted();
        if noted.0 == 0 {
            reason.clone_into(&mut noted.1);
        }
        noted.0 += 1;
    }

    /// Tells of all that were noted.
    pub(super) fn tell(&self) {
        let (datasets, reason) = std::mem::take(&mut *self.noted());
        if datasets > 0 {
            tracing::error!(datasets, reason, "datasets are not open: the system lacks something");
        }
    }

    fn noted(&self) -> MutexGuard<'_, (usize, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
