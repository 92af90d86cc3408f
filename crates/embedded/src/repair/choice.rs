//! Choice of a repair: it keeps as many entries as can still be read behind a state.
//!
//! A state is the beginning, if the log goes back to it, or a snapshot that reads back whole. From
//! each of them the entries behind it are followed through whatever files have them, by their
//! revisions and by the chain of their checksums. Where that leads farthest, that is kept: what is
//! damaged below a good snapshot costs history and nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use instep_model::disk::{Access, Disk};
use instep_model::position::{Incarnation, Revision};
use uuid::Uuid;

use crate::error::OpenError;
use crate::format::{ALIGNMENT, Found, HEADER_BYTES, Header, HeaderFault, SEGMENT_MAGIC};
use crate::format::{SNAPSHOT_MAGIC, VERSION, digest};
use crate::scan::lineage_of;
use crate::segment::{self, Walk};
use crate::snapshot::{self, SnapshotError};

/// A segment file, whatever can be read of it.
pub(super) struct SegmentFile {
    pub(super) path: PathBuf,
    pub(super) first: Revision,
    pub(super) header: Option<Header>,
    runs: Vec<Run>,
    /// The histories that its first bytes name, also those of a header that is damaged elsewhere.
    ids: Vec<Incarnation>,
    /// Nothing but zeros lies behind its header.
    is_blank: bool,
}

/// Whole frames that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: Revision,
    pub(super) last: Revision,
    pub(super) start: u64,
    pub(super) end: u64,
    /// The checksum of the frame before it, and of its last one.
    pub(super) chain: u64,
    pub(super) last_chain: u64,
    /// The digest of its history.
    pub(super) history: u64,
}

/// Choice of the entries to keep.
pub(super) struct Choice {
    pub(super) parts: Vec<SegmentFile>,
    /// The runs behind the state, in order, with the place of their file among the parts.
    pub(super) path: Vec<(usize, Run)>,
    /// The newest entry.
    pub(super) end: Revision,
    /// The newest entry that is known to have been written.
    pub(super) newest_seen: Revision,
    /// The history that the newest entry belongs to, if that can be said.
    pub(super) incarnation: Option<Incarnation>,
    /// The histories that snapshots name.
    of_snapshots: Vec<Incarnation>,
    /// Damaged snapshots.
    pub(super) bad_snapshots: Vec<PathBuf>,
}

impl SegmentFile {
    /// Returns true if a log can have the file as it is, for the sake of this run.
    pub(super) fn is_whole_for(&self, run: &Run) -> bool {
        self.header.as_ref().is_some_and(|header| {
            header.revision == self.first
                && run.first == self.first
                && run.start == HEADER_BYTES as u64
                && header.chain == run.chain
                && digest(header.incarnation) == run.history
        })
    }
}

impl SegmentFile {
    /// Returns true if a repair made the file for this run: it has room for nothing else.
    pub(super) fn was_made_for(&self, run: &Run) -> bool {
        let room = HEADER_BYTES as u64 + run.end - run.start;
        self.header.as_ref().is_some_and(|header| header.bytes == room)
    }
}

impl Choice {
    /// Returns true if the file is kept as it is.
    pub(super) fn keeps(&self, at: usize) -> bool {
        let part = &self.parts[at];
        self.path.iter().any(|(of, run)| *of == at && part.is_whole_for(run))
            || self.goes_on_in(part)
    }

    /// Returns true if the next entry was to be written to the file.
    fn goes_on_in(&self, part: &SegmentFile) -> bool {
        let fits = |header: &Header| {
            header.revision == part.first
                && header.chain == self.chain()
                && Some(header.predecessor) == self.incarnation
        };
        part.is_blank && part.first == self.end.next() && part.header.as_ref().is_some_and(fits)
    }

    /// Returns true if entries behind the kept ones are lost, or may be: then a new history begins.
    pub(super) fn loses_entries(&self) -> bool {
        let unread = |part: &SegmentFile| part.first > self.end && !self.goes_on_in(part);
        self.newest_seen > self.end || self.path.is_empty() || self.parts.iter().any(unread)
    }

    /// Checksum that the next entry continues.
    pub(super) fn chain(&self) -> u64 {
        self.path.last().map_or(0, |(_, run)| run.last_chain)
    }

