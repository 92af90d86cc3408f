//! Ids of messages: whose they are, and what makes a message the same one.

use super::*;
use crate::mail::{MailRecord, NewMessage, sender};
use crate::name::Name;

/// It says the number of the first message, as an id that the server derives does.
const ID: Uuid = Uuid::from_u128(1);

fn letter(queue: &str, principal: &str) -> NewMessage {
    NewMessage {
        queue: Name::new(queue).unwrap(),
        to: "org/1".into(),
        body: json!(1),
        id: Some(ID),
        priority: None,
        ttl_ms: None,
        not_before: None,
        sender: sender(principal),
    }
}

fn send(house: &mut Fixture, letter: &NewMessage) -> Result<i64, Refusal> {
    let sent = house.propose(vec![Operation::Send(letter.clone())]);
    sent.map(|receipt| receipt.results[0].unwrap())
}

fn house() -> Fixture {
    let mut house = Fixture::new();
    house.commit(json!([{"op": "create_queue", "queue": "bills"}])).unwrap();
    house
}

#[test]
fn an_id_is_its_senders_own_in_its_queue() {
    let mut house = house();
    let all = [letter("mail", "ann"), letter("bills", "ann"), letter("mail", "bob")];

    for _ in 0..2 {
        let seqs: Vec<i64> = all.iter().map(|one| send(&mut house, one).unwrap()).collect();
        assert_eq!(seqs, [1, 2, 3]);
        house.restart(MailRules::default());
    }

    let id = ID;
    let mail = &house.owner.state().mail;
    let found: Vec<_> = [0, 1].iter().map(|queue| mail.by_id(&id, *queue)).collect();
    assert_eq!(found, [Some(Seq(1)), Some(Seq(2))]);
    house.check_copies();
    // In one batch, too.
    let together = [letter("mail", "eve"), letter("bills", "eve"), letter("mail", "eve")];
    let operations = together.map(Operation::Send).to_vec();
    let receipt = house.propose(operations).unwrap();
    assert_eq!(&*receipt.results, &[Some(4), Some(5), Some(4)]);
}

#[test]
fn the_same_message_is_the_same_in_everything_that_was_said_of_it() {
    let mut house = house();
    let first = letter("mail", "ann");
    send(&mut house, &first).unwrap();

    assert_eq!(send(&mut house, &NewMessage { priority: Some(4), ..first.clone() }), Ok(1));
    for other in [
        NewMessage { to: "org/2".into(), ..first.clone() },
        NewMessage { body: json!(2), ..first.clone() },
        NewMessage { priority: Some(9), ..first.clone() },
        NewMessage { ttl_ms: Some(1_000), ..first.clone() },
        NewMessage { not_before: Some(1), ..first.clone() },
        NewMessage { ttl_ms: Some(0), ..first.clone() },
    ] {
        let refused = send(&mut house, &other).unwrap_err();
        assert_eq!(refused.code(), "message_conflict", "{other:?}");
    }
}

#[test]
fn messages_stored_before_ids_had_scopes_are_known_by_endpoint_and_body() {
    let mut house = house();
    let first = letter("mail", "ann");
    let body = b"1";
    let mut state = house.owner.state().clone();
    let stored = MailRecord::Stored {
        seq: Seq(1),
        queue: first.queue.clone(),
        id: ID,
        to: "org/1".into(),
        server: Some("7".into()),
        via: Some("org/1".into()),
        generation: 1,
        priority: 4,
        not_before: 0,
        expires: 0,
        digest: crate::commit::digest(&[b"org/1".as_slice(), b"\0", body].concat()),
        body: bytes::Bytes::from_static(body),
    };
    assert!(Arc::make_mut(&mut state.mail).apply(stored, house.now_ms, &mut |_| {}));
    house.owner = owner(state, 3).with_mail(MailRules::default());

    assert_eq!(send(&mut house, &first), Ok(1));
    assert_eq!(send(&mut house, &letter("mail", "bob")), Ok(1));
    let other = send(&mut house, &NewMessage { body: json!(2), ..first });
    assert_eq!(other.unwrap_err().code(), "message_conflict");
    assert_eq!(send(&mut house, &letter("bills", "ann")), Ok(2));
}
