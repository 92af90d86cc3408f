//! One connection of a run: a subscriber, or a publisher.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::ops::Range;

use mio::net::TcpStream;

use crate::Door;
use crate::stamp::Stamp;
use crate::traffic::Traffic;
use crate::wire::{Found, Kind};

/// Most words of a refusal that are kept.
const REFUSAL_BYTES: usize = 300;

/// State of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Connecting,
    /// Connected, and waits for the server's greeting.
    Greeting,
    /// Waits for so many subscriptions that it has asked for.
    Joining(usize),
    Live,
    Closed,
}

pub(crate) struct Bot {
    pub(crate) stream: TcpStream,
    pub(crate) state: State,
    door: Door,
    address: SocketAddr,
    /// Topics that it subscribes to: one for a subscriber, maybe many for a publisher.
    subscribes: Range<u32>,
    publishes: bool,
    /// The number of the message that must be next.
    pub(crate) next: u32,
    /// Start of connecting, in nanoseconds of the run's clock.
    began: u64,
    /// Offset of the mark in the last message.
    hint: usize,
    /// The beginning of a frame whose rest has not come yet.
    held: Vec<u8>,
    /// Bytes that the socket did not take.
    unsent: Vec<u8>,
}

impl Bot {
    /// Begins to connect. What it subscribes to, it does by itself.
    pub(crate) fn connect(
        (door, address): (Door, SocketAddr),
        subscribes: Range<u32>,
        publishes: bool,
        began: u64,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        let state = State::Connecting;
        let (held, unsent) = (vec![], vec![]);
        Ok(Self {
            stream,
            state,
            door,
            address,
            subscribes,
            publishes,
            next: 0,
            began,
            hint: 0,
            held,
            unsent,
        })
    }

    /// The topic of a subscriber.
    pub(crate) fn topic(&self) -> Option<u32> {
        (!self.publishes).then_some(self.subscribes.start).filter(|_| !self.subscribes.is_empty())
    }

    /// The socket has room again, or is connected.
    pub(crate) fn writable(&mut self, traffic: &mut Traffic) {
        if self.state == State::Connecting {
            // A socket that is not connected yet has no peer.
            match (self.stream.take_error(), self.stream.peer_addr()) {
                (Ok(None), Ok(_)) => self.connected(traffic),
                (Ok(None), Err(error)) if error.kind() == ErrorKind::NotConnected => {}
                (Ok(Some(error)), _) | (Err(error), _) | (_, Err(error)) => {
                    self.close(traffic, &error.to_string());
                }
            }
        } else if !self.unsent.is_empty() {
            self.flush(traffic);
        }
    }

    fn connected(&mut self, traffic: &mut Traffic) {
        let _ = self.stream.set_nodelay(true);
        let first = usize::try_from(self.subscribes.start).unwrap_or_default();
        let topic = traffic.name(first).to_owned();
        self.unsent = self.door.opening(self.address, &topic);
        if self.door.greets() {
            self.state = State::Greeting
        } else {
            self.subscribe(traffic)
        }
        self.flush(traffic);
    }

    fn subscribe(&mut self, traffic: &mut Traffic) {
        let mut asked = 0;
        for topic in self.subscribes.clone() {
            let ask = self.door.subscribe(traffic.name(topic as usize));
            asked += usize::from(!ask.is_empty());
            self.unsent.extend_from_slice(&ask);
        }
        match asked {
            0 => self.live(traffic),
            asked => self.state = State::Joining(asked),
        }
    }

    fn live(&mut self, traffic: &mut Traffic) {
        self.state = State::Live;
        self.acknowledge_as_read();
        traffic.set_up(self.began);
    }

    /// From here on it listens. A handshake of requests and answers leaves a socket waiting for
    /// something to say before it acknowledges: then the system does that in the middle of the
    /// server's next write, and the server pays for it, at one door and not at another.
    fn acknowledge_as_read(&self) {
        #[cfg(target_os = "linux")]
        let _ = rustix::net::sockopt::set_tcp_quickack(&self.stream, true);
    }