    /// The header of a file for one run, made anew. None: nothing says which history it is of.
    pub(super) fn header_for(&self, at: usize, run: &Run) -> Option<Header> {
        let named = |history: u64| {
            let ids = self.parts.iter().flat_map(|part| &part.ids).chain(&self.of_snapshots);
            ids.copied().find(|id| digest(*id) == history)
        };
        let incarnation = named(run.history)?;
        // Files between them in the directory may be of any other history.
        let place = self.path.iter().position(|kept| *kept == (at, *run));
        let before = place.and_then(|place| self.path.get(place.checked_sub(1)?));
        let predecessor = match (before, self.parts[at].header.as_ref()) {
            (Some((_, before)), _) => named(before.history)?,
            (None, Some(own)) if run.first == self.parts[at].first => own.predecessor,
            (None, _) => incarnation,
        };
        Some(Header {
            magic: SEGMENT_MAGIC,
            incarnation,
            predecessor,
            revision: run.first,
            chain: run.chain,
            bytes: HEADER_BYTES as u64 + run.end - run.start,
        })
    }
}

/// Chooses the entries to keep.
pub(super) fn choose(disk: &dyn Disk, directory: &Path) -> Result<Choice, OpenError> {
    let names = disk.list(directory).map_err(OpenError::of(directory))?;
    let mut parts = Vec::new();
    for first in segment::firsts(&names) {
        parts.push(part(disk, segment::path(directory, first), first)?);
    }
    let (states, bad_snapshots, ahead) = states(disk, directory, &parts)?;
    let of_snapshots: Vec<Incarnation> = states.iter().filter_map(|(_, id)| *id).collect();
    // Frames of a history that nothing names could not be told from those of another dataset.
    let ids = parts.iter().flat_map(|part| &part.ids).chain(&of_snapshots);
    let known: BTreeSet<u64> = ids.map(|id| digest(*id)).collect();
    parts.iter_mut().for_each(|part| part.runs.retain(|run| known.contains(&run.history)));
    let mut best = (Vec::new(), Revision::ZERO, None);
    for (state, incarnation) in states {
        let path = follow(&parts, state, incarnation);
        let end = path.last().map_or(state, |(_, run)| run.last);
        // Of two that lead as far, the one that keeps more history.
        let begin =
            |path: &[(usize, Run)]| path.first().map_or(Revision(u64::MAX), |(_, r)| r.first);
        if best.1 < end || (best.1 == end && begin(&path) <= begin(&best.0)) {
            best = (path, end, incarnation);
        }
    }
    let (path, end, of_snapshot) = best;
    let last = path.last().map(|(at, run)| (*at, run.history));
    let mut newest_seen = ahead.max(end);
    for part in &parts {
        newest_seen = newest_seen.max(Revision(if part.first > end {
            part.first.0.saturating_sub(1)
        } else {
            0
        }));
        let same = part.runs.iter().filter(|run| last.is_none_or(|(_, id)| id == run.history));
        newest_seen = same.map(|run| run.last).fold(newest_seen, Revision::max);
    }
    let mut choice = Choice {
        parts,
        path,
        end,
        newest_seen,
        incarnation: of_snapshot,
        of_snapshots,
        bad_snapshots,
    };
    if let Some((at, run)) = choice.path.last().copied()
        && let Some(header) = choice.header_for(at, &run)
    {
        choice.incarnation = Some(header.incarnation);
    }
    Ok(choice)
}

fn part(disk: &dyn Disk, path: PathBuf, first: Revision) -> Result<SegmentFile, OpenError> {
    let file = disk.open(&path, Access::Read).map_err(OpenError::of(&path))?;
    let of = |error| OpenError::of(&path)(error);
    let mut bytes = [0; HEADER_BYTES];
    let length = file.read_full_at(&mut bytes, 0).map_err(of)?;
    let header = match Header::decode(&bytes[..length], SEGMENT_MAGIC) {
        Ok(header) => Some(header),
        Err(HeaderFault::Damaged(_)) => None,
        Err(HeaderFault::Newer(found)) => {
            return Err(OpenError::NewerFormat { file: path, found, known: VERSION });
        }
    };
    let ids = [16, 32].into_iter().filter_map(|at| {
        let id = bytes[..length].get(at..at + 16)?.first_chunk()?;
        Some(Incarnation(Uuid::from_bytes(*id)))
    });
    let ids = ids.collect();
    let mut walk = Walk::new(&*file).map_err(of)?;
    let is_blank = walk.tail(HEADER_BYTES as u64, 0).map_err(of)?.dirty_end == 0;
    let runs = if is_blank { Vec::new() } else { runs(&mut walk).map_err(of)? };
    Ok(SegmentFile { path, first, header, runs, ids, is_blank })
}

