//! Writes the chunks of one snapshot.

use std::io;
use std::path::{Path, PathBuf};

use instep_model::disk::{Disk, DiskFile};
use instep_model::position::{Incarnation, Revision};

use super::{CHUNK_BYTES, SnapshotError, chunk_checksum, storage};
use crate::format::{Header, SNAPSHOT_MAGIC};

const BUFFER_BYTES: usize = 1024 * 1024;

/// Takes the chunks of a snapshot, in order.
pub struct SnapshotWriter {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    buffer: Vec<u8>,
    written: u64,
    chunks: u32,
    checksum: u64,
}

impl SnapshotWriter {
    pub(super) fn create(
        disk: &dyn Disk,
        path: &Path,
        incarnation: Incarnation,
        revision: Revision,
    ) -> Result<Self, SnapshotError> {
        let file = match disk.create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                disk.remove(path).map_err(storage(path))?;
                disk.create(path)
            }
            created => created,
        };
        let header = Header {
            magic: SNAPSHOT_MAGIC,
            incarnation,
            predecessor: incarnation,
            revision,
            chain: 0,
            bytes: 0,
        };
        Ok(Self {
            file: file.map_err(storage(path))?,
            path: path.to_owned(),
            buffer: header.encode().to_vec(),
            written: 0,
            chunks: 0,
            checksum: 0,
        })
    }

    /// Writes one chunk; a reader gets it back in one piece.
    ///
    /// # Errors
    /// [`SnapshotError::Chunk`] for an empty or too large one, otherwise the storage's.
    pub fn chunk(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if bytes.is_empty() || bytes.len() > CHUNK_BYTES || self.chunks == u32::MAX {
            return Err(SnapshotError::Chunk { bytes: bytes.len() });
        }
        self.head(length, bytes);
        self.chunks += 1;
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        if bytes.len() > BUFFER_BYTES {
            return self.write(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Writes the end, and syncs.
    pub(super) fn finish(mut self) -> Result<(), SnapshotError> {
        self.head(0, &[]);
        self.flush()?;
        self.file.sync_data().map_err(storage(&self.path))
    }

    fn head(&mut self, length: u32, bytes: &[u8]) {
        let mut head = [0; 8];
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4..].copy_from_slice(&self.chunks.to_le_bytes());
        self.checksum = chunk_checksum(self.checksum, &head, bytes);
        self.buffer.extend_from_slice(&head);
        self.buffer.extend_from_slice(&self.checksum.to_le_bytes());
    }

    fn flush(&mut self) -> Result<(), SnapshotError> {
        let buffer = std::mem::take(&mut self.buffer);
        self.write(&buffer)?;
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.file.write_all_at(bytes, self.written).map_err(storage(&self.path))?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}
