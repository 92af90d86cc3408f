//! The bare loop: reads the same bytes from the same files, checks every checksum, decodes every
//! record into the same types and drops it. What a cold start cannot do without.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use instep::model::commit::{Entry, Record, TableOptions};
use instep::model::name::{Key, Name};
use instep::model::position::Place;
use instep::model::row::Row;
use serde::Deserialize;
use uuid::Uuid;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Bytes of the header of a segment and of a snapshot; see `docs/internals/log-format.md`.
const HEADER_BYTES: usize = 96;
const FRAME_HEADER_BYTES: usize = 40;
const CHUNK_HEADER_BYTES: usize = 16;

/// The pieces of a snapshot as far as this bench writes them; the order is the format.
#[derive(Deserialize)]
#[allow(dead_code, reason = "decoded and dropped: that is the measurement")]
enum Piece {
    Header { format: u8, applied: Place, history: u64, time_ms: u64 },
    Table { name: Name, options: TableOptions },
    Rows { rows: Vec<(Key, Place, Row)> },
    Journal { name: Name, last: u64 },
    Principal { name: String, horizon: Option<Uuid> },
    Ids,
    End { rows: u64, ids: u64 },
}

/// Reads all segments of a log and counts the rows that are put, or without decoding the bytes:
/// what an opening does with the part of the log that a snapshot covers.
pub(crate) fn read_log(directory: &Path, decoding: bool) -> u64 {
    let (mut rows, mut bytes) = (0, Vec::new());
    for path in files(directory, "segment") {
        // One buffer for all: fresh memory for each file would count against the bare loop.
        read_into(&mut bytes, &path);
        let mut rest = &bytes[HEADER_BYTES..];
        while let Some(length) = number(rest, 8).filter(|length| *length > 0) {
            let whole = (FRAME_HEADER_BYTES + length).next_multiple_of(8);
            let (frame, after) = rest.split_at(whole);
            let checksum = frame.first_chunk().map(|raw| u64::from_le_bytes(*raw));
            assert_eq!(checksum, Some(xxh3_64(&frame[8..])), "a frame's checksum");
            let body = &frame[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + length];
            rest = after;
            if !decoding {
                continue;
            }
            let entry = Entry::decode(body).expect("an entry");
            let records = entry.commits.into_iter().flat_map(|commit| commit.records);
            rows += records.filter(|record| matches!(record, Record::Put { .. })).count() as u64;
        }
    }
    rows
}

/// Reads the newest snapshot and counts its rows.
pub(crate) fn read_snapshot(directory: &Path) -> u64 {
    let path = files(&directory.join("snapshots"), "snapshot").pop().expect("a snapshot");
    let mut bytes = Vec::new();
    read_into(&mut bytes, &path);
    let mut rest = &bytes[HEADER_BYTES..];
    let (mut before, mut rows, mut pending) = (0, 0, Vec::new());
    while let Some(length) = number(rest, 0).filter(|length| *length > 0) {
        let (chunk, after) = rest.split_at(CHUNK_HEADER_BYTES + length);
        let (head, body) = chunk.split_at(CHUNK_HEADER_BYTES);
        let mut hasher = Xxh3::with_seed(before);
        hasher.update(&head[..8]);
        hasher.update(body);
        before = hasher.digest();
        assert_eq!(head[8..], before.to_le_bytes(), "a chunk's checksum");
        rows += if pending.is_empty() {
            take_pieces(body, &mut pending)
        } else {
            let joined = [std::mem::take(&mut pending).as_slice(), body].concat();
            take_pieces(&joined, &mut pending)
        };
        rest = after;
    }
    assert!(pending.is_empty(), "a snapshot ends with a whole piece");
    rows
}

/// Decodes the whole pieces and keeps the rest.
fn take_pieces(mut bytes: &[u8], pending: &mut Vec<u8>) -> u64 {
    let mut count = 0;
    while let Some(length) = number(bytes, 0).filter(|length| bytes.len() >= 4 + length) {
        let piece = postcard::from_bytes(&bytes[4..4 + length]).expect("a piece");
        if let Piece::Rows { rows } = piece {
            count += rows.len() as u64;
        }
        bytes = &bytes[4 + length..];
    }
    pending.extend_from_slice(bytes);
    count
}

fn read_into(bytes: &mut Vec<u8>, path: &Path) {
    bytes.clear();
    let read = File::open(path).and_then(|mut file| file.read_to_end(bytes));
    read.expect("a file of the dataset");
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let raw = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*raw) as usize)
}

fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory of the dataset").flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == ending));
    paths.sort();
    paths
}
