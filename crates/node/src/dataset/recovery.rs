//! From what an engine holds to a state in memory: the newest good snapshot, then the log.

use std::io::ErrorKind;

use instep_model::definition::Start;
use instep_model::disk::Shortage;
use instep_model::feed::Feed;
use instep_model::log::{Log, LogReader, ReadError};
use instep_model::mirror::Mirror;
use instep_model::position::{Incarnation, Revision};
use instep_model::snapshot::{Reader, SnapshotError};
use instep_model::state::{FoldError, Seen, State};

use super::{Options, Snapshots, now_ms};
use crate::engine::DefinitionStore;
use crate::mail::Post;
use instep_model::retention::Retention;

mod bodies;

pub(super) use self::bodies::{is_unfinished, restore as restore_bodies};

/// Bytes read at a time: what the caches of a core hold.
const READ_BYTES: usize = 512 * 1024;

/// Failure to open a dataset.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log begins after what the snapshots cover.
    #[error("the log begins at entry {floor}, and no readable snapshot reaches there: {detail}")]
    NoSnapshot {
        /// The oldest entry of the log.
        floor: Revision,
        /// Problems of the snapshots there are.
        detail: String,
    },
    /// A newer Instep wrote a snapshot.
    #[error("snapshot {revision}: {detail}: use a newer program")]
    NewerSnapshot {
        /// The revision of the snapshot.
        revision: Revision,
        /// Its format, and the newest one that is known here.
        detail: String,
    },
    /// The log cannot be read.
    #[error("the log cannot be read: {0}")]
    Read(#[from] ReadError),
    /// The log does not add up.
    #[error("the log does not add up: {0}")]
    Fold(#[from] FoldError),
    /// The storage refused.
    #[error("the storage refused: {0}")]
    Storage(#[from] std::io::Error),
    /// A thread could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(std::io::Error),
}

impl OpenError {
    /// Returns true if the data on disk is damaged: not what was written. Everything else is about
    /// the system.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::NoSnapshot { .. }
            | Self::NewerSnapshot { .. }
            | Self::Fold(_)
            | Self::Read(ReadError::Damaged { .. }) => true,
            Self::Read(_) | Self::Storage(_) | Self::Thread(_) => false,
        }
    }

    /// The entry of the log that does not add up.
    #[must_use]
    pub fn entry(&self) -> Option<Revision> {
        match self {
            Self::Fold(error) => Some(error.entry()),
            Self::NoSnapshot { .. }
            | Self::NewerSnapshot { .. }
            | Self::Read(_)
            | Self::Storage(_)
            | Self::Thread(_) => None,
        }
    }
}

pub(super) struct Recovered {
    pub(super) mirror: Mirror,
    pub(super) feed: Feed,
    pub(super) retention: Retention,
    pub(super) post: Post,
}

pub(super) fn recover(
    options: &Options,
    log: &dyn LogReader,
    snapshots: &dyn Snapshots,
    (incarnation, post): (Incarnation, Post),
) -> Result<Recovered, OpenError> {
    let bounds = log.bounds();
    let state = newest_snapshot(snapshots, bounds.floor)?;
    if let Some(before) = post.bodies.begin()? {
        bodies::restore(&options.name, &state, log, &*before, &post)?;
    }
    let mut feed = Feed::new(
        options.name.clone(),
        incarnation,
        options.views.clone(),
        state.tables.clone(),
        state.applied,
    );
    let mut retention = Retention::default();
    let mut mirror = Mirror::new(incarnation, state);
    // What a snapshot covers is read for its sizes only, so that history before it ages too.
    let mut next = mirror.state().applied.revision.next();
    let folding_views = !options.views.is_empty();
    while next <= bounds.head {
        make_room();
        for stored in log.read(next, READ_BYTES)? {
            if folding_views {
                let changes = mirror.apply(stored.revision, &stored.bytes)?;
                post.keep(&changes.mail);
                post.forget(&changes.mail);
                // Views need the tables as they were. It is not cheap: what a clone shares, the
                // next fold copies.
                let state = mirror.state();
                feed.apply(&changes.commits, state.tables.clone(), state.applied);
            } else {
                // Nobody has joined yet, so without views there is nothing to collect.
                mirror.replay(stored.revision, &stored.bytes, &mut |place, seen| match seen {
                    Seen::Row(change) => feed.replay(place, &change),
                    Seen::Mail(change) => {
                        let change = [change];
                        post.keep(&change);
                        post.forget(&change);
                    }
                })?;
            }
            post.bodies.spill_surplus()?;
            let time_ms = mirror.state().time_ms;
            retention.appended(stored.revision, stored.bytes.len() as u64, time_ms);
            next = stored.revision.next();
        }
    }
    if !folding_views {
        let state = mirror.state();
        feed.apply(&[], state.tables.clone(), state.applied);
    }
    Ok(Recovered { mirror, feed, retention, post })
}

