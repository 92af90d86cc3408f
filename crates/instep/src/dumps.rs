//! Dumps: copies of a dataset on their way from a source to the sites that asked for them.
//!
//! | a dump is | becomes | by |
//! | --- | --- | --- |
//! | waiting | growing | the first chunk of its source |
//! | growing | complete | the end, whose number of bytes and digest are those of the chunks |
//! | waiting, growing | failed | its source, its silence, a full spool, a source that left |
//! | any | failed | history that outran it: no site could go on from it (I22) |
//!
//! Sites that ask for a dump of a source that is on its way share it. A dump goes when no site has
//! read it for a while, and all of them when the server starts: who waited for one asks again.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use instep_model::limits;
use instep_model::name::Name;
use instep_model::position::Position;
use instep_model::site::Scope;
use tokio::sync::watch;
use uuid::Uuid;

mod spool;
mod tables;

pub(crate) use self::tables::write_tables;
use spool::{Spool, Tally};

/// Dumps of a server.
#[derive(Clone)]
pub(crate) struct Dumps(Arc<Shared>);

struct Shared {
    directory: PathBuf,
    /// Bytes of all dumps.
    limit: u64,
    all: Mutex<BTreeMap<Uuid, Dump>>,
    /// Counts changes, for those that wait for one.
    changes: watch::Sender<u64>,
}

/// A dump that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) dataset: Name,
    pub(crate) source: Name,
    pub(crate) scope: Scope,
}

struct Dump {
    wanted: Wanted,
    /// History is held from here on for who takes it.
    held: Position,
    spool: Arc<Spool>,
    tally: Tally,
    /// Form of it; known with the first chunk.
    kind: Option<String>,
    state: DumpState,
    begun: Instant,
    written: Instant,
    read: Instant,
    /// Bytes up to the end of the furthest chunk that was read.
    taken: u64,
}

/// State of a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DumpState {
    Waiting,
    Growing,
    Complete { position: Position, digest: [u8; 32] },
    Failed { reason: String },
}

/// A dump as its readers see it.
#[derive(Debug, Clone)]
pub(crate) struct DumpStatus {
    pub(crate) source: Name,
    pub(crate) kind: Option<String>,
    pub(crate) state: DumpState,
    pub(crate) chunks: usize,
    pub(crate) bytes: u64,
}

/// A chunk as its source names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent<'a> {
    pub(crate) at: usize,
    pub(crate) digest: [u8; 32],
    pub(crate) kind: Option<&'a str>,
}

/// The end of a dump, as its source says it.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) position: Position,
    pub(crate) chunks: usize,
    pub(crate) bytes: u64,
    pub(crate) digest: [u8; 32],
}

/// Refusal of a request about a dump.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DumpError {
    #[error("there is no such dump, or not any more")]
    Unknown,
    #[error("the dump has failed: {0}")]
    Failed(String),
    #[error("the dump ends before chunk {0}")]
    NoChunk(usize),
    #[error("chunk: {given} is not the next one, which is {next}, nor one that is known")]
    Gap { given: usize, next: usize },
    #[error("chunk {0}: its bytes are not those of its digest, or of the chunk that is known")]
    Differs(usize),
    #[error("chunk: a dump has {} chunks at most: make them larger", limits::DUMP_CHUNKS)]
    TooManyChunks,
    #[error("kind: {0}")]
    Kind(String),
    #[error("the end does not fit the chunks: {0}")]
    End(String),
    #[error("{} dumps are on their way, the limit", limits::DUMPS)]
    TooMany,
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Chunk that was asked for.
pub(crate) enum Asked {
    There { bytes: Vec<u8>, digest: [u8; 32] },
    NotYet,
}

