//! Dumps that the site is asked for: read from its store, and given in chunks.

use std::io::Read;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use instep_client::{Backoff, Client, DumpEnd, Error as ClientError};
use ring::digest::{Context, SHA256};
use tokio::sync::mpsc;

use super::{Notice, Notify, Stop};
use crate::limits::{CHUNK_BYTES, CHUNKS_WAITING, FIRST_WAIT, LONGEST_WAIT};
use crate::store::{Dumper, Outgoing};

/// Gives dumps of one registration.
#[derive(Clone)]
pub(super) struct Giver {
    pub(super) client: Client,
    pub(super) dataset: String,
    pub(super) generation: u64,
    pub(super) dumper: Option<Arc<dyn Dumper>>,
    pub(super) notify: Notify,
    pub(super) stop: Stop,
}

/// Piece of a dump on its way to the server.
enum Piece {
    Chunk(Vec<u8>),
    Failed(String),
}

impl Giver {
    /// Gives a dump, or tells the server why not.
    pub(super) async fn give(self, dump: String) {
        let told = dump.clone();
        (self.notify)(&Notice::Giving { dump: told.clone() });
        let mut stop = self.stop.clone();
        let given = tokio::select! {
            given = self.chunks(&dump) => given,
            _ = stop.wait_for(|stop| *stop) => Err("the site stops".to_owned()),
        };
        let reason = match given {
            Ok(bytes) => return (self.notify)(&Notice::Given { dump: told, bytes }),
            Err(reason) => reason,
        };
        let end = DumpEnd::Failed { reason: reason.clone() };
        if let Err(error) = self.client.end_dump(&self.dataset, &dump, self.generation, &end).await
        {
            tracing::debug!(%error, dump, "the failure of a dump could not be told");
        }
        (self.notify)(&Notice::NotGiven { dump: told, reason });
    }

    async fn chunks(&self, dump: &str) -> Result<u64, String> {
        let dumper = self.dumper.clone().ok_or("its store has no dumps")?;
        let kind = dumper.kind();
        let begun = tokio::task::spawn_blocking(move || dumper.begin()).await;
        let Outgoing { position, bytes } =
            begun.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let (pieces, mut read) = mpsc::channel(CHUNKS_WAITING);
        tokio::task::spawn_blocking(move || read_all(bytes, &pieces));
        let mut digest = Context::new(&SHA256);
        let (mut chunk, mut count) = (0, 0);
        while let Some(piece) = read.recv().await {
            let content = match piece {
                Piece::Chunk(content) => content,
                Piece::Failed(reason) => return Err(reason),
            };
            digest.update(&content);
            count += content.len() as u64;
            self.put(dump, kind, (chunk, content)).await.map_err(|error| error.to_string())?;
            chunk += 1;
        }
        let sha256 = HEXLOWER.encode(digest.finish().as_ref());
        let end = DumpEnd::Complete { position, chunks: chunk, bytes: count, sha256 };
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            let ended = self.client.end_dump(&self.dataset, dump, self.generation, &end).await;
            match ended {
                Ok(()) => return Ok(count),
                Err(error) => wait_or_give_up(error, &mut backoff).await?,
            }
        }
    }

    /// Puts a chunk: a lost connection costs nothing but it.
    async fn put(
        &self,
        dump: &str,
        kind: &str,
        (chunk, content): (u64, Vec<u8>),
    ) -> Result<(), String> {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            let (of, numbered) = ((kind, self.generation), (chunk, content.clone()));
            let given = self.client.give_dump_chunk(&self.dataset, dump, of, numbered).await;
            match given {
                Ok(()) => return Ok(()),
                Err(error) => wait_or_give_up(error, &mut backoff).await?,
            }
        }
    }
}

async fn wait_or_give_up(error: ClientError, backoff: &mut Backoff) -> Result<(), String> {
    if !error.is_transient() {
        return Err(error.to_string());
    }
    tracing::debug!(%error, "a part of a dump is given again");
    tokio::time::sleep(backoff.next_wait()).await;
    Ok(())
}

/// Reads a dump in chunks of one size, until the end or until none is wanted.
fn read_all(mut bytes: Box<dyn Read + Send>, pieces: &mpsc::Sender<Piece>) {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let read = (&mut bytes).take(CHUNK_BYTES as u64).read_to_end(&mut chunk);
        let piece = match read {
            Ok(0) => return,
            Ok(_) => Piece::Chunk(chunk),
            Err(error) => Piece::Failed(error.to_string()),
        };
        let is_last = matches!(piece, Piece::Failed(_));
        if pieces.blocking_send(piece).is_err() || is_last {
            return;
        }
    }
}
