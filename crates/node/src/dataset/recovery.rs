//! From what an engine holds to a dataset in memory: what a [`Recovery`] finds is told to the
//! operator here, and bodies of messages are restored.

use std::time::Instant;

use instep_model::log::{LogReader, ReadError};
use instep_model::mail::MailChange;
use instep_model::mirror::Mirror;
use instep_model::position::{Incarnation, Revision};
use instep_model::recovery::{
    HeldDefinitions, Recovery, RecoveryError, Replaying, newest_snapshot,
};
use instep_model::retention::Retention;
use instep_model::state::FoldError;

use super::{Options, Snapshots};
use crate::mail::MailHandle;

mod bodies;

pub(super) use self::bodies::{is_unfinished, restore as restore_bodies};

/// Failure to open a dataset.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Failure of the recovery from what the engine holds.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
}

impl OpenError {
    /// Returns true if the data on disk is damaged: not what was written. Everything else is about
    /// the system.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Recovery(error) => error.is_damage(),
        }
    }

    /// The entry of the log that does not add up.
    #[must_use]
    pub fn entry(&self) -> Option<Revision> {
        match self {
            Self::Recovery(error) => error.entry(),
        }
    }

    /// Returns true if the system had no thread, no descriptor or no memory.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        match self {
            Self::Recovery(error) => error.is_exhausted(),
        }
    }
}

impl From<std::io::Error> for OpenError {
    fn from(error: std::io::Error) -> Self {
        RecoveryError::from(error).into()
    }
}

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> Self {
        RecoveryError::from(error).into()
    }
}

impl From<FoldError> for OpenError {
    fn from(error: FoldError) -> Self {
        RecoveryError::from(error).into()
    }
}

/// Brings a dataset into memory, with the bodies of its messages.
pub(super) fn recover(
    options: &Options,
    log: &dyn LogReader,
    snapshots: &dyn Snapshots,
    (incarnation, handle): (Incarnation, &MailHandle),
) -> Result<Recovery, OpenError> {
    let mut warn = |revision: Revision, problem: &str| {
        tracing::warn!(%revision, problem, "a snapshot cannot be used");
    };
    let state = newest_snapshot(snapshots, log.bounds().floor, &mut warn)?;
    if let Some(before) = handle.bodies.begin()? {
        bodies::restore(&options.name, &state, log, &*before, handle)?;
    }
    let mirror = Mirror::new(incarnation, state);
    let (name, views) = (options.name.clone(), options.views.clone());
    let mut recovery = Recovery::new(mirror, name, views, Retention::default());
    let mut keep = |mail: &[MailChange]| {
        handle.keep(mail);
        handle.forget(mail);
        handle.bodies.spill_surplus()
    };
    let begun = Instant::now();
    let mut now_us = || u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    recovery.replay(log, Replaying { keep: &mut keep, now_us: &mut now_us })?;
    Ok(recovery)
}

/// Tells the operator how the definitions of views were held.
pub(super) fn tell_definitions(options: &Options, held: &HeldDefinitions) {
    let (dataset, HeldDefinitions { changed, unread, unlogged, unwritten }) = (&options.name, held);
    if let Some(error) = unread {
        tracing::warn!(%dataset, %error, "the views of before cannot be read");
    }
    if !changed.is_empty() {
        let topics = changed;
        tracing::info!(%dataset, ?topics, "views have changed: readers of their topics begin anew");
    }
    if let Some(error) = unlogged {
        tracing::warn!(%dataset, %error, "the change of views is not logged");
    }
    if let Some(error) = unwritten {
        tracing::warn!(%dataset, %error, "the views cannot be written down");
    }
}
