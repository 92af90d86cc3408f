//! Mail through an owner: decisions, memory, and the state.

use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{EndpointNo, Lease, MailChange, MailOperation, MailRules, Seq, Slot, Status, outcome};
use crate::commit::{Operation, Proposal};
use crate::limits;
use crate::mirror::Mirror;
use crate::owner::{Effect, Event, Owner, Receipt, Refusal};
use crate::position::{Incarnation, Revision};
use crate::registration::Generation;
use crate::snapshot;
use crate::state::State;

mod answering;
mod clocks;
mod delivering;
mod forgetting;
mod giving;
mod model;
mod moving;
mod pulling;
mod routing;
mod scopes;
mod together;

fn here() -> Incarnation {
    Incarnation(Uuid::from_u128(1))
}

fn owner(state: State, writer: u128) -> Owner<u64> {
    Owner::new(Mirror::new(here(), state), Uuid::from_u128(writer))
}

/// An owner with a log in memory.
struct Fixture {
    owner: Owner<u64>,
    entries: Vec<bytes::Bytes>,
    changes: Vec<MailChange>,
    now_ms: u64,
}

impl Fixture {
    /// `org/1` is at server 7, `org/2` at server 8.
    fn new() -> Self {
        let rules =
            MailRules { max_attempts: 3, keep_finished: 4, keep_dead: 2, ..MailRules::default() };
        let owner = owner(State::default(), 2);
        let mut house = Self {
            owner: owner.with_mail(rules),
            entries: vec![],
            changes: vec![],
            now_ms: 1_700_000_000_000,
        };
        house
            .commit(json!([
                {"op": "create_queue", "queue": "mail"},
                {"op": "move", "endpoint": "org/1", "to": "7"},
                {"op": "move", "endpoint": "org/2", "to": "8"},
            ]))
            .unwrap();
        house
    }

    /// Another process goes on with other rules.
    fn restart(&mut self, rules: MailRules) {
        self.owner = owner(self.owner.state().clone(), 3).with_mail(rules);
    }

    /// From here on the log takes entries of so many bytes.
    fn log_takes(&mut self, largest_entry: usize) {
        let other = owner(State::default(), 4);
        self.owner = std::mem::replace(&mut self.owner, other).with_largest_entry(largest_entry);
    }

    fn propose(&mut self, operations: Vec<Operation>) -> Result<Receipt, Refusal> {
        self.propose_together(vec![operations]).pop().expect("every proposal is answered")
    }

    /// Proposals that share a batch.
    fn propose_together(
        &mut self,
        proposals: Vec<Vec<Operation>>,
    ) -> Vec<Result<Receipt, Refusal>> {
        for operations in proposals {
            let proposal = Proposal::from(operations);
            self.owner.handle(Event::Propose { ticket: 1, proposal }, self.now_ms);
        }
        let mut answered = vec![];
        while let Some(effect) = self.owner.next_effect() {
            match effect {
                Effect::Append { entry, .. } => {
                    self.entries.push(entry);
                    self.owner.handle(Event::Appended, self.now_ms);
                }
                Effect::Publish(changes) => self.changes.extend(changes.mail),
                Effect::Answer { answer, .. } => answered.push(answer),
                Effect::Stop { reason } => panic!("stopped: {reason}"),
            }
        }
        answered
    }

    fn commit(&mut self, operations: Value) -> Result<Receipt, Refusal> {
        self.propose(serde_json::from_value(operations).unwrap())
    }

    fn send(&mut self, to: &str) -> Seq {
        Seq(self.result(json!({"op": "send", "queue": "mail", "to": to, "body": {"to": to}}))
            as u64)
    }

    fn result(&mut self, operation: Value) -> i64 {
        self.commit(json!([operation])).unwrap().results[0].unwrap()
    }

    fn mail(&mut self, wanted: MailOperation) -> i64 {
        self.propose(vec![Operation::Mail(wanted)]).unwrap().results[0].unwrap()
    }

