//! Bodies of messages in their file: kept, given back, or said to be gone or damaged.

use super::*;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[test]
fn bodies_come_back_by_number_from_another_opening() {
    let directory = tempfile::tempdir().unwrap();
    let bodies = BodyFile::in_directory(directory.path());
    assert!(!directory.path().join(FILE).exists(), "made with the first body");

    bodies
        .write(&[(Seq(1), bytes("one")), (Seq(2), bytes("two")), (Seq::MAX, bytes(""))], &[])
        .unwrap();
    bodies.write(&[(Seq(2), bytes("two again"))], &[1, 7].map(Seq)).unwrap();
    bodies.sync().unwrap();
    drop(bodies);

    let again = BodyFile::in_directory(directory.path());
    let found = again.read(&[Seq::MAX, Seq(2), Seq(1)]).unwrap();
    let whole = |text| Found::Whole(bytes(text));
    assert_eq!(found, [whole(""), whole("two again"), Found::Missing]);
    let report = check(directory.path()).unwrap().unwrap();
    assert_eq!((report.bodies, report.bytes, report.problems), (2, 9, vec![]));
}

#[test]
fn a_reader_does_not_wait_for_a_writer_and_sees_what_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let bodies = BodyFile::in_directory(directory.path());
    bodies.write(&[(Seq(1), bytes("one"))], &[]).unwrap();

    let writing = bodies.writer.lock().unwrap();
    let found = bodies.read(&[Seq(1)]).unwrap();
    drop(writing);

    assert_eq!(found, [Found::Whole(bytes("one"))]);
}

#[test]
fn a_body_that_was_changed_on_disk_is_damaged_and_not_served() {
    let directory = tempfile::tempdir().unwrap();
    let bodies = BodyFile::in_directory(directory.path());
    bodies.write(&[(Seq(5), bytes("right"))], &[]).unwrap();
    let other = Connection::open(directory.path().join(FILE)).unwrap();
    other.execute("UPDATE bodies SET body = x'77726f6e67' WHERE seq = 5", []).unwrap();
    drop(other);

    assert_eq!(bodies.read(&[Seq(5)]).unwrap(), [Found::Damaged]);
    let report = check(directory.path()).unwrap().unwrap();
    assert_eq!(report.problems, ["the body of message 5 is damaged"]);
    assert_eq!(check(tempfile::tempdir().unwrap().path()).unwrap(), None);
}

#[test]
fn the_room_of_bodies_that_are_gone_is_given_back() {
    const BODIES: u64 = 8_000;
    let directory = tempfile::tempdir().unwrap();
    let bodies = BodyFile::in_directory(directory.path());
    let all: Vec<Seq> = (0..BODIES).map(Seq).collect();
    let body = Bytes::from(vec![7; 4_000]);
    for seqs in all.chunks(1_000) {
        let put: Vec<_> = seqs.iter().map(|seq| (*seq, body.clone())).collect();
        bodies.write(&put, &[]).unwrap();
    }
    bodies.sync().unwrap();
    let full = bodies.size();

    // Every tenth stays, in between.
    for seqs in all.chunks(1_000) {
        let gone: Vec<Seq> = seqs.iter().copied().filter(|seq| seq.0 % 10 > 0).collect();
        bodies.write(&[], &gone).unwrap();
    }
    bodies.sync().unwrap();

    assert!(full > BODIES * 4_000, "{full}");
    assert!(bodies.size() < full / 3, "{full} bytes became {}", bodies.size());
    let kept: Vec<Seq> = (0..BODIES).step_by(10).map(Seq).collect();
    assert!(bodies.read(&kept).unwrap().iter().all(|found| *found == Found::Whole(body.clone())));
    let report = check(directory.path()).unwrap().unwrap();
    assert_eq!((report.bodies, report.problems), (BODIES / 10, vec![]));
}

#[test]
fn a_file_that_cannot_be_read_is_put_aside_and_another_begins() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(FILE);
    let bodies = BodyFile::in_directory(directory.path());
    assert_eq!(bodies.condition().unwrap(), Condition::Empty);
    assert!(!file.exists(), "a look makes no file");
    std::fs::write(&file, b"garbage".repeat(1_000)).unwrap();

    let found = bodies.condition().unwrap();
    assert!(matches!(found, Condition::Unreadable(_)), "{found:?}");
    let aside = bodies.move_aside().unwrap();

    assert_eq!(std::fs::read(aside.join(FILE)).unwrap(), b"garbage".repeat(1_000));
    assert_eq!(bodies.condition().unwrap(), Condition::Empty);
    bodies.write(&[(Seq(1), Bytes::from_static(b"one"))], &[]).unwrap();
    assert_eq!(bodies.condition().unwrap(), Condition::Usable);
    assert_eq!(bodies.read(&[Seq(1)]).unwrap(), [Found::Whole(Bytes::from_static(b"one"))]);
}

#[test]
fn the_index_of_what_waits_to_be_written_is_in_no_file_and_a_check_changes_none() {
    let directory = tempfile::tempdir().unwrap();
    let names_in = |directory: &Path| {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap()))
            .collect();
        names.sort();
        names
    };
    let names = || names_in(directory.path());
    let bodies = BodyFile::in_directory(directory.path());
    bodies.write(&[(Seq(1), Bytes::from_static(b"one"))], &[]).unwrap();
    bodies.read(&[Seq(1)]).unwrap();
    assert!(names().iter().all(|(name, _)| !name.to_string_lossy().ends_with("-shm")));

    // As a kill leaves it: with what waits beside it.
    let copy = tempfile::tempdir().unwrap();
    for (name, bytes) in names() {
        std::fs::write(copy.path().join(name), bytes).unwrap();
    }
    drop(bodies);
    let before = names();
    assert_eq!(check(directory.path()).unwrap().unwrap().bodies, 1);
    assert_eq!(names(), before);
    let before = names_in(copy.path());
    assert_eq!(check(copy.path()).unwrap().unwrap().bodies, 1);
    refuse_newer(copy.path()).unwrap();
    assert_eq!(names_in(copy.path()), before);
}

#[test]
fn a_newer_format_is_named_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let other = Connection::open(directory.path().join(FILE)).unwrap();
    other.execute_batch("PRAGMA user_version = 9").unwrap();
    drop(other);

    let bodies = BodyFile::in_directory(directory.path());

    let refused = bodies.write(&[], &[]);
    assert!(matches!(refused, Err(BodyError::NewerFormat { found: 9, .. })));
}
