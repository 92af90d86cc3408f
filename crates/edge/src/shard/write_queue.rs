//! Output queue of one socket.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::Bytes;

use instep_model::limits::WRITE_PIECES;

use super::stream::Stream;

/// Own bytes are gathered in pieces of about this size.
const OWN_BYTES: usize = 16 * 1024;
/// Room for a frame or two, so that it need not grow.
const OWN_AT_FIRST: usize = 512;

/// Bytes in order: some shared with other sockets, some of this one alone. Empty, it owns nothing,
/// and one piece, which is what mostly waits, takes no memory of its own.
#[derive(Default)]
pub(super) struct WriteQueue {
    first: Option<Piece>,
    rest: VecDeque<Piece>,
    /// Bytes of the first piece that are written.
    done: usize,
    bytes: usize,
}

enum Piece {
    Shared(Bytes),
    Own(Vec<u8>),
}

/// Result of a write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Everything is written.
    All(usize),
    /// The socket takes no more for now.
    Blocked(usize),
}

impl WriteQueue {
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
        self.push(Piece::Shared(bytes));
    }

    /// Lets `write` append bytes for this socket alone.
    pub(super) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let full = !matches!(self.last(), Some(Piece::Own(own)) if own.len() < OWN_BYTES);
        if full {
            self.push(Piece::Own(Vec::with_capacity(OWN_AT_FIRST)));
        }
        if let Some(Piece::Own(own)) = self.last() {
            let before = own.len();
            write(own);
            self.bytes += own.len() - before;
        }
    }

    /// Goes back to the beginning of the frame that is being written; frames end in `end`.
    pub(super) fn rewind(&mut self, end: u8) {
        let Some(first) = &mut self.first else {
            return;
        };
        let bytes = first.bytes();
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
        other.first.into_iter().chain(other.rest).for_each(|piece| self.push(piece));
    }

    fn push(&mut self, piece: Piece) {
        match &self.first {
            None => self.first = Some(piece),
            Some(_) => self.rest.push_back(piece),
        }
    }

    fn last(&mut self) -> Option<&mut Piece> {
        self.rest.back_mut().or(self.first.as_mut())
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

    /// Makes one system call; returns its result and how many bytes it was offered.
    fn write_once(&self, stream: &mut Stream) -> (io::Result<usize>, usize) {
        let Some(first) = &self.first else { return (Ok(0), 0) };
        let first = &first.bytes()[self.done..];
        if self.rest.is_empty() {
            return (stream.write(&[IoSlice::new(first)]), first.len());
        }
        let mut slices = [IoSlice::new(&[]); WRITE_PIECES];
        let (mut used, mut offered) = (0, 0);
        let pieces = [first].into_iter().chain(self.rest.iter().map(Piece::bytes));
        for (bytes, slice) in pieces.zip(&mut slices) {
            *slice = IoSlice::new(bytes);
            offered += bytes.len();
            used += 1;
        }
        (stream.write(&slices[..used]), offered)
    }

    fn forget(&mut self, mut taken: usize) {
        self.bytes -= taken;
        if self.bytes == 0 {
            *self = Self::default();
            return;
        }
        while let Some(first) = &self.first {
            let length = first.bytes().len() - self.done;
            if taken < length {
                self.done += taken;
                return;
            }
            taken -= length;
            self.done = 0;
            self.first = self.rest.pop_front();
        }
    }
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Own(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn pair() -> (Stream, TcpStream) {
        let subscriber = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let ours = TcpStream::connect(subscriber.local_addr().unwrap()).unwrap();
        let (theirs, _) = subscriber.accept().unwrap();
        socket2::SockRef::from(&ours).set_send_buffer_size(4 * 1024).unwrap();
        ours.set_nonblocking(true).unwrap();
        (Stream::Plain(mio::net::TcpStream::from_std(ours)), theirs)
    }

    #[test]
    fn pieces_arrive_in_order_however_often_the_socket_is_full() {
        let (mut stream, mut theirs) = pair();
        let (mut out, mut expected) = (WriteQueue::default(), vec![]);
        for at in 0..400_usize {
            let bytes = vec![at as u8; at * 7 % 3_000 + 1];
            expected.extend_from_slice(&bytes);
            match at % 3 {
                0 => out.append(|own| own.extend_from_slice(&bytes)),
                _ => out.share(bytes.into()),
            }
        }
        assert_eq!(out.bytes(), expected.len());

        let (mut read, mut buffer, mut was_full) = (vec![], vec![0; 64 * 1024], false);
        theirs.set_read_timeout(Some(std::time::Duration::from_millis(5))).unwrap();
        while let Written::Blocked(_) = out.write(&mut stream).unwrap() {
            was_full = true;
            // What was written may still be on its way.
            let taken = theirs.read(&mut buffer).unwrap_or(0);
            read.extend_from_slice(&buffer[..taken]);
        }
        drop(stream);
        theirs.set_read_timeout(None).unwrap();
        theirs.read_to_end(&mut read).unwrap();

        assert!(was_full && out.is_empty());
        assert_eq!(read, expected);
    }

    #[test]
    fn a_frame_that_is_begun_can_be_written_again_from_its_start() {
        for rest in [&b""[..], b"four;"] {
            let mut out = WriteQueue::default();
            out.append(|own| own.extend_from_slice(b"one;two;three;"));
            if !rest.is_empty() {
                out.share(Bytes::copy_from_slice(rest));
            }
            out.forget(6);
            assert!(out.is_within_a_piece());

            out.rewind(b';');

            let (mut stream, mut theirs) = pair();
            out.write(&mut stream).unwrap();
            drop(stream);
            let mut read = vec![];
            theirs.read_to_end(&mut read).unwrap();
            assert_eq!(read, [b"two;three;", rest].concat());
        }
    }

    #[test]
    fn what_waited_for_one_connection_goes_before_what_came_later() {
        let (mut out, mut later) = (WriteQueue::default(), WriteQueue::default());
        out.share(Bytes::from_static(b"a"));
        later.append(|own| own.push(b'b'));
        later.share(Bytes::from_static(b"c"));

        out.append_all(later);
        out.append(|own| own.push(b'd'));

        let (mut stream, mut theirs) = pair();
        assert_eq!(out.write(&mut stream).unwrap(), Written::All(4));
        drop(stream);
        let mut read = String::new();
        theirs.read_to_string(&mut read).unwrap();
        assert_eq!(read, "abcd");
    }
}
