//! Golden files of the engine: each is made anew by today's code, byte by byte as it is committed
//! in `tests/golden`, and the committed files open.
//!
//! `WRITE_GOLDEN=1 cargo nextest run -p instep-embedded golden` writes files that are missing, and
//! changes none. See `docs/internals/formats.md`.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use instep_model::disk::Disk as _;
use instep_model::disk::simulated::SimulatedDisk;
use instep_model::log::Log as _;
use instep_model::mail::Seq;
use instep_model::position::{Incarnation, Revision};
use uuid::Uuid;

use crate::bodies::{BodyFile, Found};
use crate::log::{EmbeddedLog, Options, Trimming};
use crate::{bodies, segment, snapshot};

const DIRECTORY: &str = "/log";
const ENTRIES: [&[u8]; 3] = [b"first", b"", b"\x01 third, which fills some more bytes"];
const CHUNKS: [&[u8]; 2] = [b"rows", b"\x00\xff"];

/// Bytes in a line.
const LINE: usize = 32;

fn text_of(bytes: &[u8]) -> String {
    let line = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    bytes.chunks(LINE).map(|bytes| line(bytes) + "\n").collect()
}

/// Compares the bytes of a file with the committed ones, and returns these.
pub(crate) fn hold(name: &str, now: &[u8]) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if !path.exists() && std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::write(&path, text_of(now)).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text_of(now), committed, "{name}: other bytes want a version of their own");
    let digits: String = committed.split_whitespace().collect();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn open(disk: &SimulatedDisk) -> EmbeddedLog {
    let options = Options {
        directory: DIRECTORY.into(),
        segment_bytes: 1024,
        new_incarnation: Incarnation(Uuid::from_u128(0x0102_0304_0506_4708_890a_0b0c_0d0e_0f10)),
        trimming: Trimming::AsAsked,
        newest_entry: None,
    };
    EmbeddedLog::open(Arc::new(disk.clone()), options).unwrap()
}

#[test]
fn a_segment_and_a_snapshot_are_the_files_that_they_always_were() {
    let disk = SimulatedDisk::new(1);
    let mut log = open(&disk);
    for (head, entry) in (0..).zip(ENTRIES) {
        log.append(Revision(head), entry).unwrap();
    }
    let fill =
        |writer: &mut snapshot::SnapshotWriter| CHUNKS.iter().try_for_each(|c| writer.chunk(c));
    log.snapshots().write(Revision(3), fill).unwrap();
    drop(log);
    let of_log = segment::path(Path::new(DIRECTORY), Revision(1));
    let of_snapshot = snapshot::path(&Path::new(DIRECTORY).join(segment::SNAPSHOTS), Revision(3));

    let log = hold("segment.txt", &disk.contents(&of_log).unwrap());
    let snapshot = hold("snapshot.txt", &disk.contents(&of_snapshot).unwrap());

    let disk = SimulatedDisk::new(2);
    drop(open(&disk));
    disk.replace(&of_log, &log).unwrap();
    drop(disk.create(&of_snapshot).unwrap());
    disk.replace(&of_snapshot, &snapshot).unwrap();
    let log = open(&disk);
    let read = log.reader().read(Revision(1), usize::MAX).unwrap();
    assert_eq!(read.iter().map(|entry| &entry.bytes[..]).collect::<Vec<_>>(), ENTRIES);
    let mut chunks = log.snapshots().read(Revision(3)).unwrap();
    for chunk in CHUNKS {
        assert_eq!(chunks.next_chunk().unwrap().unwrap(), chunk);
    }
    assert_eq!(chunks.next_chunk().unwrap(), None);
}

#[test]
fn a_file_of_bodies_has_the_table_that_it_always_had() {
    let directory = tempfile::tempdir().unwrap();
    let bodies = BodyFile::in_directory(directory.path());
    let body = Bytes::from_static(br#"{"n":1}"#);
    bodies.write(&[(Seq(300), body.clone())], &[]).unwrap();
    bodies.sync().unwrap();

    assert_eq!(bodies.read(&[Seq(300)]).unwrap(), [Found::Whole(body)]);
    drop(bodies);
    let made = rusqlite::Connection::open(directory.path().join(bodies::FILE)).unwrap();
    let text =
        |question: &str| made.query_row(question, [], |row| row.get::<_, String>(0)).unwrap();
    let table = text("SELECT sql FROM sqlite_master WHERE name = 'bodies'");
    assert_eq!(
        table.split_whitespace().collect::<Vec<_>>().join(" "),
        "CREATE TABLE bodies ( seq INTEGER PRIMARY KEY, sum INTEGER NOT NULL, body BLOB NOT NULL) \
         STRICT"
    );
    assert_eq!(text("SELECT seq || ' ' || sum || ' ' || hex(body) FROM bodies"), BODY);
    assert_eq!(text("SELECT CAST(user_version AS TEXT) FROM pragma_user_version"), "1");
}

/// Number, checksum (xxh3 seeded with the number) and bytes of a body.
const BODY: &str = "300 -6801453298668386022 7B226E223A317D";
