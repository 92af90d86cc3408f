//! Stops of HTTP: a request that has come is answered, though no worker has looked at it yet.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::get;
use instep_access::Gate;
use instep_edge::{Door, DoorOptions, Serving};
use instep_model::ring::RingLimits;
use instep_node::Node;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::fixture::LIVENESS;

/// A barrier that holds the threads of HTTP.
#[derive(Default)]
struct Hold {
    /// Threads that are held, and whether they may go.
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Hold {
    fn wait(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |(_, free)| !*free).unwrap());
    }

    fn wait_for(&self, threads: usize) {
        let state = self.state.lock().unwrap();
        let held = |(held, _): &mut (usize, bool)| *held < threads;
        let (state, _) = self.changed.wait_timeout_while(state, LIVENESS, held).unwrap();
        assert!(state.0 >= threads, "never: all threads are held");
    }

    fn free(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}

fn ask(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIVENESS)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).unwrap();
    stream
}

/// Connections that wait for the server to take them: the system tells, of a socket that listens,
/// in the column of bytes to be read.
fn backlog(address: SocketAddr) -> u64 {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let port = format!(":{:04X}", address.port());
    let listens = |line: &&str| {
        let mut columns = line.split_whitespace().skip(1);
        columns.next().is_some_and(|local| local.ends_with(&port)) && columns.nth(1) == Some("0A")
    };
    let line = table.lines().find(listens).expect("the server listens");
    let queues = line.split_whitespace().nth(4).unwrap();
    u64::from_str_radix(queues.split_once(':').unwrap().1, 16).unwrap()
}

#[test]
fn a_request_that_came_before_the_stop_is_answered_though_its_thread_was_busy() {
    let runtime = Runtime::new().unwrap();
    let _inside = runtime.enter();
    let node = Node::new(vec![], RingLimits::default()).unwrap();
    let door = Door::open(node, Gate::default(), vec![], DoorOptions::default()).unwrap();
    let listener = instep_edge::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let hold = Arc::new(Hold::default());
    let holding = Arc::clone(&hold);
    let router = Router::new()
        .route("/held", get(async move || holding.wait()))
        .route("/", get(async || "answered"));
    let serving = Serving {
        router,
        certificates: None,
        proxied: false,
        idle: Duration::from_secs(60),
        refuse: |_, _, _| StatusCode::SERVICE_UNAVAILABLE.into_response(),
    };
    let (stop, stopping) = watch::channel(false);
    let listener = TcpListener::from_std(listener).unwrap();
    let workers = door.http().serve(listener, &serving, &stopping).unwrap();
    let threads = std::thread::available_parallelism().unwrap().get();
    let held: Vec<_> = (0..threads).map(|_| ask(address, "/held")).collect();
    hold.wait_for(threads);

    let asked: Vec<_> = (0..8 * threads).map(|_| ask(address, "/")).collect();
    let began = Instant::now();
    while backlog(address) > 0 {
        assert!(began.elapsed() < LIVENESS, "never: all are accepted");
        std::thread::yield_now();
    }
    stop.send_replace(true);
    hold.free();

    for mut stream in asked {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("answered"), "{answer:?}");
    }
    drop(held);
    runtime.block_on(workers.serving).unwrap();
}
