//! Opening all datasets: at a start, and again those that could not be opened then.
//!
//! Each is opened on a thread of its own, a few of them at a time. One whose disk does not answer
//! within [`limits::OPENING_MS`] makes room for the next, is shown with that reason, and comes up
//! by itself when the disk answers.

use std::io;
use std::panic::resume_unwind;
use std::time::Duration;

use instep_embedded::datasets::Found;
use instep_model::limits;
use instep_model::name::Name;
use instep_node::{Dataset, Node, Unopened, on_a_thread};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Opener, PATIENCE};
use crate::directory;
use crate::start_error::StartError;

impl Opener {
    /// Opens every dataset that is declared or lies in the directory, until it is told to stop.
    ///
    /// # Errors
    /// When the directory, or the note of what was public, cannot be read. Nothing is open then.
    pub(crate) async fn open_all(
        &self,
        node: &Node,
        stopping: &watch::Receiver<bool>,
    ) -> io::Result<()> {
        let opener = self.clone();
        let names = on_a_thread("opening", move || opener.names()).await.flatten()?;
        self.open_each(node, names, stopping).await;
        Ok(())
    }

    /// The datasets to open, those that are declared first.
    fn names(&self) -> io::Result<Vec<Name>> {
        self.0.publics.begin()?;
        let mut names = self.0.declared.clone();
        // Those that were made over HTTP are found by their directories.
        let found = directory::names(&self.0.datasets)?;
        names.extend(found.into_iter().filter(|name| !self.0.declared.contains(name)));
        Ok(names)
    }

    /// Opens datasets, or notes why they are not open.
    async fn open_each(&self, node: &Node, names: Vec<Name>, stopping: &watch::Receiver<bool>) {
        let mut opening = JoinSet::new();
        for name in names {
            // Who comes first has the place that is left.
            while opening.len() >= limits::OPENINGS
                || (!opening.is_empty() && node.count() + opening.len() >= node.limit())
            {
                next_of(&mut opening).await;
            }
            if *stopping.borrow() {
                break;
            }
            let (opener, node, stopping) = (self.clone(), node.clone(), stopping.clone());
            opening.spawn(async move { opener.open_in_time(&node, name, stopping).await });
        }
        while !opening.is_empty() {
            next_of(&mut opening).await;
        }
        self.0.short.tell();
    }

    /// Opens a dataset on a thread of its own; comes back when that is done, or takes too long.
    async fn open_in_time(&self, node: &Node, name: Name, stopping: watch::Receiver<bool>) {
        // Another thread opens it already, or removes it.
        let Ok(turn) = self.0.turns.take(&name, Duration::ZERO, |_| true) else { return };
        let (opener, into, of) = (self.clone(), node.clone(), name.clone());
        let open = move || {
            let outcome = opener.find_and_open(&into, &of);
            turn.end(|| match &outcome {
                // It may have been noted meanwhile that it takes too long.
                Ok(_) => into.forget_unopened(&of),
                Err(error) => opener.note_unopened(&into, &of, error),
            });
            let Ok(Some(dataset)) = outcome else { return };
            tracing::info!(dataset = %of, "open");
            opener.0.late.notify_one();
            if *stopping.borrow() {
                dataset.close();
            }
        };
        match tokio::time::timeout(PATIENCE, on_a_thread("opening", open)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.note_unopened(node, &name, &StartError::Threads(error)),
            Err(_) => self.0.turns.while_taken(&name, || self.note_late(node, &name)),
        }
    }

    /// Opens what is a dataset, or should be one; none where there is no such thing.
    fn find_and_open(&self, node: &Node, name: &Name) -> Result<Option<Dataset>, StartError> {
        let found = directory::settle(&self.0.datasets, name);
        let found = found.map_err(|error| self.refused(name, error))?;
        match found {
            _ if self.0.declared.contains(name) => {}
            Found::Dataset => {}
            Found::Foreign | Found::Empty => {
                directory::leave_alone(&self.0.datasets.path(name));
                return Ok(None);
            }
            Found::Nothing | Found::Unfinished => return Ok(None),
        }
        self.open(node, name).map(Some)
    }

    fn note_late(&self, node: &Node, name: &Name) {
        let seconds = PATIENCE.as_secs();
        let path = self.0.datasets.path(name);
        let reason = format!(
            "dataset {name}: {} has not been read to its end in {seconds} s: it is large, or its \
             disk does not answer. It is opened as soon as that is done",
            path.display()
        );
        if node.why_unopened(name.as_str()).is_none_or(|before| before.reason != reason) {
            tracing::error!(dataset = %name, reason, "a dataset is not open yet");
        }
        let views = self.views_of(name).unwrap_or_default();
        node.set_unopened(name.clone(), Unopened { reason, is_damaged: false, views });
    }

    /// Care for what could not be opened or made at the start, until the server is to stop.
    pub(crate) async fn care(
        self,
        node: Node,
        mut all_declared: bool,
        mut stopping: watch::Receiver<bool>,
    ) {
        let mut tick = tokio::time::interval(Duration::from_millis(limits::UNOPENED_RETRY_MS));
        tick.tick().await;
        loop {
            let is_time = tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return,
                () = self.0.late.notified() => false,
                _ = tick.tick() => true,
            };
            if is_time {
                self.retry_unopened(&node, &stopping).await;
            } else {
                all_declared = false;
            }
            if !all_declared {
                all_declared = self.declare(&node, None).await;
            }
        }
    }

    /// Tries those again that may open now: what is damaged does not heal.
    async fn retry_unopened(&self, node: &Node, stopping: &watch::Receiver<bool>) {
        let unopened = node.unopened().into_iter().filter(|(_, unopened)| !unopened.is_damaged);
        let names = unopened.map(|(name, _)| name).collect();
        self.open_each(node, names, stopping).await;
    }
}

/// Waits for one of those that are being opened.
async fn next_of(opening: &mut JoinSet<()>) {
    if let Some(Err(ended)) = opening.join_next().await
        && let Ok(panic) = ended.try_into_panic()
    {
        resume_unwind(panic);
    }
}
