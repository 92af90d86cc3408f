//! Conformance suite of disks, simulated or real. Panics with the sentence that does not hold.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Access, Disk, DiskFile, Sharing};

/// Runs the whole suite; `fresh` gives a disk and a directory on it that does not exist yet.
///
/// # Panics
/// When a sentence of the contract does not hold.
pub fn run(mut fresh: impl FnMut() -> (Arc<dyn Disk>, PathBuf)) {
    let cases: [fn(&dyn Disk, &Path); 8] = [
        a_file_gives_back_what_was_written_at_any_offset,
        a_write_beyond_the_end_fills_the_gap_with_zeros,
        a_name_is_created_once,
        a_rename_replaces_and_open_handles_stay_valid,
        a_removed_file_is_gone_by_name_and_still_there_for_its_handles,
        a_listing_is_sorted_and_leaves_directories_out,
        a_directory_moves_with_what_is_in_it_and_goes_when_it_is_empty,
        an_exclusive_lock_has_one_holder_until_it_is_dropped,
    ];
    for case in cases {
        let (disk, directory) = fresh();
        expect("create_directory", disk.create_directory(&directory));
        expect("create_directory again", disk.create_directory(&directory));
        case(&*disk, &directory);
    }
}

fn a_file_gives_back_what_was_written_at_any_offset(disk: &dyn Disk, directory: &Path) {
    let path = directory.join("file");
    let file = expect("create", disk.create(&path));
    expect("write", file.write_all_at(b"hello world", 0));
    expect("overwrite", file.write_all_at(b"there", 6));
    expect("sync", file.sync_data());
    expect("sync the directory", disk.sync_directory(directory));

    let again = expect("open", disk.open(&path, Access::Read));
    assert_eq!(read_all(&*again), b"hello there");
    assert_eq!(expect("length", again.length()), 11);
    let mut beyond = [0; 4];
    assert_eq!(expect("read beyond the end", again.read_at(&mut beyond, 11)), 0);
    assert!(again.write_at(b"x", 0).is_err(), "a file opened for reading takes no writes");
    expect("modified_ms", disk.modified_ms(&path));
}

fn a_write_beyond_the_end_fills_the_gap_with_zeros(disk: &dyn Disk, directory: &Path) {
    let file = expect("create", disk.create(&directory.join("file")));
    expect("write", file.write_all_at(b"x", 4));

    assert_eq!(read_all(&*file), b"\0\0\0\0x");
}

fn a_name_is_created_once(disk: &dyn Disk, directory: &Path) {
    let path = directory.join("file");
    assert_eq!(kind(disk.open(&path, Access::Write)), ErrorKind::NotFound);
    expect("create", disk.create(&path));

    assert_eq!(kind(disk.create(&path)), ErrorKind::AlreadyExists);
    let nowhere = directory.join("missing").join("file");
    assert_eq!(kind(disk.create(&nowhere)), ErrorKind::NotFound);
}

fn a_rename_replaces_and_open_handles_stay_valid(disk: &dyn Disk, directory: &Path) {
    let (from, to) = (directory.join("from"), directory.join("to"));
    let file = expect("create", disk.create(&from));
    expect("write", file.write_all_at(b"new", 0));
    expect("write", expect("create", disk.create(&to)).write_all_at(b"older", 0));
    expect("rename", disk.rename(&from, &to));
    expect("write through the old handle", file.write_all_at(b"!", 3));

    assert_eq!(read_all(&*expect("open", disk.open(&to, Access::Read))), b"new!");
    assert_eq!(kind(disk.open(&from, Access::Read)), ErrorKind::NotFound);
    assert_eq!(kind(disk.rename(&from, &to)), ErrorKind::NotFound);
}

fn a_removed_file_is_gone_by_name_and_still_there_for_its_handles(
    disk: &dyn Disk,
    directory: &Path,
) {
    let path = directory.join("file");
    let file = expect("create", disk.create(&path));
    expect("write", file.write_all_at(b"still here", 0));
    expect("remove", disk.remove(&path));

    assert_eq!(kind(disk.open(&path, Access::Read)), ErrorKind::NotFound);
    assert_eq!(kind(disk.remove(&path)), ErrorKind::NotFound);
    assert_eq!(read_all(&*file), b"still here");
}

