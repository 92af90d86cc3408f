//! Snapshot: a state as the bytes of a file, and reading it back.
//!
//! The stream is frames of a four-byte little-endian length and a piece in postcard. Memory use is
//! one frame at a time, whatever the size of the tables (I15).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::commit::TableOptions;
use crate::ids::Remembered;
use crate::mail::{MailPart, Seq};
use crate::name::{Key, Name};
use crate::position::Place;
use crate::row::Row;
use crate::state::{Journal, State, StoredRow};

/// Rows and ids are cut into pieces of about this size.
const PIECE_BYTES: usize = 64 * 1024;
/// Bytes that say how long a frame is.
const LENGTH_BYTES: usize = 4;
/// A frame larger than this is not one of ours.
const FRAME_BYTES: usize = 64 * 1024 * 1024;
/// First byte of the first piece's frame.
const FORMAT: u8 = 1;
/// The same where there is mail.
const FORMAT_WITH_MAIL: u8 = 2;
/// The same where it matters by which clock something was reckoned: messages rest, or ids of a
/// time ahead were forgotten.
const FORMAT_WITH_CLOCKS: u8 = 3;
/// The same where names were forgotten: of servers, of endpoints, or of principals with ids.
const FORMAT_WITH_FORGOTTEN: u8 = 4;
/// The newest format that this program reads.
pub const NEWEST_FORMAT: u8 = FORMAT_WITH_FORGOTTEN;

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
enum Piece {
    /// The first piece, with the number and the place of the format in every version.
    Header {
        format: u8,
        applied: Place,
        history: u64,
        time_ms: u64,
    },
    Table {
        name: Name,
        options: TableOptions,
    },
    Rows {
        rows: Vec<(Key, Place, Row)>,
    },
    Journal {
        name: Name,
        journal: Journal,
    },
    Principal {
        name: String,
        horizon: Option<Uuid>,
    },
    Ids {
        ids: Vec<(Uuid, Remembered)>,
    },
    End {
        rows: u64,
        ids: u64,
    },
    Mail {
        parts: Vec<MailPart>,
    },
    /// Ids of the principal before that were forgotten besides those up to its horizon: from, to.
    Forgotten {
        spans: Vec<(Uuid, Uuid)>,
    },
    /// The same of principals that are forgotten themselves.
    Unknown {
        spans: Vec<(Uuid, Uuid)>,
    },
}

/// Error in decoding a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The snapshot was written by a newer Instep.
    #[error("the snapshot has format {found}, this program reads up to {known}")]
    NewerFormat {
        /// Format of the snapshot.
        found: u8,
        /// Newest format known here.
        known: u8,
    },
    /// The bytes do not decode, or end early.
    #[error("the snapshot does not decode: {0}")]
    Malformed(String),
}

/// The format of the snapshot that begins with these bytes; none where they begin none.
#[must_use]
pub fn format_of(beginning: &[u8]) -> Option<u8> {
    let (_, frame) = beginning.split_first_chunk::<LENGTH_BYTES>()?;
    match frame {
        [0, format, ..] => Some(*format),
        _ => None,
    }
}

/// Writes `state` piece by piece.
///
/// # Errors
/// Whatever `write` answers; the snapshot is then incomplete and must not be kept.
pub fn write<E>(state: &State, write: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let mut frame = Vec::with_capacity(PIECE_BYTES * 2);
    let mut put = |piece: &Piece| {
        frame.clear();
        frame.extend([0; 4]);
        frame = postcard::to_extend(piece, std::mem::take(&mut frame))
            .expect("a piece always encodes into memory");
        let length = u32::try_from(frame.len() - 4).expect("pieces are cut far below 4 GiB");
        frame[..4].copy_from_slice(&length.to_le_bytes());
        write(&frame)
    };
    let State { applied, history, time_ms, .. } = *state;
    // Endpoints may be routed before there is a queue.
    let has_mail = state.mail.parts().any(|part| part != MailPart::Last(Seq::ZERO));
    let has_clocks = state.mail.has_clocks() || state.mail.has_scopes() || state.ids.has_spans();
    let has_forgotten = state.mail.has_forgotten_names() || !state.ids.spans().is_empty();
    let format = match (has_mail, has_clocks, has_forgotten) {
        (_, _, true) => FORMAT_WITH_FORGOTTEN,
        (_, true, false) => FORMAT_WITH_CLOCKS,
        (true, false, false) => FORMAT_WITH_MAIL,
        (false, false, false) => FORMAT,
    };
    put(&Piece::Header { format, applied, history, time_ms })?;
    let (mut row_count, mut id_count) = (0, 0);
    for (name, table) in &state.tables {
        put(&Piece::Table { name: name.clone(), options: table.options })?;
        let rows = table.rows.iter().map(|(key, stored)| {
            let bytes = key.as_str().len() + stored.row.as_bytes().len();
            ((key.clone(), stored.place, stored.row.clone()), bytes)
        });
        row_count += in_pieces(rows, |rows| put(&Piece::Rows { rows }))?;
    }
    for (name, journal) in &state.journals {
        put(&Piece::Journal { name: name.clone(), journal: *journal })?;
    }
    for (name, principal) in state.ids.principals() {
        put(&Piece::Principal { name: name.to_owned(), horizon: principal.horizon() })?;
        if !principal.spans().is_empty() {
            put(&Piece::Forgotten { spans: principal.spans().to_vec() })?;
        }
        let ids = principal.ids().map(|(id, remembered)| {
            ((*id, remembered.clone()), 64 + 10 * remembered.results.len())
        });
        id_count += in_pieces(ids, |ids| put(&Piece::Ids { ids }))?;
    }
    if !state.ids.spans().is_empty() {
        put(&Piece::Unknown { spans: state.ids.spans().to_vec() })?;
    }
    let parts = state.mail.parts().map(|part| (part, 96));
    if has_mail {
        in_pieces(parts, |parts| put(&Piece::Mail { parts }))?;
    }
    put(&Piece::End { rows: row_count, ids: id_count })
}

