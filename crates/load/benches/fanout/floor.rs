//! The floors: the least that a server can do that writes to every subscriber by itself.
//!
//! One thread, epoll, and Instep's TCP wire: four bytes of length, then a message. `plain` writes
//! one prepared buffer to every socket per message; `coalescing` takes all messages that are there
//! and then writes to each socket once. No rights, no history, no slow subscribers.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const LISTENER: Token = Token(usize::MAX);
/// End of every join.
const JOIN: &[u8] = br#""phx_join",{}]"#;

struct Client {
    stream: TcpStream,
    held: Vec<u8>,
    unsent: Vec<u8>,
}

#[derive(Default)]
struct Topic {
    subscribers: Vec<usize>,
    /// Bytes to be written to all of them.
    due: Vec<u8>,
}

struct Floor {
    coalescing: bool,
    clients: Vec<Option<Client>>,
    names: HashMap<Vec<u8>, usize>,
    topics: Vec<Topic>,
    dirty: Vec<usize>,
}

/// Serves until it is killed.
pub(crate) fn serve(coalescing: bool, port: u16) -> std::io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], port)).into())?;
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(socket.into());
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut buffer = vec![0; 64 * 1024];
    let mut floor =
        Floor { coalescing, clients: vec![], names: HashMap::new(), topics: vec![], dirty: vec![] };
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => floor.accept(&listener, &poll)?,
                Token(index) => {
                    if event.is_writable() {
                        floor.write(index, &[]);
                    }
                    if event.is_readable() {
                        floor.read(index, &mut buffer);
                    }
                }
            }
        }
        floor.write_due();
    }
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> std::io::Result<()> {
        loop {
            match listener.accept() {
                Ok((mut stream, _)) => {
                    stream.set_nodelay(true)?;
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    let token = Token(self.clients.len());
                    poll.registry().register(&mut stream, token, interest)?;
                    let (held, unsent) = (vec![], vec![]);
                    self.clients.push(Some(Client { stream, held, unsent }));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn read(&mut self, index: usize, buffer: &mut [u8]) {
        loop {
            let Some(Some(client)) = self.clients.get_mut(index) else { return };
            let held = client.held.len();
            buffer[..held].copy_from_slice(&client.held);
            let filled = match client.stream.read(&mut buffer[held..]) {
                Ok(0) => return self.forget(index),
                Ok(read) => held + read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.forget(index),
            };
            let mut at = 0;
            while let Some((length, rest)) = buffer[at..filled].split_first_chunk::<4>() {
                let length = u32::from_be_bytes(*length) as usize;
                let Some(message) = rest.get(..length) else { break };
                self.message(index, message);
                at += 4 + length;
            }
            let Some(Some(client)) = self.clients.get_mut(index) else { return };
            client.held.clear();
            client.held.extend_from_slice(&buffer[at..filled]);
        }
    }

    /// `["1","1","topic","phx_join",{}]` or `["1",null,"topic","event",{…}]`.
    fn message(&mut self, index: usize, message: &[u8]) {
        let quoted: Vec<&[u8]> = message.splitn(9, |byte| *byte == b'"').collect();
        let topic = match quoted[..] {
            [_, _, _, b"1", _, topic, _, b"phx_join", ..] => {
                let topic = self.topic(topic);
                self.topics[topic].subscribers.push(index);
                let answer = br#""phx_reply",{"status":"ok","response":{}}]"#;
                let reply = [&message[..message.len() - JOIN.len()], &answer[..]].concat();
                let length = (reply.len() as u32).to_be_bytes();
                return self.write(index, &[&length[..], &reply].concat());
            }
            [_, _, _, topic, ..] => self.topic(topic),
            _ => return,
        };
        let due = &mut self.topics[topic].due;
        if due.is_empty() {
            self.dirty.push(topic);
        }
        // The join_ref of the publisher, `"1"`, becomes null.
        due.extend_from_slice(&(message.len() as u32 + 1).to_be_bytes());
        due.extend_from_slice(b"[null");
        due.extend_from_slice(&message[4..]);
        if !self.coalescing {
            self.write_due();
        }
    }

    fn topic(&mut self, name: &[u8]) -> usize {
        if let Some(topic) = self.names.get(name) {
            return *topic;
        }
        self.topics.push(Topic::default());
        self.names.insert(name.to_vec(), self.topics.len() - 1);
        self.topics.len() - 1
    }

    fn write_due(&mut self) {
        for at in 0..self.dirty.len() {
            let topic = self.dirty[at];
            let due = std::mem::take(&mut self.topics[topic].due);
            let subscribers = std::mem::take(&mut self.topics[topic].subscribers);
            for index in &subscribers {
                self.write(*index, &due);
            }
            self.topics[topic] = Topic { subscribers, due };
            self.topics[topic].due.clear();
        }
        self.dirty.clear();
    }

    fn write(&mut self, index: usize, bytes: &[u8]) {
        let Some(Some(client)) = self.clients.get_mut(index) else { return };
        if client.unsent.is_empty() {
            match client.stream.write(bytes) {
                Ok(written) => client.unsent.extend_from_slice(&bytes[written..]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    client.unsent.extend_from_slice(bytes);
                }
                Err(_) => self.forget(index),
            }
            return;
        }
        client.unsent.extend_from_slice(bytes);
        match client.stream.write(&client.unsent) {
            Ok(written) => drop(client.unsent.drain(..written)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.forget(index),
        }
    }

    fn forget(&mut self, index: usize) {
        self.clients[index] = None;
        for topic in &mut self.topics {
            topic.subscribers.retain(|subscriber| *subscriber != index);
        }
    }
}
