//! Conformance suite of logs of any kind. Panics with the sentence that does not hold.

use std::thread;

use super::{AppendError, Bounds, Log, ReadError, StoredEntry};
use crate::position::Revision;

/// Runs the whole suite; `fresh` gives an empty log, another one at each call.
///
/// # Panics
/// When a sentence of the contract does not hold.
pub fn run(mut fresh: impl FnMut() -> Box<dyn Log>) {
    let cases: [fn(Box<dyn Log>); 11] = [
        an_empty_log_begins_at_one,
        an_append_takes_the_next_revision_and_is_read_back_unchanged,
        an_append_at_another_head_stores_nothing,
        the_largest_entry_is_stored,
        an_entry_over_the_limit_stores_nothing,
        a_read_gives_at_least_one_entry_and_then_what_fits,
        i7_a_read_beyond_the_head_is_an_error,
        its_pieces_are_all_of_it_in_order,
        a_trim_is_a_hint_that_never_touches_the_head,
        i28_readers_racing_with_appends_see_a_prefix_without_gaps,
        i28_readers_racing_with_trims_get_everything_or_too_old,
    ];
    for case in cases {
        case(fresh());
    }
}

/// The entry that the suite appends as `revision`: of a length and content of its own.
#[must_use]
pub fn entry(revision: u64) -> Vec<u8> {
    let length = (revision.wrapping_mul(31) % 257) as usize;
    let mut bytes = revision.to_le_bytes().to_vec();
    bytes.extend((0..length).map(|at| (at as u64 ^ revision) as u8));
    bytes
}

fn an_empty_log_begins_at_one(log: Box<dyn Log>) {
    let bounds = log.bounds();
    let reader = log.reader();

    assert_eq!((bounds.floor, bounds.head), (Revision(1), Revision::ZERO));
    assert_eq!(reader.bounds(), bounds);
    assert_eq!(reader.read(Revision(1), 1000), Ok(vec![]));
    assert_eq!(reader.read(Revision::ZERO, 1000), Err(ReadError::Trimmed { floor: Revision(1) }));
}

fn its_pieces_are_all_of_it_in_order(mut log: Box<dyn Log>) {
    let reader = log.reader();
    let mut appended = 0;
    for revision in 1..=300 {
        assert_eq!(log.append(Revision(revision - 1), &entry(revision)), Ok(Revision(revision)));
        appended += entry(revision).len() as u64;
        let pieces = reader.pieces();
        assert!(pieces.is_sorted_by_key(|piece| piece.first));
        assert!(pieces[0].first <= log.bounds().floor);
        assert!(pieces.iter().map(|piece| piece.bytes).sum::<u64>() >= appended);
    }
    assert!(log.trim(Revision(200)).is_ok());
    let (Bounds { floor, .. }, pieces) = (log.bounds(), reader.pieces());
    assert!(pieces.get(1).is_none_or(|second| second.first > floor), "what is gone is not told of");
}

fn an_append_takes_the_next_revision_and_is_read_back_unchanged(mut log: Box<dyn Log>) {
    let incarnation = log.bounds().incarnation;
    let reader = log.reader();
    for revision in 1..=300 {
        assert_eq!(log.append(Revision(revision - 1), &entry(revision)), Ok(Revision(revision)));
        assert_eq!(log.bounds().head, Revision(revision));
        assert_eq!(reader.bounds(), log.bounds());
        expect_entries(&reader.read(Revision(revision), 1), revision, revision);
    }
    assert_eq!(log.append(Revision(300), b""), Ok(Revision(301)), "an entry may be empty");
    drop(log);

    assert_eq!(reader.bounds().incarnation, incarnation);
    let read = reader.read(Revision(1), usize::MAX).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(read.len(), 301);
    assert!(read[300].bytes.is_empty());
    expect_entries(&Ok(read[..300].to_vec()), 1, 300);
}

fn an_append_at_another_head_stores_nothing(mut log: Box<dyn Log>) {
    append(&mut *log, 1, 3);
    let before = log.bounds();

    for wrong in [0, 2, 4, u64::MAX] {
        let refused = log.append(Revision(wrong), b"stale");
        assert_eq!(refused, Err(AppendError::Conflict { head: Revision(3) }), "at {wrong}");
    }
    assert_eq!(log.bounds(), before);
    assert_eq!(log.append(Revision(3), &entry(4)), Ok(Revision(4)));
    expect_entries(&log.reader().read(Revision(1), usize::MAX), 1, 4);
}

fn the_largest_entry_is_stored(mut log: Box<dyn Log>) {
    let largest = vec![7; log.largest_entry()];
    append(&mut *log, 1, 1);

    assert_eq!(log.append(Revision(1), &largest), Ok(Revision(2)));
    assert_eq!(log.append(Revision(2), &entry(3)), Ok(Revision(3)));
    let read = log.reader().read(Revision(2), 1);
    let read = read.unwrap_or_else(|error| panic!("{error}"));
    assert!(read.len() == 1 && read[0].bytes == largest, "it is read back unchanged");
    expect_entries(&log.reader().read(Revision(3), usize::MAX), 3, 3);
}

