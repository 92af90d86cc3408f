//! Entries that an owner writes for operations, with the digests and ids in them; the snapshots of
//! what they add up to; and the texts in which positions and views are stored.
//!
//! A digest is remembered for as long as an id is: computed otherwise, a repeated commit would be a
//! conflict, and a repeated message another one.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Vector, hold};
use crate::commit::{CommitId, Operation, Proposal, digest_of_values};
use crate::definition::Definitions;
use crate::mail::{Lease, MailOperation, MailRules, Seq, sender};
use crate::mirror::Mirror;
use crate::owner::{Effect, Event, Owner};
use crate::position::{Incarnation, Place, Position, Revision};
use crate::registration::Generation;
use crate::snapshot;
use crate::state::State;
use crate::view::View;

const NOW_MS: u64 = 1_700_000_000_000;
const HOUR_MS: u64 = 60 * 60 * 1000;

fn incarnation() -> Incarnation {
    Incarnation(Uuid::from_u128(0x0102_0304_0506_4708_890a_0b0c_0d0e_0f10))
}

/// An owner whose entries are kept.
struct Written {
    owner: Owner<()>,
    entries: Vec<Vector>,
    now_ms: u64,
}

impl Written {
    fn new() -> Self {
        let owner = Owner::new(Mirror::new(incarnation(), State::default()), Uuid::from_u128(2));
        let rules = MailRules { max_attempts: 1, ..MailRules::default() };
        Self { owner: owner.with_mail(rules), entries: vec![], now_ms: NOW_MS }
    }

    fn propose(&mut self, name: &str, said: &Value, proposal: Proposal) {
        self.owner.handle(Event::Propose { ticket: (), proposal }, self.now_ms);
        while let Some(effect) = self.owner.next_effect() {
            match effect {
                Effect::Append { entry, .. } => {
                    let name = format!("{} {name}", self.entries.len() + 1);
                    let value = said.to_string();
                    self.entries.push(Vector { name, value, bytes: entry.to_vec() });
                    self.owner.handle(Event::Appended, self.now_ms);
                }
                Effect::Publish { .. } => {}
                Effect::Answer { answer, .. } => assert!(answer.is_ok(), "{name}: {answer:?}"),
                Effect::Stop { reason } => panic!("stopped: {reason}"),
            }
        }
    }

    /// Operations as clients say them, signed by a principal.
    fn commit(&mut self, name: &str, operations: Value) {
        let mut parsed: Vec<Operation> = serde_json::from_value(operations.clone()).unwrap();
        for operation in &mut parsed {
            if let Operation::Send(letter) | Operation::Import(letter) = operation {
                letter.sender = sender("shop");
            }
        }
        let number = self.entries.len() as u128 + 1;
        let time = u128::from(self.now_ms) << 80;
        let commit_id = CommitId {
            principal: "shop".into(),
            id: Uuid::from_u128(time | 7 << 76 | 2 << 62 | number),
            digest: digest_of_values(operations.as_array().unwrap().clone()),
            earlier: None,
        };
        let proposal = Proposal { commit_id: Some(commit_id), operations: parsed };
        self.propose(name, &operations, proposal);
    }

    fn mail(&mut self, name: &str, operation: MailOperation) {
        let said = json!(format!("{operation:?}"));
        self.propose(name, &said, Proposal::from(vec![Operation::Mail(operation)]));
    }

    /// The state as a snapshot, with the format that it takes.
    fn snapshot(&self, format: u8) -> Vector {
        let bytes = bytes_of(self.owner.state());
        assert_eq!(snapshot::format_of(&bytes), Some(format));
        let value = json!(format!("the state behind entry {}", self.entries.len())).to_string();
        Vector { name: format!("format {format}"), value, bytes }
    }
}

fn bytes_of(state: &State) -> Vec<u8> {
    let mut bytes = Vec::new();
    snapshot::write::<()>(state, &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })
    .unwrap();
    bytes
}

fn write_tables(all: &mut Written) {
    all.commit(
        "tables and journals",
        json!([
            {"op": "create_table", "table": "items", "public": true},
            {"op": "create_table", "table": "old"},
            {"op": "create_journal", "journal": "trail"},
        ]),
    );
    all.commit(
        "rows",
        json!([
            {"op": "put", "table": "items", "key": "a", "row": {"n": 1, "text": "größe"}},
            {"op": "put", "table": "items", "key": "b", "row": {"n": 0.1}},
            {"op": "put", "table": "items", "key": "c", "row": {}},
            {"op": "append", "journal": "trail", "base64": "AP8="},
        ]),
    );
    all.commit(
        "changes",
        json!([
            {"op": "require", "table": "items", "key": "a", "exists": true},
            {"op": "add", "table": "items", "key": "a", "field": "n", "by": 41},
            {"op": "patch", "table": "items", "key": "b", "fields": {"n": null, "m": [true]}},
            {"op": "delete", "table": "items", "key": "c"},
            {"op": "drop_table", "table": "old"},
            {"op": "append", "journal": "trail", "text": "changed"},
        ]),
    );
}

