//! Conformance suite of stores of bodies. Panics with the sentence that does not hold.

use std::io;
use std::thread;

use bytes::Bytes;
use instep_model::log::conformance::entry;
use instep_model::mail::Seq;

use super::{BodyStore, StoredBody};

/// Runs the whole suite; `fresh` gives a store without bodies, another one at each call.
///
/// # Panics
/// When a sentence of the contract does not hold.
pub fn run(mut fresh: impl FnMut() -> Box<dyn BodyStore>) {
    let cases: [fn(&dyn BodyStore); 9] = [
        a_body_that_was_never_written_is_missing,
        bodies_are_read_in_the_order_in_which_they_are_asked_for,
        a_body_that_is_written_again_is_replaced,
        a_body_that_is_removed_is_missing,
        a_body_that_one_write_puts_and_removes_is_missing,
        a_sync_leaves_every_body_where_it_is,
        a_store_without_bodies_takes_them_though_it_begins_anew,
        a_store_with_bodies_does_not_begin_anew,
        readers_racing_with_writes_see_all_of_a_write_or_nothing,
    ];
    for case in cases {
        case(&*fresh());
    }
}

fn a_body_that_was_never_written_is_missing(store: &dyn BodyStore) {
    assert_eq!(read(store, &[1, 7]), [StoredBody::Missing, StoredBody::Missing]);
    put(store, &[2]);

    assert_eq!(read(store, &[1, 2, 3]), [StoredBody::Missing, whole(2), StoredBody::Missing]);
    assert_eq!(read(store, &[]), []);
}

fn bodies_are_read_in_the_order_in_which_they_are_asked_for(store: &dyn BodyStore) {
    let far = [1, 300, 1 << 40, u64::MAX];
    put(store, &far);
    put(store, &(2..300).collect::<Vec<_>>());

    let asked = [u64::MAX, 3, 1 << 40, 1, 3, 300, 299];
    assert_eq!(read(store, &asked), asked.map(whole), "bodies come in the order asked for");
    let bytes = far.into_iter().chain(2..300).map(|seq| entry(seq).len() as u64).sum::<u64>();
    assert!(store.size() >= bytes, "the size counts every body");
}

fn a_body_that_is_written_again_is_replaced(store: &dyn BodyStore) {
    put(store, &[1, 2]);

    let (longer, empty) = (Bytes::from(entry(3).repeat(90)), Bytes::new());
    expect("write", store.write(&[(Seq(1), longer.clone()), (Seq(2), empty.clone())], &[]));

    let found = read(store, &[1, 2]);
    assert_eq!(found, [longer, empty].map(StoredBody::Whole), "a body may be empty");
}

fn a_body_that_is_removed_is_missing(store: &dyn BodyStore) {
    put(store, &[1, 2, 3]);

    expect("remove", store.write(&[(Seq(4), body(4))], &[Seq(2), Seq(99)]));
    expect("remove what is not there", store.write(&[], &[Seq(2)]));

    assert_eq!(read(store, &[1, 2, 3, 4]), [whole(1), StoredBody::Missing, whole(3), whole(4)]);
}

fn a_body_that_one_write_puts_and_removes_is_missing(store: &dyn BodyStore) {
    put(store, &[1]);

    let both = [(Seq(1), body(1)), (Seq(2), body(2))];
    expect("write", store.write(&both, &[Seq(1), Seq(2)]));

    assert_eq!(read(store, &[1, 2]), [StoredBody::Missing, StoredBody::Missing]);
}

fn a_sync_leaves_every_body_where_it_is(store: &dyn BodyStore) {
    expect("sync nothing", store.sync());
    put(store, &[1, 2]);
    expect("sync", store.sync());
    put(store, &[3]);
    expect("sync again", store.sync());

    assert_eq!(read(store, &[1, 2, 3]), [1, 2, 3].map(whole));
}

fn a_store_without_bodies_takes_them_though_it_begins_anew(store: &dyn BodyStore) {
    if let Some(before) = expect("begin", store.begin()) {
        assert_eq!(read(&*before, &[1]), [StoredBody::Missing]);
    }

    put(store, &[1]);

    assert_eq!(read(store, &[1]), [whole(1)]);
}

fn a_store_with_bodies_does_not_begin_anew(store: &dyn BodyStore) {
    put(store, &[1, 2]);

    for _ in 0..2 {
        assert!(expect("begin", store.begin()).is_none(), "nothing is wrong with the store");
        assert_eq!(read(store, &[1, 2]), [whole(1), whole(2)]);
    }
}

fn readers_racing_with_writes_see_all_of_a_write_or_nothing(store: &dyn BodyStore) {
    const LAST: u64 = 200;
    let read_along = || {
        loop {
            let found = read(store, &[7, 8, 9]);
            assert!(found[0] == found[1] && found[1] == found[2], "a part of a write: {found:?}");
            if found[0] == whole(LAST) {
                break;
            }
            thread::yield_now();
        }
    };
    thread::scope(|scope| {
        scope.spawn(read_along);
        scope.spawn(read_along);
        for version in 1..=LAST {
            let all = [7, 8, 9].map(|seq| (Seq(seq), body(version)));
            expect("write", store.write(&all, &[]));
        }
    });
}

fn body(seq: u64) -> Bytes {
    entry(seq).into()
}

fn whole(seq: u64) -> StoredBody {
    StoredBody::Whole(body(seq))
}

fn put(store: &dyn BodyStore, seqs: &[u64]) {
    let all: Vec<(Seq, Bytes)> = seqs.iter().map(|seq| (Seq(*seq), body(*seq))).collect();
    expect("write", store.write(&all, &[]));
}

fn read(store: &dyn BodyStore, seqs: &[u64]) -> Vec<StoredBody> {
    let seqs: Vec<Seq> = seqs.iter().copied().map(Seq).collect();
    expect("read", store.read(&seqs))
}

fn expect<T>(what: &str, outcome: io::Result<T>) -> T {
    match outcome {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error}"),
    }
}
