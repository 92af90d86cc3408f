//! Data that a newer program has written: its dataset is refused by name and left as it is, and the
//! others are served.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use instep_embedded::log::{EmbeddedLog, Options, Trimming};
use instep_embedded::real::RealDisk;
use instep_model::commit::{Commit, Entry, Record};
use instep_model::log::Log as _;
use instep_model::name::Name;
use instep_model::position::{Incarnation, Revision};
use uuid::Uuid;

use crate::golden::{copy, golden};
use crate::running::{Server, instep, stderr, text};

const CONFIG: &str = "
[[mail]]
dataset = 'store'

[[table]]
dataset = 'other'
name = 'items'
";

/// Every file of a directory, with its bytes.
fn tree(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            all.append(&mut tree(&path))
        } else {
            drop(all.insert(path.clone(), std::fs::read(path).unwrap()))
        }
    }
    all
}

fn names(tree: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<&PathBuf> {
    tree.keys().collect()
}

/// The only file of a directory with an ending, of which there may be older ones.
fn newest(directory: &Path, ending: &str) -> PathBuf {
    let all = tree(directory).into_keys();
    all.filter(|path| path.extension().is_some_and(|found| found == ending)).max().unwrap()
}

/// Gives the header of a file another version.
fn make_header(path: &Path, version: u8) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[8] = version;
    let checksum = xxhash_rust::xxh3::xxh3_64(&bytes[..88]);
    bytes[88..96].copy_from_slice(&checksum.to_le_bytes());
    std::fs::write(path, bytes).unwrap();
}

fn open_log(dataset: &Path) -> EmbeddedLog {
    let options = Options {
        directory: dataset.to_owned(),
        segment_bytes: 4096,
        new_incarnation: Incarnation(Uuid::nil()),
        trimming: Trimming::BelowSnapshots,
        newest_entry: None,
    };
    EmbeddedLog::open(Arc::new(RealDisk), options).unwrap()
}

fn append(dataset: &Path, entry: &[u8]) -> PathBuf {
    let mut log = open_log(dataset);
    let head = log.bounds().head;
    log.append(head, entry).unwrap();
    drop(log);
    newest(dataset, "segment")
}

fn newer_segment(dataset: &Path) -> PathBuf {
    let path = newest(dataset, "segment");
    make_header(&path, 2);
    path
}

fn newer_snapshot(dataset: &Path) -> PathBuf {
    let path = newest(dataset, "snapshot");
    make_header(&path, 2);
    path
}

fn newer_marker(dataset: &Path) -> PathBuf {
    let path = dataset.join("repairing");
    let mut header = [0; 96];
    header[..8].copy_from_slice(b"INSTEPRP");
    std::fs::write(&path, header).unwrap();
    make_header(&path, 2);
    path
}

fn newer_entry(dataset: &Path) -> PathBuf {
    append(dataset, &[2, 0, 0])
}

fn newer_contents_of_a_snapshot(dataset: &Path) -> PathBuf {
    let log = open_log(dataset);
    let head = log.bounds().head;
    // Its first piece: a header of format 5.
    log.snapshots().write(head, |writer| writer.chunk(&[3, 0, 0, 0, 0, 5, 0])).unwrap();
    newest(dataset, "snapshot")
}

fn newer_bodies(dataset: &Path) -> PathBuf {
    let path = dataset.join("bodies.db");
    // Its pages would count, and not those of the file.
    let _ = std::fs::remove_file(dataset.join("bodies.db-wal"));
    let mut bytes = std::fs::read(&path).unwrap();
    // Where SQLite keeps `user_version`.
    bytes[60..64].copy_from_slice(&2_u32.to_be_bytes());
    std::fs::write(&path, bytes).unwrap();
    path
}

