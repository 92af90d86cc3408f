//! TLS on a socket that never waits.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::Shutdown;

use instep_model::limits;
use mio::net::TcpStream;
use rustls::ServerConnection;

/// A socket and what encrypts its bytes.
pub(crate) struct Tls {
    socket: TcpStream,
    session: ServerConnection,
    /// Nothing comes any more.
    ended: bool,
    /// There may be decrypted bytes, or ended ones, of which the system does not tell.
    holds_bytes: bool,
}

impl Tls {
    /// Goes on where a handshake has ended.
    pub(crate) fn new(socket: TcpStream, mut session: ServerConnection) -> Self {
        session.set_buffer_limit(Some(limits::TLS_BUFFER_BYTES));
        Self { socket, session, ended: false, holds_bytes: true }
    }

    pub(super) fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    pub(super) fn holds_bytes(&self) -> bool {
        self.holds_bytes
    }

    /// Reads until the buffer is full or the socket is empty.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut taken = 0;
        let ended = loop {
            match self.session.reader().read(&mut buffer[taken..]) {
                Ok(0) => break Ok(0),
                Ok(bytes) => taken += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => break Err(error),
            }
            if taken == buffer.len() {
                self.holds_bytes = true;
                return Ok(taken);
            }
            match self.receive() {
                Ok(true) => {}
                Ok(false) => break Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.holds_bytes = false;
                    return if taken > 0 { Ok(taken) } else { Err(error) };
                }
                Err(error) => break Err(error),
            }
        };
        // What came before the end is looked at first.
        self.ended = true;
        self.holds_bytes = true;
        if taken > 0 { Ok(taken) } else { ended }
    }

    /// Takes encrypted bytes from the socket; false at its end.
    fn receive(&mut self) -> io::Result<bool> {
        if self.ended || self.session.read_tls(&mut self.socket)? == 0 {
            return Ok(false);
        }
        let processed = self.session.process_new_packets();
        if self.session.wants_write() {
            // An alert, or the answer to a new key. What the socket does not take now goes first
            // with the next write.
            let _ = self.send();
        }
        processed.map(|_| true).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Writes until everything is taken or the socket is full. Bytes that are taken and do not fit
    /// wait inside, never more than [`limits::TLS_BUFFER_BYTES`] of them.
    pub(super) fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send()?;
        let mut rest = [IoSlice::new(&[]); limits::WRITE_PIECES];
        let count = pieces.len().min(rest.len());
        rest[..count].copy_from_slice(&pieces[..count]);
        let mut rest = &mut rest[..count];
        let mut taken = 0;
        while !rest.is_empty() {
            let bytes = self.session.writer().write_vectored(rest)?;
            if bytes == 0 {
                break;
            }
            taken += bytes;
            IoSlice::advance_slices(&mut rest, bytes);
            match self.send() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.send()
    }

    pub(super) fn finish(&mut self) {
        self.session.send_close_notify();
        // A connection that is gone already needs no goodbye.
        let _ = self.send();
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Gives the socket what is encrypted.
    fn send(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
