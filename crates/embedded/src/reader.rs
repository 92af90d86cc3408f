//! State shared by readers and the appender: the segments, and how far they are durable.
//!
//! A reader takes the lock only to make a plan; the bytes are read without it. The appender
//! publishes an entry here after its sync, so no reader sees more than is durable (law 2).

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use instep_model::disk::{Access, Disk, DiskFile, Shortage};
use instep_model::log::{Bounds, LogReader, Piece, ReadError, StoredEntry};
use instep_model::position::{Incarnation, Revision};

use crate::format::{ALIGNMENT, FRAME_HEADER_BYTES, Found, Frame, frame_bytes};
use crate::segment::{MARK_BYTES, Mark, length_of};

/// Newest entries whose place is remembered one by one.
const RECENT_ENTRIES: usize = 1_024;
/// Largest block read at once, unless one frame is larger.
const BLOCK_BYTES: usize = 4 * 1024 * 1024;

pub(crate) struct Shared {
    disk: Arc<dyn Disk>,
    state: RwLock<State>,
}

pub(crate) struct State {
    pub(crate) incarnation: Incarnation,
    pub(crate) floor: Revision,
    pub(crate) head: Revision,
    /// Segments by their first revision. The last one is appended to.
    pub(crate) segments: BTreeMap<Revision, Segment>,
    recent: VecDeque<Mark>,
}

/// A segment as readers know it.
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    /// The digest of its incarnation.
    pub(crate) incarnation: u64,
    /// The end of the durable frames.
    pub(crate) end: u64,
    pub(crate) marks: Vec<Mark>,
    /// Kept open only while it is appended to: a long history must not use up descriptors.
    pub(crate) file: Option<Arc<dyn DiskFile>>,
}

/// A part of a segment that a read goes through.
struct Stretch {
    path: PathBuf,
    file: Option<Arc<dyn DiskFile>>,
    incarnation: u64,
    begin: Mark,
    end: u64,
}

/// A read on its way.
struct Progress {
    next: Revision,
    head: Revision,
    left: usize,
    read: Vec<StoredEntry>,
    chain: Option<u64>,
}

impl Shared {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        incarnation: Incarnation,
        floor: Revision,
        head: Revision,
        segments: BTreeMap<Revision, Segment>,
    ) -> Self {
        let recent = VecDeque::new();
        Self { disk, state: RwLock::new(State { incarnation, floor, head, segments, recent }) }
    }

    // No code under the lock can panic halfway through a change, so a poisoned lock is whole.
    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn change(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides which parts of which segments a read needs. `None`: there is nothing new.
    fn plan(&self, from: Revision, max_bytes: usize) -> Result<Option<ReadPlan>, ReadError> {
        let state = self.state();
        let (floor, head) = (state.floor, state.head);
        if from < floor {
            return Err(ReadError::Trimmed { floor });
        }
        if from > head.next() {
            return Err(ReadError::Ahead { head });
        }
        if from == head.next() {
            return Ok(None);
        }
        let mut stretches = Vec::new();
        let mut bodies = 0_u64;
        let Some(start) = state.segments.range(..=from).next_back().map(|(first, _)| *first) else {
            return Err(ReadError::Trimmed { floor });
        };
        let mut segments = state.segments.range(start..).peekable();
        while let Some((first, segment)) = segments.next() {
            if length_of(bodies) > max_bytes {
                break;
            }
            let Some(begin) = state.begin_of(segment, from.max(*first)) else {
                continue;
            };
            // At least so many bytes of bodies: less the frames' own bytes, less what is skipped.
            let next = segments.peek().map_or(head.next(), |(first, _)| **first);
            let own = (next.0 - begin.revision.0) * frame_bytes(ALIGNMENT - 1) as u64 + MARK_BYTES;
            bodies += (segment.end - begin.offset).saturating_sub(own);
            stretches.push(Stretch {
                path: segment.path.clone(),
                file: segment.file.clone(),
                incarnation: segment.incarnation,
                begin,
                end: segment.end,
            });
        }
        Ok(Some(ReadPlan { stretches, head }))
    }

    fn follow(
        &self,
        plan: &ReadPlan,
        from: Revision,
        max_bytes: usize,
    ) -> Result<Vec<StoredEntry>, ReadError> {
        let mut progress = Progress {
            next: from,
            head: plan.head,
            left: max_bytes,
            read: Vec::new(),
            chain: None,
        };
        for stretch in &plan.stretches {
            let file = match &stretch.file {
                Some(file) => Arc::clone(file),
                None => Arc::from(self.disk.open(&stretch.path, Access::Read).map_err(storage)?),
            };
            if progress.take(stretch, &*file)? {
                break;
            }
        }
        Ok(progress.read)
    }
}

struct ReadPlan {
    stretches: Vec<Stretch>,
    head: Revision,
}