fn an_entry_over_the_limit_stores_nothing(mut log: Box<dyn Log>) {
    append(&mut *log, 1, 1);
    let limit = log.largest_entry();
    let bytes = limit + 1;

    let refused = log.append(Revision(1), &vec![0; bytes]);

    assert_eq!(refused, Err(AppendError::TooLarge { bytes, limit }));
    assert_eq!(log.append(Revision(1), &entry(2)), Ok(Revision(2)));
    expect_entries(&log.reader().read(Revision(1), usize::MAX), 1, 2);
}

fn a_read_gives_at_least_one_entry_and_then_what_fits(mut log: Box<dyn Log>) {
    append(&mut *log, 1, 40);
    let reader = log.reader();
    for from in 1..=40_u64 {
        for max_bytes in [0, 1, 100, 1000, 5000, usize::MAX] {
            let mut last = from;
            let mut used = entry(from).len();
            while last < 40 && used.saturating_add(entry(last + 1).len()) <= max_bytes {
                last += 1;
                used += entry(last).len();
            }
            expect_entries(&reader.read(Revision(from), max_bytes), from, last);
        }
    }
    assert_eq!(reader.read(Revision(41), 1000), Ok(vec![]));
}

fn i7_a_read_beyond_the_head_is_an_error(mut log: Box<dyn Log>) {
    append(&mut *log, 1, 5);
    let reader = log.reader();

    for beyond in [7, 8, u64::MAX] {
        let refused = reader.read(Revision(beyond), 1000);
        assert_eq!(refused, Err(ReadError::Ahead { head: Revision(5) }), "at {beyond}");
    }
}

fn a_trim_is_a_hint_that_never_touches_the_head(mut log: Box<dyn Log>) {
    append(&mut *log, 1, 200);
    let reader = log.reader();
    let mut floor = Revision(1);
    for asked in [0, 1, 50, 50, 20, 150] {
        let bounds = log.trim(Revision(asked)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(bounds, reader.bounds());
        assert_eq!(bounds.head, Revision(200));
        assert!(bounds.floor >= floor, "the floor never falls");
        assert!(bounds.floor <= floor.max(Revision(asked)), "no more is given up than was asked");
        floor = bounds.floor;
        expect_floor(&*reader, floor, 200);
    }
    let bounds = log.trim(Revision(u64::MAX)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(bounds.head, Revision(200));
    assert!(bounds.floor <= Revision(201));
    assert_eq!(reader.read(Revision(201), 1000), Ok(vec![]));
    assert_eq!(log.append(Revision(200), &entry(201)), Ok(Revision(201)));
    expect_entries(&reader.read(Revision(201), 1000), 201, 201);
}

fn expect_floor(reader: &dyn super::LogReader, floor: Revision, head: u64) {
    expect_entries(&reader.read(floor, usize::MAX), floor.0, head);
    let below = Revision(floor.0 - 1);
    assert_eq!(reader.read(below, usize::MAX), Err(ReadError::Trimmed { floor }));
}

fn i28_readers_racing_with_appends_see_a_prefix_without_gaps(mut log: Box<dyn Log>) {
    const LAST: u64 = 500;
    let readers = [log.reader(), log.reader(), log.reader()];
    thread::scope(|scope| {
        for reader in readers {
            scope.spawn(move || {
                let mut next = 1;
                while next <= LAST {
                    let read = reader.read(Revision(next), 4000);
                    let count = read.as_ref().map_or(0, Vec::len) as u64;
                    expect_entries(&read, next, next + count - 1);
                    next += count;
                    thread::yield_now();
                }
            });
        }
        append(&mut *log, 1, LAST);
    });
}

fn i28_readers_racing_with_trims_get_everything_or_too_old(mut log: Box<dyn Log>) {
    const LAST: u64 = 600;
    append(&mut *log, 1, 50);
    let readers = [log.reader(), log.reader()];
    thread::scope(|scope| {
        for reader in readers {
            scope.spawn(move || {
                loop {
                    let bounds = reader.bounds();
                    match reader.read(bounds.floor, usize::MAX) {
                        Err(ReadError::Trimmed { floor }) => assert!(floor > bounds.floor),
                        read => {
                            let count = read.as_ref().map_or(0, Vec::len) as u64;
                            let last = bounds.floor.0 + count - 1;
                            expect_entries(&read, bounds.floor.0, last);
                            assert!(last >= bounds.head.0, "never a part");
                        }
                    }
                    if bounds.head == Revision(LAST) {
                        break;
                    }
                }
            });
        }
        for revision in 51..=LAST {
            append(&mut *log, revision, revision);
            log.trim(Revision(revision - 40)).unwrap_or_else(|error| panic!("{error}"));
        }
    });
}

fn append(log: &mut dyn Log, first: u64, last: u64) {
    for revision in first..=last {
        assert_eq!(log.append(Revision(revision - 1), &entry(revision)), Ok(Revision(revision)));
    }
}

fn expect_entries(read: &Result<Vec<StoredEntry>, ReadError>, first: u64, last: u64) {
    let entries = read.as_ref().unwrap_or_else(|error| panic!("{first}..={last}: {error}"));
    let revisions: Vec<u64> = entries.iter().map(|entry| entry.revision.0).collect();
    assert_eq!(revisions, (first..=last).collect::<Vec<_>>());
    for stored in entries {
        assert_eq!(stored.bytes, entry(stored.revision.0), "content of {}", stored.revision);
    }
}