fn a_listing_is_sorted_and_leaves_directories_out(disk: &dyn Disk, directory: &Path) {
    expect("create_directory", disk.create_directory(&directory.join("inner")));
    for name in ["b", "c", "a"] {
        expect("create", disk.create(&directory.join(name)));
    }
    expect("create", disk.create(&directory.join("inner").join("d")));

    assert_eq!(expect("list", disk.list(directory)), ["a", "b", "c"]);
    assert_eq!(kind(disk.list(&directory.join("missing"))), ErrorKind::NotFound);
}

fn a_directory_moves_with_what_is_in_it_and_goes_when_it_is_empty(
    disk: &dyn Disk,
    directory: &Path,
) {
    let (from, to) = (directory.join("from"), directory.join("to"));
    expect("create_directory", disk.create_directory(&from.join("inner")));
    expect("create", disk.create(&from.join("file")));
    let file = expect("create", disk.create(&from.join("inner").join("file")));
    expect("create", disk.create(&directory.join("other")));
    expect("rename", disk.rename(&from, &to));
    expect("sync the directory", disk.sync_directory(directory));
    expect("write through the old handle", file.write_all_at(b"moved", 0));

    assert_eq!(expect("directories", disk.directories(directory)), ["to"]);
    assert_eq!(expect("directories", disk.directories(&to)), ["inner"]);
    assert_eq!(expect("list", disk.list(&to)), ["file"]);
    let inner = expect("open", disk.open(&to.join("inner").join("file"), Access::Read));
    assert_eq!(read_all(&*inner), b"moved");
    assert_eq!(kind(disk.directories(&from)), ErrorKind::NotFound);
    assert_eq!(kind(disk.directories(&directory.join("other"))), ErrorKind::NotADirectory);
    assert_eq!(kind(disk.remove_directory(&to)), ErrorKind::DirectoryNotEmpty);
    expect("create_directory", disk.create_directory(&from));
    assert_eq!(kind(disk.rename(&from, &to)), ErrorKind::DirectoryNotEmpty);
    expect("remove_directory", disk.remove_directory(&from));
    expect("remove", disk.remove(&to.join("inner").join("file")));
    expect("remove_directory", disk.remove_directory(&to.join("inner")));
    expect("remove", disk.remove(&to.join("file")));
    expect("remove_directory", disk.remove_directory(&to));
    assert_eq!(kind(disk.remove_directory(&to)), ErrorKind::NotFound);
}

fn an_exclusive_lock_has_one_holder_until_it_is_dropped(disk: &dyn Disk, directory: &Path) {
    let path = directory.join("lock");
    assert_eq!(kind(disk.lock(&path, Sharing::Shared)), ErrorKind::NotFound);
    let held = expect("lock", disk.lock(&path, Sharing::Exclusive));
    assert_eq!(kind(disk.lock(&path, Sharing::Exclusive)), ErrorKind::WouldBlock);
    assert_eq!(kind(disk.lock(&path, Sharing::Shared)), ErrorKind::WouldBlock);
    drop(held);

    let first = expect("share", disk.lock(&path, Sharing::Shared));
    let second = expect("share again", disk.lock(&path, Sharing::Shared));
    assert_eq!(kind(disk.lock(&path, Sharing::Exclusive)), ErrorKind::WouldBlock);
    drop((first, second));
    expect("lock again", disk.lock(&path, Sharing::Exclusive));
}

fn read_all(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    let length = expect("read", file.read_full_at(&mut bytes, 0));
    bytes.truncate(length);
    bytes
}

fn expect<T>(what: &str, outcome: std::io::Result<T>) -> T {
    match outcome {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error}"),
    }
}

fn kind<T>(outcome: std::io::Result<T>) -> ErrorKind {
    match outcome {
        Ok(_) => panic!("succeeded where it should have been refused"),
        Err(error) => error.kind(),
    }
}
