//! A clock that is set, forward or back, while messages rest or have a time to live.

use super::*;
use crate::registration::Generation;

const HOUR: u64 = 60 * 60 * 1_000;

fn resting(house: &mut Fixture, seq: Seq, server: &str, generation: Generation, delay_ms: u64) {
    let lease = Lease { server: server.into(), generation, seq };
    let nack = MailOperation::Nack { lease, delay_ms, failed: false };
    assert_eq!(house.mail(nack), outcome::OK);
}

fn is_ready(house: &Fixture, seq: Seq) -> bool {
    house.owner.state().mail.message(seq).unwrap().not_before == 0
}

/// The state of this house as another process finds it.
fn restored(house: &Fixture) -> State {
    let mut reader = snapshot::Reader::default();
    snapshot::write(house.owner.state(), &mut |bytes| reader.push(bytes)).unwrap();
    reader.finish().unwrap()
}

#[test]
fn a_rest_that_was_asked_for_while_the_clock_was_ahead_is_no_longer_when_it_is_right() {
    let mut house = Fixture::new();
    let seq = house.send("org/1");
    let generation = house.register("7");
    house.now_ms += 25 * HOUR;
    resting(&mut house, seq, "7", generation, 200);

    house.now_ms -= 25 * HOUR;
    house.tend();
    assert!(!is_ready(&house, seq));
    house.now_ms += 200;
    house.tend();

    assert!(is_ready(&house, seq));
}

#[test]
fn a_time_to_live_is_no_longer_because_the_clock_was_ahead() {
    let mut house = Fixture::new();
    house.now_ms += 25 * HOUR;
    let letter = json!({"op": "send", "queue": "mail", "to": "org/1", "body": 1, "ttl_ms": 500});
    let seq = house.result(letter) as u64;

    house.now_ms -= 25 * HOUR;
    house.tend();
    assert_eq!(house.status(Seq(seq)), Some(Status::Pending));
    house.now_ms += 500;
    let message = house.owner.state().mail.message(Seq(seq)).unwrap();
    assert!(house.owner.state().mail.has_expired(Seq(seq), &message, house.now_ms));
    house.tend();

    assert_eq!(house.status(Seq(seq)), Some(Status::Expired));
}

#[test]
fn a_clock_that_was_behind_ends_nobodys_life_when_it_is_put_right() {
    let mut house = Fixture::new();
    let letter = json!({"op": "send", "queue": "mail", "to": "org/1", "body": 1, "ttl_ms": HOUR});
    let seq = house.result(letter) as u64;
    let right = house.now_ms;

    house.now_ms = 1_000;
    house.tend();
    house.now_ms = right + HOUR - 1;
    house.tend();
    assert_eq!(house.status(Seq(seq)), Some(Status::Pending));
    house.now_ms = right + HOUR;
    house.tend();

    assert_eq!(house.status(Seq(seq)), Some(Status::Expired));
}

#[test]
fn not_before_is_a_time_of_the_clock_whatever_the_log_says() {
    let mut house = Fixture::new();
    let right = house.now_ms;
    house.now_ms += 25 * HOUR;
    house.tend();
    house.now_ms = right;
    let letter = json!({
        "op": "send", "queue": "mail", "to": "org/1", "body": 1, "not_before": right + 60_000,
    });

    let seq = house.result(letter) as u64;

    assert!(!is_ready(&house, Seq(seq)));
    house.now_ms = right + 60_000;
    house.tend();
    assert!(is_ready(&house, Seq(seq)));
}

#[test]
fn effects_of_a_clock_that_was_set_back_survive_a_snapshot() {
    let mut house = Fixture::new();
    let generation = house.register("7");
    let rests = house.send("org/1");
    house.now_ms += 25 * HOUR;
    resting(&mut house, rests, "7", generation, 200);
    let letter = json!({"op": "send", "queue": "mail", "to": "org/1", "body": 1, "ttl_ms": 500});
    let lives = house.result(letter) as u64;

    for _ in 0..2 {
        let state = restored(&house);
        assert_eq!(state, *house.owner.state());
        house.owner = owner(state, 3).with_mail(MailRules::default());
        house.now_ms -= if house.owner.state().time_ms > house.now_ms { 0 } else { 12 * HOUR };
        house.tend();
    }
    house.now_ms += 500;
    house.tend();

    assert!(is_ready(&house, rests));
    assert_eq!(house.status(Seq(lives)), Some(Status::Expired));
}
