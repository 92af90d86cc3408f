//! Taking connections from listeners that all shards share.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, RawFd};
use std::time::{Duration, Instant};

use instep_access::Credential;
use instep_model::limits;
use instep_model::throttle::Throttle;
use instep_protocol::length;
use instep_protocol::vsn::Vsn;
use mio::net::{TcpListener, TcpStream};
use rustix::io::Errno;

use super::command::Arrival;
use super::connection::Side;
use super::core::Core;
use super::stream::Stream;
use super::wire::Wire;
use crate::counts::DoorKind;
use crate::descriptors::{is_scarce, reserve_begins};
use crate::driver::SessionDriver;
use crate::permits::{Permit, PermitKind};
use crate::state::EdgeState;
use crate::turned_away::TurnedAway;

/// Errors for a lack of descriptors: of the system, of this process.
const NO_DESCRIPTORS: [Errno; 2] = [Errno::NFILE, Errno::MFILE];
/// Distance to the reserve of descriptors within which it is checked before each connection.
const NEAR: RawFd = 16;

/// A subscriber, edge-triggered: the system tells once that a client waits.
pub(super) struct Accept {
    kind: DoorKind,
    subscriber: TcpListener,
    /// Given up for a moment when there is no other descriptor, so that a client can be refused.
    spare: Option<File>,
    /// Earliest time since which a client may wait; none when no client does.
    waiting: Option<Instant>,
    /// End of a rest, if it has one: after some of a crowd, or when the system had no descriptor.
    again_at: Option<u64>,
    /// Line about a lack of descriptors.
    failure: Throttle,
    /// The last one has one of the last descriptors that are for connections.
    is_near: bool,
}

impl Accept {
    pub(super) fn new(kind: DoorKind, subscriber: TcpListener) -> Self {
        let spare = if kind == DoorKind::Janus { spare() } else { None };
        let waiting = Some(Instant::now());
        let failure = Throttle::new(limits::SHORTAGE_TOLD_MS);
        Self { kind, subscriber, spare, waiting, again_at: None, failure, is_near: false }
    }

    pub(super) fn subscriber(&mut self) -> &mut TcpListener {
        &mut self.subscriber
    }

    /// Notes that a client has come, not before `earliest`.
    pub(super) fn woken(&mut self, earliest: Instant) {
        self.waiting.get_or_insert(earliest);
    }

    /// True when it is worth a try now.
    pub(super) fn is_ready(&self, now: u64) -> bool {
        self.waiting.is_some() && self.again_at.is_none_or(|at| now >= at)
    }

    /// Milliseconds until the end of its rest.
    pub(super) fn due_in(&self, now: u64) -> Option<u64> {
        self.again_at.map(|at| at.saturating_sub(now))
    }

    /// Accepts some of the clients that wait; the rest has its turn after the connections that are
    /// there.
    pub(super) fn take_some(&mut self, core: &Core, arrivals: &mut Vec<Arrival>) {
        let before = arrivals.len();
        let waiting = self.waiting;
        self.again_at = None;
        self.take(core, arrivals);
        if arrivals.len() > before
            && let Some(since) = waiting
        {
            core.counters.waits.note(since.elapsed());
            // A client that is left has seen another one come in just now.
            self.waiting = self.waiting.map(|_| Instant::now());
        }
    }

    fn take(&mut self, core: &Core, arrivals: &mut Vec<Arrival>) {
        let least = Duration::from_micros(limits::ACCEPT_US_PER_TURN);
        let until = Instant::now() + least.max(core.turn / 16);
        for taken in 0..limits::ACCEPTS_PER_TURN {
            if taken > 0 && Instant::now() >= until {
                break;
            }
            let accepted = if self.is_near && is_reserve_reached() {
                Err(Errno::MFILE.into())
            } else {
                self.subscriber.accept()
            };
            match accepted {
                Ok((stream, peer)) => {
                    self.is_near = stream.as_raw_fd() >= reserve_begins().saturating_sub(NEAR);
                    let (line, permit) = match let_in(peer, core) {
                        Ok(places) => places,
                        Err(why) => {
                            core.counters.refused.add(1);
                            self.turn_away(&stream, why);
                            continue;
                        }
                    };
                    // Small messages must not wait for more (Nagle).
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY is not set");
                    }
                    let Some((wire, driver)) = begin(self.kind, &core.edge) else {
                        core.counters.refused.add(1);
                        continue;
                    };
                    arrivals.push(Arrival {
                        stream: Stream::Plain(stream),
                        wire,
                        side: Side::Channels(driver),
                        peer,
                        agent: None,
                        handshake: None,
                        ready: Instant::now(),
                        permit,
                        line: Some(line),
                        early: vec![],
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.waiting = None;
                    return;
                }
                // A client went away while waiting.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if self.refuse(&error) => core.counters.refused.add(1),
                Err(error) => {
                    // No descriptor or memory left: clients keep waiting, and no thread spins.
                    if let Some(untold) = self.failure.tell(core.now) {
                        tracing::warn!(%error, untold, "no connection can be taken in");
                    }
                    core.counters.refused.add(1);
                    self.again_at = Some(core.now + limits::ACCEPT_AGAIN_MS);
                    return;
                }
            }
        }
        // By turns alone a crowd would have most of the core.
        self.again_at = Some(core.now + limits::ACCEPT_REST_MS);
    }

    /// Says why to a client that is not let in. There is room for that in a new socket; if not, the
    /// end says it.
    fn turn_away(&self, mut stream: &TcpStream, why: TurnedAway) {
        let _ = stream.write(&why.words(self.kind));
        // What has come and is not read would make the system take back what was said (RST).
        let _ = stream.read(&mut [0; 4096]);
    }

    /// Refuses one of the clients that wait, when the process has no descriptor for it: a client of
    /// the Janus wire waits for its greeting without end.
    fn refuse(&mut self, error: &io::Error) -> bool {
        let is_full =
            Errno::from_io_error(error).is_some_and(|errno| NO_DESCRIPTORS.contains(&errno));
        if self.spare.is_none() || !is_full {
            return false;
        }
        self.spare = None;
        let refused = self.subscriber.accept().is_ok();
        self.spare = spare();
        refused
    }
}

/// The wire of a client, and its session driver; none when the system gives no random bytes for
/// a token.
pub(crate) fn begin(kind: DoorKind, edge: &EdgeState) -> Option<(Wire, SessionDriver)> {
    match kind {
        // A WebSocket comes from a handshake, never from here.
        DoorKind::Tcp | DoorKind::WebSocket => {
            let driver = SessionDriver::on_socket(Vsn::V2, Credential::anonymous(), edge);
            Some((Wire::Length(length::Decoder::default()), driver))
        }
        DoorKind::Janus => match SessionDriver::on_janus(edge) {
            Ok(driver) => Some((Wire::Janus(Box::default()), driver)),
            Err(error) => {
                tracing::error!(%error, "the system gives no random bytes");
                None
            }
        },
    }
}

/// A place for a connection, and one for its socket.
fn let_in(peer: SocketAddr, core: &Core) -> Result<(Permit, Permit), TurnedAway> {
    let from = Some(peer.ip());
    core.edge.may_connect(peer.ip()).map_err(|_| TurnedAway::TooOften)?;
    let line = core.edge.take_permit(PermitKind::Connection, from)?;
    Ok((line, core.edge.enter(from)?))
}

/// True when the next connection would have one of the descriptors that are kept for others.
fn is_reserve_reached() -> bool {
    spare().is_none_or(|file| is_scarce(&file))
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}
