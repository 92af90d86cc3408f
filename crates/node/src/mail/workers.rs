//! Threads of the mail of one dataset: which of them run. They begin with the first queue, long
//! after the dataset was opened, so a system that gives no thread then takes nothing from it: the
//! start is tried again, and [`Workers::lacking`] says so meanwhile.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use instep_model::name::Name;

use crate::topics::lock;

/// A thread of mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worker {
    /// Gives messages out.
    Giving,
    /// Spills bodies to the disk.
    Spilling,
}

/// Flags of the threads of mail that run.
#[derive(Default)]
pub(crate) struct Workers {
    giving: AtomicBool,
    spilling: AtomicBool,
    lacking: Mutex<Option<String>>,
}

impl Workers {
    /// Starts a thread unless it runs; `start` is given its name.
    ///
    /// # Errors
    /// What `start` answers; the next call tries again.
    pub(crate) fn start(
        &self,
        worker: Worker,
        start: impl FnOnce(&str) -> io::Result<()>,
    ) -> io::Result<()> {
        let runs = self.flag(worker);
        if runs.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let name = match worker {
            Worker::Giving => "mail",
            Worker::Spilling => "bodies",
        };
        start(name).map_err(|error| {
            runs.store(false, Ordering::SeqCst);
            io::Error::new(error.kind(), format!("the {name} thread does not start: {error}"))
        })
    }

    /// Notes how the start of all of them went, and says in the log when that changes.
    pub(crate) fn note(&self, started: io::Result<()>, dataset: &Name) {
        let lacking = started.err().map(|error| error.to_string());
        let before = std::mem::replace(&mut *lock(&self.lacking), lacking.clone());
        match (before, lacking) {
            (None, Some(lacking)) => tracing::error!(%dataset, lacking, "mail waits for a thread"),
            (Some(_), None) => tracing::info!(%dataset, "mail has its threads"),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    /// True when a thread runs.
    pub(crate) fn run(&self, worker: Worker) -> bool {
        self.flag(worker).load(Ordering::SeqCst)
    }

    /// Error of the thread that does not start; none when all run that are needed.
    pub(crate) fn lacking(&self) -> Option<String> {
        lock(&self.lacking).clone()
    }

    fn flag(&self, worker: Worker) -> &AtomicBool {
        match worker {
            Worker::Giving => &self.giving,
            Worker::Spilling => &self.spilling,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_does_not_start_is_lacking_until_it_does() {
        let (workers, dataset) = (Workers::default(), Name::new("d").unwrap());
        let start = |give: bool| {
            let started = workers.start(Worker::Giving, |_| match give {
                true => Ok(()),
                false => Err(io::ErrorKind::WouldBlock.into()),
            });
            workers.note(started, &dataset);
        };

        start(false);
        assert!(!workers.run(Worker::Giving));
        assert!(workers.lacking().is_some_and(|lacking| lacking.contains("mail thread")));

        start(true);
        assert!(workers.run(Worker::Giving));
        assert_eq!(workers.lacking(), None);
        workers.start(Worker::Giving, |_| panic!("it runs already")).unwrap();
    }
}
