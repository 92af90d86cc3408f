//! Definitions of the views by which readers of a dataset were told: `views.json` beside the log.
//!
//! It is small, and replaced as a whole: written under a temporary name, synced, renamed. If it is
//! missing or cannot be read, every view counts as changed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use instep_model::disk::{Access, Disk};
use instep_model::store::DefinitionStore;

/// Its name.
pub const FILE: &str = "views.json";
const UNFINISHED: &str = "views.json.tmp";
/// Far more than the views of a dataset take.
const BYTES_MOST: u64 = 16 * 1024 * 1024;

/// The file of one directory.
pub struct DefinitionFile {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
}

impl DefinitionFile {
    /// The file in a directory, whether it is there or not.
    #[must_use]
    pub fn in_directory(disk: Arc<dyn Disk>, directory: &Path) -> Self {
        Self { disk, directory: directory.to_owned() }
    }
}

impl DefinitionStore for DefinitionFile {
    /// Fails for a file that is far too large as well.
    fn read(&self) -> io::Result<Option<Vec<u8>>> {
        let file = match self.disk.open(&self.directory.join(FILE), Access::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let length = file.length()?;
        if length > BYTES_MOST {
            return Err(io::Error::other(format!("{FILE} has {length} bytes")));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        let read = file.read_full_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(Some(bytes))
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let unfinished = self.directory.join(UNFINISHED);
        let file = match self.disk.create(&unfinished) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.disk.remove(&unfinished)?;
                self.disk.create(&unfinished)?
            }
            created => created?,
        };
        file.write_all_at(bytes, 0)?;
        file.sync_data()?;
        self.disk.rename(&unfinished, &self.directory.join(FILE))?;
        self.disk.sync_directory(&self.directory)
    }

    fn remove(&self) -> io::Result<()> {
        match self.disk.remove(&self.directory.join(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        self.disk.sync_directory(&self.directory)
    }
}

#[cfg(test)]
mod tests {
    use instep_model::disk::simulated::SimulatedDisk;

    use super::*;

    #[test]
    fn definitions_are_replaced_whole_and_survive_a_loss_of_power() {
        let disk = SimulatedDisk::new(1);
        let directory = Path::new("/node/shop");
        let file = || DefinitionFile::in_directory(Arc::new(disk.clone()), directory);
        disk.create_directory(directory).unwrap();
        assert_eq!(file().read().unwrap(), None);

        for text in ["first, which is longer", "second"] {
            file().write(text.as_bytes()).unwrap();
            assert_eq!(file().read().unwrap().as_deref(), Some(text.as_bytes()));
        }

        disk.create(&directory.join(UNFINISHED)).unwrap();
        file().write(b"third").unwrap();
        assert_eq!(file().read().unwrap().as_deref(), Some(&b"third"[..]), "after a broken write");

        (0..2).for_each(|_| file().remove().unwrap());
        disk.crash();
        assert_eq!(file().read().unwrap(), None, "what is removed stays so");
    }
}