    /// Reads the bytes that have come, through a buffer that all bots share.
    pub(crate) fn readable(&mut self, buffer: &mut [u8], traffic: &mut Traffic) {
        while self.state != State::Closed {
            let held = self.held.len();
            buffer[..held].copy_from_slice(&self.held);
            let room = buffer.len() - held;
            match self.stream.read(&mut buffer[held..]) {
                Ok(0) => return self.close(traffic, "the server closed the connection"),
                Ok(read) => {
                    traffic.look_at_the_clock();
                    let taken = self.take(&buffer[..held + read], traffic);
                    self.held.clear();
                    self.held.extend_from_slice(&buffer[taken..held + read]);
                    if self.held.len() == buffer.len() {
                        return self.close(traffic, "a frame is larger than the buffer");
                    }
                    // Less than there was room for: the socket is empty, and says so when it is
                    // not any more.
                    if read < room {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.close(traffic, &error.to_string()),
            }
        }
        if !self.unsent.is_empty() {
            self.flush(traffic);
        }
    }

    /// Takes whole frames; answers how many bytes they were.
    fn take(&mut self, bytes: &[u8], traffic: &mut Traffic) -> usize {
        let mut at = 0;
        while self.state != State::Closed {
            let greeted = self.state != State::Greeting;
            match self.door.find(greeted, &bytes[at..], &mut self.hint) {
                Found::Part => break,
                Found::Frame(length, Kind::Message(mark)) => {
                    self.message(Stamp::read(&bytes[at + mark..]), traffic);
                    at += length;
                }
                Found::Frame(length, kind) => {
                    self.control(kind, &bytes[at..at + length], traffic);
                    at += length;
                }
                Found::Broken => self.close(traffic, "bytes that are no frame"),
            }
        }
        at
    }

    #[inline]
    fn message(&mut self, stamp: Option<Stamp>, traffic: &mut Traffic) {
        match stamp {
            Some(_) if self.publishes => {}
            Some(stamp) if self.subscribes.start == stamp.topic => {
                self.next = traffic.delivered(stamp, self.next);
            }
            _ => traffic.bad(),
        }
    }

    fn control(&mut self, kind: Kind, frame: &[u8], traffic: &mut Traffic) {
        match (kind, self.state) {
            (Kind::Greeting, State::Greeting) => self.subscribe(traffic),
            (Kind::Subscribed, State::Joining(1)) => self.live(traffic),
            (Kind::Subscribed, State::Joining(more)) => self.state = State::Joining(more - 1),
            (Kind::Ping, _) => self.unsent.extend_from_slice(&self.door.pong()),
            (Kind::Refused, _) => {
                let words = &frame[..frame.len().min(REFUSAL_BYTES)];
                self.close(traffic, &String::from_utf8_lossy(words));
            }
            _ => {}
        }
    }

    /// Queues bytes; [`Bot::flush`] writes them.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
    }

    /// Says something, so that the server does not take the client for gone.
    pub(crate) fn heartbeat(&mut self, traffic: &mut Traffic) {
        if self.state == State::Live
            && let Some(frame) = self.door.heartbeat()
        {
            self.send(&frame);
            self.flush(traffic);
        }
    }

    /// Writes as much as the socket takes.
    pub(crate) fn flush(&mut self, traffic: &mut Traffic) {
        let mut written = 0;
        while written < self.unsent.len() {
            match self.stream.write(&self.unsent[written..]) {
                Ok(some) => written += some,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.close(traffic, &error.to_string()),
            }
        }
        self.unsent.drain(..written);
    }

    fn close(&mut self, traffic: &mut Traffic, why: &str) {
        if self.state != State::Closed {
            traffic.closed(self.state == State::Live, why);
            self.state = State::Closed;
            self.unsent.clear();
            let _ = self.stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Takes the connection away with a reset instead of an orderly end.
    pub(crate) fn reset(self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO));
    }
}
