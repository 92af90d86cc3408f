//! Marker of a repair: its plan, written before and removed after.

use std::io;
use std::path::Path;

use instep_model::disk::Disk;
use instep_model::position::Revision;

use super::{RepairPlan, create_anew, header_of};
use crate::error::OpenError;
use crate::format::Header;

/// The file that says a repair is under way, and which.
pub(crate) const MARKER: &str = "repairing";
const MARKER_UNFINISHED: &str = "repairing.tmp";
const MARKER_MAGIC: [u8; 8] = *b"INSTEPRP";
/// Magic bytes of a marker when only history is given up.
const HISTORY_MAGIC: [u8; 8] = *b"INSTEPRH";
/// The file with each of the beginnings that it may have.
pub(crate) const MARKERS: [(&str, [u8; 8]); 2] = [(MARKER, MARKER_MAGIC), (MARKER, HISTORY_MAGIC)];

/// The plan of an interrupted repair. A marker that is not whole was never acted on.
pub(super) fn read_marker(
    disk: &dyn Disk,
    directory: &Path,
) -> Result<Option<RepairPlan>, OpenError> {
    let path = directory.join(MARKER);
    let mut begins_anew = true;
    let mut header = header_of(disk, &path, MARKER_MAGIC)?;
    if header.is_none() {
        begins_anew = false;
        header = header_of(disk, &path, HISTORY_MAGIC)?;
    }
    Ok(header.map(|header| RepairPlan {
        incarnation: header.incarnation,
        predecessor: header.predecessor,
        head: header.revision,
        chain: header.chain,
        newest_seen: Revision(header.bytes),
        begins_anew,
    }))
}

/// Writes the marker, whole or not at all, also in the place of one that is there.
pub(super) fn write_marker(
    disk: &dyn Disk,
    directory: &Path,
    plan: &RepairPlan,
) -> Result<(), OpenError> {
    let header = Header {
        magic: if plan.begins_anew { MARKER_MAGIC } else { HISTORY_MAGIC },
        incarnation: plan.incarnation,
        predecessor: plan.predecessor,
        revision: plan.head,
        chain: plan.chain,
        bytes: plan.newest_seen.0,
    };
    let unnamed = directory.join(MARKER_UNFINISHED);
    let file = create_anew(disk, &unnamed).map_err(OpenError::of(&unnamed))?;
    file.write_all_at(&header.encode(), 0).map_err(OpenError::of(&unnamed))?;
    file.sync_data().map_err(OpenError::sync(&unnamed))?;
    disk.rename(&unnamed, &directory.join(MARKER)).map_err(OpenError::of(&unnamed))?;
    disk.sync_directory(directory).map_err(OpenError::sync(directory))
}

pub(crate) fn remove_marker(disk: &dyn Disk, directory: &Path) -> Result<(), OpenError> {
    let path = directory.join(MARKER);
    match disk.remove(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => {
            removed.map_err(OpenError::of(&path))?;
            disk.sync_directory(directory).map_err(OpenError::sync(directory))
        }
    }
}

#[cfg(test)]
mod tests {
    use instep_model::disk::simulated::SimulatedDisk;
    use instep_model::position::Incarnation;
    use uuid::Uuid;

    use super::*;
    use crate::golden::hold;

    #[test]
    fn the_marker_of_a_repair_is_the_file_that_it_always_was() {
        let directory = Path::new("/log");
        for (name, begins_anew) in [("repairing.txt", true), ("repairing_history.txt", false)] {
            let disk = SimulatedDisk::new(1);
            disk.create_directory(directory).unwrap();
            let plan = RepairPlan {
                incarnation: Incarnation(Uuid::from_u128(1)),
                predecessor: Incarnation(Uuid::from_u128(2)),
                head: Revision(3),
                chain: 4,
                newest_seen: Revision(5),
                begins_anew,
            };

            write_marker(&disk, directory, &plan).unwrap();

            let path = directory.join(MARKER);
            let committed = hold(name, &disk.contents(&path).unwrap());
            disk.replace(&path, &committed).unwrap();
            let read = read_marker(&disk, directory).unwrap().unwrap();
            assert_eq!((read.head, read.begins_anew), (Revision(3), begins_anew));
            assert_eq!((read.chain, read.newest_seen), (4, Revision(5)));
            let histories = [read.incarnation, read.predecessor];
            assert_eq!(histories.map(|one| one.0.as_u128()), [1, 2]);
        }
    }
}
