//! The threads that serve HTTP: one for each core, each with a runtime and connections of its own.
//!
//! A connection stays on the thread that it was given to. The answer of a dataset's owner then
//! wakes that thread and no other; a runtime that steals work wakes a second thread for each
//! answer, to look for more (measured in `docs/reference/benchmarks.md`). Sockets leave for the
//! shards after their handshake.

mod answers;
mod bodies;
mod requests;
mod serving;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::response::Response;
use instep_model::limits;
use instep_node::Loans;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::{Mutex, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

use self::serving::serve_one;
use super::Http;
use super::refusal::RequestRefusal;
use super::request_id::RequestId;
use crate::acceptor::Acceptor;
use crate::certificates::Certificates;

/// Duration of a yield that shows that another thread wants the core.
const IS_WANTED: Duration = Duration::from_micros(200);

/// Threads that serve HTTP. They end when this is dropped.
pub struct HttpWorkers {
    /// Ends when nothing is served any more, which is some time after the stop.
    pub serving: JoinHandle<()>,
    _running: watch::Sender<()>,
}

/// Router and options of the connections that are served.
#[derive(Clone)]
pub struct Serving {
    /// Routes of every request.
    pub router: Router,
    /// Certificates of TLS; none for plain HTTP.
    pub certificates: Option<Certificates>,
    /// Connections begin with a header of the PROXY protocol.
    pub proxied: bool,
    /// Timeout of an idle connection between two requests, and of the head of one.
    pub idle: Duration,
    /// Answer to a request of that id that is refused; whether its client reads events and nothing
    /// else.
    pub refuse: fn(RequestRefusal, bool, &RequestId) -> Response,
}

impl Http {
    /// Serves until `stopping` is true; requests in flight are finished.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub fn serve(
        &self,
        listener: TcpListener,
        serving: &Serving,
        stopping: &watch::Receiver<bool>,
    ) -> io::Result<HttpWorkers> {
        HttpWorkers::start(self, listener, serving, stopping)
    }
}

impl HttpWorkers {
    fn start(
        http: &Http,
        listener: TcpListener,
        serving: &Serving,
        stopping: &watch::Receiver<bool>,
    ) -> io::Result<Self> {
        let (running, ended) = watch::channel(());
        let (served, mut all_served) = mpsc::channel::<()>(1);
        let mut workers = Vec::new();
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let loans = Loans::new(threads);
        for number in 0..threads {
            let (give, connections) = mpsc::channel(limits::WAITING_CONNECTIONS);
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let newcomers = Newcomers { connections, loans: Arc::clone(&loans), number };
            let serve =
                serve(newcomers, (http.clone(), serving.clone()), stopping.clone(), served.clone());
            let (mut ended, loans) = (ended.clone(), Arc::clone(&loans));
            let run = move || {
                loans.sit_down(number);
                runtime.block_on(async move {
                    serve.await;
                    // Sockets that are told to go elsewhere live on until the server is gone.
                    while ended.changed().await.is_ok() {}
                });
                runtime.shutdown_background();
            };
            std::thread::Builder::new().name(format!("http:{number}")).spawn(run)?;
            workers.push(give);
        }
        let acceptor = http.edge().acceptor(listener);
        let accepting = accept(acceptor, (workers, loans), stopping.clone());
        drop(served);
        let serving = tokio::spawn(async move {
            accepting.await;
            // Every connection holds a sender and sends nothing: this is the end of the last one.
            let _ = all_served.recv().await;
        });
        Ok(Self { serving, _running: running })
    }
}

/// Pacer of newcomers: yields the core after so many in a row.
struct Pacer {
    came: usize,
    in_a_row: usize,
}

impl Pacer {
    fn new(in_a_row: usize) -> Self {
        Self { came: 0, in_a_row }
    }

    /// Waits until the next one may. After a few in a row any other thread that wants the core goes
    /// first, a shard above all; and if one did, for a while, because by turns alone a crowd would
    /// have half of the core.
    async fn next(&mut self) {
        self.came += 1;
        if self.came.is_multiple_of(self.in_a_row) {
            let asked = Instant::now();
            std::thread::yield_now();
            if asked.elapsed() >= IS_WANTED {
                tokio::time::sleep(Duration::from_millis(limits::NEWCOMERS_REST_MS)).await;
            }
        }
    }
}

/// Gives the connections to the threads in turn, but to none that may be waiting for a disk.
async fn accept(
    mut acceptor: Acceptor,
    (workers, loans): (Vec<mpsc::Sender<std::net::TcpStream>>, Arc<Loans>),
    mut stopping: watch::Receiver<bool>,
) {
    let mut pacer = Pacer::new(limits::ARRIVALS_IN_A_ROW);
    let mut serving = (0..workers.len()).cycle();
    loop {
        pacer.next().await;
        let stream = tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => return,
            stream = acceptor.next() => stream,
        };
        match stream.into_std() {
            // Fails only when the thread has ended, and with it the server.
            Ok(stream) => {
                let worker = serving.find(|number| loans.announce(*number));
                let worker = worker.expect("one of the threads is never lent");
                drop(workers[worker].send(stream).await);
            }
            Err(error) => tracing::warn!(%error, "a connection was lost on its way in"),
        }
    }
}

/// State shared by the connections of one thread.
struct HttpWorker {
    http: Http,
    serving: Serving,
    /// Places for TLS handshakes under way.
    places: Semaphore,
    /// Pacing of handshakes.
    pacer: Mutex<Pacer>,
}

/// The connections that one thread is given.
struct Newcomers {
    connections: mpsc::Receiver<std::net::TcpStream>,
    loans: Arc<Loans>,
    number: usize,
}

/// Serves the connections that one thread is given.
async fn serve(
    mut newcomers: Newcomers,
    (http, serving): (Http, Serving),
    stopping: watch::Receiver<bool>,
    served: mpsc::Sender<()>,
) {
    let places = Semaphore::new(limits::TLS_PLACES);
    let worker = Arc::new(HttpWorker {
        http,
        serving,
        places,
        pacer: Mutex::new(Pacer::new(limits::NEWCOMERS_IN_A_ROW)),
    });
    // Until no listener gives any more: what came before a stop is looked at behind it.
    while let Some(stream) = newcomers.connections.recv().await {
        match TcpStream::from_std(stream) {
            Ok(stream) => {
                let serve = serve_one(stream, Arc::clone(&worker), stopping.clone());
                let served = served.clone();
                tokio::spawn(async move {
                    serve.await;
                    drop(served);
                });
            }
            Err(error) => tracing::debug!(%error, "a connection was gone before it was taken"),
        }
        newcomers.loans.arrived(newcomers.number);
    }
}
