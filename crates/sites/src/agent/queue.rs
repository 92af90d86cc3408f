//! Queue between the feed and the store, bounded by commits and bytes.

use std::sync::Arc;

use instep_client::SiteCommit;
use instep_model::position::Position;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::batch::weight;
use crate::limits::{QUEUE_BYTES, QUEUE_COMMITS};

/// Entry of the queue.
#[derive(Debug)]
pub(super) enum Item {
    /// A commit, and its share of the bytes until it is applied.
    Commit(SiteCommit, OwnedSemaphorePermit),
    /// Everything up to here was told.
    Bookmark(Position),
}

/// End of the feed.
#[derive(Debug)]
pub(super) struct Inlet {
    items: mpsc::Sender<Item>,
    bytes: Arc<Semaphore>,
}

/// A queue.
pub(super) fn queue() -> (Inlet, mpsc::Receiver<Item>) {
    let (items, outlet) = mpsc::channel(QUEUE_COMMITS);
    (Inlet { items, bytes: Arc::new(Semaphore::new(QUEUE_BYTES)) }, outlet)
}

impl Inlet {
    /// Adds a commit when there is room; false if the store has ended.
    pub(super) async fn commit(&self, commit: SiteCommit) -> bool {
        // One that is larger than the queue waits until it is empty.
        let bytes = weight(&commit).min(QUEUE_BYTES);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let Ok(permit) = Arc::clone(&self.bytes).acquire_many_owned(bytes).await else {
            return false;
        };
        self.items.send(Item::Commit(commit, permit)).await.is_ok()
    }

    /// Adds a bookmark; false if the store has ended.
    pub(super) async fn bookmark(&self, position: Position) -> bool {
        self.items.send(Item::Bookmark(position)).await.is_ok()
    }
}
