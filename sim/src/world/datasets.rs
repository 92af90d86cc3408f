//! Other datasets of the node, which come and go: each of them is whole or gone, whatever happens
//! on the way, and keeps no other from coming up.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use instep_embedded::datasets::{Datasets, Found};
use instep_embedded::log::{EmbeddedLog, Options, Trimming};
use instep_model::disk::Disk;
use instep_model::disk::simulated::SimulatedDisk;
use instep_model::log::Log as _;
use instep_model::name::Name;
use instep_model::position::{Incarnation, Revision};

use super::World;
use crate::fault::Fault;
use crate::history::Event;
use crate::node::{SEGMENT_BYTES, Unopened, datasets_root, is_dark};
use crate::shop;

/// The datasets that come and go.
const NAMES: [&str; 3] = ["blue", "green", "red"];
/// Bytes of an entry: a segment has room for one.
const ENTRY_BYTES: usize = 3 * 1024;

/// Error of making a dataset.
struct NotMade;

impl From<io::Error> for NotMade {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl World {
    /// Makes a dataset that is not there.
    pub(super) fn make_dataset(&mut self) {
        let name = shop::name(self.dice.pick::<&str>(&NAMES));
        let Some(datasets) = self.datasets.clone() else { return };
        if datasets.find(&name).ok() != Some(Found::Nothing) {
            return;
        }
        let entries = 2 + self.dice.below(4);
        let new_incarnation = Incarnation(self.dice.uuid());
        self.injure_directory();
        let disk = self.disk.clone();
        let fill = |directory: &Path| fill(&disk, directory, new_incarnation, entries);
        let made = match self.fault {
            Some(Fault::HalfMadeDataset) => {
                let path = datasets.path(&name);
                let made = self.disk.create_directory(&path).map_err(NotMade::from);
                made.and_then(|()| fill(&path))
            }
            _ => datasets.make(&name, fill),
        };
        let (dataset, entries, done) = (name.to_string(), entries as u64, made.is_ok());
        self.trace.push(Event::DatasetMade { dataset, entries, done });
    }

    /// Removes a dataset.
    pub(super) fn remove_dataset(&mut self) {
        let name = shop::name(self.dice.pick::<&str>(&NAMES));
        let Some(datasets) = self.datasets.clone() else { return };
        if datasets.find(&name).ok() != Some(Found::Dataset) {
            return;
        }
        self.injure_directory();
        let removed = match self.fault {
            Some(Fault::HalfMadeDataset) => empty(&self.disk, &datasets.path(&name)),
            _ => datasets.remove(&name).map(drop),
        };
        let (dataset, done) = (name.to_string(), removed.is_ok());
        self.trace.push(Event::DatasetRemoved { dataset, done });
    }

    /// The power goes in the middle of it, more often than by chance.
    fn injure_directory(&mut self) {
        if self.dice.chance(30) {
            self.disk.power_off_after(self.dice.below(40) as u64);
        }
    }

    /// The dataset of the shop is removed, and made anew under the same name.
    pub(super) fn recreate(&mut self) {
        // Rare: what a seed learnt about its history ends here.
        if !self.dice.chance(40) {
            return;
        }
        self.node = None;
        self.trace.push(Event::DeadLettered { power: false });
        self.disk.kill();
        for subscriber in &mut self.subscribers {
            subscriber.lose(&mut self.trace);
        }
        if self.dice.chance(50) {
            self.disk.power_off_after(self.dice.below(30) as u64);
        }
        let name = shop::name(shop::DATASET);
        let removed = self.datasets.as_ref().map(|datasets| datasets.remove(&name));
        if !matches!(removed, Some(Ok(_))) || is_dark(&self.disk) {
            self.disk.crash();
        }
        let root = datasets_root();
        let found = Datasets::open(Arc::new(self.disk.clone()), &root)
            .and_then(|(datasets, _)| datasets.find(&name));
        if matches!(found, Ok(Found::Nothing)) {
            self.incarnation = None;
        }
        self.start();
    }

    /// Takes the directory in hand, as every start does, and opens what lies in it.
    pub(super) fn open_datasets(&mut self) -> Result<(), Unopened> {
        let failed = |error: &dyn ToString| Unopened::Failed(error.to_string());
        let root = datasets_root();
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let (datasets, _) =
            Datasets::open(Arc::clone(&disk), &root).map_err(|error| failed(&error))?;
        let mut names = datasets.list().map_err(|error| failed(&error))?.named;
        // What cannot be looked at is said when it is opened.
        let is_other = |found: Found| found != Found::Dataset;
        names.retain(|name| !datasets.settle(name).is_ok_and(|(found, _)| is_other(found)));
        if self.fault == Some(Fault::HalfMadeDataset) {
            let all = disk.directories(&root).map_err(|error| failed(&error))?;
            names = all.iter().filter_map(|name| Name::new(name).ok()).collect();
        }
        let mut found = BTreeMap::new();
        for name in names.iter().filter(|name| name.as_str() != shop::DATASET) {
            let options = options(&datasets.path(name), Incarnation(self.dice.uuid()));
            let entries = match EmbeddedLog::open(Arc::clone(&disk), options) {
                Ok(log) => {
                    let bounds = log.bounds();
                    (bounds.floor.0 == 1).then_some(bounds.head.0)
                }
                Err(error) if error.is_damage() => None,
                Err(error) => return Err(error.into()),
            };
            found.insert(name.to_string(), entries);
        }
        self.trace.push(Event::DatasetsFound { datasets: found });
        self.datasets = Some(datasets);
        Ok(())
    }
}

fn options(directory: &Path, new_incarnation: Incarnation) -> Options {
    Options {
        directory: directory.to_owned(),
        segment_bytes: SEGMENT_BYTES,
        new_incarnation,
        trimming: Trimming::BelowSnapshots,
        newest_entry: None,
    }
}

/// Fills the directory of a new dataset.
fn fill(
    disk: &SimulatedDisk,
    directory: &Path,
    new_incarnation: Incarnation,
    entries: usize,
) -> Result<(), NotMade> {
    let options = options(directory, new_incarnation);
    let mut log = EmbeddedLog::open(Arc::new(disk.clone()), options).map_err(|_| NotMade)?;
    for number in 0..entries {
        let bytes = vec![number as u8; ENTRY_BYTES];
        log.append(Revision(number as u64), &bytes).map_err(|_| NotMade)?;
    }
    Ok(())
}

/// Removes the files of a directory one by one.
fn empty(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    for inner in disk.directories(path)? {
        empty(disk, &path.join(inner))?;
    }
    for file in disk.list(path)? {
        disk.remove(&path.join(file))?;
    }
    disk.remove_directory(path)
}
