//! Damage to one thing at a time, changed, cut or lost: a check says what opening does, a repair
//! keeps whatever a good snapshot and undamaged entries cover, and what was repaired opens.

use std::path::{Path, PathBuf};

use instep_embedded::check::check;
use instep_embedded::repair::repair;
use instep_model::disk::Disk;
use instep_model::disk::simulated::SimulatedDisk;
use instep_model::log::Log;
use instep_model::log::conformance::entry;
use instep_model::position::Revision;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::world::try_open;
use crate::world::{self, DIRECTORY, append, frames, incarnation, open, segment, segments};

const ENTRIES: u64 = 40;

/// Damage to one file.
#[derive(Debug, Clone)]
enum Harm {
    Flip(Index, u8),
    Truncate(Index),
    Remove,
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        4 => (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Harm::Flip(at, bit)),
        1 => any::<Index>().prop_map(Harm::Truncate),
        1 => Just(Harm::Remove),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_check_says_what_opening_does_and_a_repair_keeps_what_is_not_damaged(
        snapshots in proptest::collection::btree_set(1..=ENTRIES, 0..3),
        trims in any::<bool>(),
        harms in proptest::collection::vec((any::<Index>(), harm()), 1..3),
    ) {
        let disk = made(&snapshots.iter().copied().collect::<Vec<_>>(), trims);
        let untouched = files(&disk);
        for (which, harm) in &harms {
            do_harm(&disk, which, harm);
        }
        let expected = best(&disk, &untouched);

        let starts = starts(&disk);
        let report = check(&disk, Path::new(DIRECTORY), None).unwrap();
        prop_assert_eq!(report.starts(), starts, "{:?}", report);
        let head = report.head;
        let repaired = repair(&disk, Path::new(DIRECTORY), incarnation(8)).unwrap();

        prop_assert!(check(&disk, Path::new(DIRECTORY), None).unwrap().is_healthy());
        prop_assert!(self::starts(&disk));
        let mut log = open(&disk);
        let bounds = log.bounds();
        prop_assert_eq!(bounds.head, repaired.head);
        if starts {
            prop_assert_eq!((bounds.head, bounds.incarnation), (head, incarnation(7)));
        } else {
            prop_assert_eq!(bounds.head, expected, "{:?}", repaired);
        }
        for stored in log.reader().read(bounds.floor, usize::MAX).unwrap() {
            prop_assert_eq!(stored.bytes, entry(stored.revision.0));
        }
        append(&mut log, bounds.head.0 + 1, bounds.head.0 + 20);
        drop(log);
        prop_assert!(self::starts(&disk));
    }
}

fn made(snapshots: &[u64], trims: bool) -> SimulatedDisk {
    let disk = world::written(ENTRIES);
    let mut log = open(&disk);
    for revision in snapshots {
        log.snapshots().write(Revision(*revision), |to| to.chunk(b"rows")).unwrap();
    }
    if let (true, Some(oldest)) = (trims, snapshots.first()) {
        log.trim(Revision(oldest + 1)).unwrap();
    }
    disk
}

fn files(disk: &SimulatedDisk) -> Vec<PathBuf> {
    let snapshots = Path::new(DIRECTORY).join("snapshots");
    let names = disk.list(&snapshots).unwrap();
    let named = names.into_iter().map(|name| snapshots.join(name));
    segments(disk).into_iter().chain(named).collect()
}

fn do_harm(disk: &SimulatedDisk, which: &Index, harm: &Harm) {
    let files = files(disk);
    if files.is_empty() {
        return;
    }
    let file = &files[which.index(files.len())];
    let length = disk.contents(file).unwrap().len();
    match harm {
        Harm::Flip(..) | Harm::Truncate(_) if length == 0 => {}
        Harm::Flip(at, bit) => {
            world::damage(disk, file, |bytes| bytes[at.index(length)] ^= 1 << bit);
        }
        Harm::Truncate(at) => world::damage(disk, file, |bytes| bytes.truncate(at.index(length))),
        Harm::Remove => disk.remove(file).unwrap(),
    }
}

/// True when a server starts: the log opens, and goes back to the beginning or to a good snapshot.
fn starts(disk: &SimulatedDisk) -> bool {
    let Ok(log) = try_open(&disk.fork(1)) else { return false };
    let floor = log.bounds().floor;
    let store = log.snapshots();
    let reaches = |revision: Revision| revision.next() >= floor && store.verify(revision).is_ok();
    floor <= Revision(1) || store.list().iter().any(|info| reaches(info.revision))
}

/// The farthest entry that a good snapshot, or the beginning, and the entries behind it lead to.
fn best(disk: &SimulatedDisk, untouched: &[PathBuf]) -> Revision {
    let mut whole = std::collections::BTreeSet::new();
    let mut states = vec![0];
    for file in untouched {
        let Ok(bytes) = disk.contents(file) else { continue };
        let number: u64 = file.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        if file.extension().unwrap() == "snapshot" {
            states.extend(is_good(file, &bytes, Revision(number)).then_some(number));
            continue;
        }
        // Compared with what was written, byte by byte.
        let original = world::written(ENTRIES).contents(&segment(number)).unwrap();
        let starts = frames(&original);
        for (nth, pair) in starts.windows(2).enumerate() {
            if bytes.get(pair[0]..pair[1]) == Some(&original[pair[0]..pair[1]]) {
                whole.insert(number + nth as u64);
            }
        }
    }
    let reach = |state: &u64| (state + 1..).take_while(|next| whole.contains(next)).last();
    let ends = states.iter().map(|state| reach(state).unwrap_or(*state));
    Revision(ends.max().unwrap_or(0))
}

fn is_good(file: &Path, bytes: &[u8], revision: Revision) -> bool {
    let disk = world::written(ENTRIES);
    let path = Path::new(DIRECTORY).join("snapshots").join(file.file_name().unwrap());
    disk.create(&path).unwrap();
    disk.replace(&path, bytes).unwrap();
    let snapshots = open(&disk).snapshots();
    snapshots.verify(revision).is_ok()
}
