//! A connection of HTTP as the requests on it know it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::Extensions;
use instep_model::limits;
use socket2::SockRef;
use tokio::net::TcpStream;

use super::Http;
use crate::permits::{NoPermit, Permit, PermitKind};

/// A connection that has come to a door of HTTP. Cloning gives another handle.
#[derive(Clone)]
pub struct Line(Arc<Shared>);

struct Shared {
    peer: SocketAddr,
    /// Taken along when the connection becomes a socket.
    permit: Mutex<Option<Permit>>,
    is_extra: bool,
    /// Flag of a response that goes on without end.
    is_stream: AtomicBool,
}

/// The place of what goes on over HTTP, until this is dropped.
pub struct Held {
    _permit: Permit,
}

/// Bytes that a request makes the server keep, until this is dropped.
pub struct Burden {
    permit: Permit,
    spared: usize,
}

impl Http {
    /// A place for a connection of HTTP. Who is one too many may still come in, for a moment and
    /// among few, to be told so or to show that it administers the server; the reason is given
    /// beside the connection then.
    ///
    /// # Errors
    /// When there are too many even of those.
    pub fn line(
        &self,
        peer: SocketAddr,
        is_scarce: bool,
    ) -> Result<(Line, Option<NoPermit>), NoPermit> {
        let edge = self.edge();
        let from = Some(peer.ip());
        let taken = if is_scarce {
            Err(NoPermit::Server)
        } else {
            edge.take_permit(PermitKind::Connection, from)
        };
        let (permit, crowded) = match taken {
            Ok(permit) => (permit, None),
            Err(full) => {
                let permit = edge.take_permit(PermitKind::Extra, from).map_err(|_| full)?;
                (permit, Some(full))
            }
        };
        Ok((self.line_in(peer, permit, crowded.is_some()), crowded))
    }

    /// The place among few for a connection that has come too often.
    #[must_use]
    pub fn extra_line(&self, peer: SocketAddr) -> Option<Line> {
        let permit = self.edge().take_permit(PermitKind::Extra, Some(peer.ip())).ok()?;
        Some(self.line_in(peer, permit, true))
    }

    fn line_in(&self, peer: SocketAddr, permit: Permit, is_extra: bool) -> Line {
        let (permit, is_stream) = (Mutex::new(Some(permit)), AtomicBool::new(false));
        Line(Arc::new(Shared { peer, permit, is_extra, is_stream }))
    }

    /// A place for a client that follows a topic or a changefeed over HTTP.
    ///
    /// # Errors
    /// When there are too many.
    pub fn reader(&self, from: Option<IpAddr>) -> Result<Held, NoPermit> {
        self.enter(from).map(|permit| Held { _permit: permit })
    }

    /// A place for a pull that waits for mail.
    ///
    /// # Errors
    /// When there are too many.
    pub fn pull(&self, from: Option<IpAddr>) -> Result<Held, NoPermit> {
        self.hold(PermitKind::Pull, from)
    }

    /// A place for a registration for mail, as long as a program pulls by it.
    ///
    /// # Errors
    /// When there are too many.
    pub fn registration(&self, from: Option<IpAddr>) -> Result<Held, NoPermit> {
        self.hold(PermitKind::Registration, from)
    }

    fn hold(&self, kind: PermitKind, from: Option<IpAddr>) -> Result<Held, NoPermit> {
        let permit = self.edge().take_permit(kind, from);
        permit.map(|permit| Held { _permit: permit })
    }

    /// The weight of a request from that address.
    #[must_use]
    pub fn burden(&self, from: IpAddr) -> Option<Burden> {
        let permit = self.edge().take_permit(PermitKind::Weight, Some(from)).ok()?;
        Some(Burden { permit, spared: limits::BODY_SPARED_BYTES })
    }
}

impl Line {
    /// The line of a request, where it has come over one.
    pub(crate) fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The other end.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// True for one that is beyond what there is place for.
    #[must_use]
    pub fn is_extra(&self) -> bool {
        self.0.is_extra
    }

    /// Marks the connection as a stream: its response goes on without end, so a client that
    /// vanishes is to be noticed by what it does not acknowledge.
    pub fn becomes_a_stream(&self) {
        self.0.is_stream.store(true, Ordering::Relaxed);
    }

    /// True once, when it has become a stream.
    pub(crate) fn became_a_stream(&self) -> bool {
        self.0.is_stream.load(Ordering::Relaxed) && self.0.is_stream.swap(false, Ordering::Relaxed)
    }

    /// The place of the connection, for the socket that it becomes.
    pub(crate) fn take_permit(&self) -> Option<Permit> {
        self.0.permit.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Burden {
    /// Sets the bytes that are kept now; false when that is too much.
    pub fn weigh(&mut self, bytes: usize) -> bool {
        // A body as small as that of most requests is not worth counting.
        if bytes <= self.spared {
            return true;
        }
        self.permit.weigh(bytes);
        !self.permit.is_tight()
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("peer", &self.0.peer).finish_non_exhaustive()
    }
}

/// Sets `TCP_USER_TIMEOUT`: a client that acknowledges nothing for so long, while something is
/// under way, has vanished.
pub(crate) fn ends_when_unheard(stream: &TcpStream, limit: Duration) {
    if let Err(error) = SockRef::from(stream).set_tcp_user_timeout(Some(limit)) {
        tracing::debug!(%error, "TCP_USER_TIMEOUT is not set");
    }
}
