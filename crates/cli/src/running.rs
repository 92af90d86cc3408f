//! A server from "listening" to its end.

use std::fmt::Write as _;
use std::future::Future;

use instep::Server;

use crate::failure::Failure;
use crate::{output, supervisor};

/// URL of the server for its clients.
pub(crate) fn url(server: &Server) -> String {
    let scheme = if server.is_tls() { "https" } else { "http" };
    format!("{scheme}://{}", server.address())
}

/// Says where the server listens: lines that programs wait for, HTTP first.
pub(crate) fn announce(server: &Server) {
    // A server whose output is not read is still a server.
    let mut lines = format!("listening {}\n", url(server));
    if let Some(address) = server.tcp_address() {
        let scheme = if server.tcp_is_tls() { "tls" } else { "tcp" };
        let _ = writeln!(lines, "listening {scheme}://{address}");
    }
    if let Some(address) = server.janus_address() {
        let _ = writeln!(lines, "listening janus://{address}");
    }
    let _ = output::lines(lines.as_bytes());
}

/// Serves until `stop`; ends at once when the data turns out to be of no use.
pub(crate) async fn until(
    mut server: Server,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    tokio::pin!(stop);
    tokio::select! {
        ready = supervisor::while_loading(server.ready()) => {
            if let Err(error) = ready {
                // The reason of the end is that of the start.
                if let Err(error) = server.stop().await {
                    tracing::error!(%error, "the data is not closed");
                }
                return Err(error.into());
            }
            tracing::info!("ready");
        }
        () = &mut stop => {
            supervisor::stopping();
            return Ok(server.stop().await?);
        }
    }
    supervisor::ready(&server);
    stop_after(server, stop).await
}

/// Serves until `stop`, then ends in order.
pub(crate) async fn stop_after(
    server: Server,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    stop.await;
    tracing::info!("stopping");
    supervisor::stopping();
    server.stop().await.inspect_err(|error| tracing::error!(%error, "not stopped in order"))?;
    tracing::info!("stopped");
    Ok(())
}

/// File size limits of the process (`ulimit -f`, `LimitFSIZE=`): a write beyond one is an error
/// like that of a full disk, and does not end the process. From here on, for the whole process.
pub(crate) fn outlive_file_size_limits() -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let kind = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    // The handler stays when the stream is dropped.
    let taken = signal(kind).map(drop);
    taken.map_err(|error| Failure::System(format!("cannot take signals: {error}")))
}

/// Done at SIGTERM or SIGINT. A second one ends the process at once, as it would without us.
pub(crate) fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let cannot = |error| Failure::System(format!("cannot wait for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            std::process::exit(130);
        });
    })
}

/// Done at the end of standard input: the process that has the other end of it is gone.
pub(crate) fn stdin_end() -> Result<impl Future<Output = ()>, Failure> {
    let (ended, end) = tokio::sync::oneshot::channel();
    // No thread of the runtime: it would be waited for at the end of the process.
    let read = move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = ended.send(());
    };
    let started = std::thread::Builder::new().name("stdin".into()).spawn(read);
    started.map_err(|error| Failure::System(format!("cannot start threads: {error}")))?;
    Ok(async move {
        let _ = end.await;
    })
}
