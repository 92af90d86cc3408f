//! Stop of a server: clients are sent away, what is in flight is finished, the data is closed. All
//! of it takes `drain_ms` and [`limits::CLOSING_MS`] at most, whatever does not answer.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use instep_model::limits;
use instep_model::name::Name;
use instep_node::{Node, on_a_thread};
use tokio::time::{Instant, timeout, timeout_at};

use super::Server;

/// Data that was not closed when the time of a stop was over. What was acknowledged is stored; what
/// was under way has no known outcome.
#[derive(Debug, thiserror::Error)]
#[error("the data is not closed in time: {}", Listed(.0))]
pub struct StopError(Vec<Unclosed>);

/// A dataset that does not close.
#[derive(Debug)]
struct Unclosed {
    dataset: Name,
    parts: Vec<&'static str>,
    /// An append is under way, and does not end.
    is_stalled: bool,
}

struct Listed<'a>(&'a [Unclosed]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0 else { return f.write_str("a dataset has just ended") };
        let Unclosed { dataset, parts, is_stalled } = first;
        write!(f, "dataset {dataset} waits for {}", parts.join(", "))?;
        if *is_stalled {
            f.write_str(" (its disk does not answer)")?;
        }
        match rest.len() {
            0 => Ok(()),
            more => write!(f, ", and {more} more datasets"),
        }
    }
}

impl Server {
    /// Serves until `stop` is done, then sends connections away (1012), finishes what is in
    /// flight within the configured time, and closes the data.
    ///
    /// # Errors
    /// [`StopError`] when the data cannot be closed in time.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<(), StopError> {
        stop.await;
        self.stop().await
    }

    /// Ends the server in order.
    ///
    /// # Errors
    /// [`StopError`] when the data cannot be closed in time.
    pub async fn stop(mut self) -> Result<(), StopError> {
        let now = Instant::now();
        let until = now.checked_add(self.drain).unwrap_or(now);
        self.door.drain();
        self.stop.send_replace(true);
        drop(self.watching);
        if timeout_at(until, &mut self.workers.serving).await.is_err() {
            tracing::warn!("some requests did not end in time");
        }
        let left = until.saturating_duration_since(Instant::now());
        if !self.door.empty(left).await {
            tracing::warn!(sockets = self.door.connections(), "some sockets did not end in time");
        }
        if !self.loading.is_finished() {
            // It opens no further dataset; one that is being opened has nothing to be closed.
            let soon = Instant::now() + Duration::from_millis(limits::DRAIN_LINGER_MS);
            let _ = timeout_at(until.min(soon), &mut self.loading).await;
        }
        let left = until.saturating_duration_since(Instant::now());
        close(&self.node, left.max(Duration::from_millis(limits::CLOSING_MS))).await
    }
}

async fn close(node: &Node, patience: Duration) -> Result<(), StopError> {
    let closing = node.clone();
    let closed = on_a_thread("closing", move || closing.close());
    match timeout(patience, closed).await {
        Ok(Ok(())) => Ok(()),
        // The system gives no thread: without a limit, then.
        Ok(Err(_)) => {
            node.close();
            Ok(())
        }
        Err(_) => Err(StopError(unclosed(node))),
    }
}

fn unclosed(node: &Node) -> Vec<Unclosed> {
    let of = |(dataset, parts): (instep_node::Dataset, _)| Unclosed {
        dataset: dataset.name().clone(),
        parts,
        is_stalled: dataset.stalled().is_some(),
    };
    node.unclosed().into_iter().map(of).collect()
}
