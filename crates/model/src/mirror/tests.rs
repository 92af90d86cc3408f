use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::commit::{CommitId, Operation, Proposal};
use crate::mail::{MailOperation, Seq};
use crate::owner::{Effect, Event, Owner};
use crate::registration::Generation;
use crate::snapshot;

fn here() -> Incarnation {
    Incarnation(Uuid::from_u128(1))
}

fn empty() -> Mirror {
    Mirror::new(here(), State::default())
}

/// An owner with its log, and what it published of each entry.
struct Shop {
    owner: Owner<()>,
    log: Vec<Bytes>,
    published: Vec<EntryChanges>,
    now_ms: u64,
}

impl Shop {
    fn new() -> Self {
        let owner = Owner::new(empty(), Uuid::from_u128(2));
        Self { owner, log: vec![], published: vec![], now_ms: 1_700_000_000_000 }
    }

    /// Commits that share an entry.
    fn commit(&mut self, proposals: impl IntoIterator<Item = Proposal>) {
        for proposal in proposals {
            self.owner.handle(Event::Propose { ticket: (), proposal }, self.now_ms);
        }
        while let Some(effect) = self.owner.next_effect() {
            match effect {
                Effect::Append { entry, .. } => {
                    self.log.push(entry);
                    self.owner.handle(Event::Appended, self.now_ms);
                }
                Effect::Publish(changes) => self.published.push(changes),
                Effect::Answer { .. } => {}
                Effect::Stop { reason } => panic!("stopped: {reason}"),
            }
        }
    }
}

fn commit(operations: Value) -> Proposal {
    Proposal::from(serde_json::from_value::<Vec<Operation>>(operations).unwrap())
}

fn put(key: &str, n: i64) -> Value {
    json!({"op": "put", "table": "items", "key": key, "row": {"n": n}})
}

fn fold(mirror: &mut Mirror, log: &[Bytes]) -> Vec<EntryChanges> {
    let changes = log.iter().map(|entry| {
        let revision = mirror.state().applied.revision.next();
        mirror.apply(revision, entry).unwrap()
    });
    changes.collect()
}

fn restored(mirror: &Mirror) -> Mirror {
    let mut reader = snapshot::Reader::default();
    snapshot::write(mirror.state(), &mut |piece| reader.push(piece)).unwrap();
    Mirror::new(mirror.incarnation(), reader.finish().unwrap())
}

#[test]
fn i4_changes_of_rows_come_by_commit_and_a_commit_without_any_is_not_among_them() {
    let mut shop = Shop::new();
    shop.commit([commit(json!([
        {"op": "create_table", "table": "items"}, {"op": "create_queue", "queue": "mail"},
        {"op": "move", "endpoint": "org/1", "to": "7"},
    ]))]);
    let send = json!({"op": "send", "queue": "mail", "to": "org/1", "body": 1});
    shop.commit([
        commit(json!([put("a", 1), put("b", 2)])),
        commit(json!([send])),
        commit(json!([put("a", 3), send])),
    ]);

    let mut mirror = empty();
    let changes = fold(&mut mirror, &shop.log).pop().unwrap();

    let seen = |commit: &CommitChanges| {
        let keys = commit.changes.iter().map(|change| change.key.as_str().to_owned());
        (commit.place.index, keys.collect::<Vec<_>>())
    };
    let commits: Vec<_> = changes.commits.iter().map(seen).collect();
    assert_eq!(commits, [(0, vec!["a".to_owned(), "b".to_owned()]), (2, vec!["a".to_owned()])]);
    let stored = |change: &&MailChange| matches!(change, MailChange::Stored { .. });
    assert_eq!(changes.mail.iter().filter(stored).count(), 2);
    assert_eq!(mirror.position().place, Place { revision: Revision(2), index: 2 });
}

#[test]
fn i36_a_gap_or_another_history_is_an_error_never_skipped() {
    let mut shop = Shop::new();
    shop.commit([commit(json!([{"op": "create_table", "table": "items"}]))]);
    shop.commit([commit(json!([put("a", 5)]))]);
    let mut mirror = empty();

    let gap = mirror.apply(Revision(2), &shop.log[1]).unwrap_err();
    let diverged = mirror.apply(Revision(1), &shop.log[1]).unwrap_err();
    let twice = {
        fold(&mut mirror, &shop.log[..1]);
        mirror.apply(Revision(1), &shop.log[0]).unwrap_err()
    };

    assert_eq!(gap, FoldError::Gap { found: Revision(2), applied: Revision(0) });
    assert_eq!(diverged, FoldError::Diverged { at: Revision(1) });
    assert_eq!(twice, FoldError::Gap { found: Revision(1), applied: Revision(1) });
    fold(&mut mirror, &shop.log[1..]);
    assert_eq!(mirror.state(), shop.owner.state(), "a refused entry changes nothing");
}

