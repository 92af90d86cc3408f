//! Conformance suites of the stores beside a log. They panic with the sentence that does not hold.

use std::io::{self, ErrorKind};
use std::thread;

use super::{DefinitionStore, Snapshots};
use crate::log::conformance::entry;
use crate::position::Revision;

/// Runs the suite of snapshots; `fresh` gives a store without any, another one at each call.
///
/// # Panics
/// When a sentence of the contract does not hold.
pub fn snapshots(mut fresh: impl FnMut() -> Box<dyn Snapshots>) {
    let cases: [fn(&dyn Snapshots); 9] = [
        an_empty_store_has_no_snapshot,
        a_snapshot_is_read_back_as_it_was_written,
        the_two_newest_snapshots_are_kept_and_listed_oldest_first,
        a_floor_is_covered_once_there_are_two_snapshots,
        a_snapshot_exists_when_it_is_whole_and_not_before,
        a_snapshot_that_is_given_up_leaves_everything_as_it_was,
        a_snapshot_that_is_written_again_is_replaced,
        a_reader_reads_on_whatever_is_written_meanwhile,
        readers_racing_with_writes_see_whole_snapshots,
    ];
    for case in cases {
        case(&*fresh());
    }
}

/// Runs the suite of definitions; `fresh` gives a store without any, another one at each call.
///
/// # Panics
/// When a sentence of the contract does not hold.
pub fn definitions(mut fresh: impl FnMut() -> Box<dyn DefinitionStore>) {
    let cases: [fn(&dyn DefinitionStore); 4] = [
        nothing_is_read_before_a_text_is_written,
        a_text_is_replaced_whole,
        a_text_that_is_removed_was_never_written,
        readers_racing_with_writes_see_one_text_or_another,
    ];
    for case in cases {
        case(&*fresh());
    }
}

fn an_empty_store_has_no_snapshot(store: &dyn Snapshots) {
    assert!(listed(store).is_empty());
    assert_eq!(store.covered(), None);
    assert_eq!(read(store, 1), Err(ErrorKind::NotFound));
}

fn a_snapshot_is_read_back_as_it_was_written(store: &dyn Snapshots) {
    for revision in [4, 1_000, u64::MAX - 1] {
        write(store, revision);

        expect_whole(store, revision);
    }
}

fn the_two_newest_snapshots_are_kept_and_listed_oldest_first(store: &dyn Snapshots) {
    for (revision, kept) in
        [(5, &[5][..]), (9, &[5, 9]), (7, &[7, 9]), (12, &[9, 12]), (3, &[9, 12])]
    {
        write(store, revision);

        assert_eq!(listed(store), kept, "behind the snapshot of revision {revision}");
    }
    assert_eq!(read(store, 5), Err(ErrorKind::NotFound));
    expect_whole(store, 9);
    expect_whole(store, 12);
}

fn a_floor_is_covered_once_there_are_two_snapshots(store: &dyn Snapshots) {
    for (revision, covered) in [(5, None), (5, None), (9, Some(6)), (20, Some(10))] {
        write(store, revision);

        assert_eq!(store.covered(), covered.map(Revision), "behind that of {revision}");
    }
}

fn a_snapshot_exists_when_it_is_whole_and_not_before(store: &dyn Snapshots) {
    let written = store.write(Revision(6), &mut |take| {
        for chunk in chunks(6) {
            take(&chunk)?;
            assert!(listed(store).is_empty(), "a part of a snapshot is none");
            assert_eq!(read(store, 6), Err(ErrorKind::NotFound));
        }
        Ok(())
    });

    expect("write", written);
    assert_eq!(listed(store), [6]);
}

fn a_snapshot_that_is_given_up_leaves_everything_as_it_was(store: &dyn Snapshots) {
    write(store, 5);
    write(store, 8);
    for revision in [9, 8, 5] {
        let given_up = store.write(Revision(revision), &mut |take| {
            take(b"another beginning")?;
            Err(io::Error::other("its writer gave up"))
        });

        let error = given_up.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("its writer gave up"), "the error says why: {error}");
        assert_eq!(listed(store), [5, 8], "a snapshot that is given up is not listed");
        expect_whole(store, 5);
        expect_whole(store, 8);
        assert_eq!(store.covered(), Some(Revision(6)));
    }
}

