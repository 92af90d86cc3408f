//! Entries of the log: a parsed entry is the same when it is written again, and folds or is
//! refused.
#![no_main]

use instep_fuzz::allowance::within;
use instep_model::commit::{Entry, Record};
use instep_model::mirror::Mirror;
use instep_model::position::{Incarnation, Revision};
use instep_model::state::{Seen, State};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // A list reserves room for what it says to have, up to 1 MiB, and lists lie in lists.
    within(8 * 1024 * 1024, 1024, input.len(), || {
        let Ok(entry) = Entry::decode(input) else { return };
        let written = entry.encode();
        assert_eq!(Entry::decode(&written), Ok(entry.clone()));
        let entry = Entry { history: 0, ..entry };
        let mut mirror = Mirror::new(Incarnation(Default::default()), State::default());
        let mut again = mirror.clone();
        let mut changes = 0;
        let folded = mirror.replay(Revision(1), &entry.encode(), &mut |_, seen| match seen {
            Seen::Row(_) => changes += 1,
            Seen::Mail(_) => {}
        });
        let repeated = again.apply(Revision(1), &entry.encode());
        assert_eq!(folded, repeated.map(|_| ()));
        if folded.is_ok() {
            assert_eq!(mirror, again, "the fold is a function");
            // A table that opens or closes shows or hides all its rows, so there may be more.
            let records = entry.commits.iter().flat_map(|commit| &commit.records);
            let rows = records
                .filter(|record| matches!(record, Record::Put { .. } | Record::Delete { .. }));
            assert!(rows.count() <= changes, "each write of a row is seen");
        }
    });
});
