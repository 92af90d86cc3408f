//! NDJSON as it arrives.

use reqwest::Response;
use serde::de::DeserializeOwned;

use crate::error::{Error, reason};

/// Longest line: a commit of 1,000 rows of the largest size fits.
pub const LINE_BYTES: usize = 320 * 1024 * 1024;

/// The lines of an answer that is still arriving.
#[derive(Debug)]
pub struct Lines {
    response: Response,
    address: String,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are given out already.
    taken: usize,
    /// Bytes of the buffer that hold no end of a line.
    searched: usize,
}

impl Lines {
    pub(crate) fn new(response: Response, address: &str) -> Self {
        let address = address.to_owned();
        Self { response, address, buffer: Vec::new(), taken: 0, searched: 0 }
    }

    /// The next line as JSON; none at the end of the answer. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Lost`] when the answer ends in the middle of a line or before its time,
    /// [`Error::Unexpected`] when the line has another form.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        let unexpected =
            |address: &str, reason| Error::Unexpected { address: address.to_owned(), reason };
        loop {
            if let Some(length) = self.buffer[self.searched..].iter().position(|b| *b == b'\n') {
                let line = self.taken..self.searched + length;
                (self.taken, self.searched) = (line.end + 1, line.end + 1);
                return match serde_json::from_slice(&self.buffer[line]) {
                    Ok(line) => Ok(Some(line)),
                    Err(error) => Err(unexpected(&self.address, error.to_string())),
                };
            }
            self.buffer.drain(..self.taken);
            (self.taken, self.searched) = (0, self.buffer.len());
            if self.searched > LINE_BYTES {
                let reason = format!("a line is longer than {LINE_BYTES} bytes");
                return Err(unexpected(&self.address, reason));
            }
            let lost = |reason| Error::Lost { address: self.address.clone(), reason };
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                Ok(None) if self.buffer.is_empty() => return Ok(None),
                Ok(None) => return Err(lost("it ended in the middle of a line".into())),
                Err(error) => return Err(lost(reason(&error))),
            }
        }
    }
}
