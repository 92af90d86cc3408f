//! The end of the active segment behind a write or a sync that failed for a while: what must be
//! proven before it may be said that nothing of the entry is left.
//!
//! - The write failed: read back, the frame is not whole, and nothing was ever written that could
//!   make it whole. The next append writes zeros over it first.
//! - The sync failed: zeros are written over it, a sync of these succeeds, and zeros are read back.
//!
//! A sync that failed is never tried again as it was: the system may have dropped what it could not
//! write, and a second one says nothing about it. The sync of the zeros is one of other bytes.

use std::io;

use instep_model::disk::{DiskFile, Shortage};
use instep_model::log::AppendError;

use super::EmbeddedLog;
use crate::format::{Found, Frame};
use crate::segment::{self, length_of};

/// Step of an append, as the place of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AppendStep {
    Write,
    Sync,
}

impl EmbeddedLog {
    /// Takes an entry back that was to end at `end`, after an error that passes. Where that cannot
    /// be proven, and after every other error, the log has failed.
    pub(super) fn take_back(
        &mut self,
        step: AppendStep,
        end: u64,
        error: &io::Error,
    ) -> AppendError {
        let doing = match step {
            AppendStep::Write => "write to",
            AppendStep::Sync => "sync",
        };
        let (file, path) = (self.active.file.clone(), self.active.path.clone());
        let Some(shortage) = Shortage::of(error) else {
            return self.fail(doing, &path, error);
        };
        let start = self.active.end;
        self.active.dirty_end = self.active.dirty_end.max(Some(end));
        if step == AppendStep::Write && holds_no_frame(&*file, start, end) {
            return passing(shortage, error);
        }
        // What lies prepared may be all the room that there is.
        self.spare.give_up(&*self.disk, &self.options.directory);
        match erase(&*file, start, end) {
            Ok(()) => passing(shortage, error),
            Err(_) => self.fail(doing, &path, error),
        }
    }

    /// Writes zeros over an entry that an earlier append left half-written.
    pub(super) fn clear_tail(&mut self) -> Result<(), AppendError> {
        let Some(end) = self.active.dirty_end else {
            return Ok(());
        };
        let path = self.active.path.clone();
        let cleared = segment::write_zeros(&*self.active.file, self.active.end, end);
        cleared.map_err(|error| self.refuse("write to", &path, &error))?;
        self.active.dirty_end = None;
        Ok(())
    }
}

/// Returns the error of an append that was not stored and may be tried again.
pub(super) fn passing(shortage: Shortage, error: &io::Error) -> AppendError {
    match shortage {
        Shortage::Space => AppendError::StorageFull(error.to_string()),
        Shortage::Resources => AppendError::Exhausted(error.to_string()),
    }
}

fn holds_no_frame(file: &dyn DiskFile, start: u64, end: u64) -> bool {
    let mut bytes = vec![0; length_of(end - start)];
    match file.read_full_at(&mut bytes, start) {
        Ok(filled) => !matches!(Frame::decode(&bytes[..filled]), Found::Frame(_)),
        Err(_) => false,
    }
}

fn erase(file: &dyn DiskFile, start: u64, end: u64) -> io::Result<()> {
    segment::write_zeros(file, start, end)?;
    file.sync_data()?;
    let mut bytes = vec![0xff; length_of(end - start)];
    let filled = file.read_full_at(&mut bytes, start)?;
    if bytes[..filled].iter().all(|byte| *byte == 0) {
        Ok(())
    } else {
        Err(io::Error::other("zeros do not read back"))
    }
}
