//! The embedded engine as a node takes it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use instep_embedded::bodies::{BodyError, BodyFile, Condition, Found};
use instep_embedded::definitions::DefinitionFile;
use instep_embedded::error::OpenError;
use instep_embedded::log::{EmbeddedLog, Options, Trimming};
use instep_embedded::real::RealDisk;
use instep_embedded::snapshot::{SnapshotError, SnapshotStore, SnapshotWriter};
use instep_model::name::Name;
use instep_model::position::{Incarnation, Revision};
use instep_model::view::View;
use instep_node::engine::{
    BodyStore, Chunks, DefinitionStore, Engine, MemoryBodies, Snapshots, StoredBody, TakeChunk,
};
use uuid::Uuid;

/// Opens the engine of one dataset in its directory.
pub(crate) fn open(directory: &Path, segment_bytes: u64) -> Result<Engine, OpenError> {
    let options = Options {
        directory: directory.to_owned(),
        segment_bytes,
        new_incarnation: Incarnation(Uuid::new_v4()),
        trimming: Trimming::BelowSnapshots,
    };
    let log = EmbeddedLog::open(Arc::new(RealDisk), options)?;
    let recovery = log.recovery();
    tracing::info!(
        directory = %directory.display(),
        created = recovery.created,
        entries = recovery.entries,
        torn = recovery.torn.is_some(),
        "log opened"
    );
    let snapshots: Arc<dyn Snapshots> = Arc::new(Files(log.snapshots()));
    let preallocator = log.preallocator();
    let prepare = Box::new(move || {
        while preallocator.wait() {
            if let Err(error) = preallocator.prepare() {
                tracing::warn!(%error, "no segment could be prepared ahead");
            }
        }
    });
    let bodies = Arc::new(Bodies(BodyFile::in_directory(directory)));
    let definitions = DefinitionFile::in_directory(Arc::new(RealDisk), directory);
    let definitions = Arc::new(Definitions(definitions));
    Ok(Engine { log: Box::new(log), snapshots, bodies, definitions, prepare: Some(prepare) })
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

/// By which views readers were told, in a file beside the log.
struct Definitions(DefinitionFile);

impl DefinitionStore for Definitions {
    fn read(&self) -> io::Result<Option<Vec<u8>>> {
        self.0.read()
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.0.write(bytes)
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

    fn write(&self, put: &[(u64, Bytes)], removed: &[u64]) -> io::Result<()> {
        self.0.write(put, removed).map_err(refused)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync().map_err(refused)
    }

    fn read(&self, seqs: &[u64]) -> io::Result<Vec<StoredBody>> {
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
    io::Error::other(error)
}

/// Snapshot files beside the log.
struct Files(SnapshotStore);

impl Snapshots for Files {
    fn list(&self) -> io::Result<Vec<Revision>> {
        Ok(self.0.list().into_iter().map(|info| info.revision).collect())
    }

    fn open(&self, revision: Revision) -> io::Result<Chunks> {
        let mut reader = self.0.read(revision).map_err(io::Error::other)?;
        Ok(Box::new(std::iter::from_fn(move || {
            reader.next_chunk().map_err(io::Error::other).transpose()
        })))
    }

    fn write(
        &self,
        revision: Revision,
        fill: &mut dyn FnMut(&mut TakeChunk<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let filled = |writer: &mut SnapshotWriter| {
            let mut failure = None;
            let mut take = |chunk: &[u8]| {
                writer.chunk(chunk).map_err(|error| {
                    let told = io::Error::other(error.to_string());
                    failure = Some(error);
                    told
                })
            };
            match (fill(&mut take), failure) {
                (_, Some(error)) => Err(error),
                (Err(error), None) => Err(SnapshotError::GivenUp(error.to_string())),
                (Ok(()), None) => Ok(()),
            }
        };
        self.0.write(revision, filled).map_err(io::Error::other)?;
        self.0.prune().map_err(io::Error::other)?;
        Ok(())
    }

    fn covered(&self) -> Option<Revision> {
        self.0.safe_floor()
    }
}
