//! The transport below a connection.

mod tls;

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

pub(crate) use self::tls::Tls;

/// Transport of a connection, non-blocking.
pub(crate) enum Stream {
    /// TCP as it is.
    Plain(TcpStream),
    /// TLS over TCP, its handshake done.
    Tls(Box<Tls>),
    /// There is none: a session waits for another one.
    Absent,
}

impl Stream {
    /// Registers for everything at once: the system tells changes only (edge-triggered).
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self.socket() {
            Some(socket) => {
                registry.register(socket, token, Interest::READABLE | Interest::WRITABLE)
            }
            None => Ok(()),
        }
    }

    /// Takes it out of the hands of this shard.
    pub(super) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self.socket() {
            Some(socket) => registry.deregister(socket),
            None => Ok(()),
        }
    }

    pub(super) fn is_there(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Tls(_) => true,
            Self::Absent => false,
        }
    }

    /// True when there may be bytes of which the system does not tell.
    pub(super) fn holds_bytes(&self) -> bool {
        match self {
            Self::Tls(tls) => tls.holds_bytes(),
            Self::Plain(_) | Self::Absent => false,
        }
    }

    /// Reads. What falls short has emptied the stream.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
            Self::Absent => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Writes. What falls short has filled the stream.
    pub(super) fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, pieces) {
            (Self::Plain(stream), [one]) => stream.write(one),
            (Self::Plain(stream), pieces) => stream.write_vectored(pieces),
            (Self::Tls(tls), pieces) => tls.write(pieces),
            (Self::Absent, _) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Hands over what was written and waits inside.
    ///
    /// # Errors
    /// `WouldBlock` when the socket does not take all of it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tls(tls) => tls.flush(),
            Self::Plain(_) | Self::Absent => Ok(()),
        }
    }

    /// Says that nothing more is written.
    pub(super) fn finish(&mut self) {
        match self {
            // A connection that is gone already needs no goodbye.
            Self::Plain(stream) => drop(stream.shutdown(Shutdown::Write)),
            Self::Tls(tls) => tls.finish(),
            Self::Absent => {}
        }
    }

    fn socket(&mut self) -> Option<&mut TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Tls(tls) => Some(tls.socket()),
            Self::Absent => None,
        }
    }
}
