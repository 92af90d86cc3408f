//! Transport of HTTP: TCP, with TLS or without. A write ends with a timeout when the client takes
//! nothing of it.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use instep_model::limits;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;

use super::line::{self, Line};
use crate::certificates::Certificates;
use crate::shard::{Stream, Tls};
use crate::state::EdgeState;

const VANISHED: Duration = Duration::from_millis(limits::VANISHED_MS);

/// The other end of a connection, as requests on it carry it along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

impl Peer {
    /// The address that a request comes from, where it is known.
    #[must_use]
    pub fn address(of: &axum::http::Extensions) -> Option<IpAddr> {
        of.get::<Self>().map(|peer| peer.0.ip())
    }
}

/// One connection of HTTP.
pub(crate) struct Socket {
    transport: Transport,
    peer: SocketAddr,
    edge: Arc<EdgeState>,
    line: Option<Line>,
    /// True once an answer is a stream, whose reader may vanish unnoticed.
    is_stream: bool,
    /// Ends when the client has taken nothing for too long; none while it takes what there is.
    stall: Option<Pin<Box<Sleep>>>,
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl Socket {
    /// Takes a connection that was accepted, and shakes hands if there are certificates; none when
    /// that fails, or takes too long.
    pub(crate) async fn take(
        edge: &Arc<EdgeState>,
        stream: TcpStream,
        peer: SocketAddr,
        certificates: Option<&Certificates>,
    ) -> Option<Self> {
        // Small answers must not wait for more (Nagle).
        let _ = stream.set_nodelay(true);
        let transport = match certificates {
            None => Transport::Plain(stream),
            Some(certificates) => {
                let limit = Duration::from_millis(edge.options().handshake_ms);
                let shaken = edge.tls_handshakes().shake(certificates, stream, limit).await?;
                Transport::Tls(Box::new(shaken))
            }
        };
        let edge = Arc::clone(edge);
        Some(Self { transport, peer, edge, line: None, is_stream: false, stall: None })
    }

    /// The same connection, as its requests know it.
    pub(crate) fn on(self, line: Line) -> Self {
        Self { line: Some(line), ..self }
    }

    /// The other end.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The same connection as a shard serves it.
    pub(crate) fn into_stream(self) -> io::Result<Stream> {
        let plain = |stream: TcpStream| {
            Ok::<_, io::Error>(mio::net::TcpStream::from_std(stream.into_std()?))
        };
        Ok(match self.transport {
            Transport::Plain(stream) => Stream::Plain(plain(stream)?),
            Transport::Tls(tls) => {
                let (stream, session) = tls.into_inner();
                Stream::Tls(Box::new(Tls::new(plain(stream)?, session)))
            }
        })
    }

    /// Sees to it that the end of a stream's reader is noticed.
    fn look_at_line(&mut self) {
        if self.line.as_ref().is_some_and(Line::became_a_stream) {
            self.is_stream = true;
            self.limit_unheard();
        }
    }

    /// Sets the time after which the system takes a stream's reader for a vanished one. It does so
    /// with one whose window is full, too, also while it answers: a reader that pauses has as much
    /// longer as it may.
    fn limit_unheard(&self) {
        if self.is_stream {
            let paused = self.stall.as_ref().map_or(Duration::ZERO, |_| self.slow_reader());
            line::ends_when_unheard(self.transport.tcp(), VANISHED.saturating_add(paused));
        }
    }

    fn slow_reader(&self) -> Duration {
        Duration::from_millis(self.edge.options().slow_reader_ms)
    }

    /// Watches over a write that has not ended.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.stall.take().is_some() {
                self.limit_unheard();
            }
            return written;
        }
        if self.stall.is_none() {
            self.stall = Some(Box::pin(sleep(self.slow_reader())));
            self.limit_unheard();
        }
        if let Some(stall) = &mut self.stall {
            ready!(stall.as_mut().poll(cx));
        }
        self.stall = None;
        self.edge.note_slow_reader();
        tracing::warn!(peer = %self.peer, "a client of HTTP takes nothing and is sent away");
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        socket.look_at_line();
        let written = match &mut socket.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        };
        socket.watch(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        socket.look_at_line();
        let written = match &mut socket.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
        };
        socket.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        let flushed = match &mut socket.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
        };
        socket.watch(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        let ended = match &mut socket.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        };
        socket.watch(cx, ended)
    }
}