impl State {
    /// The nearest known place at or before `from` in a segment; `None` when it has no entries.
    fn begin_of(&self, segment: &Segment, from: Revision) -> Option<Mark> {
        let at = segment.marks.partition_point(|mark| mark.revision <= from);
        let mark = *segment.marks.get(at.checked_sub(1)?)?;
        let recent =
            self.recent.front().filter(|oldest| segment.file.is_some() && from >= oldest.revision);
        let exact = recent.and_then(|oldest| {
            self.recent.get(usize::try_from(from.0 - oldest.revision.0).ok()?).copied()
        });
        Some(exact.unwrap_or(mark))
    }

    /// Makes a durable entry of the last segment visible.
    pub(crate) fn publish(&mut self, revision: Revision, offset: u64, end: u64) {
        let mark = Mark { revision, offset };
        if let Some(mut entry) = self.segments.last_entry() {
            let segment = entry.get_mut();
            segment.end = end;
            if segment.marks.last().is_none_or(|last| offset >= last.offset + MARK_BYTES) {
                segment.marks.push(mark);
            }
        }
        if self.recent.len() == RECENT_ENTRIES {
            self.recent.pop_front();
        }
        self.recent.push_back(mark);
        self.head = revision;
    }

    /// Makes a new last segment known.
    pub(crate) fn roll(&mut self, first: Revision, segment: Segment) {
        if let Some(mut sealed) = self.segments.last_entry() {
            sealed.get_mut().file = None;
            sealed.get_mut().marks.shrink_to_fit();
        }
        self.recent.clear();
        self.segments.insert(first, segment);
    }

    pub(crate) fn bounds(&self) -> Bounds {
        Bounds { incarnation: self.incarnation, floor: self.floor, head: self.head }
    }
}

impl Progress {
    /// Goes through one stretch; `true` when the read is full.
    fn take(&mut self, stretch: &Stretch, file: &dyn DiskFile) -> Result<bool, ReadError> {
        let mut offset = stretch.begin.offset;
        let mut expected = stretch.begin.revision;
        let mut needed = FRAME_HEADER_BYTES;
        self.chain = None;
        while offset < stretch.end && expected <= self.head {
            let wanted = self.left.saturating_add(length_of(MARK_BYTES)).min(BLOCK_BYTES);
            let wanted = wanted.max(needed).min(length_of(stretch.end - offset));
            if wanted < needed {
                return Err(damaged(expected, "its frame is cut off"));
            }
            let mut block = vec![0; wanted];
            let filled = file.read_full_at(&mut block, offset).map_err(storage)?;
            block.truncate(filled);
            let block = Bytes::from(block);
            let mut at = 0;
            loop {
                match Frame::decode(&block[at..]) {
                    Found::Frame(frame) => {
                        self.check(&frame, expected, stretch.incarnation)?;
                        let body = at + FRAME_HEADER_BYTES..at + FRAME_HEADER_BYTES + frame.body;
                        if expected >= self.next && !self.keep(block.slice(body)) {
                            return Ok(true);
                        }
                        at += frame.bytes();
                        expected = expected.next();
                    }
                    Found::More(more) if filled == wanted => {
                        needed = more;
                        break;
                    }
                    Found::More(_) => return Err(damaged(expected, "its file is cut off")),
                    Found::Nothing => return Err(damaged(expected, "its checksum is wrong")),
                }
            }
            offset += at as u64;
        }
        Ok(self.next > self.head)
    }

    fn check(&mut self, frame: &Frame, expected: Revision, digest: u64) -> Result<(), ReadError> {
        let continues = self.chain.is_none_or(|chain| chain == frame.chain);
        if frame.revision != expected || frame.incarnation != digest || !continues {
            return Err(damaged(expected, "another frame lies in its place"));
        }
        self.chain = Some(frame.checksum);
        Ok(())
    }

    /// Takes the next entry if it fits.
    fn keep(&mut self, bytes: Bytes) -> bool {
        if !self.read.is_empty() && bytes.len() > self.left {
            return false;
        }
        self.left = self.left.saturating_sub(bytes.len());
        self.read.push(StoredEntry { revision: self.next, bytes });
        self.next = self.next.next();
        true
    }
}

impl LogReader for Shared {
    fn bounds(&self) -> Bounds {
        self.state().bounds()
    }

    fn read(&self, from: Revision, max_bytes: usize) -> Result<Vec<StoredEntry>, ReadError> {
        let Some(plan) = self.plan(from, max_bytes)? else {
            return Ok(Vec::new());
        };
        self.follow(&plan, from, max_bytes).map_err(|error| {
            // A trim may have taken the file between the plan and the read (I28).
            let floor = self.state().floor;
            if from < floor { ReadError::Trimmed { floor } } else { error }
        })
    }

    fn pieces(&self) -> Vec<Piece> {
        let state = self.state();
        let pieces = state.segments.iter();
        pieces.map(|(first, segment)| Piece { first: *first, bytes: segment.end }).collect()
    }
}

fn damaged(at: Revision, detail: &str) -> ReadError {
    ReadError::Damaged { at, detail: detail.to_owned() }
}

fn storage(error: io::Error) -> ReadError {
    match Shortage::of(&error) {
        Some(_) => ReadError::Exhausted(error.to_string()),
        None => ReadError::Storage(error.to_string()),
    }
}
