//! Power cuts and kills at every operation: acknowledged entries are there, unchanged.
//!
//! Each run lives several lives on one simulated disk. `History` knows the entries that were
//! acknowledged or shown to a reader, and those attempted; after each start the log must agree with
//! it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use instep_embedded::error::OpenError;
use instep_embedded::log::EmbeddedLog;
use instep_model::disk::simulated::{Fault, SimulatedDisk};
use instep_model::disk::{Access, Disk, DiskFile, DiskLock, Sharing};
use instep_model::log::{AppendError, Log};
use instep_model::position::Revision;

use crate::world::options;

#[test]
fn law_1_i5_i37_every_operation_may_be_the_last_one() {
    let whole = SimulatedDisk::new(0);
    one_life(&whole, &mut History::default(), 0, 60).unwrap();
    for cut in 0..=whole.operations() {
        for seed in 0..12 {
            let disk = SimulatedDisk::new(seed);
            let mut history = History::default();
            disk.power_off_after(cut);
            let lived = one_life(&disk, &mut history, 0, 60);
            let outcome = lived.and_then(|()| {
                disk.crash();
                one_life(&disk, &mut history, 1, 5)
            });
            outcome.unwrap_or_else(|error| panic!("cut {cut}, seed {seed}: {error}"));
        }
    }
}

#[test]
fn law_1_i5_recovery_may_be_cut_at_every_operation_too() {
    for seed in 0..40 {
        let disk = SimulatedDisk::new(seed);
        let mut history = History::default();
        disk.power_off_after(60 + seed % 30);
        one_life(&disk, &mut history, 0, 60).unwrap();
        disk.crash();
        for cut in 0..12 {
            let fork = disk.fork(seed * 100 + cut);
            let mut history = history.clone();
            for life in 1..4 {
                fork.power_off_after(cut);
                one_life(&fork, &mut history, life, 1).unwrap();
                fork.crash();
            }
            one_life(&fork, &mut history, 9, 3)
                .unwrap_or_else(|error| panic!("seed {seed}, cut {cut}: {error}"));
        }
    }
}