fn runs(walk: &mut Walk<'_>) -> std::io::Result<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    let mut at = HEADER_BYTES as u64;
    while at < walk.length() {
        let Found::Frame(frame) = walk.look(at)? else {
            at += ALIGNMENT as u64;
            continue;
        };
        let end = at + frame.bytes() as u64;
        match runs.last_mut() {
            Some(run)
                if run.end == at
                    && run.last.next() == frame.revision
                    && run.last_chain == frame.chain
                    && run.history == frame.incarnation =>
            {
                (run.last, run.end, run.last_chain) = (frame.revision, end, frame.checksum);
            }
            _ => runs.push(Run {
                first: frame.revision,
                last: frame.revision,
                start: at,
                end,
                chain: frame.chain,
                last_chain: frame.checksum,
                history: frame.incarnation,
            }),
        }
        at = end;
    }
    Ok(runs)
}

type State = (Revision, Option<Incarnation>);

/// The states that a log can go on from, oldest first; the snapshots that are damaged; and the
/// newest revision that any snapshot of this history speaks of.
fn states(
    disk: &dyn Disk,
    directory: &Path,
    parts: &[SegmentFile],
) -> Result<(Vec<State>, Vec<PathBuf>, Revision), OpenError> {
    let lineage = lineage_of(parts.iter().filter_map(|part| part.header.as_ref()));
    let is_known = !parts.is_empty() && parts.iter().all(|part| part.header.is_some());
    let snapshots = directory.join(segment::SNAPSHOTS);
    let (mut states, mut bad, mut ahead) = (vec![(Revision::ZERO, None)], vec![], Revision::ZERO);
    for revision in snapshot::revisions(disk, &snapshots).map_err(OpenError::of(&snapshots))? {
        let path = snapshot::path(&snapshots, revision);
        let header = super::header_of(disk, &path, SNAPSHOT_MAGIC)?;
        let of_another = header.as_ref().is_some_and(|header| {
            lineage.iter().any(|of| of.ends_before(header))
                || (is_known && !lineage.iter().any(|of| of.holds(header)))
        });
        if of_another {
            continue;
        }
        ahead = revision;
        match snapshot::verify_file(disk, &path, revision) {
            Ok(()) => states.push((revision, header.map(|header| header.incarnation))),
            Err(SnapshotError::Damaged { .. }) => bad.push(path),
            Err(SnapshotError::NewerFormat { file, found }) => {
                return Err(OpenError::NewerFormat { file, found, known: VERSION });
            }
            Err(error) => {
                let source = std::io::Error::other(error.to_string());
                return Err(OpenError::Storage { path, source });
            }
        }
    }
    Ok((states, bad, ahead))
}

/// The entries behind a state, as far as they can be read. Behind a snapshot they are of its
/// history, or of the one that was begun right there.
fn follow(
    parts: &[SegmentFile],
    state: Revision,
    incarnation: Option<Incarnation>,
) -> Vec<(usize, Run)> {
    let mut path: Vec<(usize, Run)> = Vec::new();
    let is_of = |at: usize, run: &Run| {
        let begun = |header: &Header, id: Incarnation| {
            header.predecessor == id
                && digest(header.incarnation) == run.history
                && run.first == state.next()
        };
        incarnation.is_none_or(|id| {
            digest(id) == run.history || parts[at].header.as_ref().is_some_and(|h| begun(h, id))
        })
    };
    loop {
        let before = path.last().map(|(_, run)| *run);
        let next = before.map_or(state, |run| run.last).next();
        let follows = |at: usize, run: &Run| match before {
            Some(before) => run.first == next && run.chain == before.last_chain,
            None => run.first <= next && run.last >= next && is_of(at, run),
        };
        let all = parts.iter().enumerate();
        let fitting = all.flat_map(|(at, part)| part.runs.iter().map(move |run| (at, *run)));
        let best = fitting.filter(|(at, run)| follows(*at, run)).max_by_key(|(at, run)| {
            // A file that can stay as it is comes before one that must be made anew.
            (run.last, parts[*at].is_whole_for(run), std::cmp::Reverse(run.first))
        });
        match best {
            Some(found) => path.push(found),
            None => break,
        }
    }
    // History before the state, as far as it hangs together.
    while let Some((_, earliest)) = path.first().copied() {
        let leads =
            |run: &Run| run.last.next() == earliest.first && run.last_chain == earliest.chain;
        let all = parts.iter().enumerate();
        let leading = all.flat_map(|(at, part)| part.runs.iter().map(move |run| (at, *run)));
        let best = leading
            .filter(|(_, run)| leads(run))
            .max_by_key(|(at, run)| (parts[*at].is_whole_for(run), std::cmp::Reverse(run.first)));
        match best {
            Some(found) => path.insert(0, found),
            None => break,
        }
    }
    path
}
