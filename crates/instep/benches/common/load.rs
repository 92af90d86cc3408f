//! Closed loops: each client sends its next request when it has the answer to the last one.
//!
//! The load shares the machine with what it measures, so it is one thread, a request is a buffer
//! made beforehand, and of an answer only the status and the length are looked at.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// No answer takes a minute.
const LONGEST_NS: u64 = 60_000_000_000;

/// Duration of a load, and of the warm-up before it, which does not count.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// Figures of a run.
#[derive(Clone, Copy, Default)]
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// Every success, also those of the warm-up: what the row must have gone down by.
    pub(crate) successes: u64,
    /// CPU time of server and load for each operation, where it is known.
    pub(crate) cpu_us: Option<(f64, f64)>,
}

impl Figures {
    /// Without the CPU time.
    pub(crate) fn json(&self) -> Value {
        json!({
            "per_s": self.per_second.round(),
            "p50_us": self.p50.as_micros(),
            "p99_us": self.p99.as_micros(),
        })
    }
}

/// One run's clients report here. They live on one thread.
#[derive(Clone)]
pub(crate) struct Tally(Rc<Counts>);

struct Counts {
    begin: Instant,
    end: Instant,
    latencies: RefCell<Histogram<u64>>,
    successes: Cell<u64>,
}

impl Tally {
    pub(crate) fn new(span: Span) -> Self {
        let begin = Instant::now() + span.warm_up;
        let latencies = Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("valid bounds");
        Self(Rc::new(Counts {
            begin,
            end: begin + span.measured,
            latencies: RefCell::new(latencies),
            successes: Cell::new(0),
        }))
    }

    /// Returns true if a client whose last answer came at `sent` sends again.
    pub(crate) fn goes_on(&self, sent: Instant) -> bool {
        sent < self.0.end
    }

    /// Takes a success that was sent at `sent`, and says when the next one is. What does not
    /// succeed is a panic, because what follows would not be a measurement.
    pub(crate) fn succeeded(&self, sent: Instant) -> Instant {
        let counts = &*self.0;
        let answered = Instant::now();
        counts.successes.set(counts.successes.get() + 1);
        if answered >= counts.begin && answered < counts.end {
            let taken = u64::try_from((answered - sent).as_nanos()).unwrap_or(u64::MAX);
            counts.latencies.borrow_mut().saturating_record(taken);
        }
        answered
    }

    pub(crate) fn figures(&self) -> Figures {
        let counts = &*self.0;
        let latencies = counts.latencies.borrow();
        let at = |quantile| Duration::from_nanos(latencies.value_at_quantile(quantile));
        Figures {
            per_second: latencies.len() as f64 / (counts.end - counts.begin).as_secs_f64(),
            p50: at(0.5),
            p99: at(0.99),
            successes: counts.successes.get(),
            cpu_us: None,
        }
    }
}

/// One keep-alive connection.
pub(crate) struct HttpClient {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl HttpClient {
    pub(crate) async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server takes connections");
        stream.set_nodelay(true).expect("a TCP socket");
        Self { stream, buffer: Vec::with_capacity(2048) }
    }

    /// Sends the same request again and again.
    pub(crate) async fn run(mut self, request: Rc<[u8]>, tally: Tally) {
        let mut sent = Instant::now();
        while tally.goes_on(sent) {
            self.ask(&request).await;
            sent = tally.succeeded(sent);
        }
    }

    /// Sends a request and gives the body of its answer.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> &[u8] {
        self.stream.write_all(request).await.expect("the server reads");
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await.expect("an answer");
            assert!(read > 0, "the server closed the connection");
            let Some((head, whole)) = length_of(&self.buffer) else { continue };
            assert!(whole >= self.buffer.len(), "more than one answer");
            if whole == self.buffer.len() {
                return &self.buffer[head..];
            }
        }
    }
}

/// A request as it goes over the wire.
pub(crate) fn request(server: (&str, &str), method: &str, path: &str, body: &str) -> Rc<[u8]> {
    let ((address, key), length) = (server, body.len());
    let text = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    text.into_bytes().into()
}

/// Bytes of an answer's head, and of all of it, as soon as its head is there. What is no success
/// ends the bench.
fn length_of(answer: &[u8]) -> Option<(usize, usize)> {
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(answer).expect("an answer is text");
    assert!(text.starts_with("HTTP/1.1 20"), "not a success: {text}");
    let name = "content-length: ";
    let (_, value) = text[..head].split_once(name).expect("an answer says its length");
    let (value, _) = value.split_once('\r').expect("a header ends with a line");
    Some((head, head + value.parse::<usize>().expect("a number of bytes")))
}

/// Runs `work` on one thread, as tasks that need not be moved between threads.
pub(crate) fn on_one_thread<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime.expect("a runtime"), work)
}
