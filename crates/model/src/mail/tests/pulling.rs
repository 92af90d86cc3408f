//! Registrations that pull, and messages whose time is over.

use serde_json::json;

use super::giving::{Post, asked, given};
use super::{MailOperation, Seq, ack, lease};
use crate::mail::delivery::{Effect, Event};
use crate::mail::{Status, outcome};
use crate::registration::Generation;

const NOTHING: [Seq; 0] = [];

impl Post {
    fn pull(&mut self, generation: Generation, most: usize) -> Vec<Effect> {
        let server = self.number("7");
        self.handle(Event::PullBegan { registration: server.at(generation), most })
    }

    fn pulled(&mut self, generation: Generation, unused: usize, back: &[Seq]) -> Vec<Effect> {
        let (server, back) = (self.number("7"), back.to_vec());
        self.handle(Event::PullEnded { registration: server.at(generation), unused, back })
    }

    fn expiring(&mut self, to: &str, ttl_ms: u64) -> Seq {
        let op = json!({"op": "send", "queue": "mail", "to": to, "body": 1, "ttl_ms": ttl_ms});
        let seq = Seq(self.house.result(op) as u64);
        self.house.changes.clear();
        seq
    }
}

#[test]
fn credit_of_a_pull_ends_with_the_pull() {
    let mut post = Post::new();
    let first = post.send("org/1");
    let (generation, effects) = post.join("7", 0, None);
    assert_eq!(given(&effects), NOTHING);

    assert_eq!(given(&post.pull(generation, 10)), [first]);
    post.pulled(generation, 9, &[]);
    post.ack("7", generation, first);
    post.house.send("org/1");
    assert_eq!(given(&post.learn()), NOTHING, "no pull waits for it");
    assert_eq!(asked(&post.pass(100_000)), NOTHING);

    assert_eq!(given(&post.pull(generation, 10)), [first.next()]);
}

#[test]
fn a_pull_that_ends_takes_nothing_from_the_one_beside_it() {
    let mut post = Post::new();
    post.send("org/1");
    let (generation, _) = post.join("7", 0, None);
    post.pull(generation, 10);
    post.pull(generation, 10);

    post.pulled(generation, 10, &[]);
    let more: Vec<Seq> = (0..12).map(|_| post.house.send("org/1")).collect();
    let effects = post.learn();

    // One was given at once, to the one or the other.
    assert_eq!(given(&effects), more[..9]);
}

#[test]
fn a_pull_that_is_given_up_puts_back_what_it_took_in_its_place() {
    let mut post = Post::new();
    let all = [post.send("org/1"), post.send("org/1"), post.send("org/1")];
    let (generation, _) = post.join("7", 0, None);
    assert_eq!(given(&post.pull(generation, 2)), all[..2]);

    post.pulled(generation, 0, &all[..2]);

    assert_eq!(given(&post.pull(generation, 10)), all);
}

#[test]
fn a_registration_that_pulls_is_asked_when_it_pulls_and_not_between() {
    let mut post = Post::new();
    let seq = post.send("org/1");
    let (generation, _) = post.join("7", 0, None);
    post.pull(generation, 10);
    post.pulled(generation, 9, &[]);

    for _ in 0..10 {
        assert_eq!(asked(&post.pass(1_000_000)), NOTHING);
    }

    assert_eq!(asked(&post.pull(generation, 10)), [seq]);
}

#[test]
fn a_registration_that_was_not_replaced_goes_on() {
    let mut post = Post::new();
    let all = [post.send("org/1"), post.send("org/1")];
    let (generation, _) = post.join("7", 0, None);
    assert_eq!(given(&post.pull(generation, 1)), all[..1]);
    post.leave("7", generation);

    let server = post.number("7");
    post.handle(Event::Resumed { registration: server.at(generation) });
    let effects = post.pull(generation, 10);

    assert_eq!(asked(&effects), all[..1]);
    post.ack("7", generation, all[0]);
    let (newer, effects) = post.join("7", 0, None);
    assert_eq!(asked(&effects), all[1..]);
    post.handle(Event::Resumed { registration: server.at(generation) });
    assert_eq!(given(&post.pull(generation, 10)), NOTHING);
    assert_eq!(given(&post.pull(newer, 10)), NOTHING);
}

#[test]
fn i46_expired_messages_are_never_given_though_no_sweep_has_found_them() {
    let mut post = Post::new();
    let early: Vec<Seq> = (0..20).map(|_| post.expiring("org/1", 500)).collect();
    let late = post.send("org/1");
    post.house.now_ms += 500;

    let (_, effects) = post.join("7", 64, None);

    assert_eq!(given(&effects), [late]);
    let mail = &post.house.owner.state().mail;
    assert_eq!(mail.message(early[0]).unwrap().status, Status::Pending, "no sweep yet");
    assert!(!mail.is_its_own(early[0], post.number("7"), 1, post.house.now_ms));
}

#[test]
fn i46_expired_messages_are_not_confirmed_either() {
    let mut post = Post::new();
    let seq = post.expiring("org/1", 500);
    let (generation, effects) = post.join("7", 64, None);
    assert_eq!(given(&effects), [seq]);
    post.house.now_ms += 500;

    assert_eq!(post.house.mail(ack("7", generation, seq)), outcome::DONE);
    let lease = lease("7", generation, seq);
    let nack = MailOperation::Nack { lease, delay_ms: 1, failed: true };
    assert_eq!(post.house.mail(nack), outcome::DONE);
    assert_eq!(post.house.status(seq), Some(Status::Pending));
    post.pass(0);
    assert_eq!(post.house.status(seq), Some(Status::Expired));
}

#[test]
fn messages_that_had_not_expired_by_the_right_clock_are_given() {
    let mut post = Post::new();
    let seq = post.expiring("org/1", 60_000);
    post.house.now_ms += 3_600_000;
    let (_, effects) = post.join("7", 64, None);
    assert_eq!(given(&effects), NOTHING);

    post.house.now_ms -= 3_600_000;

    assert_eq!(given(&post.handle(Event::Tick)), [seq]);
}

#[test]
fn messages_ended_by_another_server_are_done() {
    let mut post = Post::new();
    let seq = post.send("org/1");
    let (seven, _) = post.join("7", 64, None);
    post.house.result(json!({"op": "move", "endpoint": "org/1", "to": "9"}));
    let (nine, _) = post.join("9", 64, None);
    assert_eq!(post.house.mail(ack("7", seven, seq)), outcome::NOT_YOURS);

    assert_eq!(post.house.mail(ack("9", nine, seq)), outcome::OK);

    assert_eq!(post.house.mail(ack("7", seven, seq)), outcome::DONE);
}

#[test]
fn a_route_has_no_generation_behind_the_last() {
    let mut post = Post::new();
    for last in [u64::from(u32::MAX), u64::MAX] {
        let row = json!({"server": "7", "generation": last});
        post.house
            .commit(json!([{"op": "put", "table": "directory", "key": "org/1", "row": row}]))
            .unwrap();

        let moved = post.house.commit(json!([{"op": "move", "endpoint": "org/1", "to": "9"}]));

        assert_eq!(moved.unwrap_err().code(), "bad_operation");
    }
}
