//! What waits to be written to one socket.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::Bytes;

use instep_model::limits::WRITE_PIECES;

use super::stream::Stream;

/// Own bytes are gathered in pieces of about this size.
const OWN_BYTES: usize = 16 * 1024;

/// Bytes in order: some shared with other sockets, some of this one alone. Empty, it owns nothing.
#[derive(Default)]
pub(super) struct Out {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that are written.
    done: usize,
    bytes: usize,
}

enum Piece {
    Shared(Bytes),
    Own(Vec<u8>),
}

/// How far a write came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Everything is written.
    All(usize),
    /// The socket takes no more for now.
    Blocked(usize),
}

impl Out {
    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// True when a part of the first piece is written; frames do not end where pieces do, but one
    /// that is not begun can be left out.
    pub(super) fn is_within_a_piece(&self) -> bool {
        self.done > 0
    }

    /// Adds bytes that others get as well.
    pub(super) fn share(&mut self, bytes: Bytes) {
        self.bytes += bytes.len();
        self.pieces.push_back(Piece::Shared(bytes));
    }

    /// Lets `write` append bytes for this socket alone.
    pub(super) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let full = !matches!(self.pieces.back(), Some(Piece::Own(own)) if own.len() < OWN_BYTES);
        if full {
            self.pieces.push_back(Piece::Own(vec![]));
        }
        if let Some(Piece::Own(own)) = self.pieces.back_mut() {
            let before = own.len();
            write(own);
            self.bytes += own.len() - before;
        }
    }

    /// Goes back to the beginning of the frame that is being written; frames end in `end`.
    pub(super) fn rewind(&mut self, end: u8) {
        let Some(first) = self.pieces.front_mut() else {
            return;
        };
        let bytes = match first {
            Piece::Shared(bytes) => &bytes[..],
            Piece::Own(bytes) => &bytes[..],
        };
        let last_end = bytes[..self.done].iter().rposition(|byte| *byte == end);
        let begun = last_end.map_or(0, |at| at + 1);
        self.bytes += self.done - begun;
        self.done = 0;
        match first {
            Piece::Shared(bytes) => drop(bytes.split_to(begun)),
            Piece::Own(bytes) => drop(bytes.drain(..begun)),
        }
    }

    /// Adds everything that another one has, of which nothing is written.
    pub(super) fn append_all(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.pieces.extend(other.pieces);
    }

    /// Writes until everything is written or the socket takes no more.
    ///
    /// # Errors
    /// When the connection is lost.
    pub(super) fn write(&mut self, stream: &mut Stream) -> io::Result<Written> {
        let mut written = 0;
        while !self.is_empty() {
            let wanted = self.bytes;
            let (result, offered) = self.write_once(stream);
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    written += taken;
                    self.forget(taken);
                    // A write that falls short has filled the socket: it tells when it has room.
                    if taken < offered.min(wanted) {
                        return Ok(Written::Blocked(written));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Written::Blocked(written));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        match stream.flush() {
            Ok(()) => Ok(Written::All(written)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Ok(Written::Blocked(written))
            }
            Err(error) => Err(error),
        }
    }

    /// One call to the system; how many bytes it was offered.
    fn write_once(&self, stream: &mut Stream) -> (io::Result<usize>, usize) {
        let mut slices = [IoSlice::new(&[]); WRITE_PIECES];
        let (mut used, mut offered) = (0, 0);
        for (piece, slice) in self.pieces.iter().zip(&mut slices) {
            let bytes = match piece {
                Piece::Shared(bytes) => &bytes[..],
                Piece::Own(bytes) => &bytes[..],
            };
            let bytes = if used == 0 { &bytes[self.done..] } else { bytes };
            *slice = IoSlice::new(bytes);
            offered += bytes.len();
            used += 1;
        }
        (stream.write(&slices[..used]), offered)
    }

    fn forget(&mut self, mut taken: usize) {
        self.bytes -= taken;
        if self.bytes == 0 {
            (self.pieces, self.done) = (VecDeque::new(), 0);
            return;
        }
        while let Some(first) = self.pieces.front() {
            let length = match first {
                Piece::Shared(bytes) => bytes.len(),
                Piece::Own(bytes) => bytes.len(),
            } - self.done;
            if taken < length {
                self.done += taken;
                return;
            }
            taken -= length;
            self.done = 0;
            self.pieces.pop_front();
        }
    }
}
