//! Restores: a dump arrives in chunks, and goes into the store as it comes.

mod download;
mod tables;

use instep_client::SiteFailure;
use tokio::sync::mpsc;

use self::download::{Download, Fetch};
use super::{Agent, AgentError, Notice, Stop, Turn};
use crate::limits::CHUNKS_WAITING;
use crate::store::StoreError;

/// The source whose dumps are of the server's own tables.
const SERVER: &str = "server";

impl Agent {
    /// Restores a dump into the store.
    pub(super) async fn restore(
        &mut self,
        generation: u64,
        dump: &str,
        source: &str,
        stop: &mut Stop,
    ) -> Result<Turn, AgentError> {
        let identity = self.settings.identity.clone();
        let (pieces, arriving) = mpsc::channel(CHUNKS_WAITING);
        let of = (identity, generation, dump.to_owned());
        let is_of_server = source == SERVER;
        let own = self.store.as_ref().and_then(|store| store.dump_kind());
        let kind = if is_of_server { Some(tables::KIND) } else { own };
        let fetch = Fetch::new(self.client.clone(), of, kind, pieces);
        let fetching = tokio::spawn(fetch.run(std::sync::Arc::clone(&self.notify)));
        let mut download = Download::new(arriving);
        let restoring = self.with_store(move |store| {
            let position = if is_of_server {
                tables::restore(store, generation, &mut download)
            } else {
                store.restore(generation, &mut || download.next())
            };
            position.map(|position| (position, download.bytes()))
        });
        let restored = tokio::select! {
            restored = restoring => Some(restored),
            _ = stop.wait_for(|stop| *stop) => None,
        };
        fetching.abort();
        match restored {
            // The thread that has the store ends with the process.
            None => Ok(Turn::Stop),
            Some(Ok((position, bytes))) => {
                (self.notify)(&Notice::Restored { position, bytes });
                Ok(Turn::Again)
            }
            Some(Err(error)) => {
                if let StoreError::Record(refusal) = &error {
                    let reason = &*refusal.text;
                    let failure = SiteFailure { reason, needs_dump: false, stands: None };
                    self.report(generation, failure).await;
                }
                Turn::of(error)
            }
        }
    }
}