impl Dumps {
    /// Dumps in `directory`, which is emptied.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub(crate) fn new(directory: PathBuf, limit: u64) -> io::Result<Self> {
        spool::clear(&directory)?;
        let changes = watch::Sender::new(0);
        Ok(Self(Arc::new(Shared { directory, limit, all: Mutex::default(), changes })))
    }

    /// The dump of a source that is on its way, and the position from which history is held for it;
    /// blocks.
    pub(crate) fn under_way(&self, wanted: &Wanted) -> Option<(Uuid, Position)> {
        self.sweep();
        let all = self.lock();
        let mut fitting = all.iter().filter(|(_, dump)| {
            dump.wanted == *wanted && !matches!(dump.state, DumpState::Failed { .. })
        });
        fitting.next().map(|(id, dump)| (*id, dump.held))
    }

    /// Begins a dump; blocks. Its source hears of it where it follows the log.
    ///
    /// # Errors
    /// [`DumpError::TooMany`], and of the system.
    pub(crate) fn begin(&self, wanted: Wanted, held: Position) -> Result<Uuid, DumpError> {
        self.sweep();
        let id = Uuid::now_v7();
        let spool = Arc::new(Spool::new(self.0.directory.join(id.simple().to_string()))?);
        let mut all = self.lock();
        if all.values().filter(|dump| dump.state.is_open()).count() >= limits::DUMPS {
            return Err(DumpError::TooMany);
        }
        let now = Instant::now();
        let (tally, state) = (Tally::default(), DumpState::Waiting);
        let (begun, written, read, kind, taken) = (now, now, now, None, 0);
        let dump = Dump { wanted, held, spool, tally, kind, state, begun, written, read, taken };
        all.insert(id, dump);
        drop(all);
        self.changed();
        Ok(id)
    }

    /// Dumps that a site is to give.
    pub(crate) fn wanted_of(&self, dataset: &Name, source: &Name) -> Vec<Uuid> {
        let all = self.lock();
        let waits = all.iter().filter(|(_, dump)| {
            let Wanted { dataset: of, source: from, .. } = &dump.wanted;
            of == dataset && from == source && dump.state == DumpState::Waiting
        });
        waits.map(|(id, _)| *id).collect()
    }

    /// Tells when something has changed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// State of a dump of a dataset; blocks.
    ///
    /// # Errors
    /// [`DumpError::Unknown`].
    pub(crate) fn status(&self, dataset: &Name, id: Uuid) -> Result<DumpStatus, DumpError> {
        self.sweep();
        self.with(dataset, id, |dump| {
            let (source, kind) = (dump.wanted.source.clone(), dump.kind.clone());
            let (state, Tally { chunks, bytes, .. }) = (dump.state.clone(), &dump.tally);
            Ok(DumpStatus { source, kind, state, chunks: chunks.len(), bytes: *bytes })
        })
    }

    /// Returns the source of a dump of a dataset.
    ///
    /// # Errors
    /// [`DumpError::Unknown`].
    pub(crate) fn source(&self, dataset: &Name, id: Uuid) -> Result<Name, DumpError> {
        self.with(dataset, id, |dump| Ok(dump.wanted.source.clone()))
    }

    /// Returns what is wanted by a dump of a dataset, and the position from which history is held.
    ///
    /// # Errors
    /// [`DumpError::Unknown`].
    pub(crate) fn held(&self, dataset: &Name, id: Uuid) -> Result<(Wanted, Position), DumpError> {
        self.with(dataset, id, |dump| Ok((dump.wanted.clone(), dump.held)))
    }

    /// Ends a dump that history has outrun, for the reason for which its sites were evicted.
    pub(crate) fn outrun(&self, dataset: &Name, id: Uuid, history: &str) {
        let outrun = self.with(dataset, id, |dump| {
            if matches!(dump.state, DumpState::Failed { .. }) {
                return Ok(None);
            }
            let (bytes, taken) = (dump.tally.bytes, dump.taken);
            let ms = u64::try_from(dump.begun.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
            let (rate, seconds) = (taken.saturating_mul(1_000) / ms, ms.div_ceil(1_000));
            let reason = format!(
                "{history}; the dump was taken at {rate} bytes/s, {taken} of {bytes} bytes in \
                 {seconds} s"
            );
            dump.fail(reason.clone());
            Ok(Some(reason))
        });
        // A dump that is gone concerns no site.
        if let Ok(Some(reason)) = outrun {
            tracing::warn!(%dataset, dump = %id.simple(), reason, "a dump has failed");
            self.changed();
        }
    }

    /// Reads a chunk; blocks.
    ///
    /// # Errors
    /// [`DumpError`]; a dump that has failed gives none.
    pub(crate) fn read(&self, dataset: &Name, id: Uuid, at: usize) -> Result<Asked, DumpError> {
        self.sweep();
        let found = self.with(dataset, id, |dump| {
            dump.read = Instant::now();
            match (&dump.state, dump.tally.chunks.get(at)) {
                (DumpState::Failed { reason }, _) => Err(DumpError::Failed(reason.clone())),
                (_, Some(chunk)) => {
                    dump.taken = dump.taken.max(chunk.offset + u64::from(chunk.length));
                    Ok(Some((Arc::clone(&dump.spool), *chunk)))
                }
                (DumpState::Complete { .. }, None) => Err(DumpError::NoChunk(at)),
                (DumpState::Waiting | DumpState::Growing, None) => Ok(None),
            }
        })?;
        match found {
            Some((spool, chunk)) => {
                let bytes = spool.read(chunk)?;
                Ok(Asked::There { bytes, digest: chunk.digest })
            }
            None => Ok(Asked::NotYet),
        }
    }

    /// Takes a chunk of the source; blocks. The same one again changes nothing.
    ///
    /// # Errors
    /// [`DumpError`]; a chunk that finds no room fails the dump.
    pub(crate) fn put(
        &self,
        dataset: &Name,
        id: Uuid,
        Sent { at, digest, kind }: Sent<'_>,
        bytes: &[u8],
    ) -> Result<(), DumpError> {
        if spool::sha256(bytes) != digest {
            return Err(DumpError::Differs(at));
        }
        let taken: u64 = self.lock().values().map(|dump| dump.tally.bytes).sum();
        let next = self.with(dataset, id, |dump| {
            dump.written = Instant::now();
            dump.may_grow()?;
            dump.is_of(kind)?;
            let next = dump.tally.chunks.len();
            match dump.tally.chunks.get(at) {
                Some(known) if known.digest == digest => Ok(None),
                Some(_) => Err(DumpError::Differs(at)),
                None if at >= limits::DUMP_CHUNKS => Err(DumpError::TooManyChunks),
                None if at > next => Err(DumpError::Gap { given: at, next }),
                None => Ok(Some((Arc::clone(&dump.spool), dump.tally.next(bytes, digest)))),
            }
        })?;
        let Some((spool, chunk)) = next else { return Ok(()) };
        let full = taken.saturating_add(bytes.len() as u64) > self.0.limit;
        let written = if full {
            let limit = self.0.limit;
            Err(format!("the spool of dumps is full: {limit} bytes are the limit"))
        } else {
            spool.write(chunk, bytes).map_err(|error| format!("the spool takes no more: {error}"))
        };
        if let Err(reason) = written {
            self.fail(dataset, id, reason.clone())?;
            return Err(DumpError::Failed(reason));
        }
        self.with(dataset, id, |dump| {
            dump.may_grow()?;
            // Another request with the same chunk may have been faster.
            if dump.tally.chunks.len() == at {
                dump.tally.add(chunk, bytes);
                dump.state = DumpState::Growing;
            }
            Ok(())
        })?;
        self.changed();
        Ok(())
    }

    /// Ends a dump that is complete.
    ///
    /// # Errors
    /// [`DumpError::End`] when it is not what the source says; the dump has failed then.
    pub(crate) fn complete(&self, dataset: &Name, id: Uuid, end: End) -> Result<(), DumpError> {
        let fault = self.with(dataset, id, |dump| {
            if matches!(dump.state, DumpState::Complete { .. }) {
                return Ok(None);
            }
            dump.may_grow()?;
            let (chunks, bytes) = (dump.tally.chunks.len(), dump.tally.bytes);
            if (chunks, bytes) != (end.chunks, end.bytes) {
                let (said, told) = (end.chunks, end.bytes);
                return Ok(Some(format!(
                    "{said} chunks of {told} bytes, {chunks} of {bytes} are there"
                )));
            }
            let (at, held) = (end.position, dump.held);
            if at.place_in(held.incarnation).is_none_or(|place| place < held.place) {
                return Ok(Some("position: it lies before the one that is held".into()));
            }
            if dump.tally.digest() != end.digest {
                return Ok(Some("sha256: it is another".into()));
            }
            let End { position, digest, .. } = end;
            dump.state = DumpState::Complete { position, digest };
            Ok(None)
        })?;
        self.changed();
        let Some(fault) = fault else { return Ok(()) };
        self.fail(dataset, id, fault.clone())?;
        Err(DumpError::End(fault))
    }

    /// Ends a dump that cannot be given.
    ///
    /// # Errors
    /// [`DumpError::Unknown`].
    pub(crate) fn fail(&self, dataset: &Name, id: Uuid, reason: String) -> Result<(), DumpError> {
        self.with(dataset, id, |dump| {
            if !matches!(dump.state, DumpState::Complete { .. }) {
                dump.fail(reason);
            }
            Ok(())
        })?;
        self.changed();
        Ok(())
    }

    /// Fails dumps of silent sources, and forgets unread ones.
    fn sweep(&self) {
        let mut all = self.lock();
        let mut changed = false;
        for dump in all.values_mut() {
            if dump.state.is_open()
                && dump.written.elapsed() > Duration::from_millis(limits::DUMP_SILENT_MS)
            {
                let seconds = limits::DUMP_SILENT_MS / 1_000;
                dump.fail(format!("its source has sent nothing for {seconds} s"));
                changed = true;
            }
        }
        let unread = Duration::from_millis(limits::DUMP_UNREAD_MS);
        let all_of_them = std::mem::take(&mut *all).into_iter();
        let (kept, forgotten): (BTreeMap<_, _>, BTreeMap<_, _>) =
            all_of_them.partition(|(_, dump)| dump.read.elapsed() <= unread);
        *all = kept;
        drop(all);
        // Their files are removed, which takes a while for large ones.
        drop(forgotten);
        if changed {
            self.changed();
        }
    }

    fn with<T>(
        &self,
        dataset: &Name,
        id: Uuid,
        work: impl FnOnce(&mut Dump) -> Result<T, DumpError>,
    ) -> Result<T, DumpError> {
        let mut all = self.lock();
        let dump = all.get_mut(&id).filter(|dump| dump.wanted.dataset == *dataset);
        work(dump.ok_or(DumpError::Unknown)?)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Uuid, Dump>> {
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.0.changes.send_modify(|count| *count += 1);
    }
}

impl Dump {
    /// Takes the form of the dump, which its first chunk says.
    fn is_of(&mut self, kind: Option<&str>) -> Result<(), DumpError> {
        match (kind, &self.kind) {
            (None, None) => Err(DumpError::Kind("the first chunk says it".into())),
            (Some(said), Some(known)) if said != known => {
                Err(DumpError::Kind(format!("it is {known:?}")))
            }
            (Some(said), None) => {
                self.kind = Some(said.to_owned());
                Ok(())
            }
            (_, Some(_)) => Ok(()),
        }
    }

    fn may_grow(&self) -> Result<(), DumpError> {
        match &self.state {
            DumpState::Waiting | DumpState::Growing => Ok(()),
            DumpState::Complete { .. } => Err(DumpError::End("it is complete".into())),
            DumpState::Failed { reason } => Err(DumpError::Failed(reason.clone())),
        }
    }

    fn fail(&mut self, reason: String) {
        self.state = DumpState::Failed { reason };
    }
}

impl DumpState {
    /// True while more of it may come.
    fn is_open(&self) -> bool {
        matches!(self, Self::Waiting | Self::Growing)
    }

    /// The state in a word.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Growing => "growing",
            Self::Complete { .. } => "complete",
            Self::Failed { .. } => "failed",
        }
    }
}