/// Cuts items into pieces by their size and returns how many there were.
fn in_pieces<T, E>(
    items: impl Iterator<Item = (T, usize)>,
    mut put: impl FnMut(Vec<T>) -> Result<(), E>,
) -> Result<u64, E> {
    let (mut piece, mut bytes, mut count) = (Vec::new(), 0, 0);
    for (item, size) in items {
        piece.push(item);
        bytes += size;
        count += 1;
        if bytes >= PIECE_BYTES {
            put(std::mem::take(&mut piece))?;
            bytes = 0;
        }
    }
    if !piece.is_empty() {
        put(piece)?;
    }
    Ok(count)
}

/// Reads a snapshot from bytes as they come.
#[derive(Default)]
pub struct Reader {
    state: State,
    pending: Vec<u8>,
    table: Option<Name>,
    principal: Option<String>,
    rows: u64,
    ids: u64,
    format: u8,
    ended: bool,
}

impl Reader {
    /// Takes the next bytes, cut anywhere.
    ///
    /// # Errors
    /// [`SnapshotError`] when they do not continue a snapshot.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let joined;
        let mut rest = if self.pending.is_empty() {
            bytes
        } else {
            self.pending.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.pending);
            &joined[..]
        };
        while let Some((length, body)) = rest.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length) as usize;
            if length > FRAME_BYTES {
                return Err(malformed("a frame is too large"));
            }
            let Some((frame, after)) = body.split_at_checked(length) else {
                break;
            };
            self.take(postcard::from_bytes(frame).map_err(|error| malformed(&error.to_string()))?)?;
            rest = after;
        }
        self.pending = rest.to_vec();
        Ok(())
    }

    /// The state, if the snapshot is complete.
    ///
    /// # Errors
    /// [`SnapshotError::Malformed`] when it ended early.
    pub fn finish(self) -> Result<State, SnapshotError> {
        if self.ended && self.pending.is_empty() {
            Ok(self.state)
        } else {
            Err(malformed("it ends early"))
        }
    }

    fn take(&mut self, piece: Piece) -> Result<(), SnapshotError> {
        if self.ended {
            return Err(malformed("something comes behind its end"));
        }
        match piece {
            Piece::Header {
                format: format @ FORMAT..=FORMAT_WITH_FORGOTTEN,
                applied,
                history,
                time_ms,
            } => {
                self.format = format;
                self.state = State { applied, history, time_ms, ..State::default() };
            }
            Piece::Header { format: found, .. } => {
                return Err(SnapshotError::NewerFormat { found, known: NEWEST_FORMAT });
            }
            Piece::Table { name, options } => {
                self.state.tables.entry(name.clone()).or_default().options = options;
                self.table = Some(name);
            }
            Piece::Rows { rows } => {
                let name = self.table.as_ref().ok_or_else(|| malformed("rows without a table"))?;
                self.rows += rows.len() as u64;
                let table = self.state.tables.entry(name.clone()).or_default();
                for (key, place, row) in rows {
                    table.put(&key, StoredRow { place, row });
                }
            }
            Piece::Journal { name, journal } => {
                self.state.journals.insert(name, journal);
            }
            Piece::Principal { name, horizon } => {
                self.state.ids.restore(&name, horizon);
                self.principal = Some(name);
            }
            Piece::Ids { ids } => {
                let name =
                    self.principal.as_ref().ok_or_else(|| malformed("ids without a principal"))?;
                self.ids += ids.len() as u64;
                self.state.ids.restore_ids(name, ids);
            }
            Piece::Mail { parts } => {
                if parts.iter().any(is_nameless) {
                    return Err(malformed("a name of an endpoint or a server is empty"));
                }
                let mail = Arc::make_mut(&mut self.state.mail);
                parts.into_iter().for_each(|part| mail.restore(part));
            }
            Piece::Forgotten { spans } => {
                let name = self
                    .principal
                    .as_ref()
                    .ok_or_else(|| malformed("spans without a principal"))?;
                self.state.ids.restore_spans(name, spans);
            }
            Piece::Unknown { spans } => self.state.ids.restore_unknown(spans),
            Piece::End { rows, ids } if (rows, ids) == (self.rows, self.ids) => {
                if self.format == FORMAT_WITH_MAIL {
                    let time_ms = self.state.time_ms;
                    Arc::make_mut(&mut self.state.mail).reckon_rests(time_ms);
                }
                Arc::make_mut(&mut self.state.mail).release_unused();
                self.ended = true;
            }
            Piece::End { .. } => return Err(malformed("rows or ids are missing")),
        }
        Ok(())
    }
}

