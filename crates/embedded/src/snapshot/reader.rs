//! Reads the chunks of one snapshot, each checked before it is handed out.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use instep_model::disk::{Access, DiskFile};
use instep_model::position::{Incarnation, Revision};

use super::{
    CHUNK_BYTES, CHUNK_HEADER_BYTES, History, Shared, SnapshotError, SnapshotStore, State,
};
use super::{chunk_checksum, storage};
use crate::format::{HEADER_BYTES, Header, HeaderFault, SNAPSHOT_MAGIC, u32_at, u64_at};

const BLOCK_BYTES: usize = 1024 * 1024;

/// A snapshot on its way into memory. It holds one chunk and one block at a time.
pub struct SnapshotReader {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    revision: Revision,
    incarnation: Incarnation,
    block: Bytes,
    /// Offset of the bytes behind the block.
    offset: u64,
    chunks: u32,
    checksum: u64,
    ended: bool,
    store: Option<SnapshotStore>,
}

impl SnapshotReader {
    pub(super) fn open(
        shared: &Shared,
        path: &Path,
        revision: Revision,
    ) -> Result<Self, SnapshotError> {
        match shared.disk.open(path, Access::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(SnapshotError::Missing { revision })
            }
            file => {
                Self::start(file.map_err(storage(path))?, path, revision, Some(&shared.lineage))
            }
        }
    }

    pub(super) fn start(
        file: Box<dyn DiskFile>,
        path: &Path,
        revision: Revision,
        lineage: Option<&[History]>,
    ) -> Result<Self, SnapshotError> {
        let path = path.to_owned();
        let mut bytes = [0; HEADER_BYTES];
        let length = file.read_full_at(&mut bytes, 0).map_err(storage(&path))?;
        let header = match Header::decode(&bytes[..length], SNAPSHOT_MAGIC) {
            Ok(header) if header.revision == revision => header,
            Ok(_) => {
                let detail = "its name and its header disagree about its revision";
                return Err(SnapshotError::Damaged { file: path, detail });
            }
            Err(HeaderFault::Damaged(detail)) => {
                return Err(SnapshotError::Damaged { file: path, detail });
            }
            Err(HeaderFault::Newer(found)) => {
                return Err(SnapshotError::NewerFormat { file: path, found });
            }
        };
        let incarnation = header.incarnation;
        if lineage.is_some_and(|lineage| !lineage.iter().any(|of| of.holds(&header))) {
            return Err(SnapshotError::OtherIncarnation { file: path, found: incarnation });
        }
        Ok(Self {
            file,
            path,
            revision,
            incarnation,
            block: Bytes::new(),
            offset: HEADER_BYTES as u64,
            chunks: 0,
            checksum: 0,
            ended: false,
            store: None,
        })
    }

    pub(super) fn reporting_to(mut self, store: SnapshotStore) -> Self {
        self.store = Some(store);
        self
    }

    /// The revision that the snapshot is complete up to.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The history that it was made from: the log's own, or one before a repair.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The next chunk; `None` when the snapshot came to its proper end.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`]: give up the records read before; and the storage's.
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        if self.ended {
            return Ok(None);
        }
        let outcome = self.advance();
        if let Some(store) = &self.store {
            match &outcome {
                Ok(None) => store.shared.learn(self.revision, State::Verified),
                Err(SnapshotError::Damaged { .. }) => {
                    store.shared.learn(self.revision, State::Damaged);
                }
                _ => {}
            }
        }
        outcome
    }

    pub(super) fn read_through(mut self) -> Result<(), SnapshotError> {
        while self.next_chunk()?.is_some() {}
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        let head = self.take(CHUNK_HEADER_BYTES)?;
        let (length, number) = (u32_at(&head, 0) as usize, u32_at(&head, 4));
        if number != self.chunks || length > CHUNK_BYTES {
            return Err(self.damaged("a chunk is not where it should be"));
        }
        let bytes = self.take(length)?;
        let checksum = chunk_checksum(self.checksum, &head[..8], &bytes);
        if checksum != u64_at(&head, 8) {
            return Err(self.damaged("the checksum of a chunk does not match"));
        }
        self.checksum = checksum;
        self.chunks = self.chunks.wrapping_add(1);
        if length > 0 {
            return Ok(Some(bytes));
        }
        let length = self.file.length().map_err(storage(&self.path))?;
        if length != self.offset - self.block.len() as u64 {
            return Err(self.damaged("something follows its end"));
        }
        self.ended = true;
        Ok(None)
    }

    fn take(&mut self, length: usize) -> Result<Bytes, SnapshotError> {
        if self.block.len() < length {
            let start = self.offset - self.block.len() as u64;
            let mut block = vec![0; length.max(BLOCK_BYTES)];
            let filled = self.file.read_full_at(&mut block, start).map_err(storage(&self.path))?;
            block.truncate(filled);
            self.block = Bytes::from(block);
            self.offset = start + filled as u64;
        }
        if self.block.len() < length {
            return Err(self.damaged("it is cut off"));
        }
        Ok(self.block.split_to(length))
    }

    fn damaged(&self, detail: &'static str) -> SnapshotError {
        SnapshotError::Damaged { file: self.path.clone(), detail }
    }
}
