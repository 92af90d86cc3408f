//! Notifications to the supervisor that started the process: systemd, by `NOTIFY_SOCKET`. Without
//! that variable nothing is sent.

use std::future::Future;
use std::time::Duration;

use instep::Server;
use sd_notify::NotifyState;

/// Interval at which a start that is still under way says so.
const EVERY: Duration = Duration::from_secs(10);
/// Time by which a start is extended whenever it says so: large data takes its time, and is no
/// hang.
const EXTENDED: Duration = Duration::from_secs(60);

/// Waits for a start, and asks for patience meanwhile.
pub(crate) async fn while_loading<T>(start: impl Future<Output = T>) -> T {
    tokio::pin!(start);
    loop {
        let extended = u32::try_from(EXTENDED.as_micros()).unwrap_or(u32::MAX);
        tell(&[NotifyState::Status("loading"), NotifyState::ExtendTimeoutUsec(extended)]);
        tokio::select! {
            started = &mut start => return started,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Everything that can be served is served. A dataset that does not open keeps no other from it,
/// so it must not make the supervisor give up the start either.
pub(crate) fn ready(server: &Server) {
    let unopened = server.node().unopened();
    let names: Vec<&str> = unopened.iter().map(|(name, _)| name.as_str()).collect();
    let status = match names.as_slice() {
        [] => "ready".to_owned(),
        names => format!("serving, but these datasets do not open: {}", names.join(", ")),
    };
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// The server has been told to stop.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the supervisor cannot be told");
    }
}