    fn register(&mut self, server: &str) -> Generation {
        Generation(self.mail(MailOperation::Register { server: server.into() }) as u64)
    }

    fn tend(&mut self) -> i64 {
        self.mail(MailOperation::Sweep)
    }

    fn status(&self, seq: Seq) -> Option<Status> {
        self.owner.state().mail.message(seq).map(|message| message.status)
    }

    fn server_of(&self, seq: Seq) -> Option<String> {
        let mail = &self.owner.state().mail;
        let message = mail.message(seq)?;
        mail.server(message.server).map(|server| server.server.to_string())
    }

    /// Lists the messages that can be given to a server, in order.
    fn ready(&self, server: &str) -> Vec<(String, Seq)> {
        let mail = &self.owner.state().mail;
        let Some(server) = mail.server_number(server) else { return vec![] };
        let mut at = Slot { server, endpoint: EndpointNo(0), rank: 0, seq: Seq::ZERO };
        let mut all = vec![];
        while let Some(slot) = mail.next_ready(at) {
            all.push((mail.endpoint(slot.endpoint).to_owned(), slot.seq));
            at = Slot { seq: slot.seq.next(), ..slot };
        }
        all
    }

    /// The state as a replica has it, and as a snapshot brings it back, are the owner's.
    fn check_copies(&self) {
        let mut mirror = Mirror::new(here(), State::default());
        for (at, entry) in self.entries.iter().enumerate() {
            mirror.apply(Revision(at as u64 + 1), entry).unwrap();
        }
        let folded = mirror.state();
        assert_eq!(folded, self.owner.state());
        let mut reader = snapshot::Reader::default();
        snapshot::write(folded, &mut |piece| reader.push(piece)).unwrap();
        assert_eq!(reader.finish().unwrap(), *folded);
    }

    /// Every message is in the books exactly once.
    fn check_books(&self) {
        for queue in self.owner.state().mail.queues() {
            let open = queue.pending + queue.dead;
            let ended = queue.confirmed + queue.expired + queue.given_up;
            assert_eq!(queue.stored, open + ended, "{queue:?}");
        }
    }
}

fn lease(server: &str, generation: Generation, seq: Seq) -> Lease {
    Lease { server: server.into(), generation, seq }
}

fn ack(server: &str, generation: Generation, seq: Seq) -> MailOperation {
    MailOperation::Ack(lease(server, generation, seq))
}

// The fuzz target `snapshot` found it: a snapshot without a queue was one without mail.
#[test]
fn i8_a_registration_before_there_is_a_queue_is_in_a_snapshot() {
    let owner = owner(State::default(), 2);
    let (entries, changes) = (vec![], vec![]);
    let mut house = Fixture { owner, entries, changes, now_ms: 1_700_000_000_000 };

    house.register("7");

    assert_eq!(house.owner.state().mail.generation("7"), Generation(1));
    house.check_copies();
}

#[test]
fn refused_operations_leave_nothing_in_the_batch_that_others_share() {
    let mut house = Fixture::new();
    let send = |to: &str| json!({"op": "send", "queue": "mail", "to": to, "body": to});
    let entries = house.entries.len();
    let together = [
        json!([send("org/1")]),
        json!([send("org/1"), send("org/2"), send("org/9")]),
        json!([send("org/9")]),
        json!([send("org/2"), send("org/1")]),
        json!([{"op": "move", "endpoint": "org/1", "to": "8", "generation": 7}]),
        json!([send("org/2")]),
    ];
    let proposals = together.map(|operations| serde_json::from_value(operations).unwrap());

    let answers = house.propose_together(proposals.into());

    let results = answers.iter().map(|answer| answer.as_ref().ok().map(|ok| &*ok.results));
    let numbers: Vec<Option<Vec<i64>>> =
        results.map(|some| some.map(|some| some.iter().copied().flatten().collect())).collect();
    let stored = |seqs: &[i64]| Some(seqs.to_vec());
    assert_eq!(
        numbers,
        [stored(&[1]), None, None, stored(&[2, 3]), None, stored(&[4])],
        "{answers:?}"
    );
    assert_eq!(house.entries.len(), entries + 1, "one batch");
    let at = |endpoint: &str, seq| (endpoint.to_owned(), Seq(seq));
    assert_eq!(house.ready("7"), [at("org/1", 1), at("org/1", 3)]);
    assert_eq!(house.ready("8"), [at("org/2", 2), at("org/2", 4)]);
    house.check_books();
    house.check_copies();
}

