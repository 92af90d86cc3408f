//! Dumps: bytes of a store in numbered chunks, given by one site or the server to others.

use data_encoding::HEXLOWER;
use instep_model::position::Position;
use reqwest::{Method, StatusCode};
use ring::digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Error, Problem};
use crate::http::Client;

/// Header with the SHA-256 digest of a chunk, in hex.
const DIGEST: &str = "instep-sha256";

/// A dump, as it is by now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpStatus {
    /// Its id.
    pub dump: String,
    /// `server`, or the id of a site.
    pub source: String,
    /// Form of its bytes: `tables`, `sqlite`, `postgres`; none: not known yet.
    #[serde(default)]
    pub kind: Option<String>,
    /// Progress of the source.
    pub state: DumpState,
    /// Chunks so far.
    pub chunks: u64,
    /// Bytes so far.
    pub bytes: u64,
    /// Position that the bytes are the state at, once known.
    #[serde(default)]
    pub position: Option<Position>,
    /// Reason of a failure.
    #[serde(default)]
    pub reason: Option<String>,
    /// SHA-256 of all bytes, in hex, of a complete one.
    #[serde(default)]
    pub sha256: Option<String>,
}

/// Progress of a dump at its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DumpState {
    /// The source has not begun.
    Waiting,
    /// Chunks arrive.
    Growing,
    /// All chunks are there.
    Complete,
    /// There will be no more.
    Failed,
}

/// Answer to the request of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DumpChunk {
    /// Its bytes, whose digest was right.
    Bytes(Vec<u8>),
    /// It is not there yet.
    NotYet,
    /// The dump is complete and has no such chunk.
    End,
}

impl Client {
    /// A dump as it is by now.
    ///
    /// # Errors
    /// [`Error::Refused`] with `unknown_dump`.
    pub async fn dump(&self, dataset: &str, dump: &str) -> Result<DumpStatus, Error> {
        self.request(Method::GET, &["v1", "datasets", dataset, "dumps", dump], None).await
    }

    /// A chunk of a dump. The server waits for one that is not there yet, up to 20 seconds.
    ///
    /// # Errors
    /// [`Error::Refused`] with `dump_failed` or `unknown_dump`; [`Error::Lost`] when the bytes
    /// changed on the way.
    pub async fn dump_chunk(
        &self,
        dataset: &str,
        dump: &str,
        chunk: u64,
    ) -> Result<DumpChunk, Error> {
        let number = chunk.to_string();
        let url = self.url(&["v1", "datasets", dataset, "dumps", dump, "chunks", &number])?;
        let response = match self.send(Method::GET, url, None).await {
            Ok(response) => response,
            Err(Error::Refused(problem)) if is_end(&problem) => return Ok(DumpChunk::End),
            Err(error) => return Err(error),
        };
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(DumpChunk::NotYet);
        }
        let told = response.headers().get(DIGEST).and_then(|value| value.to_str().ok());
        let told = told.map(str::to_owned);
        let bytes = self.body(response).await?;
        if told.as_deref() == Some(&*sha256(&bytes)) {
            Ok(DumpChunk::Bytes(bytes))
        } else {
            let reason = format!("chunk {chunk} of dump {dump} has another digest");
            Err(Error::Lost { address: self.base_url().to_owned(), reason })
        }
    }

    /// Tells the server that a site has begun to take its dump.
    ///
    /// # Errors
    /// [`Error::Refused`] with `fenced`, `wrong_state` …
    pub async fn begin_site_dump(
        &self,
        dataset: &str,
        site: &str,
        generation: u64,
    ) -> Result<(), Error> {
        let mut url = self.url(&["v1", "datasets", dataset, "sites", site, "dumping"])?;
        url.query_pairs_mut().append_pair("generation", &generation.to_string());
        self.read::<Value>(self.send(Method::POST, url, None).await?).await.map(drop)
    }

    /// Gives a chunk of a dump that the site was asked for, of this kind. The same one may be given
    /// again.
    ///
    /// # Errors
    /// [`Error::Refused`] with `fenced`, `unknown_dump`, `dump_failed`, `bad_chunk` …
    pub async fn give_dump_chunk(
        &self,
        dataset: &str,
        dump: &str,
        (kind, generation): (&str, u64),
        (chunk, bytes): (u64, Vec<u8>),
    ) -> Result<(), Error> {
        let number = chunk.to_string();
        let mut url = self.url(&["v1", "datasets", dataset, "dumps", dump, "chunks", &number])?;
        url.query_pairs_mut()
            .append_pair("generation", &generation.to_string())
            .append_pair("kind", kind);
        let request = self.request_to(Method::PUT, url).header(DIGEST, sha256(&bytes));
        let request = request.header(reqwest::header::CONTENT_TYPE, "application/octet-stream");
        self.read::<Value>(self.answer(request.body(bytes)).await?).await.map(drop)
    }

    /// Completes a dump that the site was asked for, or fails it with a reason.
    ///
    /// # Errors
    /// [`Error::Refused`] with `fenced`, `unknown_dump` …
    pub async fn end_dump(
        &self,
        dataset: &str,
        dump: &str,
        generation: u64,
        end: &DumpEnd,
    ) -> Result<(), Error> {
        let (action, body) = match end {
            DumpEnd::Complete { position, chunks, bytes, sha256 } => (
                "complete",
                json!({
                    "position": position, "chunks": chunks, "bytes": bytes, "sha256": sha256,
                }),
            ),
            DumpEnd::Failed { reason } => ("failure", json!({"reason": reason})),
        };
        let mut url = self.url(&["v1", "datasets", dataset, "dumps", dump, action])?;
        url.query_pairs_mut().append_pair("generation", &generation.to_string());
        let body = body.to_string().into_bytes();
        self.read::<Value>(self.send(Method::POST, url, Some(body)).await?).await.map(drop)
    }
}

/// End of a dump at its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DumpEnd {
    /// All chunks were given.
    Complete {
        /// Position that the bytes are the state at.
        position: Position,
        /// Number of chunks.
        chunks: u64,
        /// Number of bytes.
        bytes: u64,
        /// SHA-256 of all bytes, in hex.
        sha256: String,
    },
    /// There will be no more.
    Failed {
        /// Reason, for operators.
        reason: String,
    },
}

fn is_end(problem: &Problem) -> bool {
    problem.code == "no_such_chunk"
}

fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, bytes).as_ref())
}