fn operation() -> impl Strategy<Value = Operation> {
    let row = (0..3_usize, 0..4_usize, 0..9_i64, 0..10_u8).prop_map(|(table, key, n, what)| {
        let table = ["items", "orders", "notes"][table];
        let key = ["a", "b", "c", "d"][key];
        match what {
            0..5 => json!({"op": "put", "table": table, "key": key, "row": {"n": n}}),
            5 => json!({"op": "add", "table": table, "key": key, "field": "n", "by": n - 4}),
            6 => json!({"op": "delete", "table": table, "key": key}),
            7 => json!({"op": "create_table", "table": table, "public": n > 4}),
            8 => json!({"op": "drop_table", "table": table}),
            _ => json!({"op": "append", "journal": "audit", "text": "x"}),
        }
    });
    let mail = (0..4_u64, 7..9_u64, 0..3_u8).prop_map(|(org, server, what)| match what {
        0 => json!({"op": "move", "endpoint": format!("org/{org}"), "to": server.to_string()}),
        _ => json!({"op": "send", "queue": "mail", "to": format!("org/{org}"), "body": org}),
    });
    let of_json = prop_oneof![4 => row, 1 => mail]
        .prop_map(|operation| serde_json::from_value(operation).unwrap());
    let said = (7..9_u64, 0..12_u64, 0..3_u8).prop_map(|(server, seq, what)| {
        let server = server.to_string();
        Operation::Mail(match what {
            0 => MailOperation::Register { server },
            1 => MailOperation::Sweep,
            _ => MailOperation::Ack(crate::mail::Lease {
                server: server.into(),
                generation: Generation(1),
                seq: Seq(seq),
            }),
        })
    });
    prop_oneof![5 => of_json, 1 => said]
}

/// The tail of a commit id, for a proposal that has one, and operations.
type Proposed = (Option<u128>, Vec<Operation>);

fn proposal() -> impl Strategy<Value = Proposed> {
    (prop::option::of(0..6_u128), prop::collection::vec(operation(), 1..4))
}

/// Proposals that share an entry, and how the clock is set before them.
fn batch() -> impl Strategy<Value = (Vec<Proposed>, u64)> {
    (prop::collection::vec(proposal(), 1..4), 0..4_u64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn i8_a_snapshot_and_the_entries_behind_it_are_what_the_owner_holds_wherever_they_are_split(
        batches in prop::collection::vec(batch(), 1..12),
        split in any::<prop::sample::Index>(),
    ) {
        let mut shop = Shop::new();
        shop.commit([commit(json!([
            {"op": "create_table", "table": "items"}, {"op": "create_table", "table": "orders"},
            {"op": "create_journal", "journal": "audit"}, {"op": "create_queue", "queue": "mail"},
            {"op": "move", "endpoint": "org/1", "to": "7"},
        ]))]);
        for (proposals, hours) in batches {
            // Clocks are set back now and then.
            shop.now_ms = (shop.now_ms + hours * 9 * 3_600_000).saturating_sub(8 * 3_600_000);
            let now_ms = shop.now_ms;
            shop.commit(proposals.into_iter().map(|(id, operations)| {
                let id = id.map(|id| {
                    Uuid::from_u128((u128::from(now_ms) << 80) | (7 << 76) | (2 << 62) | id)
                });
                let principal = "p".to_owned();
                let commit_id = id.map(|id| CommitId { principal, id, digest: 1, earlier: None });
                Proposal { commit_id, ..Proposal::from(operations) }
            }));
        }
        let (before, behind) = shop.log.split_at(split.index(shop.log.len() + 1));

        let mut mirror = empty();
        let mut changes = fold(&mut mirror, before);
        let mut mirror = restored(&mirror);
        let mut seen = vec![];
        for entry in behind {
            let (mut commits, mut mail) = (vec![], vec![]);
            let mut replayed = mirror.clone();
            let revision = mirror.state().applied.revision.next();
            changes.push(mirror.apply(revision, entry).unwrap());
            replayed
                .replay(revision, entry, &mut |place, seen| match seen {
                    Seen::Row(change) => commits.push((place, change)),
                    Seen::Mail(change) => mail.push(change),
                })
                .unwrap();
            prop_assert_eq!(&replayed, &mirror);
            seen.push((commits, mail));
        }

        prop_assert_eq!(mirror.state(), shop.owner.state());
        let replayed = changes[before.len()..].iter().map(|entry| {
            let rows = entry.commits.iter().flat_map(|commit| {
                commit.changes.iter().map(|change| (commit.place, change.clone()))
            });
            (rows.collect::<Vec<_>>(), entry.mail.clone())
        });
        prop_assert_eq!(replayed.collect::<Vec<_>>(), seen);
        prop_assert_eq!(changes, shop.published, "the changes that readers got");
    }
}
