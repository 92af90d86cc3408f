//! Thousands of WebSockets on one thread, as a crowd of browsers would hold them.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// Handshakes under way at a time.
const AT_ONCE: usize = 256;
/// Interval of a client's heartbeats: a client that is silent for a minute is taken for gone.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(20);
/// Nothing at all for so long is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// Topic and event stand within so many bytes.
const HEAD_BYTES: usize = 100;

/// Sockets that have all joined one topic.
pub(crate) struct Crowd {
    poll: Poll,
    members: Vec<Member>,
}

struct Member {
    stream: TcpStream,
    state: State,
    came: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Connecting,
    Upgrading,
    Joining,
    Joined,
}

impl Crowd {
    /// Connects, and waits until every join has been answered.
    pub(crate) fn join(address: &str, topic: &str, count: usize) -> Self {
        let address: SocketAddr = address.parse().unwrap();
        let mut crowd = Self { poll: Poll::new().unwrap(), members: Vec::with_capacity(count) };
        let mut joined = 0;
        while joined < count {
            while crowd.members.len() < count.min(joined + AT_ONCE) {
                crowd.connect(address);
            }
            let before = joined;
            let until = Instant::now() + PATIENCE;
            while joined == before {
                assert!(Instant::now() < until, "{joined} of {count} have joined");
                crowd.turn(|member| joined += usize::from(member.goes_on(address, topic)));
            }
        }
        crowd
    }

    fn connect(&mut self, address: SocketAddr) {
        let mut stream = TcpStream::connect(address).unwrap();
        let token = Token(self.members.len());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, token, interest).unwrap();
        self.members.push(Member { stream, state: State::Connecting, came: vec![] });
    }

    /// Reads until each of them has been told `event` once; for each, how long after `began`.
    pub(crate) fn all_hear(&mut self, event: &str, began: Instant) -> Vec<Duration> {
        let wanted = format!("\"{event}\"").into_bytes();
        let mut heard: Vec<Option<Duration>> = vec![None; self.members.len()];
        let mut left = heard.len();
        while left > 0 {
            assert!(began.elapsed() < PATIENCE, "{left} of {} have heard nothing", heard.len());
            let mut at = vec![];
            self.turn_numbered(|number, member| {
                member.read();
                while let Some(message) = member.message() {
                    if is_about(&message, &wanted) {
                        at.push(number);
                    }
                }
            });
            for number in at {
                assert!(heard[number].is_none(), "number {number} was told twice");
                heard[number] = Some(began.elapsed());
                left -= 1;
            }
        }
        heard.into_iter().flatten().collect()
    }

    /// Reads until `over`; for each of them, how many of its messages are of this event.
    pub(crate) fn count_until(&mut self, event: &str, over: impl Fn() -> bool) -> Vec<u64> {
        let event = format!("\"{event}\"").into_bytes();
        let mut counts = vec![0; self.members.len()];
        let mut beaten = Instant::now();
        while !over() {
            if beaten.elapsed() > HEARTBEAT {
                beaten = Instant::now();
                let beat = text(r#"[null,"2","phoenix","heartbeat",{}]"#);
                self.members.iter_mut().for_each(|member| member.stream.write_all(&beat).unwrap());
            }
            self.turn_numbered(|number, member| {
                member.read();
                while let Some(message) = member.message() {
                    counts[number] += u64::from(is_about(&message, &event));
                }
            });
        }
        counts
    }

    fn turn(&mut self, mut with: impl FnMut(&mut Member)) {
        self.turn_numbered(|_, member| with(member));
    }

    fn turn_numbered(&mut self, mut with: impl FnMut(usize, &mut Member)) {
        let mut events = Events::with_capacity(1024);
        self.poll.poll(&mut events, Some(Duration::from_millis(100))).unwrap();
        for event in &events {
            let Token(number) = event.token();
            with(number, &mut self.members[number]);
        }
    }
}

impl Member {
    /// Takes the next steps; true when it has joined by them.
    fn goes_on(&mut self, address: SocketAddr, topic: &str) -> bool {
        if self.state == State::Connecting {
            if let Ok(Some(error)) | Err(error) = self.stream.take_error() {
                panic!("no connection: {error}");
            }
            if self.stream.peer_addr().is_err() {
                return false;
            }
            let upgrade = format!(
                "GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nhost: {address}\r\n\
                 connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                 sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            );
            self.stream.write_all(upgrade.as_bytes()).unwrap();
            self.state = State::Upgrading;
        }
        self.read();
        if self.state == State::Upgrading
            && let Some(end) = self.came.windows(4).position(|four| four == b"\r\n\r\n")
        {
            let head = String::from_utf8_lossy(&self.came[..end]).into_owned();
            assert!(head.starts_with("HTTP/1.1 101"), "{head}");
            self.came.drain(..end + 4);
            self.stream
                .write_all(&text(&format!(r#"["1","1","{topic}","phx_join",{{}}]"#)))
                .unwrap();
            self.state = State::Joining;
        }
        if self.state != State::Joining {
            return false;
        }
        let Some(reply) = self.message() else { return false };
        let reply = String::from_utf8_lossy(&reply).into_owned();
        assert!(reply.contains(r#""status":"ok""#), "{reply}");
        self.state = State::Joined;
        true
    }

    fn read(&mut self) {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("the server has closed a socket that is {:?}", self.state),
                Ok(read) => self.came.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("a socket that is {:?}: {error}", self.state),
            }
        }
    }

    /// The next whole message that has come.
    fn message(&mut self) -> Option<Vec<u8>> {
        let (head, length) = match *self.came.get(..2)? {
            [_, short @ 0..=125] => (2, usize::from(short)),
            [_, 126] => (4, usize::from(u16::from_be_bytes(*self.came.get(2..)?.first_chunk()?))),
            _ => {
                let length = u64::from_be_bytes(*self.came.get(2..)?.first_chunk()?);
                (10, usize::try_from(length).unwrap())
            }
        };
        if self.came.len() < head + length {
            return None;
        }
        let message = self.came.drain(..head + length).skip(head).collect();
        if self.came.is_empty() {
            self.came = vec![];
        }
        Some(message)
    }
}

/// The event stands in front of the payload.
fn is_about(message: &[u8], event: &[u8]) -> bool {
    let head = &message[..message.len().min(HEAD_BYTES)];
    head.windows(event.len()).any(|window| window == event)
}

/// A text in one frame, under a mask of zeros.
fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    let mut frame = match length {
        0..=125 => vec![0x81, 0x80 | u8::try_from(length).unwrap()],
        _ => [&[0x81, 0xfe], &length.to_be_bytes()[..]].concat(),
    };
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}
