//! Spool: the chunks of one dump in a file, which grows at its end while others read it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use instep_embedded::real::FILE_MODE;
use ring::digest::{Context, SHA256, digest};

use crate::directory::make_private;

/// Chunks of a dump. The file goes when the spool is dropped.
#[derive(Debug)]
pub(super) struct Spool {
    path: PathBuf,
    file: File,
}

/// Place of a chunk in its file, and its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) offset: u64,
    pub(super) length: u32,
    pub(super) digest: [u8; 32],
}

/// Sum of the chunks so far.
#[derive(Clone)]
pub(super) struct Tally {
    pub(super) chunks: Vec<Chunk>,
    pub(super) bytes: u64,
    whole: Context,
}

impl Spool {
    /// Makes an empty one.
    pub(super) fn new(path: PathBuf) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(FILE_MODE);
        let file = options.open(&path)?;
        Ok(Self { path, file })
    }

    /// Writes a chunk to its place.
    pub(super) fn write(&self, chunk: Chunk, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, chunk.offset)
    }

    /// Reads a chunk. One that is not what was written is an error.
    pub(super) fn read(&self, chunk: Chunk) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; chunk.length as usize];
        self.file.read_exact_at(&mut bytes, chunk.offset)?;
        if sha256(&bytes) == chunk.digest {
            Ok(bytes)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "a chunk of a dump is damaged"))
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a dump is not removed");
        }
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self { chunks: Vec::new(), bytes: 0, whole: Context::new(&SHA256) }
    }
}

impl Tally {
    /// The next chunk, for bytes of this digest.
    pub(super) fn next(&self, bytes: &[u8], digest: [u8; 32]) -> Chunk {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Chunk { offset: self.bytes, length, digest }
    }

    /// Counts the next chunk, which is written.
    pub(super) fn add(&mut self, chunk: Chunk, bytes: &[u8]) {
        self.whole.update(bytes);
        self.bytes += u64::from(chunk.length);
        self.chunks.push(chunk);
    }

    /// Digest of all bytes.
    pub(super) fn digest(&self) -> [u8; 32] {
        bytes_of(self.whole.clone().finish())
    }
}

/// Digest of some bytes.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    bytes_of(digest(&SHA256, bytes))
}

fn bytes_of(digest: ring::digest::Digest) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

/// Empties the directory of spools: what an earlier run left is of no use.
pub(super) fn clear(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => make_private(directory),
    }
}
