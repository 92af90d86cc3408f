//! One segment file: its name, its frames in order, and its tail.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use instep_model::disk::{Disk, DiskFile};
use instep_model::position::Revision;

use crate::error::OpenError;
use crate::format::{ALIGNMENT, FRAME_HEADER_BYTES, Found, Frame, Header};

/// Files that are not finished yet; they are removed at open.
pub(crate) const UNFINISHED: &str = ".tmp";
/// The file that is locked while the log is open.
pub(crate) const LOCK: &str = "lock";
/// The folder of the snapshots.
pub(crate) const SNAPSHOTS: &str = "snapshots";
/// Bytes between two places that the index remembers.
pub(crate) const MARK_BYTES: u64 = 64 * 1024;
const ENDING: &str = ".segment";
const BLOCK_BYTES: usize = 1024 * 1024;
/// Zeros are passed over in pieces of this size.
const BLANK_BYTES: usize = 256;

/// Smallest segment; less would be all headers.
pub const SEGMENT_BYTES_MIN: u64 = 1024;
/// A segment that has no name yet, of a log that has none.
const FIRST: &str = "first.tmp";

/// A place in a segment that can be found without reading from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) revision: Revision,
    pub(crate) offset: u64,
}

/// The path of the segment that begins at `first`.
pub(crate) fn path(directory: &Path, first: Revision) -> PathBuf {
    directory.join(file_name(first))
}

/// The name of the segment that begins at `first`.
pub(crate) fn file_name(first: Revision) -> String {
    format!("{:020}{ENDING}", first.0)
}

/// The first revisions of the segments among file names, in order.
pub(crate) fn firsts(names: &[String]) -> Vec<Revision> {
    let mut firsts: Vec<Revision> =
        names.iter().filter_map(|name| number(name, ENDING)).map(Revision).collect();
    firsts.sort_unstable();
    firsts
}

/// The number in a file name of twenty digits and an ending.
pub(crate) fn number(name: &str, ending: &str) -> Option<u64> {
    let digits = name.strip_suffix(ending)?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// Makes a file of zeros, synced, under a name that is not a segment's yet.
pub(crate) fn make_zeroed(
    disk: &dyn Disk,
    path: &Path,
    bytes: u64,
) -> io::Result<Arc<dyn DiskFile>> {
    let made = fill(disk, path, bytes);
    if made.is_err() {
        // Best effort: an unfinished file that stays is removed at the next open.
        let _ = disk.remove(path);
    }
    made
}

fn fill(disk: &dyn Disk, path: &Path, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
    let file = match disk.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(path)?;
            disk.create(path)?
        }
        created => created?,
    };
    write_zeros(&*file, 0, bytes)?;
    file.sync_data()?;
    Ok(Arc::from(file))
}

/// Writes zeros from `start` to `end`.
pub(crate) fn write_zeros(file: &dyn DiskFile, start: u64, end: u64) -> io::Result<()> {
    let zeros = vec![0; BLOCK_BYTES.min(length_of(end.saturating_sub(start)))];
    let mut at = start;
    while at < end {
        let step = zeros.len().min(length_of(end - at));
        file.write_all_at(&zeros[..step], at)?;
        at += step as u64;
    }
    Ok(())
}

/// A count of bytes as a length in memory; one that does not fit is as good as endless.
pub(crate) fn length_of(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Counts the bytes at the beginning that a search for frames can skip: whole steps at which there
/// are only zeros where a frame has its magic. Most of a segment that is not full yet.
fn blank_steps(bytes: &[u8]) -> usize {
    let blank = |piece: &&[u8]| piece.iter().all(|byte| *byte == 0);
    let zeros = bytes.chunks_exact(BLANK_BYTES).take_while(blank).count() * BLANK_BYTES;
    // A frame may begin in the last zeros: its checksum may be zero, its magic is not.
    zeros.saturating_sub(BLANK_BYTES) / ALIGNMENT * ALIGNMENT
}

/// Looks at frames of a file in large blocks.
pub(crate) struct Walk<'a> {
    file: &'a dyn DiskFile,
    length: u64,
    block: Vec<u8>,
    base: u64,
    filled: usize,
}

