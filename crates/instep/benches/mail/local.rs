//! A local server that registers over the plain TCP door and takes its messages.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::backlog::{OUR_SERVER, OURS};

/// Time until the first waiting message had arrived, and until all had.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Push {
    pub(crate) first: Duration,
    pub(crate) all: Duration,
}

pub(crate) struct Local {
    stream: TcpStream,
    topic: String,
    /// Queue that it sends to, if it sends.
    queue: Option<&'static str>,
    buffer: Vec<u8>,
    /// Bytes at the front of the buffer that were looked at.
    used: usize,
}

impl Local {
    pub(crate) async fn connect(address: &str, server: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("the door takes connections");
        stream.set_nodelay(true).expect("a TCP socket");
        let topic = format!("server:{server}");
        let buffer = Vec::with_capacity(64 * 1024);
        Self { stream, topic, queue: None, buffer, used: 0 }
    }

    /// Registers, and says that it has nothing: what an earlier one was given comes again.
    pub(crate) async fn register(&mut self, key: &str) {
        let params = format!(r#"{{"access_token":"{key}","credit":1024,"have":[]}}"#);
        self.push("phx_join", &params).await;
    }

    /// Joins a queue, to send to it.
    pub(crate) async fn open(&mut self, queue: &'static str) {
        self.queue = Some(queue);
        self.push_to(queue, "phx_join", "{}").await;
        self.reply().await;
    }

    async fn push(&mut self, event: &str, payload: &str) {
        let topic = self.topic.clone();
        self.push_to(&topic, event, payload).await;
    }

    async fn push_to(&mut self, topic: &str, event: &str, payload: &str) {
        let text = format!(r#"["1","1","{topic}","{event}",{payload}]"#);
        let length = u32::try_from(text.len()).expect("a short message").to_be_bytes();
        let frame = [&length[..], text.as_bytes()].concat();
        self.stream.write_all(&frame).await.expect("the server reads");
    }

    /// Sends a message to itself, and takes it once that is durable; gives its number.
    pub(crate) async fn send_and_take(&mut self, letter: &str) -> u64 {
        let queue = self.queue.expect("it was opened");
        self.push_to(queue, "send", letter).await;
        let (mut sent, mut taken) = (false, None);
        loop {
            let frame = self.next().await;
            match seq_of(frame) {
                Some(seq) => taken = Some(seq),
                None => sent |= is_ok(frame),
            }
            if let Some(seq) = taken.filter(|_| sent) {
                return seq;
            }
        }
    }

    /// The next frame, without its length.
    pub(crate) async fn next(&mut self) -> &[u8] {
        loop {
            let rest = &self.buffer[self.used..];
            if let Some((length, rest)) = rest.split_first_chunk::<4>() {
                let length = u32::from_be_bytes(*length) as usize;
                if rest.len() >= length {
                    let begin = self.used + 4;
                    self.used = begin + length;
                    return &self.buffer[begin..self.used];
                }
            }
            self.buffer.drain(..self.used);
            self.used = 0;
            let read = self.stream.read_buf(&mut self.buffer).await.expect("a frame");
            assert!(read > 0, "the server closed the connection");
        }
    }

    /// Waits for the answer to what was pushed last; messages that come before it are dropped.
    pub(crate) async fn reply(&mut self) -> &[u8] {
        loop {
            let frame = self.next().await;
            if is_ok(frame) {
                let length = frame.len();
                return &self.buffer[self.used - length..self.used];
            }
        }
    }

    /// The number of the next message.
    pub(crate) async fn message(&mut self) -> u64 {
        loop {
            let frame = self.next().await;
            if let Some(seq) = seq_of(frame) {
                return seq;
            }
        }
    }

    pub(crate) async fn ack(&mut self, seq: u64) {
        self.push("ack", &format!(r#"{{"seqs":[{seq}]}}"#)).await;
        let reply = self.reply().await;
        assert!(has(reply, b"\"outcome\":\"ok\""), "{}", String::from_utf8_lossy(reply));
    }
}

/// Registers our server and takes all that waits for it.
pub(crate) async fn push(address: &str, key: &str) -> Push {
    let mut local = Local::connect(address, &OUR_SERVER.to_string()).await;
    let begin = Instant::now();
    local.register(key).await;
    local.message().await;
    let first = begin.elapsed();
    for _ in 1..OURS {
        local.message().await;
    }
    Push { first, all: begin.elapsed() }
}

/// The number of a message; none when the frame is something else.
fn seq_of(frame: &[u8]) -> Option<u64> {
    if !has(&frame[..frame.len().min(64)], b"\"message\"") {
        assert!(!has(frame, b"\"status\":\"error\""), "{}", String::from_utf8_lossy(frame));
        return None;
    }
    let name = b"\"seq\":";
    let at = frame.windows(name.len()).position(|bytes| bytes == name)? + name.len();
    let digits = frame[at..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |seq, digit| seq * 10 + u64::from(digit - b'0')))
}

/// True when it answers a push, and well.
fn is_ok(frame: &[u8]) -> bool {
    let answers = has(frame, b"\"phx_reply\"");
    let ok = !answers || has(frame, b"\"status\":\"ok\"");
    assert!(ok, "refused: {}", String::from_utf8_lossy(frame));
    answers
}

fn has(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}
