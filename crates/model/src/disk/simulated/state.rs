//! State of the simulated disk, and its losses when the power goes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::Fault;
use super::names::{Change, Name, Names};
use crate::disk::{Sharing, Shortage};

pub(super) struct State {
    dice: Dice,
    /// Handles of an earlier life are dead.
    pub(super) life: u64,
    /// Operations until the power goes, if it will.
    pub(super) power: Option<u64>,
    off: bool,
    pub(super) operations: u64,
    pub(super) capacity: Option<u64>,
    pub(super) full: bool,
    pub(super) read_only: bool,
    pub(super) faults: Vec<(Fault, u64)>,
    files: BTreeMap<u64, Contents>,
    /// Of files and directories.
    next_number: u64,
    pub(super) names: Names,
    kept_names: Names,
    /// Changes that no sync of their directory has covered yet.
    changes: Vec<Change>,
    locks: BTreeMap<PathBuf, Holders>,
}

/// One file, twice: `seen` by processes, `kept` by the platter.
#[derive(Clone, Default)]
pub(super) struct Contents {
    pub(super) seen: Vec<u8>,
    pub(super) kept: Vec<u8>,
    pub(super) unsynced: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone, Default)]
struct Holders {
    exclusive: bool,
    shared: u32,
}

/// SplitMix64: small, well spread, and the same everywhere.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound.max(1) as u64) as usize
    }

    fn coin(&mut self) -> bool {
        self.roll() & 1 == 1
    }
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            dice: Dice(seed),
            life: 0,
            power: None,
            off: false,
            operations: 0,
            capacity: None,
            full: false,
            read_only: false,
            faults: Vec::new(),
            files: BTreeMap::new(),
            next_number: Names::FREE,
            names: Names::default(),
            kept_names: Names::default(),
            changes: Vec::new(),
            locks: BTreeMap::new(),
        }
    }

    pub(super) fn fork(&self, seed: u64) -> Self {
        let mut fork = Self::new(seed);
        fork.life = self.life + 1;
        fork.capacity = self.capacity;
        fork.full = self.full;
        fork.read_only = self.read_only;
        fork.files = self.files.clone();
        fork.next_number = self.next_number;
        fork.names = self.names.clone();
        fork.kept_names = self.kept_names.clone();
        fork.changes = self.changes.clone();
        fork
    }

    pub(super) fn check_power(&self) -> io::Result<()> {
        if self.off { Err(power_is_off()) } else { Ok(()) }
    }

    /// The name at a path, whose directory must be there.
    pub(super) fn name(&self, path: &Path) -> io::Result<Name> {
        self.names.name(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn file_at(&self, path: &Path) -> io::Result<u64> {
        self.names.file_at(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn contents(&self, file: u64) -> io::Result<&Contents> {
        self.files.get(&file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn contents_mut(&mut self, file: u64) -> io::Result<&mut Contents> {
        self.files.get_mut(&file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn new_file(&mut self) -> u64 {
        let file = self.new_number();
        self.files.insert(file, Contents::default());
        file
    }

    fn new_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// Counts a changing operation; `false` when the power goes during it.
    fn count(&mut self) -> io::Result<bool> {
        self.check_power()?;
        if self.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.operations += 1;
        match self.power {
            Some(0) => {
                self.off = true;
                Ok(false)
            }
            Some(left) => {
                self.power = Some(left - 1);
                Ok(true)
            }
            None => Ok(true),
        }
    }

    /// A changing operation that either happens or fails.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        if self.count()? { Ok(()) } else { Err(power_is_off()) }
    }

    pub(super) fn change(&mut self, change: Change) -> io::Result<()> {
        let powered = self.count()?;
        if powered || self.dice.coin() {
            self.names.apply(&change);
            self.changes.push(change);
        }
        if powered { Ok(()) } else { Err(power_is_off()) }
    }

    /// Makes a directory and those above it, durably. Whatever was done to directories before it is
    /// durable then, too: file systems keep that order.
    pub(super) fn create_directory(&mut self, path: &Path) -> io::Result<()> {
        self.begin()?;
        let (of_directories, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.changes).into_iter().partition(Change::is_of_a_directory);
        self.changes = others;
        of_directories.iter().for_each(|change| self.kept_names.apply(change));
        let missing: Vec<PathBuf> = path
            .ancestors()
            .filter(|ancestor| self.names.directory(ancestor).is_none())
            .map(Path::to_owned)
            .collect();
        for path in missing {
            let directory = self.new_number();
            self.names.put_directory(&path, directory);
            self.kept_names.put_directory(&path, directory);
        }
        Ok(())
    }

    pub(super) fn write(&mut self, file: u64, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let powered = self.count()?;
        let mut length = bytes.len();
        let mut outcome = Ok(());
        if !powered {
            outcome = Err(power_is_off());
        } else if self.strikes(Fault::WriteError) {
            length = self.dice.below(length + 1);
            outcome = Err(io::Error::other("simulated failure of a write"));
        } else if self.strikes(Fault::NoMemory) {
            length = self.dice.below(length + 1);
            outcome = Err(io::ErrorKind::OutOfMemory.into());
        } else if self.full || self.strikes(Fault::Full) {
            length = 0;
            outcome = Err(io::ErrorKind::StorageFull.into());
        } else if self.strikes(Fault::ShortWrite) && length > 1 {
            length = 1 + self.dice.below(length - 1);
        }
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let fits = self.room(file, start + length)?;
        if outcome.is_ok() && length > 0 && fits <= start {
            return Err(io::ErrorKind::StorageFull.into());
        }
        length = length.min(fits.saturating_sub(start));
        let taken = bytes[..length].to_vec();
        let contents = self.contents_mut(file)?;
        overwrite(&mut contents.seen, start, &taken);
        contents.unsynced.push((start, taken));
        outcome.map(|()| length)
    }

    /// The end that a file can have, at most `end`, without going over the capacity.
    fn room(&self, file: u64, end: usize) -> io::Result<usize> {
        let Some(capacity) = self.capacity else {
            return Ok(end);
        };
        let named: BTreeSet<u64> = self.names.files().collect();
        let others: usize = named
            .iter()
            .filter(|other| **other != file)
            .filter_map(|other| self.files.get(other))
            .map(|contents| contents.seen.len())
            .sum();
        let own = self.contents(file)?.seen.len();
        let left = usize::try_from(capacity).unwrap_or(usize::MAX).saturating_sub(others);
        Ok(end.min(left.max(own)))
    }

    pub(super) fn sync_data(&mut self, file: u64) -> io::Result<()> {
        self.begin()?;
        let full = self.strikes(Fault::FullAtSync);
        let failed = full || self.strikes(Fault::SyncError);
        let mut unsynced = std::mem::take(&mut self.contents_mut(file)?.unsynced);
        if failed {
            unsynced.retain(|_| self.dice.coin());
        }
        let contents = self.contents_mut(file)?;
        for (start, bytes) in &unsynced {
            overwrite(&mut contents.kept, *start, bytes);
        }
        match (full, failed) {
            (true, _) => Err(io::ErrorKind::StorageFull.into()),
            (false, true) => Err(io::Error::other("simulated failure of a sync")),
            (false, false) => Ok(()),
        }
    }

    /// Fails when an injected shortage of descriptors is due.
    pub(super) fn take_descriptor(&mut self, fault: Fault) -> io::Result<()> {
        if self.strikes(fault) { Err(Shortage::no_descriptors()) } else { Ok(()) }
    }

    pub(super) fn sync_directory(&mut self, directory: &Path) -> io::Result<()> {
        self.begin()?;
        self.take_descriptor(Fault::NoDescriptorAtSync)?;
        let number = self.names.directory(directory);
        let number = number.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let failed = self.strikes(Fault::DirectorySyncError);
        for change in std::mem::take(&mut self.changes) {
            if !change.touches(directory, number) {
                self.changes.push(change);
            } else if !failed || self.dice.coin() {
                self.kept_names.apply(&change);
            }
        }
        if failed { Err(io::Error::other("simulated failure of a directory sync")) } else { Ok(()) }
    }

    pub(super) fn kill(&mut self) {
        self.life += 1;
        self.power = None;
        self.off = false;
        self.locks.clear();
    }

    pub(super) fn crash(&mut self) {
        self.kill();
        self.faults.clear();
        for change in std::mem::take(&mut self.changes) {
            if self.dice.coin() {
                self.kept_names.apply(&change);
            }
        }
        self.kept_names.forget_unsynced_names();
        self.names = self.kept_names.clone();
        let mut survivors = BTreeMap::new();
        for file in self.names.files() {
            let mut contents = self.files.remove(&file).unwrap_or_default();
            settle(&mut contents, &mut self.dice);
            survivors.insert(file, contents);
        }
        self.files = survivors;
    }

    pub(super) fn lock(&mut self, path: &Path, sharing: Sharing) -> io::Result<()> {
        let holders = self.locks.entry(path.to_owned()).or_default();
        match sharing {
            Sharing::Exclusive if holders.exclusive || holders.shared > 0 => {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Sharing::Shared if holders.exclusive => {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Sharing::Exclusive => holders.exclusive = true,
            Sharing::Shared => holders.shared += 1,
        }
        Ok(())
    }

    pub(super) fn unlock(&mut self, path: &Path, sharing: Sharing) {
        if let Some(holders) = self.locks.get_mut(path) {
            match sharing {
                Sharing::Exclusive => holders.exclusive = false,
                Sharing::Shared => holders.shared = holders.shared.saturating_sub(1),
            }
        }
    }

    /// Returns true if a fault of this kind is due now; counts down the ones that are not yet.
    fn strikes(&mut self, kind: Fault) -> bool {
        let Some(at) = self.faults.iter().position(|(fault, _)| *fault == kind) else {
            return false;
        };
        if self.faults[at].1 > 0 {
            self.faults[at].1 -= 1;
            return false;
        }
        self.faults.remove(at);
        true
    }
}

/// Lets each unsynced write survive wholly, in pieces, or not at all.
fn settle(contents: &mut Contents, dice: &mut Dice) {
    for (start, bytes) in std::mem::take(&mut contents.unsynced) {
        let mut at = 0;
        while at < bytes.len() {
            let piece = match dice.below(4) {
                0 => bytes.len() - at,
                _ => 1 + dice.below(bytes.len() - at),
            };
            if dice.coin() {
                overwrite(&mut contents.kept, start + at, &bytes[at..at + piece]);
            }
            at += piece;
        }
    }
    contents.seen = contents.kept.clone();
}

fn overwrite(target: &mut Vec<u8>, start: usize, bytes: &[u8]) {
    let end = start + bytes.len();
    if target.len() < end {
        target.resize(end, 0);
    }
    target[start..end].copy_from_slice(bytes);
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}