fn newer_views(dataset: &Path) -> PathBuf {
    let path = dataset.join("views.json");
    std::fs::write(&path, r#"{"format": 2, "views": {"of": "another shape"}}"#).unwrap();
    path
}

fn newer_identity(dataset: &Path) -> PathBuf {
    let path = dataset.join("identity");
    std::fs::write(&path, "instep identity 2\nsomething else\n").unwrap();
    path
}

/// A data directory with the golden dataset, and another one beside it.
fn served(directory: &Path) -> Server {
    copy(&golden("1").join("datasets"), &directory.join("data/datasets"));
    let mut server = Server::serve_with(directory, CONFIG);
    server.must(&["table", "put", "other", "items", "a", "{}"]);
    assert_eq!(server.signal("-TERM"), Some(0));
    server
}

/// Starts the server; the reason for which the dataset is not open, while the other one is.
fn why_unopened(server: &mut Server, file: &Path) -> String {
    server.start_unready();
    let list = server.json(&["dataset", "list"]);
    let store = list.as_array().unwrap().iter().find(|one| one["name"] == "store").unwrap();
    assert_eq!(store["state"], "damaged", "{file:?}: {list}");
    server.must(&["table", "put", "other", "items", "b", "{}"]);
    let rows = server.instep(&["table", "rows", "store", "items"]);
    assert!(stderr(&rows).contains("dataset_unavailable"), "{}", stderr(&rows));
    assert_eq!(server.signal("-TERM"), Some(0));
    store["reason"].as_str().unwrap().to_owned()
}

#[test]
fn files_of_a_newer_program_are_refused_by_name_and_left_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = served(directory.path());
    let dataset = server.data.join("datasets/store");
    let whole = tree(&dataset);
    type Change = fn(&Path) -> PathBuf;
    let changes: [(Change, u32, u32); 8] = [
        (newer_segment, 2, 1),
        (newer_snapshot, 2, 1),
        (newer_marker, 2, 1),
        (newer_entry, 2, 1),
        (newer_contents_of_a_snapshot, 5, 4),
        (newer_bodies, 2, 1),
        (newer_views, 2, 1),
        (newer_identity, 2, 1),
    ];
    for (change, found, known) in changes {
        let file = change(&dataset);
        let before = tree(&dataset);
        let is_told = |said: &str| {
            let versions = format!("version {found}, this program knows up to {known}");
            assert!(said.contains(text(&file)) && said.contains(&versions), "{file:?}: {said}");
        };

        is_told(&why_unopened(&mut server, &file));
        for repair in [&[][..], &["--repair"]] {
            let checked = instep(&[&["check", text(&dataset)][..], repair].concat());
            assert_eq!(checked.status.code(), Some(7), "{file:?}");
            is_told(&stderr(&checked));
        }
        let restored = instep(&["restore", text(&server.data)]);
        is_told(&stderr(&restored));

        let after = tree(&dataset);
        assert_eq!(names(&after), names(&before), "{file:?}");
        assert!(after == before, "{file:?} was refused, and something was changed");
        after.keys().filter(|path| !whole.contains_key(*path)).for_each(|path| {
            std::fs::remove_file(path).unwrap();
        });
        whole.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
    }
    server.start_again();
}

/// A record that is newer than its entry says: found when it is folded. No entry, snapshot, body or
/// view is touched, and the entry is not taken for an unfinished write.
#[test]
fn an_entry_with_an_unknown_record_is_refused_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = served(directory.path());
    let dataset = server.data.join("datasets/store");
    let record = Record::CreateJournal { journal: Name::new("zz").unwrap() };
    let commit = Commit { commit_id: None, results: vec![], records: vec![record] };
    let entry =
        Entry { writer: Uuid::nil(), sequence: 1, time_ms: 1, history: 0, commits: vec![commit] };
    let mut bytes = entry.encode();
    let at = bytes.len() - 4;
    assert_eq!(bytes[at..], [5, 2, b'z', b'z'], "the number of the record, and its name");
    bytes[at] = 99;
    let file = append(&dataset, &bytes);
    let before = tree(&dataset);

    for _ in 0..2 {
        let reason = why_unopened(&mut server, &file);
        assert!(reason.contains(text(&file)), "{reason}");
        assert!(reason.contains("a record that this program does not know"), "{reason}");
    }

    let stored = |mut tree: BTreeMap<PathBuf, Vec<u8>>| {
        // The identity is renewed, and the bodies are the same ones in other pages.
        tree.retain(|path, _| !path.ends_with("identity") && !text(path).contains("bodies.db"));
        tree
    };
    let (before, after) = (stored(before), stored(tree(&dataset)));
    assert_eq!(names(&after), names(&before));
    assert!(after == before);
    let read = open_log(&dataset).reader().read(Revision(1), usize::MAX).unwrap();
    assert_eq!(read.last().unwrap().bytes, bytes);
}
