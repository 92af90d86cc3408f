use instep_model::disk::simulated::{Fault, SimulatedDisk};

use super::*;
use crate::real::RealDisk;

/// Files of a dataset that is whole.
const FILES: [&str; 3] = ["00000000000000000001.segment", "identity", "lock"];

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn root() -> PathBuf {
    PathBuf::from("/data/datasets")
}

/// The names under which a dataset lies.
fn there(datasets: &Datasets) -> Vec<Name> {
    let mut named = datasets.list().unwrap().named;
    named.retain(|name| datasets.settle(name).unwrap().0 == Found::Dataset);
    named
}

fn open(disk: &SimulatedDisk) -> Datasets {
    Datasets::open(Arc::new(disk.clone()), &root()).unwrap().0
}

/// Fills a directory as an engine does: every file is synced, and so are their names.
fn fill(disk: &dyn Disk) -> impl Fn(&Path) -> io::Result<()> + '_ {
    |directory| {
        let snapshots = directory.join("snapshots");
        disk.create_directory(&snapshots)?;
        for file in FILES {
            let file = disk.create(&directory.join(file))?;
            file.write_all_at(b"whole", 0)?;
            file.sync_data()?;
        }
        disk.create(&snapshots.join("1.snapshot"))?.sync_data()?;
        disk.sync_directory(&snapshots)
    }
}

fn is_whole(disk: &dyn Disk, directory: &Path) -> bool {
    let whole = FILES.iter().all(|file| {
        let mut bytes = [0; 5];
        let file = disk.open(&directory.join(file), instep_model::disk::Access::Read);
        file.is_ok_and(|file| file.read_full_at(&mut bytes, 0).is_ok()) && &bytes == b"whole"
    });
    whole && disk.list(&directory.join("snapshots")).is_ok_and(|list| list.len() == 1)
}

fn everything(disk: &dyn Disk, root: &Path) -> Vec<String> {
    [disk.directories(root).unwrap(), disk.list(root).unwrap()].concat()
}

/// Makes one dataset and removes it again; returns the acknowledged steps.
fn come_and_go(datasets: &Datasets, disk: &SimulatedDisk) -> (bool, bool) {
    let comes = name("comes");
    let made = datasets.make::<io::Error>(&comes, fill(disk)).is_ok();
    (made, made && datasets.remove(&comes).is_ok())
}

#[test]
fn a_dataset_is_whole_or_gone_wherever_the_power_is_cut() {
    let calm = SimulatedDisk::new(0);
    let datasets = open(&calm);
    datasets.make::<io::Error>(&name("stays"), fill(&calm)).unwrap();
    let before = calm.operations();
    assert_eq!(come_and_go(&datasets, &calm), (true, true));
    let operations = calm.operations() - before;

    let mut seen = [0; 2];
    for cut in 0..operations {
        for seed in 0..16 {
            let disk = SimulatedDisk::new(seed);
            let datasets = open(&disk);
            datasets.make::<io::Error>(&name("stays"), fill(&disk)).unwrap();
            disk.power_off_after(cut);
            let (made, gone) = come_and_go(&datasets, &disk);
            if seed % 2 == 0 {
                disk.crash()
            } else {
                disk.kill()
            }

            let datasets = open(&disk);

            let there = there(&datasets);
            let comes = there.contains(&name("comes"));
            assert!(there.contains(&name("stays")), "cut {cut}, seed {seed}");
            assert_eq!(everything(&disk, &root()).len(), there.len(), "cut {cut}, seed {seed}");
            assert!(there.iter().all(|name| is_whole(&disk, &datasets.path(name))));
            assert!(!(gone && comes), "removed, and back: cut {cut}, seed {seed}");
            assert!(!made || comes || cut >= 13, "made, and lost: cut {cut}, seed {seed}");
            seen[usize::from(comes)] += 1;
        }
    }
    assert!(seen.iter().all(|count| *count > 16), "{seen:?}");
}