fn write_mail(all: &mut Written) {
    all.commit(
        "a queue and its routes",
        json!([
            {"op": "create_queue", "queue": "mail"},
            {"op": "move", "endpoint": "org/1", "to": "7"},
            {"op": "move", "endpoint": "org/2", "to": "8"},
        ]),
    );
    all.commit(
        "messages",
        json!([
            {"op": "send", "queue": "mail", "to": "org/1", "body": {"n": 1}},
            {"op": "send", "queue": "mail", "to": "org/1", "body": [2], "priority": 9},
            {"op": "send", "queue": "mail", "to": "org/2", "body": "3", "ttl_ms": 5000},
            {"op": "import", "queue": "mail", "to": "org/3", "body": null},
        ]),
    );
}

fn write_clocks(all: &mut Written) {
    let lease = |server: &str, generation: u64, seq: u64| Lease {
        server: server.into(),
        generation: Generation(generation),
        seq: Seq(seq),
    };
    all.commit(
        "a message with an id",
        json!([{
            "op": "send", "queue": "mail", "to": "org/1", "body": {"n": 5},
            "id": "01020304-0506-7708-890a-0b0c0d0e0f10", "not_before": NOW_MS + HOUR_MS,
        }]),
    );
    all.mail("a registration", MailOperation::Register { server: "7".into() });
    all.mail("an end", MailOperation::Ack(lease("7", 1, 1)));
    let reason = "no such customer".to_owned();
    all.mail("a dead letter", MailOperation::Reject { lease: lease("7", 1, 2), reason });
    all.commit("a move", json!([{"op": "move", "endpoint": "org/1", "to": "8"}]));
    all.commit("a retry", json!([{"op": "retry", "seq": 2}]));
    all.commit("a route", json!([{"op": "readdress", "endpoint": "org/2"}]));
}

fn write_forgotten(all: &mut Written) {
    all.now_ms += 2 * HOUR_MS;
    all.mail("what is due", MailOperation::Sweep);
    all.mail("a registration without mail", MailOperation::Register { server: "9".into() });
    let servers = vec![("9".into(), all.owner.state().mail.generation("9"))];
    all.mail("servers without mail", MailOperation::ForgetServers(servers));
}

#[test]
fn operations_become_the_entries_and_snapshots_that_they_always_were() {
    let mut all = Written::new();
    write_tables(&mut all);
    let mut snapshots = vec![all.snapshot(1)];
    write_mail(&mut all);
    snapshots.push(all.snapshot(2));
    write_clocks(&mut all);
    snapshots.push(all.snapshot(3));
    write_forgotten(&mut all);
    snapshots.push(all.snapshot(4));

    let entries = hold("history.txt", &all.entries);
    let mut committed = hold("snapshots.txt", &snapshots).into_iter();
    let mut folded = State::default();
    let mut of_snapshots = snapshots.iter().peekable();
    for (at, entry) in (1..).zip(&entries) {
        folded.fold(Revision(at), &entry.bytes, &mut |_, _| {}).unwrap();
        let said = format!("\"the state behind entry {at}\"");
        if of_snapshots.next_if(|snapshot| snapshot.value == said).is_some() {
            let mut reader = snapshot::Reader::default();
            reader.push(&committed.next().unwrap().bytes).unwrap();
            assert_eq!(reader.finish().unwrap(), folded, "{said}");
        }
    }
    assert!(of_snapshots.next().is_none());
}

#[test]
fn positions_and_definitions_of_views_are_the_texts_that_they_always_were() {
    let position = |revision, index| Position {
        incarnation: incarnation(),
        place: Place { revision: Revision(revision), index },
    };
    let positions = [("first", position(0, 0)), ("last", position(u64::MAX, u16::MAX))];
    let mut vectors: Vec<Vector> = positions
        .iter()
        .map(|(name, at)| Vector::new(name, at, at.to_string().into_bytes()))
        .collect();
    let view = View::compile(
        &serde_json::from_value(json!({
            "name": "open", "dataset": "store", "table": "items", "topic": "items:{kind}",
            "event": "item", "filter": "row.n > 0", "project": {"n": "row.n"},
        }))
        .unwrap(),
    )
    .unwrap();
    let place = position(7, 1).place;
    let definitions = Definitions::of(&[view]);
    let changed = definitions.changed_since(None);
    let definitions = definitions.hold_from(place, changed, None);
    vectors.push(Vector::new("views.json", &definitions, definitions.encode(incarnation())));

    let committed = hold("texts.txt", &vectors);

    for (committed, (name, position)) in committed.iter().zip(positions) {
        let text = String::from_utf8(committed.bytes.clone()).unwrap();
        assert_eq!(text.parse::<Position>(), Ok(position), "{name}");
    }
    let read = Definitions::decode(&committed[2].bytes, incarnation(), place);
    assert_eq!(read, Some(definitions));
}
