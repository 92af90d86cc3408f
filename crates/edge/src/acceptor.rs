//! Listeners beside the shards: a client that connects there shakes hands before a shard serves it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use instep_model::limits;
use instep_model::throttle::Throttle;
use instep_node::now_ms;
use tokio::net::{TcpListener, TcpStream};

use crate::times::Clock;

/// Listener that measures how long the clients that it accepts have waited.
pub(crate) struct Acceptor {
    listener: TcpListener,
    waits: Arc<Clock>,
    /// Time at which a client was last let in, or seen to wait. A client that is there now has
    /// waited since then at the earliest.
    last: Instant,
    /// Line about a lack of descriptors.
    failure: Throttle,
}

impl Acceptor {
    pub(crate) fn new(listener: TcpListener, waits: Arc<Clock>) -> Self {
        Self {
            listener,
            waits,
            last: Instant::now(),
            failure: Throttle::new(limits::SHORTAGE_TOLD_MS),
        }
    }

    /// The next who comes. Cancel-safe.
    pub(crate) async fn next(&mut self) -> TcpStream {
        loop {
            let (accepted, has_waited) = match self.listener.accept().now_or_never() {
                Some(accepted) => (accepted, true),
                None => {
                    let accepted = self.listener.accept().await;
                    self.last = Instant::now();
                    (accepted, false)
                }
            };
            match accepted {
                Ok((stream, _)) => {
                    if has_waited {
                        self.waits.note(self.last.elapsed());
                    }
                    self.last = Instant::now();
                    return stream;
                }
                // Clients that wait keep waiting, and no thread spins.
                Err(error) => {
                    if let Some(untold) = self.failure.tell(now_ms()) {
                        tracing::warn!(%error, untold, "no connection can be taken in");
                    }
                    tokio::time::sleep(Duration::from_millis(limits::ACCEPT_AGAIN_MS)).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_that_waits_for_its_acceptor_counts_with_the_time_that_it_waited() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let waits = Arc::new(Clock::default());
        let mut acceptor = Acceptor::new(listener, Arc::clone(&waits));

        let (_first, ()) = tokio::join!(acceptor.next(), async {
            TcpStream::connect(address).await.unwrap();
        });
        assert_eq!(waits.read().steps.iter().sum::<u64>(), 0, "it was waited for");
        let _others = [TcpStream::connect(address).await, TcpStream::connect(address).await];
        std::thread::sleep(Duration::from_millis(30));
        // The runtime hears of them.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let _second = acceptor.next().await;

        assert_eq!(waits.read().steps.iter().sum::<u64>(), 1);
        assert!(waits.read().sum_us >= 30_000, "{:?}", waits.read());
    }
}
