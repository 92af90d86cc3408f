use serde_json::json;

use super::*;
use crate::commit::{Entry, Operation, Record, digest};
use crate::name::{Key, Name};
use crate::position::Incarnation;
use crate::state::CommitChanges;

const NOW: u64 = 1_800_000_000_000;

/// An owner with a log that always says yes, and a small language for tests.
struct Shop {
    owner: Owner<usize>,
    answers: BTreeMap<usize, Result<Receipt, Refusal>>,
    published: Vec<CommitChanges>,
    tickets: usize,
    entries: Vec<Bytes>,
    now_ms: u64,
}

impl Shop {
    fn new() -> Self {
        let incarnation = Incarnation(Uuid::from_u128(1));
        let mirror = Mirror::new(incarnation, State::default());
        let owner = Owner::new(mirror, Uuid::from_u128(2));
        let mut shop = Self {
            owner,
            answers: BTreeMap::new(),
            published: vec![],
            tickets: 0,
            entries: vec![],
            now_ms: NOW,
        };
        shop.commit(json!([{"op": "create_table", "table": "items"}])).unwrap();
        shop
    }

    fn propose_as(&mut self, id: Option<Uuid>, operations: serde_json::Value) -> usize {
        self.tickets += 1;
        let digest = digest(operations.to_string().as_bytes());
        let proposal = Proposal {
            commit_id: id.map(|id| CommitId {
                principal: "tester".into(),
                id,
                digest,
                earlier: None,
            }),
            operations: serde_json::from_value::<Vec<Operation>>(operations).unwrap(),
        };
        self.owner.handle(Event::Propose { ticket: self.tickets, proposal }, self.now_ms);
        self.tickets
    }

    fn propose(&mut self, operations: serde_json::Value) -> usize {
        self.propose_as(None, operations)
    }

    /// Drains effects until the owner waits for an append or has nothing to do.
    fn drain(&mut self) -> Option<Bytes> {
        while let Some(effect) = self.owner.next_effect() {
            match effect {
                Effect::Append { entry, .. } => return Some(entry),
                Effect::Publish(changes) => self.published.extend(changes.commits),
                Effect::Answer { ticket, answer } => {
                    assert!(self.answers.insert(ticket, answer).is_none(), "answered twice");
                }
                Effect::Stop { .. } => {}
            }
        }
        None
    }

    fn flush(&mut self) {
        while let Some(entry) = self.drain() {
            self.entries.push(entry);
            self.owner.handle(Event::Appended, self.now_ms);
        }
    }

    fn commit(&mut self, operations: serde_json::Value) -> Result<Receipt, Refusal> {
        let ticket = self.propose(operations);
        self.flush();
        self.answers.remove(&ticket).unwrap()
    }

    fn row(&self, key: &str) -> Option<String> {
        let table = &self.owner.state().tables[&Name::new("items").unwrap()];
        table.rows.get(&Key::new(key).unwrap()).map(|stored| stored.row.as_json().to_owned())
    }
}

fn put(key: &str, n: i64) -> serde_json::Value {
    json!({"op": "put", "table": "items", "key": key, "row": {"n": n}})
}

fn take(key: &str) -> serde_json::Value {
    json!({"op": "add", "table": "items", "key": key, "field": "n", "by": -1, "min": 0})
}