/// Returns true if a part is an endpoint or a server without a name: numbers without one have parts
/// of their own.
fn is_nameless(part: &MailPart) -> bool {
    match part {
        MailPart::Endpoint(name, _) => name.is_empty(),
        MailPart::Server(state) => state.server.is_empty(),
        _ => false,
    }
}

fn malformed(detail: &str) -> SnapshotError {
    SnapshotError::Malformed(detail.to_owned())
}

#[cfg(test)]
mod golden;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::commit::{Commit, CommitId, Entry, Record};
    use crate::position::Revision;

    fn state() -> State {
        let name = |text: &str| Name::new(text).unwrap();
        let options = TableOptions { public: true };
        let mut records = vec![
            Record::CreateTable { table: name("items"), options },
            Record::CreateTable { table: name("empty"), options: TableOptions::default() },
            Record::CreateJournal { journal: name("orders") },
            Record::Append { journal: name("orders"), ordinal: 1, bytes: Bytes::from_static(b"x") },
        ];
        let text = "x".repeat(1_000);
        for number in 0..300 {
            let row = Row::from_canonical(format!("{{\"text\":\"{text}\"}}").as_bytes());
            let key = Key::new(&format!("k{number}")).unwrap();
            records.push(Record::Put { table: name("items"), key, row });
        }
        let id = Uuid::from_u128((1_u128 << 80) | (7 << 76) | (2 << 62));
        let commit_id = Some(CommitId { principal: "p".into(), id, digest: 4, earlier: None });
        let entry = Entry {
            writer: Uuid::nil(),
            sequence: 1,
            time_ms: 1,
            history: 0,
            commits: vec![Commit { commit_id, results: vec![Some(3)], records }],
        };
        let mut state = State::default();
        state.fold(Revision(1), &entry.encode(), &mut |_, _| {}).unwrap();
        state
    }

    fn bytes_of(state: &State) -> Vec<u8> {
        let mut bytes = vec![];
        write::<()>(state, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })
        .unwrap();
        bytes
    }

    #[test]
    fn i8_a_state_comes_back_from_its_snapshot_however_the_bytes_are_cut() {
        let state = state();
        let bytes = bytes_of(&state);

        for cut in [1, 7, 4096, bytes.len()] {
            let mut reader = Reader::default();
            bytes.chunks(cut).for_each(|chunk| reader.push(chunk).unwrap());

            assert_eq!(reader.finish().unwrap(), state, "cut every {cut} bytes");
        }
    }

    #[test]
    fn i8_ids_that_were_forgotten_with_their_principals_are_in_a_snapshot() {
        let mut state = state();
        let later = 3 * crate::limits::ID_MEMORY_MS;
        let id = Uuid::from_u128((u128::from(later) << 80) | (7 << 76) | (2 << 62));
        let commit_id = Some(CommitId { principal: "q".into(), id, digest: 4, earlier: None });
        let entry = Entry {
            writer: Uuid::nil(),
            sequence: 2,
            time_ms: later,
            history: state.history,
            commits: vec![Commit { commit_id, results: vec![], records: vec![] }],
        };
        state.fold(Revision(2), &entry.encode(), &mut |_, _| {}).unwrap();
        state.ids.forget_principals("q", later, 2);
        assert_eq!((state.ids.principals().count(), state.ids.spans().len()), (1, 1));

        let mut reader = Reader::default();
        reader.push(&bytes_of(&state)).unwrap();

        assert_eq!(reader.finish().unwrap(), state);
    }

    #[test]
    fn a_snapshot_that_ends_early_is_refused_at_every_frame() {
        let bytes = bytes_of(&state());
        for end in (0..bytes.len()).step_by(997) {
            let mut reader = Reader::default();
            let read = reader.push(&bytes[..end]).and_then(|()| reader.finish());
            assert!(read.is_err(), "{end} of {}", bytes.len());
        }
    }
}
