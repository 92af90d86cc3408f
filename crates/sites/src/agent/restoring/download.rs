//! Downloads: the chunks of a dump in their order, checked as a whole at the end.

use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use instep_client::{Backoff, Client, DumpChunk, DumpState, DumpStatus, Error as ClientError};
use ring::digest::{Context, SHA256};
use tokio::sync::mpsc;

use super::super::{Notice, Notify};
use crate::limits::{FIRST_WAIT, LONGEST_WAIT};
use crate::store::{Fatal, Identity, StoreError};

/// Shortest time between two notices of progress.
const NOTICES: Duration = Duration::from_secs(1);

/// Piece of a download.
#[derive(Debug)]
pub(super) enum Piece {
    /// Bytes of a chunk.
    Chunk(Vec<u8>),
    /// The dump is complete.
    End(DumpStatus),
    /// There will be no more.
    Failed(StoreError),
}

/// Task that asks for the chunks.
pub(super) struct Fetch {
    client: Client,
    identity: Identity,
    generation: u64,
    dump: String,
    /// Form of the dumps that the store takes.
    kind: Option<&'static str>,
    pieces: mpsc::Sender<Piece>,
}

/// Chunks as they arrive at the store.
pub(super) struct Download {
    pieces: mpsc::Receiver<Piece>,
    bytes: u64,
    chunks: u64,
    digest: Context,
    end: Option<DumpStatus>,
}

impl Fetch {
    pub(super) fn new(
        client: Client,
        (identity, generation, dump): (Identity, u64, String),
        kind: Option<&'static str>,
        pieces: mpsc::Sender<Piece>,
    ) -> Self {
        Self { client, identity, generation, dump, kind, pieces }
    }

    /// Fetches all chunks. A lost connection costs the chunk that was on its way.
    pub(super) async fn run(self, notify: Notify) {
        let last = match self.chunks(notify).await {
            Ok(Some(status)) => Piece::End(status),
            Ok(None) => return,
            Err(error) => Piece::Failed(error),
        };
        let _ = self.pieces.send(last).await;
    }

    /// Sends the chunks, and returns the status of the complete dump; none if the store has ended.
    async fn chunks(&self, notify: Notify) -> Result<Option<DumpStatus>, StoreError> {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let (mut chunk, mut bytes, mut noticed) = (0, 0, Instant::now());
        loop {
            match self.ask(chunk).await {
                Ok(Ok(DumpChunk::Bytes(content))) => {
                    if chunk == 0 {
                        self.check_kind().await?;
                    }
                    bytes += content.len() as u64;
                    chunk += 1;
                    if self.pieces.send(Piece::Chunk(content)).await.is_err() {
                        return Ok(None);
                    }
                    backoff.reset();
                    if noticed.elapsed() >= NOTICES {
                        noticed = Instant::now();
                        notify(&Notice::Restoring { dump: self.dump.clone(), bytes });
                    }
                }
                // The server has waited for it already.
                Ok(Ok(DumpChunk::NotYet | DumpChunk::End)) => {
                    backoff.reset();
                    notify(&Notice::Restoring { dump: self.dump.clone(), bytes });
                }
                Ok(Err(status)) => return Ok(Some(status)),
                Err(error) if error.is_transient() => {
                    if backoff.attempts() == 0 {
                        notify(&Notice::Waiting { reason: error.to_string() });
                    }
                    tokio::time::sleep(backoff.next_wait()).await;
                }
                Err(error) => return Err(failed(&error)),
            }
        }
    }

    /// Checks that the store takes a dump of this form, before anything of it is restored.
    async fn check_kind(&self) -> Result<(), StoreError> {
        let status = self.client.dump(&self.identity.dataset, &self.dump).await;
        let status = status.map_err(|error| failed(&error))?;
        if status.kind.as_deref() == self.kind {
            return Ok(());
        }
        let text = format!(
            "dump {} of {} is of kind {}, and this store takes {}",
            self.dump,
            status.source,
            status.kind.as_deref().unwrap_or("none"),
            self.kind.unwrap_or("none"),
        );
        Err(Fatal::Unusable(text).into())
    }

    /// Asks for a chunk, or for the status of the dump that has no such one.
    async fn ask(&self, chunk: u64) -> Result<Result<DumpChunk, DumpStatus>, ClientError> {
        let Identity { dataset, site } = &self.identity;
        let answer = match self.client.dump_chunk(dataset, &self.dump, chunk).await? {
            DumpChunk::End => Err(self.client.dump(dataset, &self.dump).await?),
            there => Ok(there),
        };
        if let (0, Ok(DumpChunk::Bytes(_))) = (chunk, &answer) {
            self.client.begin_site_dump(dataset, site, self.generation).await?;
        }
        Ok(answer)
    }
}

impl Download {
    pub(super) fn new(pieces: mpsc::Receiver<Piece>) -> Self {
        Self { pieces, bytes: 0, chunks: 0, digest: Context::new(&SHA256), end: None }
    }

    /// Bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next bytes; none at the end of a dump that is complete and has not changed on the way.
    /// Blocks.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        match self.pieces.blocking_recv() {
            Some(Piece::Chunk(content)) => {
                self.bytes += content.len() as u64;
                self.chunks += 1;
                self.digest.update(&content);
                Ok(Some(content))
            }
            Some(Piece::End(status)) => {
                self.check(&status)?;
                self.end = Some(status);
                Ok(None)
            }
            Some(Piece::Failed(error)) => Err(error),
            None if self.end.is_some() => Ok(None),
            None => Err(StoreError::Passing("the dump was given up".into())),
        }
    }

    fn check(&self, status: &DumpStatus) -> Result<(), StoreError> {
        let digest = self.digest.clone().finish();
        let sha256 = HEXLOWER.encode(digest.as_ref());
        let is_whole = status.state == DumpState::Complete
            && (status.chunks, status.bytes) == (self.chunks, self.bytes)
            && status.sha256.as_ref() == Some(&sha256);
        if is_whole {
            Ok(())
        } else {
            Err(StoreError::Passing(format!(
                "dump {} is not what its source gave: {} bytes with SHA-256 {sha256}, told are {} \
             with {}",
                status.dump,
                self.bytes,
                status.bytes,
                status.sha256.as_deref().unwrap_or("none"),
            )))
        }
    }
}

fn failed(error: &ClientError) -> StoreError {
    StoreError::Passing(format!("the dump failed: {error}"))
}