#[test]
fn a_commit_that_moves_and_sends_sees_itself() {
    let mut house = Fixture::new();

    let receipt = house.commit(json!([
        {"op": "move", "endpoint": "org/5", "to": "9"},
        {"op": "send", "queue": "mail", "to": "org/5", "body": 1},
        {"op": "move", "endpoint": "org/5", "to": "10"},
    ]));

    let results = receipt.unwrap().results;
    assert_eq!(&*results, &[Some(1), Some(1), Some(2)]);
    assert_eq!(house.server_of(Seq(1)).unwrap(), "10");
    house.check_copies();
}

#[test]
fn smq_16_a_forged_server_is_refused() {
    let letter = json!({"op": "send", "queue": "mail", "to": "org/1", "body": 1, "server": "66"});

    assert!(serde_json::from_value::<Operation>(letter).is_err());
}

#[test]
fn i45_the_same_id_is_stored_once_and_another_body_under_it_is_a_conflict() {
    let mut house = Fixture::new();
    let id = Uuid::from_u128(77);
    let letter = |to: &str, id: Uuid, body: i64| {
        let letter = json!({"op": "send", "queue": "mail", "to": to, "id": id, "body": body});
        json!([letter])
    };
    let send = |body: i64| letter("org/1", id, body);

    let first = house.commit(send(1)).unwrap();
    let again = house.commit(send(1)).unwrap();
    let other = house.commit(send(2)).unwrap_err();

    assert_eq!(first.results, again.results);
    assert!(matches!(other, Refusal::MessageConflict { .. }));
    assert_eq!(house.owner.state().mail.last(), Seq(1));
    // A refused one does not block its retry.
    let refused = letter("org/9", Uuid::from_u128(78), 1);
    assert!(house.commit(refused.clone()).is_err());
    house.commit(json!([{"op": "move", "endpoint": "org/9", "to": "7"}])).unwrap();
    assert_eq!(house.commit(refused).unwrap().results[0], Some(2));
}

#[test]
fn smq_17_ended_messages_are_remembered_within_limits() {
    let mut house = Fixture::new();
    let generation = house.register("7");
    for _ in 0..10 {
        let seq = house.send("org/1");
        house.mail(ack("7", generation, seq));
        let seq = house.send("org/1");
        house.mail(MailOperation::Reject {
            lease: lease("7", generation, seq),
            reason: "no".into(),
        });
    }

    house.tend();

    let queue = house.owner.state().mail.queues().next().unwrap().clone();
    assert_eq!((queue.kept, queue.dead, queue.confirmed, queue.given_up), (4, 2, 10, 8));
    assert_eq!(house.owner.state().mail.messages_after(Seq::ZERO).count(), 6);
    assert_eq!(house.mail(ack("7", generation, Seq(1))), outcome::DONE);
    house.check_copies();
    house.check_books();
}

#[test]
fn bad_messages_are_refused_and_the_limit_named() {
    let mut house = Fixture::new();
    let mut refusal = |fields: Value| {
        let mut letter = json!({"op": "send", "queue": "mail", "to": "org/1", "body": 1});
        letter.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        house.commit(json!([letter])).unwrap_err().code()
    };

    assert_eq!(refusal(json!({"body": "x".repeat(limits::MAIL_BODY_BYTES)})), "message_too_large");
    assert_eq!(refusal(json!({"queue": "other"})), "unknown_queue");
    assert_eq!(refusal(json!({"priority": 10})), "bad_operation");
    assert_eq!(refusal(json!({"to": format!("org/{}", "x".repeat(300))})), "bad_endpoint");
}