impl Recovered {
    /// Looks whether readers were told by other views until now. If so, positions from before are
    /// of no use on the topics of those views: an entry that changes nothing stands between them
    /// and those that are given from now on.
    pub(super) fn hold_definitions(
        &mut self,
        options: &Options,
        log: &mut dyn Log,
        store: &dyn DefinitionStore,
    ) -> Result<(), OpenError> {
        let incarnation = log.bounds().incarnation;
        let stored = store.read().unwrap_or_else(|error| {
            tracing::warn!(dataset = %options.name, %error, "the views of before cannot be read");
            None
        });
        let start = Start::new(&options.views, stored, incarnation, self.mirror.state().applied);
        let is_changed = !start.changed().is_empty();
        if is_changed {
            tracing::info!(
                dataset = %options.name,
                topics = ?start.changed(),
                "views have changed: readers of their topics begin anew"
            );
        }
        let is_bounded = is_changed && self.append_boundary(options, log)?;
        let held = start.hold(self.mirror.state().applied, is_bounded);
        // If that fails, the next start finds the views changed again.
        if let Some(bytes) = held.to_write
            && let Err(error) = store.write(&bytes)
        {
            tracing::warn!(dataset = %options.name, %error, "the views cannot be written down");
        }
        self.feed.hold(held.definitions);
        Ok(())
    }

    /// Appends an entry with one commit that changes nothing; false when there is no room.
    fn append_boundary(&mut self, options: &Options, log: &mut dyn Log) -> Result<bool, OpenError> {
        let state = self.mirror.state();
        let bytes = Start::boundary(state, options.writer, now_ms());
        if let Err(error) = log.append(state.applied.revision, &bytes) {
            tracing::warn!(dataset = %options.name, %error, "the change of views is not logged");
            return Ok(false);
        }
        let revision = state.applied.revision.next();
        self.mirror.apply(revision, &bytes)?;
        let state = self.mirror.state();
        self.retention.appended(revision, bytes.len() as u64, state.time_ms);
        self.feed.apply(&[], state.tables.clone(), state.applied);
        Ok(true)
    }
}

/// Takes the room that the rows of one read need in one piece and gives it back to the allocator.
/// On a thread that is not the main one, glibc asks the system for every page of a growing heap by
/// itself, which was a tenth of a start. Nothing is written, so it costs no memory.
fn make_room() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(4 * READ_BYTES)));
}

/// The newest snapshot that reads back whole, or an empty state when the log has everything.
fn newest_snapshot(snapshots: &dyn Snapshots, floor: Revision) -> Result<State, OpenError> {
    let mut problems = Vec::new();
    for revision in snapshots.list()?.into_iter().rev() {
        if revision.next() < floor {
            break;
        }
        match read_snapshot(snapshots, revision) {
            Ok(state) => return Ok(state),
            // It may be good, and read a little later.
            Err(Unread::Now(error)) => return Err(error.into()),
            // It may hold what the log does not: nothing older takes its place.
            Err(Unread::Newer(detail)) => {
                return Err(OpenError::NewerSnapshot { revision, detail });
            }
            Err(Unread::Ever(problem)) => {
                tracing::warn!(%revision, problem, "a snapshot cannot be used");
                problems.push(format!("snapshot {revision}: {problem}"));
            }
        }
    }
    if floor <= Revision(1) {
        return Ok(State::default());
    }
    if problems.is_empty() {
        problems.push("there are none".into());
    }
    Err(OpenError::NoSnapshot { floor, detail: problems.join("; ") })
}

/// Reason why a snapshot was not read.
enum Unread {
    /// Shortage of the system: a retry may succeed.
    Now(std::io::Error),
    /// Format that only a newer program reads.
    Newer(String),
    /// Damage, or an error that no retry solves.
    Ever(String),
}

impl From<std::io::Error> for Unread {
    fn from(error: std::io::Error) -> Self {
        match Shortage::of(&error) {
            Some(_) => Self::Now(error),
            None if error.kind() == ErrorKind::Unsupported => Self::Newer(error.to_string()),
            None => Self::Ever(error.to_string()),
        }
    }
}

impl From<SnapshotError> for Unread {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::NewerFormat { .. } => Self::Newer(error.to_string()),
            SnapshotError::Malformed(_) => Self::Ever(error.to_string()),
        }
    }
}

fn read_snapshot(snapshots: &dyn Snapshots, revision: Revision) -> Result<State, Unread> {
    let mut reader = Reader::default();
    for chunk in snapshots.open(revision)? {
        make_room();
        reader.push(&chunk?)?;
    }
    Ok(reader.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::MemorySnapshots;

    fn kept(contents: &[u8]) -> MemorySnapshots {
        let snapshots = MemorySnapshots::default();
        snapshots.write(Revision(7), &mut |take| take(contents)).unwrap();
        snapshots
    }

    #[test]
    fn a_newer_snapshot_is_refused_also_where_the_log_holds_everything() {
        // A frame with a header of format 5.
        let newer = kept(&[6, 0, 0, 0, 0, 5, 0, 0, 0, 0]);
        let error = newest_snapshot(&newer, Revision(1)).unwrap_err();

        assert!(matches!(error, OpenError::NewerSnapshot { .. }) && error.is_damage());
        let said = "snapshot 7: the snapshot has format 5, this program reads up to 4";
        assert!(error.to_string().contains(said), "{error}");
    }

    #[test]
    fn a_damaged_snapshot_is_passed_over_where_the_log_holds_everything() {
        let damaged = kept(b"nonsense");

        assert_eq!(newest_snapshot(&damaged, Revision(1)).unwrap(), State::default());
        let refused = newest_snapshot(&damaged, Revision(2)).unwrap_err();
        assert!(matches!(refused, OpenError::NoSnapshot { .. }), "{refused}");
    }
}
