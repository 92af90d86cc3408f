//! Stores in memory: for datasets that promise nothing, and for tests.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Chunks, DefinitionStore, Snapshots, TakeChunk};
use crate::position::Revision;

/// Snapshots that are kept.
const KEPT: usize = 2;

/// Snapshots that end with the process.
#[derive(Default)]
pub struct MemorySnapshots(Mutex<BTreeMap<Revision, Bytes>>);

/// Definitions that end with the process.
#[derive(Default)]
pub struct MemoryDefinitions(Mutex<Option<Vec<u8>>>);

impl Snapshots for MemorySnapshots {
    fn list(&self) -> io::Result<Vec<Revision>> {
        Ok(lock(&self.0).keys().copied().collect())
    }

    fn open(&self, revision: Revision) -> io::Result<Chunks> {
        let found = lock(&self.0).get(&revision).cloned();
        let bytes = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(Box::new(std::iter::once(Ok(bytes))))
    }

    fn write(
        &self,
        revision: Revision,
        fill: &mut dyn FnMut(&mut TakeChunk<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        fill(&mut |chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        })?;
        let mut kept = lock(&self.0);
        kept.insert(revision, bytes.into());
        while kept.len() > KEPT {
            kept.pop_first();
        }
        Ok(())
    }

    fn covered(&self) -> Option<Revision> {
        let kept = lock(&self.0);
        kept.keys().next().filter(|_| kept.len() == KEPT).map(|older| older.next())
    }
}

impl DefinitionStore for MemoryDefinitions {
    fn read(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(lock(&self.0).clone())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        *lock(&self.0) = Some(bytes.to_vec());
        Ok(())
    }

    fn remove(&self) -> io::Result<()> {
        *lock(&self.0) = None;
        Ok(())
    }
}

// Each change is one insertion or removal, so a poisoned lock is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    /// A store that keeps what was written before its writer gave up.
    #[derive(Default)]
    struct Hasty(MemorySnapshots);

    impl Snapshots for Hasty {
        fn list(&self) -> io::Result<Vec<Revision>> {
            self.0.list()
        }

        fn open(&self, revision: Revision) -> io::Result<Chunks> {
            self.0.open(revision)
        }

        fn write(
            &self,
            revision: Revision,
            fill: &mut dyn FnMut(&mut TakeChunk<'_>) -> io::Result<()>,
        ) -> io::Result<()> {
            let mut filled = Ok(());
            self.0.write(revision, &mut |take| {
                filled = fill(take);
                Ok(())
            })?;
            filled
        }

        fn covered(&self) -> Option<Revision> {
            self.0.covered()
        }
    }

    /// A store that writes over the text of before, and leaves the rest of that.
    #[derive(Default)]
    struct Overwriting(MemoryDefinitions);

    impl DefinitionStore for Overwriting {
        fn read(&self) -> io::Result<Option<Vec<u8>>> {
            self.0.read()
        }

        fn write(&self, bytes: &[u8]) -> io::Result<()> {
            let mut text = self.0.read()?.unwrap_or_default();
            let rest = text.split_off(bytes.len().min(text.len()));
            self.0.write(&[bytes, &rest].concat())
        }

        fn remove(&self) -> io::Result<()> {
            self.0.remove()
        }
    }

    #[test]
    fn snapshots_in_memory_pass_the_conformance_suite() {
        conformance::snapshots(|| Box::new(MemorySnapshots::default()));
    }

    #[test]
    fn definitions_in_memory_pass_the_conformance_suite() {
        conformance::definitions(|| Box::new(MemoryDefinitions::default()));
    }

    #[test]
    #[should_panic(expected = "a snapshot that is given up is not listed")]
    fn the_suite_catches_a_store_that_keeps_what_was_given_up() {
        conformance::snapshots(|| Box::new(Hasty::default()));
    }

    #[test]
    #[should_panic(expected = "a text is replaced whole")]
    fn the_suite_catches_a_store_that_leaves_the_rest_of_a_longer_text() {
        conformance::definitions(|| Box::new(Overwriting::default()));
    }
}