fn a_snapshot_that_is_written_again_is_replaced(store: &dyn Snapshots) {
    let again = store.write(Revision(5), &mut |take| take(b"written before"));
    expect("write", again);

    write(store, 5);

    assert_eq!(listed(store), [5]);
    expect_whole(store, 5);
}

fn a_reader_reads_on_whatever_is_written_meanwhile(store: &dyn Snapshots) {
    write(store, 4);
    let reader = expect("open", store.open(Revision(4)));

    expect("write", store.write(Revision(4), &mut |take| take(b"written again")));
    (5..9).for_each(|revision| write(store, revision));

    let bytes: io::Result<Vec<_>> = reader.collect();
    assert!(expect("read", bytes).concat() == content(4), "a reader has what it began with");
}

fn readers_racing_with_writes_see_whole_snapshots(store: &dyn Snapshots) {
    const LAST: u64 = 60;
    let read_along = || {
        let mut seen = vec![];
        while seen.last() != Some(&LAST) {
            seen = listed(store);
            for revision in &seen {
                match read(store, *revision) {
                    // Two newer ones came meanwhile.
                    Err(ErrorKind::NotFound) => {}
                    found => assert!(found == Ok(content(*revision)), "a part of {revision}"),
                }
            }
            thread::yield_now();
        }
    };
    thread::scope(|scope| {
        scope.spawn(read_along);
        scope.spawn(read_along);
        (1..=LAST).for_each(|revision| write(store, revision));
    });
}

fn nothing_is_read_before_a_text_is_written(store: &dyn DefinitionStore) {
    assert_eq!(expect("read", store.read()), None);
}

fn a_text_is_replaced_whole(store: &dyn DefinitionStore) {
    let large = entry(3).repeat(4_000);
    for text in [&b"first, which is longer"[..], b"second", &large, b"", b"\0\xff", b"last"] {
        expect("write", store.write(text));

        let found = expect("read", store.read());
        assert!(found.as_deref() == Some(text), "a text is replaced whole");
    }
}

fn a_text_that_is_removed_was_never_written(store: &dyn DefinitionStore) {
    expect("remove what is not there", store.remove());
    expect("write", store.write(b"first"));

    for _ in 0..2 {
        expect("remove", store.remove());
        assert_eq!(expect("read", store.read()), None);
    }
    expect("write", store.write(b"second"));
    assert_eq!(expect("read", store.read()).as_deref(), Some(&b"second"[..]));
}

fn readers_racing_with_writes_see_one_text_or_another(store: &dyn DefinitionStore) {
    const LAST: u64 = 60;
    expect("write", store.write(&content(0)));
    let read_along = || {
        let mut seen = 0;
        while seen < LAST {
            let found = expect("read", store.read()).unwrap_or_default();
            let next = (seen..=LAST).find(|number| content(*number) == found);
            seen = next.unwrap_or_else(|| panic!("a part of a text, or an older one"));
            thread::yield_now();
        }
    };
    thread::scope(|scope| {
        scope.spawn(read_along);
        (1..=LAST).for_each(|number| expect("write", store.write(&content(number))));
    });
}

/// The chunks that the suite writes as `revision`: of a number and content of their own.
fn chunks(revision: u64) -> Vec<Vec<u8>> {
    (0..=revision % 7).map(|at| entry(revision.wrapping_add(at))).collect()
}

fn content(revision: u64) -> Vec<u8> {
    chunks(revision).concat()
}

fn write(store: &dyn Snapshots, revision: u64) {
    let written = store.write(Revision(revision), &mut |take| {
        chunks(revision).iter().try_for_each(|chunk| take(chunk))
    });
    expect("write", written);
}

fn read(store: &dyn Snapshots, revision: u64) -> Result<Vec<u8>, ErrorKind> {
    let chunks = store.open(Revision(revision)).map_err(|error| error.kind())?;
    let chunks: Result<Vec<_>, _> = chunks.collect();
    chunks.map(|chunks| chunks.concat()).map_err(|error| error.kind())
}

fn expect_whole(store: &dyn Snapshots, revision: u64) {
    let found = read(store, revision);
    assert!(found == Ok(content(revision)), "the snapshot of {revision} is as it was written");
}

fn listed(store: &dyn Snapshots) -> Vec<u64> {
    expect("list", store.list()).into_iter().map(|revision| revision.0).collect()
}

fn expect<T>(what: &str, outcome: io::Result<T>) -> T {
    match outcome {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error}"),
    }
}