/// Tail of a segment: bytes behind the last good frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The newest whole frame found there.
    pub(crate) newest: Option<Revision>,
    /// The end of the last byte that is not zero; zero when there is none.
    pub(crate) dirty_end: u64,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(file: &'a dyn DiskFile) -> io::Result<Self> {
        let length = file.length()?;
        Ok(Self { file, length, block: Vec::new(), base: 0, filled: 0 })
    }

    /// Bytes in the file.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Decodes the frame at `offset`.
    pub(crate) fn look(&mut self, offset: u64) -> io::Result<Found> {
        match Frame::decode(self.buffered(offset)) {
            Found::More(needed) if offset.saturating_add(needed as u64) <= self.length => {
                self.refill(offset, needed)?;
                match Frame::decode(self.buffered(offset)) {
                    // The header came only now, and with it the whole length.
                    Found::More(whole) if offset.saturating_add(whole as u64) <= self.length => {
                        self.refill(offset, whole)?;
                        Ok(Frame::decode(self.buffered(offset)))
                    }
                    found => Ok(found),
                }
            }
            Found::More(_) => Ok(Found::Nothing),
            found => Ok(found),
        }
    }

    /// Searches everything from `start` on for whole frames of one history.
    pub(crate) fn tail(&mut self, start: u64, incarnation: u64) -> io::Result<Tail> {
        let mut tail = Tail::default();
        let mut offset = start;
        while offset < self.length {
            if self.buffered(offset).len() < FRAME_HEADER_BYTES {
                self.refill(offset, FRAME_HEADER_BYTES)?;
            }
            let step = self.buffered(offset);
            let zeros = blank_steps(step);
            if zeros > 0 {
                offset += zeros as u64;
                continue;
            }
            let step = &step[..ALIGNMENT.min(step.len())];
            if step.is_empty() {
                break;
            }
            if let Some(last) = step.iter().rposition(|byte| *byte != 0) {
                tail.dirty_end = offset + last as u64 + 1;
            }
            match self.look(offset)? {
                Found::Frame(frame) if frame.incarnation == incarnation => {
                    tail.newest = tail.newest.max(Some(frame.revision));
                    offset += frame.bytes() as u64;
                    tail.dirty_end = offset;
                }
                _ => offset += ALIGNMENT as u64,
            }
        }
        Ok(tail)
    }

    /// The first byte of the body of a frame that was decoded at `offset` just now.
    pub(crate) fn first_byte(&self, offset: u64, frame: &Frame) -> Option<u8> {
        let body = self.buffered(offset).get(FRAME_HEADER_BYTES..)?;
        body.first().copied().filter(|_| frame.body > 0)
    }

    fn buffered(&self, offset: u64) -> &[u8] {
        match offset.checked_sub(self.base).map(length_of) {
            Some(start) if start < self.filled => &self.block[start..self.filled],
            _ => &[],
        }
    }

    fn refill(&mut self, offset: u64, needed: usize) -> io::Result<()> {
        let wanted = needed.max(BLOCK_BYTES.min(length_of(self.length.saturating_sub(offset))));
        if self.block.len() < wanted {
            // All of it is read anew.
            self.block = vec![0; wanted];
        }
        self.base = offset;
        self.filled = self.file.read_full_at(&mut self.block[..wanted], offset)?;
        Ok(())
    }
}

/// Makes a segment without entries, durably.
pub(crate) fn make_segment(
    disk: &dyn Disk,
    directory: &Path,
    header: &Header,
) -> Result<(), OpenError> {
    let unnamed = directory.join(FIRST);
    let path = path(directory, header.revision);
    let file = make_zeroed(disk, &unnamed, header.bytes).map_err(OpenError::of(&unnamed))?;
    name_segment(disk, &*file, header, &unnamed, &path).map_err(OpenError::of(&path))
}

/// Gives a zero-filled file its header and its name, durably in this order.
pub(crate) fn name_segment(
    disk: &dyn Disk,
    file: &dyn DiskFile,
    header: &Header,
    unnamed: &Path,
    path: &Path,
) -> io::Result<()> {
    file.write_all_at(&header.encode(), 0)?;
    file.sync_data()?;
    disk.rename(unnamed, path)?;
    match path.parent() {
        Some(directory) => disk.sync_directory(directory),
        None => Ok(()),
    }
}
