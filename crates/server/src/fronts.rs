//! The threads that serve HTTP: one for each core, each with a runtime and connections of its own.
//!
//! A connection stays on the thread that it was given to. The answer of a dataset's owner then
//! wakes that thread and nobody else; a runtime that steals work wakes a second thread for each
//! answer, to look for more (measured in `docs/reference/benchmarks.md`). Sockets leave for the
//! shards of `instep-edge` after their handshake.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Connections that wait for one thread to take them.
const WAITING_CONNECTIONS: usize = 1_024;
/// How long nothing is accepted after the system refused: most likely no descriptors are left.
const REFUSED: Duration = Duration::from_millis(100);

/// The threads. They end when this is dropped.
pub(crate) struct Fronts {
    /// Ends when nothing is served any more, which is some time after the stop.
    pub(crate) serving: JoinHandle<()>,
    _running: watch::Sender<()>,
}

impl Fronts {
    /// Serves until `stopping` is true; requests in flight are finished.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub(crate) fn start(
        listener: TcpListener,
        router: &Router,
        stopping: &watch::Receiver<bool>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (running, ended) = watch::channel(());
        let (serving, mut served) = mpsc::channel::<()>(1);
        let mut fronts = Vec::new();
        for number in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            let (give, connections) = mpsc::channel(WAITING_CONNECTIONS);
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let serve = serve(Handed { connections, address }, router.clone(), stopping.clone());
            let (serving, mut ended) = (serving.clone(), ended.clone());
            let run = move || {
                runtime.block_on(async move {
                    serve.await;
                    drop(serving);
                    // Sockets that are told to go elsewhere live on until the server is gone.
                    while ended.changed().await.is_ok() {}
                });
                runtime.shutdown_background();
            };
            std::thread::Builder::new().name(format!("http:{number}")).spawn(run)?;
            fronts.push(give);
        }
        let accepting = accept(listener, fronts, stopping.clone());
        let serving = tokio::spawn(async move {
            accepting.await;
            // Every thread holds a sender and sends nothing: this is the end of the last one.
            let _ = served.recv().await;
        });
        Ok(Self { serving, _running: running })
    }
}

/// Gives the connections to the threads in turn.
async fn accept(
    listener: TcpListener,
    fronts: Vec<mpsc::Sender<std::net::TcpStream>>,
    mut stopping: watch::Receiver<bool>,
) {
    for front in fronts.iter().cycle() {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.and_then(|(stream, _)| stream.into_std()),
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        match stream {
            // Fails only when the thread has ended, and with it the server.
            Ok(stream) => drop(front.send(stream).await),
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(REFUSED).await;
            }
        }
    }
}

fn serve(
    connections: Handed,
    router: Router,
    mut stopping: watch::Receiver<bool>,
) -> impl Future<Output = ()> {
    let stop = async move {
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    async move {
        let served = axum::serve(connections, router).with_graceful_shutdown(stop).await;
        if let Err(error) = served {
            tracing::error!(%error, "serving ended");
        }
    }
}

/// The connections that one thread is given.
struct Handed {
    connections: mpsc::Receiver<std::net::TcpStream>,
    address: SocketAddr,
}

impl Listener for Handed {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        while let Some(stream) = self.connections.recv().await {
            // Small answers must not wait for more (Nagle).
            let _ = stream.set_nodelay(true);
            let taken =
                stream.peer_addr().and_then(|peer| Ok((TcpStream::from_std(stream)?, peer)));
            match taken {
                Ok(taken) => return taken,
                Err(error) => tracing::debug!(%error, "a connection was gone before it was taken"),
            }
        }
        // Nobody gives any more; what ends the serving is the stop.
        std::future::pending().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
