//! Work that waits for disks, and threads for it. A system that gives no thread refuses that piece
//! of work, which may be tried again, and nothing else.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use tokio::sync::oneshot;

/// Runs short work on one of the threads that a runtime keeps for it.
///
/// # Errors
/// When the system gives no thread.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    // The runtime panics where it has no such thread and is given none.
    let begun = catch_unwind(AssertUnwindSafe(|| tokio::task::spawn_blocking(work)));
    let begun = begun.map_err(|_| no_thread())?;
    match begun.await {
        Ok(done) => Ok(done),
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime ends.
            Err(_) => Err(no_thread()),
        },
    }
}

/// Runs long work on a thread of its own, to its end, even if its caller does not wait any more.
///
/// # Errors
/// When the system gives no thread.
pub async fn on_a_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, answer) = oneshot::channel();
    let run = move || {
        // The caller may have gone.
        let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
    };
    thread::Builder::new().name(name.to_owned()).spawn(run)?;
    match answer.await.expect("a thread sends before it ends") {
        Ok(done) => Ok(done),
        Err(panic) => resume_unwind(panic),
    }
}

fn no_thread() -> io::Error {
    io::Error::new(io::ErrorKind::WouldBlock, "the system gives no thread")
}