#[test]
fn law_1_i5_many_lives_with_cuts_kills_and_failing_syncs() {
    for seed in 0..3_000 {
        let disk = SimulatedDisk::new(seed);
        let lived = many_lives(&disk, Arc::new(disk.clone()), seed);
        lived.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

#[test]
fn the_same_seed_lives_the_same_lives() {
    let run = |seed| {
        let disk = SimulatedDisk::new(seed);
        many_lives(&disk, Arc::new(disk.clone()), seed).unwrap();
        let names = disk.list(Path::new("/log")).unwrap();
        let contents = names.iter().map(|name| disk.contents(&Path::new("/log").join(name)));
        (disk.operations(), contents.collect::<Result<Vec<_>, _>>().unwrap())
    };
    assert_eq!(run(3), run(3));
}

#[test]
fn a_log_that_acknowledged_before_its_sync_would_be_caught() {
    assert!(caught(Lie::FilesAreSynced), "no seed noticed that files are never synced");
}

#[test]
fn a_log_that_did_not_sync_its_directory_would_be_caught() {
    assert!(caught(Lie::DirectoriesAreSynced), "no seed noticed that names are never synced");
}

fn caught(lie: Lie) -> bool {
    (0..200).any(|seed| {
        let disk = SimulatedDisk::new(seed);
        let lying = Arc::new(LyingDisk { disk: disk.clone(), lie });
        many_lives(&disk, lying, seed).is_err()
    })
}

fn many_lives(simulated: &SimulatedDisk, disk: Arc<dyn Disk>, seed: u64) -> Result<(), String> {
    let mut history = History::default();
    for life in 0..6_u64 {
        let roll = (seed * 6 + life).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        simulated.power_off_after(roll % 150);
        match roll >> 8 & 3 {
            0 => simulated.inject(Fault::SyncError, roll >> 10 & 31),
            1 => simulated.inject(Fault::WriteError, roll >> 10 & 31),
            2 => simulated.inject(Fault::ShortWrite, roll >> 10 & 31),
            _ => {}
        }
        live(Arc::clone(&disk), &mut history, life, roll % 41)?;
        // A process may end without the machine, unless the power went.
        if roll >> 16 & 1 == 0 && simulated.list(Path::new("/")).is_ok() {
            simulated.kill();
        } else {
            simulated.crash();
        }
    }
    live(disk, &mut history, 99, 3)
}

fn one_life(
    disk: &SimulatedDisk,
    history: &mut History,
    life: u64,
    appends: u64,
) -> Result<(), String> {
    live(Arc::new(disk.clone()), history, life, appends)
}

/// Opens, compares, appends until something fails. The entry of a revision differs from life to
/// life, so that a revision that is given out twice shows.
fn live(disk: Arc<dyn Disk>, history: &mut History, life: u64, appends: u64) -> Result<(), String> {
    let mut log = match EmbeddedLog::open(disk, options("/log", 1024)) {
        Ok(log) => log,
        Err(error @ OpenError::Damaged(_)) => return Err(error.to_string()),
        // The power went while opening, or a fault struck.
        Err(_) => return Ok(()),
    };
    history.compare(&log)?;
    let preallocator = log.preallocator();
    for turn in 0..appends {
        if turn % 3 == life % 3 {
            // What it cannot prepare the appender prepares itself.
            let _ = preallocator.prepare();
        }
        let head = log.bounds().head;
        let entry = vec![(life * 16 + turn) as u8; (turn * 37 % 300) as usize];
        history.attempted.insert(head.0 + 1, entry.clone());
        match log.append(head, &entry) {
            Ok(revision) => history.publish(revision, entry)?,
            Err(AppendError::Fatal(_)) => {
                let again = log.append(head, b"again");
                return match again {
                    Err(AppendError::Fatal(_)) => Ok(()),
                    other => Err(format!("after Fatal came {other:?}")),
                };
            }
            Err(other) => return Err(other.to_string()),
        }
        if turn % 17 == 16 {
            let floor = Revision(head.0.saturating_sub(5));
            history.floor = history.floor.max(floor.0);
            if log.trim(floor).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

#[derive(Default, Clone)]
struct History {
    published: BTreeMap<u64, Vec<u8>>,
    attempted: BTreeMap<u64, Vec<u8>>,
    floor: u64,
}

impl History {
    fn publish(&mut self, revision: Revision, entry: Vec<u8>) -> Result<(), String> {
        match self.published.insert(revision.0, entry) {
            None => Ok(()),
            Some(_) => Err(format!("revision {revision} was given out twice")),
        }
    }

    fn compare(&mut self, log: &EmbeddedLog) -> Result<(), String> {
        let bounds = log.bounds();
        let promised = self.published.keys().next_back().copied().unwrap_or(0);
        if bounds.head.0 < promised {
            return Err(format!("{promised} was acknowledged, the log ends at {}", bounds.head));
        }
        if bounds.head.0 > promised + 1 {
            return Err(format!("{} was never attempted", bounds.head));
        }
        if bounds.floor.0 > self.floor.max(1) {
            return Err(format!("the floor rose from {} to {}", self.floor, bounds.floor));
        }
        let read =
            log.reader().read(bounds.floor, usize::MAX).map_err(|error| error.to_string())?;
        for stored in read {
            let revision = stored.revision.0;
            let known = self.published.get(&revision).or_else(|| self.attempted.get(&revision));
            if known.is_none_or(|known| stored.bytes != known) {
                return Err(format!("entry {revision} is not what was written"));
            }
            self.published.insert(revision, stored.bytes.to_vec());
        }
        Ok(())
    }
}

/// A disk that only says that it synced: what the log would be without its syncs.
struct LyingDisk {
    disk: SimulatedDisk,
    lie: Lie,
}

#[derive(Clone, Copy, PartialEq)]
enum Lie {
    FilesAreSynced,
    DirectoriesAreSynced,
}

struct LyingFile {
    file: Box<dyn DiskFile>,
    lie: Lie,
}

impl LyingDisk {
    fn wrap(&self, file: io::Result<Box<dyn DiskFile>>) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(LyingFile { file: file?, lie: self.lie }))
    }
}

impl Disk for LyingDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.wrap(self.disk.create(path))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        self.wrap(self.disk.open(path, access))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.disk.create_directory(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_directory(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        match self.lie {
            Lie::DirectoriesAreSynced => Ok(()),
            Lie::FilesAreSynced => self.disk.sync_directory(path),
        }
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn directories(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.disk.directories(directory)
    }

    fn modified_ms(&self, path: &Path) -> io::Result<u64> {
        self.disk.modified_ms(path)
    }

    fn lock(&self, path: &Path, sharing: Sharing) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path, sharing)
    }
}

impl DiskFile for LyingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.lie {
            Lie::FilesAreSynced => Ok(()),
            Lie::DirectoriesAreSynced => self.file.sync_data(),
        }
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}