#[test]
fn snk_14_a_bounded_add_never_goes_below_its_minimum_within_one_batch() {
    let mut shop = Shop::new();
    shop.commit(json!([put("a", 3)])).unwrap();

    let tickets: Vec<usize> = (0..5).map(|_| shop.propose(json!([take("a")]))).collect();
    shop.flush();

    let results: Vec<Option<i64>> = tickets
        .iter()
        .map(|ticket| shop.answers[ticket].as_ref().ok().and_then(|receipt| receipt.results[0]))
        .collect();
    assert_eq!(results, [Some(2), Some(1), Some(0), None, None]);
    assert_eq!(shop.answers[&tickets[4]].as_ref().unwrap_err().code(), "out_of_bounds");
    assert_eq!(shop.row("a").unwrap(), r#"{"n":0}"#);
    assert_eq!(shop.entries.len(), 3, "five proposals, one entry");
}

#[test]
fn snk_r4_a_commit_of_which_one_operation_fails_changes_and_announces_nothing() {
    let mut shop = Shop::new();
    shop.commit(json!([put("a", 1), put("b", 0)])).unwrap();
    shop.published.clear();

    let refusal = shop.commit(json!([take("a"), take("b")])).unwrap_err();

    assert_eq!(refusal.code(), "out_of_bounds");
    assert!(refusal.to_string().starts_with("ops[1]"), "{refusal}");
    assert_eq!(shop.row("a").unwrap(), r#"{"n":1}"#);
    assert_eq!(shop.published, []);
}

#[test]
fn law_2_nothing_is_answered_or_visible_before_the_batch_is_durable() {
    let mut shop = Shop::new();
    shop.commit(json!([put("a", 1)])).unwrap();
    shop.published.clear();

    let won = shop.propose(json!([take("a")]));
    let lost = shop.propose(json!([take("a")]));
    let entry = shop.drain();

    assert!(entry.is_some());
    assert!(!shop.answers.contains_key(&won), "not durable yet");
    assert!(!shop.answers.contains_key(&lost), "a refusal that depends on the open batch");
    assert_eq!(shop.row("a").unwrap(), r#"{"n":1}"#);
    shop.owner.handle(Event::Appended, NOW);
    shop.flush();
    assert!(shop.answers[&won].is_ok() && shop.answers[&lost].is_err());
    assert_eq!(shop.published.len(), 1);
}

#[test]
fn law_5_the_same_id_takes_effect_once_and_its_reply_is_replayed() {
    let mut shop = Shop::new();
    shop.commit(json!([put("a", 9)])).unwrap();
    let id = Some(Uuid::from_u128((u128::from(NOW) << 80) | (7 << 76) | (2 << 62) | 1));

    let first = shop.propose_as(id, json!([take("a")]));
    let same_batch = shop.propose_as(id, json!([take("a")]));
    shop.flush();
    let later = shop.propose_as(id, json!([take("a")]));
    let other_body = shop.propose_as(id, json!([take("b")]));
    shop.flush();

    let receipt = shop.answers[&first].clone().unwrap();
    let replay = Receipt { replayed: true, ..receipt.clone() };
    assert_eq!(shop.answers[&same_batch], Ok(replay.clone()));
    assert_eq!(shop.answers[&later], Ok(replay));
    assert_eq!(shop.answers[&other_body], Err(Refusal::IdConflict));
    assert_eq!(shop.row("a").unwrap(), r#"{"n":8}"#);
}

#[test]
fn law_5_a_refusal_is_not_remembered() {
    let mut shop = Shop::new();
    let id = Some(Uuid::from_u128((u128::from(NOW) << 80) | (7 << 76) | (2 << 62) | 1));

    let refused = shop.propose_as(id, json!([take("a")]));
    shop.flush();
    shop.commit(json!([put("a", 1)])).unwrap();
    let retried = shop.propose_as(id, json!([take("a")]));
    shop.flush();

    assert_eq!(shop.answers[&refused].as_ref().unwrap_err().code(), "row_not_found");
    assert!(shop.answers[&retried].is_ok());
}

#[test]
fn law_8_a_failed_write_stops_the_dataset_and_leaves_memory_as_it_was() {
    let mut shop = Shop::new();
    let ticket = shop.propose(json!([put("a", 1)]));
    shop.drain().unwrap();

    shop.owner.handle(Event::AppendFailed(AppendError::Fatal("EIO".into())), NOW);
    shop.flush();

    assert_eq!(shop.answers[&ticket], Err(Refusal::OutcomeUnknown));
    assert_eq!(shop.row("a"), None);
    assert_eq!(shop.commit(json!([put("a", 1)])).unwrap_err().code(), "stopped");
}

#[test]
fn a_full_disk_refuses_the_batch_and_service_goes_on_when_there_is_space() {
    let mut shop = Shop::new();
    let ticket = shop.propose(json!([put("a", 1)]));
    shop.drain().unwrap();

    shop.owner.handle(Event::AppendFailed(AppendError::StorageFull("ENOSPC".into())), NOW);
    shop.flush();

    assert_eq!(shop.answers[&ticket].as_ref().unwrap_err().code(), "storage_full");
    assert!(shop.commit(json!([put("a", 1)])).is_ok());
}

#[test]
fn i4_tables_made_and_dropped_in_a_commit_are_seen_by_the_operations_after() {
    let mut shop = Shop::new();
    shop.commit(json!([put("a", 1)])).unwrap();

    shop.commit(json!([
        {"op": "drop_table", "table": "items"},
        {"op": "create_table", "table": "items"},
        {"op": "require", "table": "items", "key": "a", "exists": false},
        put("b", 2),
    ]))
    .unwrap();

    assert_eq!((shop.row("a"), shop.row("b")), (None, Some(r#"{"n":2}"#.into())));
}

#[test]
fn a_condition_that_fails_says_which_and_why() {
    let mut shop = Shop::new();
    let first = shop.commit(json!([put("a", 1)])).unwrap().position;
    let mut require = |condition: serde_json::Value| {
        let mut operation = json!({"op": "require", "table": "items", "key": "a"});
        operation.as_object_mut().unwrap().extend(condition.as_object().unwrap().clone());
        shop.commit(json!([operation])).map(|_| ()).map_err(|refusal| refusal.to_string())
    };

    assert_eq!(require(json!({"exists": true})), Ok(()));
    assert!(require(json!({"exists": false})).unwrap_err().contains("the row exists"));
    assert_eq!(require(json!({"equals": {"n": 1}})), Ok(()));
    assert!(require(json!({"equals": {"n": 2}})).unwrap_err().contains("is 1, not 2"));
    assert_eq!(require(json!({"where": "row.n + 1 == 2"})), Ok(()));
    assert!(require(json!({"where": "row.n > 1"})).unwrap_err().contains("is false"));
    assert_eq!(require(json!({"unchanged_since": first})), Ok(()));
    shop.commit(json!([put("a", 1)])).unwrap();
    let changed = shop.commit(json!([
        {"op": "require", "table": "items", "key": "a", "unchanged_since": first}
    ]));
    assert!(changed.unwrap_err().to_string().contains("has changed since"));
}

#[test]
fn an_add_to_what_is_no_integer_names_the_field_and_what_it_holds() {
    let mut shop = Shop::new();
    for (row, found) in
        [(json!({"n": "x"}), "a text"), (json!({}), "nothing"), (json!({"n": 1.5}), "a number")]
    {
        shop.commit(json!([{"op": "put", "table": "items", "key": "a", "row": row}])).unwrap();

        let refusal = shop.commit(json!([take("a")])).unwrap_err();

        assert_eq!(refusal.code(), "wrong_type");
        assert!(refusal.to_string().contains(found), "{refusal}");
    }
    shop.commit(json!([put("a", i64::MAX)])).unwrap();
    let over =
        shop.commit(json!([{"op": "add", "table": "items", "key": "a", "field": "n", "by": 1}]));
    assert_eq!(over.unwrap_err().code(), "out_of_bounds");
}

#[test]
fn law_5_a_clock_that_was_wrong_for_one_commit_costs_no_id_when_it_is_right_again() {
    const DAY: u64 = 24 * 60 * 60 * 1_000;
    let id = |ms: u64, tail: u128| {
        Uuid::from_u128((u128::from(ms) << 80) | (0x7 << 76) | (0b10 << 62) | tail)
    };
    for wrong in [NOW + 25 * DAY, NOW - 25 * DAY] {
        let mut shop = Shop::new();
        let mut put = |id: Uuid, now_ms: u64| {
            shop.now_ms = now_ms;
            let ticket = shop.propose_as(Some(id), json!([put("a", 1)]));
            shop.flush();
            shop.answers.remove(&ticket).unwrap()
        };

        put(id(NOW, 1), NOW).unwrap();
        put(id(wrong, 2), wrong).unwrap();
        let after = put(id(NOW, 3), NOW);
        let again = put(id(wrong, 2), NOW);

        assert!(after.is_ok_and(|receipt| !receipt.replayed), "from {wrong}");
        if wrong > NOW {
            assert!(again.unwrap().replayed, "its reply is replayed")
        } else {
            assert_eq!(again, Err(Refusal::IdExpired), "it is three weeks old")
        }
        assert_eq!(shop.owner.state().time_ms, NOW);
    }
}

#[test]
fn many_operations_on_one_row_become_one_record_of_it() {
    let mut shop = Shop::new();
    let text = "x".repeat(50_000);
    shop.commit(
        json!([{"op": "put", "table": "items", "key": "a", "row": {"n": 0, "text": text}}]),
    )
    .unwrap();
    let adds: Vec<_> = (0..300)
        .map(|_| json!({"op": "add", "table": "items", "key": "a", "field": "n", "by": 1}))
        .collect();

    let receipt = shop.commit(json!(adds)).unwrap();

    assert_eq!(receipt.results.last(), Some(&Some(300)));
    assert!(shop.entries.last().unwrap().len() < 60_000);
    let again = json!([
        {"op": "delete", "table": "items", "key": "a"}, {"op": "drop_table", "table": "items"},
        {"op": "create_table", "table": "items"},
        {"op": "put", "table": "items", "key": "a", "row": {"n": 1}},
        {"op": "delete", "table": "items", "key": "a"},
        {"op": "put", "table": "items", "key": "a", "row": {"n": 2}},
    ]);
    shop.commit(again).unwrap();
    assert_eq!(shop.row("a").as_deref(), Some(r#"{"n":2}"#));
}

#[test]
fn a_row_that_comes_and_goes_within_a_commit_leaves_no_record() {
    let mut shop = Shop::new();
    let delete = |key: &str| json!({"op": "delete", "table": "items", "key": key});

    shop.commit(json!([put("a", 1), put("b", 1), delete("a"), put("b", 2), delete("c")])).unwrap();
    let commit = Entry::decode(shop.entries.last().unwrap()).unwrap().commits.remove(0);
    shop.commit(json!([put("b", 3), delete("b")])).unwrap();
    let gone = Entry::decode(shop.entries.last().unwrap()).unwrap().commits.remove(0);

    assert!(matches!(&commit.records[..], [Record::Put { key, .. }] if key.as_str() == "b"));
    assert!(matches!(&gone.records[..], [Record::Delete { key, .. }] if key.as_str() == "b"));
}

#[test]
fn a_commit_that_would_become_too_large_is_refused_alone() {
    let mut shop = Shop::new();
    let text = "x".repeat(250_000);
    let rows: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    for key in &rows {
        let row = json!({"n": 0, "text": text});
        shop.commit(json!([{"op": "put", "table": "items", "key": key, "row": row}])).unwrap();
    }
    let patch =
        |key: &String| json!({"op": "patch", "table": "items", "key": key, "fields": {"m": 1}});
    let add = json!({"op": "add", "table": "items", "key": "0", "field": "n", "by": 1});

    let many_rows = shop.propose(json!(rows.iter().map(patch).collect::<Vec<_>>()));
    let many_times = shop.propose(json!(vec![add.clone(); 300]));
    let beside = shop.propose(json!([add]));
    shop.flush();

    for ticket in [many_rows, many_times] {
        let refusal = shop.answers.remove(&ticket).unwrap().unwrap_err();
        assert_eq!(refusal.code(), "commit_too_large", "{refusal}");
    }
    assert_eq!(shop.answers.remove(&beside).unwrap().unwrap().results[0], Some(1));
}

#[test]
fn conditions_that_take_too_many_steps_are_refused_alone() {
    let mut shop = Shop::new();
    let row = json!({"l": (0..20_000).collect::<Vec<_>>()});
    shop.commit(json!([{"op": "put", "table": "items", "key": "a", "row": row}])).unwrap();
    let require =
        |text: &str| json!({"op": "require", "table": "items", "key": "a", "where": text});

    let alone = shop.propose(json!([require("row.l.all(x, !(-8 in row.l))")]));
    let together = shop.propose(json!(vec![require("row.l.all(x, x >= 0)"); 20]));
    let beside = shop.propose(json!([require("row.l.all(x, x >= 0)")]));
    shop.flush();

    for ticket in [alone, together] {
        let refusal = shop.answers.remove(&ticket).unwrap().unwrap_err();
        assert_eq!(refusal.code(), "expression_too_costly", "{refusal}");
    }
    assert!(shop.answers.remove(&beside).unwrap().is_ok());
}

#[test]
fn a_condition_on_a_position_ahead_of_the_log_does_not_hold() {
    let mut shop = Shop::new();
    let at = shop.commit(json!([put("a", 1)])).unwrap().position;
    let ahead =
        Position { place: Place { revision: Revision(at.place.revision.0 + 9), index: 0 }, ..at };
    let require = |since: Position| {
        let since = since.to_string();
        json!([{"op": "require", "table": "items", "key": "a", "unchanged_since": since}])
    };

    assert!(shop.commit(require(at)).is_ok());
    assert_eq!(shop.commit(require(ahead)).unwrap_err().code(), "condition_failed");
}

#[test]
fn equals_takes_null_for_nothing_and_numbers_as_they_are_written() {
    let mut shop = Shop::new();
    shop.commit(json!([{"op": "put", "table": "items", "key": "a", "row": {"n": 1, "x": 1.0}}]))
        .unwrap();
    let mut holds = |equals: serde_json::Value| {
        let require = json!([{"op": "require", "table": "items", "key": "a", "equals": equals}]);
        shop.commit(require).is_ok()
    };

    assert!(holds(json!({"nothing": null, "n": 1, "x": 1.0})));
    assert!(!holds(json!({"n": 1.0})));
    assert!(!holds(json!({"x": 1})));
    assert!(!holds(json!({"n": null})));
}

#[test]
fn a_digest_that_an_earlier_version_stored_is_still_that_of_the_same_operations() {
    let id = Uuid::from_u128((u128::from(NOW) << 80) | (0x7 << 76) | (0b10 << 62) | 9);
    let mut shop = Shop::new();
    let before = shop.propose_as(Some(id), json!([put("a", 1)]));
    shop.flush();
    let stored = digest(json!([put("a", 1)]).to_string().as_bytes());
    let operations = serde_json::from_value(json!([put("a", 1)])).unwrap();
    let commit_id = CommitId { principal: "tester".into(), id, digest: 77, earlier: Some(stored) };
    let proposal = Proposal { commit_id: Some(commit_id), operations };

    shop.owner.handle(Event::Propose { ticket: 99, proposal }, NOW);
    shop.flush();

    assert!(shop.answers.remove(&before).unwrap().is_ok_and(|receipt| !receipt.replayed));
    assert!(shop.answers.remove(&99).unwrap().is_ok_and(|receipt| receipt.replayed));
}

impl Shop {
    /// A shop whose log takes entries of so many bytes.
    fn of_small_entries(largest_entry: usize) -> Self {
        let Self { owner, answers, published, tickets, entries, now_ms } = Self::new();
        let owner = owner.with_largest_entry(largest_entry);
        Self { owner, answers, published, tickets, entries, now_ms }
    }

    /// The commits of each entry from here on.
    fn flush_and_count(&mut self) -> Vec<usize> {
        let before = self.entries.len();
        self.flush();
        let written = &self.entries[before..];
        written.iter().map(|entry| Entry::decode(entry).unwrap().commits.len()).collect()
    }
}

fn put_text(key: &str, bytes: usize) -> serde_json::Value {
    json!({"op": "put", "table": "items", "key": key, "row": {"text": "x".repeat(bytes), "n": 9}})
}

#[test]
fn a_batch_ends_at_the_logs_largest_entry_and_no_commit_is_refused() {
    let mut shop = Shop::of_small_entries(1_000);
    let id = Some(Uuid::from_u128((u128::from(NOW) << 80) | (7 << 76) | (2 << 62) | 1));
    let proposed: Vec<usize> = (0..10)
        .flat_map(|n| {
            let put = shop.propose(json!([put_text(&n.to_string(), 200)]));
            [put, shop.propose_as(id.filter(|_| n == 0), json!([take(&n.to_string())]))]
        })
        .collect();
    let again = shop.propose_as(id, json!([take("0")]));

    let counts = shop.flush_and_count();

    assert_eq!(counts, [3, 4, 4, 4, 4, 1], "as many as fit");
    assert!(shop.entries.iter().all(|entry| entry.len() <= 1_000));
    let places: Vec<Place> = proposed
        .iter()
        .map(|ticket| shop.answers[ticket].clone().unwrap().position.place)
        .collect();
    assert!(places.is_sorted_by(|one, next| one < next), "in the order of the proposals");
    assert!(shop.answers[&again].clone().unwrap().replayed);
    assert!((0..10).all(|n| shop.row(&n.to_string()).unwrap().starts_with(r#"{"n":8"#)));
}

#[test]
fn a_commit_that_no_entry_can_hold_is_refused_alone_and_its_batch_goes_on() {
    let mut shop = Shop::of_small_entries(1_000);
    let before = shop.propose(json!([put("a", 1)]));
    let large = shop.propose(json!([put_text("b", 600), put_text("c", 600)]));
    let behind = shop.propose(json!([take("a")]));
    let reads = shop.propose(json!([take("b")]));

    shop.flush();

    let refusal = shop.answers[&large].clone().unwrap_err();
    assert_eq!(refusal.code(), "commit_too_large");
    assert!(refusal.to_string().contains("entry of the log"), "{refusal}");
    assert!(shop.answers[&before].is_ok() && shop.answers[&behind].is_ok());
    assert_eq!(shop.answers[&reads].clone().unwrap_err().code(), "row_not_found");
    assert_eq!(shop.row("a").unwrap(), r#"{"n":0}"#);
}

#[test]
fn a_log_that_takes_less_than_it_said_gets_what_it_takes() {
    let mut shop = Shop::new();
    let tickets = [put("a", 1), put_text("b", 600)].map(|put| shop.propose(json!([put])));
    let entry = shop.drain().unwrap();
    let too_large = AppendError::TooLarge { bytes: entry.len(), limit: 500 };

    shop.owner.handle(Event::AppendFailed(too_large), NOW);
    shop.flush();

    for ticket in tickets {
        assert_eq!(shop.answers[&ticket].clone().unwrap_err().code(), "storage_full");
    }
    assert!(shop.commit(json!([put("a", 1)])).is_ok());
    assert_eq!(shop.commit(json!([put_text("b", 600)])).unwrap_err().code(), "commit_too_large");
}

#[test]
fn a_condition_that_came_as_source_is_compiled_and_decided_by_the_owner() {
    let mut shop = Shop::new();
    shop.commit(json!([put("a", 3)])).unwrap();
    let mut decide = |source: &str, instead: &str| {
        let require = json!([{"op": "require", "table": "items", "key": "a", "where": source}]);
        let operations = serde_json::from_value::<Vec<Operation>>(require).unwrap();
        let bytes = Proposal::from(operations).encode();
        let at = bytes.windows(source.len()).position(|part| part == source.as_bytes()).unwrap();
        let bytes = [&bytes[..at], instead.as_bytes(), &bytes[at + source.len()..]].concat();
        let proposal = Proposal::decode(&bytes).unwrap();
        shop.tickets += 1;
        shop.owner.handle(Event::Propose { ticket: shop.tickets, proposal }, NOW);
        shop.flush();
        shop.answers.remove(&shop.tickets).unwrap()
    };

    assert!(decide("row.n == 3", "row.n == 3").is_ok());
    assert_eq!(decide("row.n == 3", "row.n == 4").unwrap_err().code(), "condition_failed");
    let refusal = decide("row.n == 3", "rwo.n == 3").unwrap_err();
    let said = "ops[0]: where: line 1, column 1: unknown name \"rwo\"; known are row, key";
    assert_eq!((refusal.code(), refusal.to_string().as_str()), ("bad_operation", said));
}
