//! Proposals and answers: a parsed one is the same when it is written again, and an owner decides.
#![no_main]

use instep_fuzz::allowance::within;
use instep_model::commit::{Operation, Proposal};
use instep_model::mirror::Mirror;
use instep_model::owner::{Effect, Event, Owner, decode_answer, encode_answer};
use instep_model::position::{Incarnation, Revision};
use instep_model::state::State;
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

fuzz_target!(
    init: { decide(proposal("row.n > 0 && key.matches('^k')")); },
    |input: &[u8]| {
        // Conditions are compiled and run, as those of the target `expression`.
        within(64 * 1024 * 1024, 16 * 1024, input.len(), || {
            if let Ok(answer) = decode_answer(input) {
                assert_eq!(decode_answer(&encode_answer(&answer)), Ok(answer));
            }
            let Ok(proposal) = Proposal::decode(input) else { return };
            assert_eq!(Proposal::decode(&proposal.encode()).as_ref(), Ok(&proposal));
            decide(proposal);
        });
    }
);

/// Lets an owner decide a proposal in a small dataset, with a log that takes small entries.
fn decide(proposal: Proposal) {
    let _ = (proposal.needs(), proposal.weight());
    let mirror = Mirror::new(Incarnation(Uuid::nil()), State::default());
    let mut owner = Owner::new(mirror, Uuid::nil()).with_largest_entry(4_096);
    for (ticket, proposal) in [before(), proposal.clone(), proposal].into_iter().enumerate() {
        owner.handle(Event::Propose { ticket, proposal }, 1_800_000_000_000);
    }
    let (mut answers, mut head) = (vec![], Revision::ZERO);
    while let Some(effect) = owner.next_effect() {
        match effect {
            Effect::Append { expected, entry } => {
                assert!(expected == head && entry.len() <= 4_096);
                head = head.next();
                owner.handle(Event::Appended, 1_800_000_000_000);
            }
            Effect::Publish(_) => {}
            Effect::Answer { ticket, answer } => {
                assert_eq!(decode_answer(&encode_answer(&answer)), Ok(answer));
                answers.push(ticket);
            }
            Effect::Stop { reason } => panic!("stopped: {reason}"),
        }
    }
    assert_eq!(answers, [0, 1, 2], "each is answered once, in order");
}

/// Makes the dataset that proposals are about.
fn before() -> Proposal {
    operations(&[
        r#"{"op": "create_table", "table": "t"}"#,
        r#"{"op": "create_journal", "journal": "j"}"#,
        r#"{"op": "create_queue", "queue": "q"}"#,
        r#"{"op": "put", "table": "t", "key": "k", "row": {"n": 1, "s": "text", "l": [1, 2]}}"#,
        r#"{"op": "move", "endpoint": "org/1", "to": "7"}"#,
        r#"{"op": "send", "queue": "q", "to": "org/1", "body": 1}"#,
    ])
}

/// A proposal with a condition.
fn proposal(condition: &str) -> Proposal {
    let condition = serde_json::to_string(condition).expect("a text");
    let require = format!(r#"{{"op": "require", "table": "t", "key": "k", "where": {condition}}}"#);
    operations(&[&require])
}

fn operations(texts: &[&str]) -> Proposal {
    let operations: Vec<Operation> =
        texts.iter().map(|text| Operation::read(text).expect("an operation")).collect();
    operations.into()
}
