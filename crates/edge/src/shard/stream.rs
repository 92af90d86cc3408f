//! The transport below a connection.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// What bytes travel over, without ever waiting.
pub(crate) enum Stream {
    /// TCP as it is.
    Plain(TcpStream),
    /// There is none: a session waits for another one.
    Absent,
}

impl Stream {
    /// Registers for everything at once: the system tells changes only (edge-triggered).
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Plain(stream) => {
                registry.register(stream, token, Interest::READABLE | Interest::WRITABLE)
            }
            Self::Absent => Ok(()),
        }
    }

    /// Takes it out of the hands of this shard.
    pub(super) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Plain(stream) => registry.deregister(stream),
            Self::Absent => Ok(()),
        }
    }

    pub(super) fn is_there(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Absent => false,
        }
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Absent => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub(super) fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, pieces) {
            (Self::Plain(stream), [one]) => stream.write(one),
            (Self::Plain(stream), pieces) => stream.write_vectored(pieces),
            (Self::Absent, _) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Says that nothing more is written.
    pub(super) fn finish(&mut self) {
        match self {
            // A connection that is gone already needs no goodbye.
            Self::Plain(stream) => drop(stream.shutdown(Shutdown::Write)),
            Self::Absent => {}
        }
    }
}
