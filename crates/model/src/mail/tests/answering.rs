//! Answers about messages: which server may give them, and their effect.

use serde_json::json;

use super::{Fixture, Seq, ack, lease};
use crate::mail::{MailChange, MailOperation, Status, outcome};
use crate::registration::Generation;

#[test]
fn i38_only_the_newest_registration_confirms_and_only_its_own_messages() {
    let mut house = Fixture::new();
    let seq = house.send("org/1");
    let old = house.register("7");
    let new = house.register("7");

    assert_eq!(house.mail(ack("7", old, seq)), outcome::FENCED);
    assert_eq!(house.mail(ack("8", Generation(1), seq)), outcome::NOT_YOURS);
    assert_eq!(house.mail(ack("7", new, Seq(99))), outcome::UNKNOWN);
    assert_eq!(house.mail(ack("7", new, Seq::ZERO)), outcome::UNKNOWN);
    assert_eq!(house.mail(ack("7", new, seq)), outcome::OK);
    assert_eq!(house.mail(ack("7", new, seq)), outcome::DONE);
    house.check_books();
}

#[test]
fn i40_a_dead_letter_that_is_given_again_goes_where_its_endpoint_is_now() {
    let mut house = Fixture::new();
    let seq = house.send("org/1");
    let generation = house.register("7");
    house.mail(MailOperation::Reject { lease: lease("7", generation, seq), reason: "no".into() });
    assert_eq!(house.status(seq), Some(Status::Dead));
    assert_eq!(house.owner.state().mail.reason(seq), Some("no"));
    house.commit(json!([{"op": "move", "endpoint": "org/1", "to": "9"}])).unwrap();

    house.commit(json!([{"op": "retry", "seq": seq}])).unwrap();

    assert_eq!(
        (house.status(seq), house.server_of(seq)),
        (Some(Status::Pending), Some("9".into()))
    );
    assert_eq!(house.ready("9"), [("org/1".into(), seq)]);
    house.check_copies();
}

#[test]
fn i35_a_nack_for_later_is_no_failure_and_failures_rest_for_longer_until_the_letter_is_dead() {
    let mut house = Fixture::new();
    let seq = house.send("org/1");
    let generation = house.register("7");
    let nack =
        |failed| MailOperation::Nack { lease: lease("7", generation, seq), delay_ms: 10, failed };
    let attempts = |house: &Fixture| house.owner.state().mail.message(seq).unwrap().attempts;

    for _ in 0..50 {
        house.mail(nack(false));
    }
    assert_eq!((attempts(&house), house.status(seq)), (0, Some(Status::Pending)));
    let mut rests = vec![];
    for _ in 0..2 {
        house.mail(nack(true));
        rests.push(house.owner.state().mail.message(seq).unwrap().not_before - house.now_ms);
        assert_eq!(house.ready("7"), []);
    }
    house.mail(MailOperation::WorkerDied(lease("7", generation, seq)));

    assert!(rests[0] >= 500 && rests[0] <= 1_000 && rests[1] >= 1_000 && rests[1] <= 2_000);
    assert_eq!((attempts(&house), house.status(seq)), (3, Some(Status::Dead)));
    house.check_books();
}

#[test]
fn i46_messages_in_flight_expire_like_waiting_ones_and_the_clock_only_decides_when_it_is_logged() {
    let mut house = Fixture::new();
    let send = json!({"op": "send", "queue": "mail", "to": "org/1", "body": 1, "ttl_ms": 100});
    let seq = house.result(send) as u64;
    let generation = house.register("7");
    house.now_ms += 100;

    assert_eq!(house.status(Seq(seq)), Some(Status::Pending));
    assert_eq!(house.tend(), 1);

    assert_eq!(house.status(Seq(seq)), Some(Status::Expired));
    assert_eq!(house.mail(ack("7", generation, Seq(seq))), outcome::DONE);
    assert!(house.changes.contains(&MailChange::BodyEnded { seq: Seq(seq) }));
    // A clock that goes back brings nothing back.
    house.now_ms -= 50;
    house.tend();
    assert_eq!(house.status(Seq(seq)), Some(Status::Expired));
    house.check_copies();
    house.check_books();
}
