use instep_model::disk::simulated::SimulatedDisk;
use instep_model::log::Log;
use instep_model::position::Incarnation;
use uuid::Uuid;

use super::*;
use crate::format::Frame;
use crate::log::{EmbeddedLog, Options, Trimming};

const DIRECTORY: &str = "/log";

#[test]
fn a_scan_without_the_chain_would_take_the_entries_of_a_sibling_history() {
    // Two copies of one history that went on differently: everything fits but the chain.
    let (disk, sibling) = (written(b"ours"), written(b"his!"));
    let path = segment::path(Path::new(DIRECTORY), Revision(1));
    let mut spliced = disk.contents(&path).unwrap();
    let cut = third_frame(&spliced);
    spliced[cut..].copy_from_slice(&sibling.contents(&path).unwrap()[cut..]);
    disk.replace(&path, &spliced).unwrap();

    let checked = scan(&disk, Path::new(DIRECTORY), Rules::CHAIN).unwrap();
    assert_eq!(checked.head(), Revision(2));
    assert!(checked.damage.is_some());
    let ignored = Rules { chain: Chain::Ignored, ..Rules::CHAIN };
    let fooled = scan(&disk, Path::new(DIRECTORY), ignored).unwrap();
    assert_eq!(fooled.head(), Revision(5));
    assert!(fooled.damage.is_none());
}

fn written(entry: &[u8]) -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    let options = Options {
        directory: PathBuf::from(DIRECTORY),
        segment_bytes: 1024,
        new_incarnation: Incarnation(Uuid::from_u128(1)),
        trimming: Trimming::AsAsked,
        newest_entry: None,
    };
    let mut log = EmbeddedLog::open(Arc::new(disk.clone()), options).unwrap();
    for head in 0..5 {
        log.append(Revision(head), entry).unwrap();
    }
    disk
}

fn third_frame(bytes: &[u8]) -> usize {
    let mut at = HEADER_BYTES;
    for _ in 0..2 {
        let Found::Frame(frame) = Frame::decode(&bytes[at..]) else { panic!("no frame") };
        at += frame.bytes();
    }
    at
}