#[test]
fn refused_actions_leave_nothing_at_any_step() {
    let mut refused = 0;
    for fault in [Fault::Full, Fault::NoDescriptor, Fault::SyncError, Fault::DirectorySyncError] {
        for skip in 0..8 {
            let disk = SimulatedDisk::new(skip);
            let datasets = open(&disk);
            disk.inject(fault, skip);

            let made = datasets.make::<io::Error>(&name("comes"), fill(&disk));

            let there = everything(&disk, &root());
            assert_eq!(there.len(), usize::from(made.is_ok()), "{fault:?} {skip}: {there:?}");
            refused += usize::from(made.is_err());
        }
    }
    assert!(refused > 12, "{refused}");
}

#[test]
fn datasets_whose_removal_failed_are_there_or_removed_at_the_next_start() {
    let disk = SimulatedDisk::new(1);
    let datasets = open(&disk);
    datasets.make::<io::Error>(&name("goes"), fill(&disk)).unwrap();
    disk.set_read_only(true);
    assert!(datasets.remove(&name("goes")).is_err());
    assert_eq!(datasets.find(&name("goes")).unwrap(), Found::Dataset);

    disk.set_read_only(false);
    // The two names are changed; then the power goes.
    disk.power_off_after(2);
    let left = datasets.remove(&name("goes")).unwrap();
    assert!(left.is_some_and(|left| left.path.to_string_lossy().contains(REMOVED)));
    disk.crash();

    let datasets = open(&disk);
    assert_eq!(datasets.find(&name("goes")).unwrap(), Found::Nothing);
    assert_eq!(everything(&disk, &root()), Vec::<String>::new());
}

#[test]
fn only_what_holds_a_dataset_is_one() {
    let data = tempfile::tempdir().unwrap();
    let root = data.path().join("datasets");
    let here = || Datasets::open(Arc::new(RealDisk), &root).unwrap().0;
    here().make::<io::Error>(&name("new"), fill(&RealDisk)).unwrap();
    // As an older version made it, without an identity.
    std::fs::create_dir_all(root.join("old/snapshots")).unwrap();
    std::fs::write(root.join("old/00000000000000000001.segment"), "").unwrap();
    // As an older version left it when the disk was full.
    std::fs::create_dir_all(root.join("begun/snapshots")).unwrap();
    std::fs::write(root.join("begun/lock"), "").unwrap();
    std::fs::write(root.join("begun/first.tmp"), "").unwrap();
    std::fs::create_dir_all(root.join("notes")).unwrap();
    std::fs::write(root.join("notes/todo"), "").unwrap();
    std::fs::create_dir_all(root.join("empty")).unwrap();
    std::fs::write(root.join("file"), "").unwrap();
    std::fs::create_dir_all(root.join("lost+found")).unwrap();

    let here = here();

    let listing = here.list().unwrap();
    let named = ["begun", "empty", "file", "new", "notes", "old"].map(name);
    assert_eq!((listing.named, listing.foreign), (named.to_vec(), vec![root.join("lost+found")]));
    assert_eq!(there(&here), [name("new"), name("old")]);
    let found = ["begun", "empty", "notes", "file"].map(|of| here.find(&name(of)).unwrap());
    assert_eq!(found, [Found::Nothing, Found::Empty, Found::Foreign, Found::Foreign]);
    assert!(here.make::<io::Error>(&name("notes"), fill(&RealDisk)).is_err());
    assert!(root.join("notes/todo").exists(), "a directory of another program stays");
    here.make::<io::Error>(&name("empty"), fill(&RealDisk)).unwrap();
}

#[test]
fn a_link_to_a_dataset_is_one_and_what_it_leads_to_outlives_it() {
    let data = tempfile::tempdir().unwrap();
    let (root, elsewhere) = (data.path().join("datasets"), data.path().join("elsewhere"));
    std::fs::create_dir(&elsewhere).unwrap();
    fill(&RealDisk)(&elsewhere).unwrap();
    let here = Datasets::open(Arc::new(RealDisk), &root).unwrap().0;
    std::os::unix::fs::symlink(&elsewhere, root.join("linked")).unwrap();
    assert_eq!(there(&here), [name("linked")]);

    assert!(here.remove(&name("linked")).unwrap().is_none());

    assert_eq!(here.list().unwrap(), Listing::default());
    assert!(is_whole(&RealDisk, &elsewhere));
}
