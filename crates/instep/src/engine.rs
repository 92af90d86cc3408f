//! The embedded engine as a node takes it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use instep_embedded::bodies::{BodyError, BodyFile, Condition, Found};
use instep_embedded::definitions::DefinitionFile;
use instep_embedded::error::OpenError;
use instep_embedded::identity::{self, Identity};
use instep_embedded::log::{EmbeddedLog, Options, Trimming};
use instep_embedded::real::RealDisk;
use instep_model::log::{AppendError, Bounds, Log, LogReader, Promise};
use instep_model::mail::Seq;
use instep_model::name::Name;
use instep_model::position::{Incarnation, Revision};
use instep_model::view::View;
use instep_node::engine::{BodyStore, Engine, MemoryBodies, Prepare, StoredBody};
use uuid::Uuid;

use crate::formats::{self, NEWEST_ENTRY};

/// Makes the engine of a new dataset in an empty directory, and closes it.
pub(crate) fn begin(directory: &Path, segment_bytes: u64) -> Result<(), OpenError> {
    drop(EmbeddedLog::open(Arc::new(RealDisk), options(directory, segment_bytes))?);
    identity::write(directory).map_err(OpenError::of(directory))
}

/// Opens the engine of one dataset in its directory. What is in a copy gets another identity.
pub(crate) fn open(directory: &Path, segment_bytes: u64) -> Result<Engine, OpenError> {
    let known = formats::look(directory)?;
    let options = options(directory, segment_bytes);
    let log = match known {
        Identity::Original | Identity::Unknown => EmbeddedLog::open(Arc::new(RealDisk), options)?,
        Identity::Copy => EmbeddedLog::open_anew(Arc::new(RealDisk), options)?,
    };
    if known == Identity::Copy {
        tracing::warn!(
            directory = %directory.display(),
            "this directory is a copy: its history is another one from here on, and every reader \
             begins anew"
        );
    }
    if let Err(error) = identity::write(directory) {
        tracing::warn!(directory = %directory.display(), %error, "no identity was written");
    }
    let recovery = log.recovery();
    tracing::info!(
        directory = %directory.display(),
        created = recovery.created,
        entries = recovery.entries,
        torn = recovery.torn.is_some(),
        "log opened"
    );
    let snapshots = Arc::new(log.snapshots());
    let preallocator = Arc::new(log.preallocator());
    let wanting = Arc::clone(&preallocator);
    let prepare = move || {
        if let Err(error) = preallocator.prepare() {
            tracing::warn!(%error, "no segment could be prepared ahead");
        }
    };
    let wants = Box::new(move || wanting.is_wanted());
    let prepare = Prepare { wants, prepare: Box::new(prepare) };
    let bodies = Arc::new(Bodies(BodyFile::in_directory(directory)));
    let definitions = Arc::new(DefinitionFile::in_directory(Arc::new(RealDisk), directory));
    let log = Box::new(Identified { log, directory: directory.to_owned() });
    Ok(Engine { log, snapshots, bodies, definitions, prepare: Some(prepare) })
}

/// The views of a program. What a view written in Rust does is known by the file of the program
/// only: with another file it counts as another view.
pub(crate) fn built_in(views: &[(Name, View)]) -> Vec<(Name, View)> {
    let file = std::env::current_exe().and_then(std::fs::metadata);
    let program = file.map(|file| (file.len(), file.modified().ok()));
    let program = format!("{:?}", program.ok());
    let of_program = |(dataset, view): &(Name, View)| {
        let view = view.clone();
        let view = if view.is_native() { view.depending_on(&program) } else { view };
        (dataset.clone(), view)
    };
    views.iter().map(of_program).collect()
}

fn options(directory: &Path, segment_bytes: u64) -> Options {
    Options {
        directory: directory.to_owned(),
        segment_bytes,
        new_incarnation: Incarnation(Uuid::new_v4()),
        trimming: Trimming::BelowSnapshots,
        newest_entry: NEWEST_ENTRY,
    }
}

/// A log that leaves a new identity behind when it is closed, so that a copy that was made before
/// is told from what is there then.
struct Identified {
    log: EmbeddedLog,
    directory: PathBuf,
}

impl Log for Identified {
    fn bounds(&self) -> Bounds {
        self.log.bounds()
    }

    fn promise(&self) -> Promise {
        self.log.promise()
    }

    fn largest_entry(&self) -> usize {
        self.log.largest_entry()
    }

    fn append(&mut self, expected: Revision, entry: &[u8]) -> Result<Revision, AppendError> {
        self.log.append(expected, entry)
    }

    fn trim(&mut self, floor: Revision) -> Result<Bounds, AppendError> {
        self.log.trim(floor)
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        self.log.reader()
    }
}

impl Drop for Identified {
    fn drop(&mut self) {
        if let Err(error) = identity::write(&self.directory) {
            tracing::debug!(directory = %self.directory.display(), %error, "no new identity");
        }
    }
}

/// Bodies of messages in a file beside the log.
struct Bodies(BodyFile);

impl BodyStore for Bodies {
    fn begin(&self) -> io::Result<Option<Arc<dyn BodyStore>>> {
        match self.0.condition().map_err(refused)? {
            Condition::Usable => Ok(None),
            Condition::Empty => Ok(Some(Arc::new(MemoryBodies::default()))),
            Condition::Unreadable(problem) => {
                let aside = self.0.move_aside()?;
                tracing::error!(problem, aside = %aside.display(), "bodies cannot be read");
                Ok(Some(Arc::new(Bodies(BodyFile::in_directory(&aside)))))
            }
        }
    }

    fn write(&self, put: &[(Seq, Bytes)], removed: &[Seq]) -> io::Result<()> {
        self.0.write(put, removed).map_err(refused)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync().map_err(refused)
    }

    fn read(&self, seqs: &[Seq]) -> io::Result<Vec<StoredBody>> {
        let found = self.0.read(seqs).map_err(refused)?;
        let stored = found.into_iter().map(|found| match found {
            Found::Whole(body) => StoredBody::Whole(body),
            Found::Missing => StoredBody::Missing,
            Found::Damaged => StoredBody::Damaged,
        });
        Ok(stored.collect())
    }

    fn size(&self) -> u64 {
        self.0.size()
    }
}

fn refused(error: BodyError) -> io::Error {
    io::Error::new(error.kind(), error)
}

#[cfg(test)]
mod tests {
    use instep_node::engine::conformance;

    use super::*;

    #[test]
    fn bodies_in_a_file_pass_the_conformance_suite() {
        let root = tempfile::tempdir().unwrap();
        let mut opened = 0;
        conformance::run(|| {
            opened += 1;
            let directory = root.path().join(format!("mail-{opened}"));
            std::fs::create_dir(&directory).unwrap();
            Box::new(Bodies(BodyFile::in_directory(&directory)))
        });
    }
}
