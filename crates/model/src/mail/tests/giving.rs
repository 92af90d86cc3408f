//! Delivery together with the owner's own changes.

use serde_json::json;

use super::{Fixture, lease};
use crate::limits;
use crate::mail::ServerNo;
use crate::mail::delivery::{Delivery, Effect, Event, Times};
use crate::mail::{MailOperation, Seq, Status};
use crate::registration::Generation;

const NOTHING: [Seq; 0] = [];
const TIMES: Times = Times { lease_ms: 1_000, ask_ms: 100 };

/// A house whose mail is given out.
pub(super) struct Post {
    pub(super) house: Fixture,
    pub(super) delivery: Delivery,
}

impl Post {
    pub(super) fn new() -> Self {
        let mut house = Fixture::new();
        house.changes.clear();
        Self { house, delivery: Delivery::new(TIMES) }
    }

    pub(super) fn handle(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = vec![];
        self.delivery.handle(event, &self.house.owner.state().mail, self.house.now_ms);
        while let Some(effect) = self.delivery.next_effect() {
            effects.push(effect);
        }
        effects
    }

    /// Hands what the owner has decided since to the delivery.
    pub(super) fn learn(&mut self) -> Vec<Effect> {
        let changes = std::mem::take(&mut self.house.changes);
        self.handle(Event::Changed(changes))
    }

    pub(super) fn number(&self, server: &str) -> ServerNo {
        self.house.owner.state().mail.server_number(server).unwrap()
    }

    pub(super) fn join(
        &mut self,
        server: &str,
        credit: usize,
        have: Option<Vec<Seq>>,
    ) -> (Generation, Vec<Effect>) {
        let generation = self.house.register(server);
        self.house.changes.clear();
        let server = self.number(server);
        let effects =
            self.handle(Event::Registered { registration: server.at(generation), credit, have });
        (generation, effects)
    }

    pub(super) fn leave(&mut self, server: &str, generation: Generation) -> Vec<Effect> {
        let server = self.number(server);
        self.handle(Event::Left { registration: server.at(generation) })
    }

    pub(super) fn ack(&mut self, server: &str, generation: Generation, seq: Seq) -> Vec<Effect> {
        assert_eq!(self.house.mail(super::ack(server, generation, seq)), 0);
        self.learn()
    }

    pub(super) fn pass(&mut self, ms: u64) -> Vec<Effect> {
        self.house.now_ms += ms;
        self.house.tend();
        let mut effects = self.learn();
        effects.extend(self.handle(Event::Tick));
        effects
    }

    pub(super) fn send(&mut self, to: &str) -> Seq {
        let seq = self.house.send(to);
        self.house.changes.clear();
        seq
    }
}

pub(super) fn given(effects: &[Effect]) -> Vec<Seq> {
    let seqs = effects.iter().filter_map(|effect| match effect {
        Effect::Give { seqs, .. } => Some(seqs.clone()),
        _ => None,
    });
    seqs.flatten().collect()
}

pub(super) fn asked(effects: &[Effect]) -> Vec<Seq> {
    let seqs = effects.iter().filter_map(|effect| match effect {
        Effect::Ask { seqs, .. } => Some(seqs.clone()),
        _ => None,
    });
    seqs.flatten().collect()
}

#[test]
fn smq_05_a_server_that_registers_gets_all_of_its_mail_and_then_what_comes() {
    let mut post = Post::new();
    let waiting = ["org/1", "user/1/a", "org/1", "server/7", "org/2"].map(|to| post.send(to));

    let (_, effects) = post.join("7", 64, None);

    let mut all = given(&effects);
    all.sort_unstable();
    assert_eq!(all, waiting[..4]);
    let seq = post.house.send("org/1");
    assert_eq!(given(&post.learn()), [seq]);
}

#[test]
fn a_window_bounds_what_is_unconfirmed_and_each_confirmation_makes_room() {
    let mut post = Post::new();
    for _ in 0..10 {
        post.send("org/1");
    }

    let (generation, effects) = post.join("7", 3, None);

    assert_eq!(given(&effects), [1, 2, 3].map(Seq));
    assert_eq!(given(&post.ack("7", generation, Seq(2))), [Seq(4)]);
    assert_eq!(given(&post.ack("7", generation, Seq(1))), [Seq(5)]);
    let server = post.number("7");
    assert_eq!(
        given(&post.handle(Event::Credit { registration: server.at(generation), credit: 5 })),
        [6, 7].map(Seq)
    );
    let other = server.at(Generation(99));
    assert_eq!(given(&post.handle(Event::Credit { registration: other, credit: 50 })), NOTHING);
}

#[test]
fn a_window_is_bounded_by_bytes_too_but_takes_one_message_of_any_size() {
    let mut post = Post::new();
    let body = "x".repeat(limits::MAIL_BODY_BYTES - 2);
    for _ in 0..20 {
        post.house.result(json!({"op": "send", "queue": "mail", "to": "org/1", "body": body}));
    }

    let (_, effects) = post.join("7", 64, None);

    let most = limits::MAIL_WINDOW_BYTES as usize / limits::MAIL_BODY_BYTES;
    assert_eq!(given(&effects).len(), most);
}

#[test]
fn i44_a_long_mailbox_does_not_starve_the_others_of_its_server() {
    let mut post = Post::new();
    for _ in 0..1_000 {
        post.send("org/1");
    }
    let late = post.send("user/1/a");

    let (_, effects) = post.join("7", 2 * limits::MAIL_TURN, None);

    assert!(given(&effects).contains(&late));
}

#[test]
fn i34_a_message_that_fails_rests_and_the_others_go_on() {
    let mut post = Post::new();
    let all: Vec<Seq> = (0..3).map(|_| post.send("org/1")).collect();
    let (generation, _) = post.join("7", 1, None);
    let nack =
        MailOperation::Nack { lease: lease("7", generation, all[0]), delay_ms: 0, failed: true };

    post.house.mail(nack);

    assert_eq!(given(&post.learn()), [all[1]]);
    assert_eq!(given(&post.ack("7", generation, all[1])), [all[2]]);
    assert_eq!(given(&post.ack("7", generation, all[2])), NOTHING);
    assert_eq!(given(&post.pass(1_000)), [all[0]]);
}

#[test]
fn i39_after_another_registration_unconfirmed_messages_are_asked_about_before_later_ones() {
    let mut post = Post::new();
    let all: Vec<Seq> = (0..4).map(|_| post.send("org/1")).collect();
    let (first, _) = post.join("7", 2, None);

    let (second, effects) = post.join("7", 3, None);

    assert_eq!((asked(&effects), given(&effects)), (all[..2].to_vec(), vec![]));
    // It has the first, and has not the second, which then comes before the third.
    assert_eq!(given(&post.ack("7", second, all[0])), NOTHING);
    let server = post.number("7");
    let no = Event::HasNot { registration: server.at(second), seqs: vec![all[1]] };
    assert_eq!(given(&post.handle(no)), all[1..]);
    assert_eq!(post.leave("7", first), []);
}

#[test]
fn i39_a_lease_that_runs_out_is_a_question_and_silence_is_asked_again_before_it_is_given_again() {
    let mut post = Post::new();
    let seq = post.send("org/1");
    let (_, effects) = post.join("7", 2, None);
    assert_eq!(given(&effects), [seq]);

    let mut questions = 0;
    let mut again = vec![];
    post.pass(999);
    for _ in 0..10_000 {
        let effects = post.pass(1);
        questions += asked(&effects).len();
        again = given(&effects);
        if !again.is_empty() {
            break;
        }
    }

    assert_eq!((questions, again), (limits::MAIL_ASKS as usize, vec![seq]));
}

#[test]
fn a_server_that_says_what_it_has_when_it_joins_is_neither_asked_nor_given_it_again() {
    let mut post = Post::new();
    let all: Vec<Seq> = (0..3).map(|_| post.send("org/1")).collect();
    post.join("7", 2, None);
    // The hub starts anew and knows nothing.
    post.delivery = Delivery::new(TIMES);

    let (_, effects) = post.join("7", 2, Some(vec![all[0], Seq(99)]));

    assert_eq!((asked(&effects), given(&effects)), (vec![], vec![all[1]]));
}

#[test]
fn i35_only_started_messages_count_as_failed_when_their_server_dies() {
    let mut post = Post::new();
    let all: Vec<Seq> = (0..5).map(|_| post.send("org/1")).collect();
    let mut poison_deaths = 0;
    while post.house.status(all[2]) == Some(Status::Pending) {
        let (generation, effects) = post.join("7", 64, Some(vec![]));
        let mut taken = given(&effects);
        for ms in [1, 4_000] {
            taken.extend(given(&post.pass(ms)));
            let doubted = asked(&post.pass(0));
            let server = post.number("7");
            let no = Event::HasNot { registration: server.at(generation), seqs: doubted };
            taken.extend(given(&post.handle(no)));
        }
        if !taken.contains(&all[2]) {
            continue;
        }
        let server = post.number("7");
        post.handle(Event::Started { registration: server.at(generation), seqs: vec![all[2]] });
        for effect in post.leave("7", generation) {
            if let Effect::WorkerDied { registration, seqs } = effect {
                assert_eq!(seqs, [all[2]]);
                poison_deaths += 1;
                post.house.mail(MailOperation::WorkerDied(lease(
                    "7",
                    registration.generation,
                    all[2],
                )));
                post.learn();
            }
        }
    }

    assert_eq!(poison_deaths, 3);
    let attempts = |seq: &Seq| post.house.owner.state().mail.message(*seq).unwrap().attempts;
    assert_eq!(all.iter().map(attempts).collect::<Vec<_>>(), [0, 0, 3, 0, 0]);
}

#[test]
fn i39_started_messages_are_asked_about_before_they_are_given_again() {
    let mut post = Post::new();
    let seq = post.send("org/1");
    let (first, _) = post.join("7", 64, None);
    let server = post.number("7");
    post.handle(Event::Started { registration: server.at(first), seqs: vec![seq] });
    post.leave("7", first);
    post.house.mail(MailOperation::WorkerDied(lease("7", first, seq)));
    post.learn();
    let (second, effects) = post.join("7", 64, None);
    assert_eq!((asked(&effects), given(&effects)), (vec![], vec![]));

    let effects = post.pass(1_000);

    assert_eq!((asked(&effects), given(&effects)), (vec![seq], vec![]));
    assert_eq!(
        given(&post.handle(Event::HasNot { registration: server.at(second), seqs: vec![seq] })),
        [seq]
    );
}

#[test]
fn i41_after_a_move_the_old_server_is_told_and_the_new_one_is_given_the_rest_in_order() {
    let mut post = Post::new();
    let all: Vec<Seq> = (0..4).map(|_| post.send("org/1")).collect();
    let (generation, _) = post.join("7", 2, None);
    let (other, _) = post.join("9", 64, None);
    post.ack("7", generation, all[0]);

    post.house.commit(json!([{"op": "move", "endpoint": "org/1", "to": "9"}])).unwrap();
    let effects = post.learn();

    let (seven, nine) = (post.number("7"), post.number("9"));
    let gone = Effect::Gone { registration: seven.at(generation), seqs: all[1..3].to_vec() };
    assert!(effects.contains(&gone), "{effects:?}");
    let lease_until = post.house.now_ms + TIMES.lease_ms;
    let seqs = all[1..].to_vec();
    let give = Effect::Give { registration: nine.at(other), seqs, lease_until };
    assert!(effects.contains(&give), "{effects:?}");
    assert_eq!(
        post.delivery.unconfirmed(seven.at(generation), Seq::ZERO, Seq::MAX),
        Vec::<Seq>::new()
    );
}

#[test]
fn i44_a_server_that_takes_nothing_costs_only_its_window() {
    let mut post = Post::new();
    for _ in 0..200 {
        post.send("org/1");
        post.send("org/2");
    }
    let (_, effects) = post.join("7", 8, None);
    assert_eq!(given(&effects).len(), 8);

    let (generation, effects) = post.join("8", 8, None);
    let mut done = given(&effects);
    for at in 0..200 {
        let seq = done[at];
        done.extend(given(&post.ack("8", generation, seq)));
    }

    assert_eq!(done.len(), 200);
    assert!(done.is_sorted());
}

#[test]
fn a_move_to_where_an_endpoint_is_takes_nothing_from_its_server() {
    let mut post = Post::new();
    let seq = post.send("org/1");
    let (generation, _) = post.join("7", 4, None);

    post.house.commit(json!([{"op": "move", "endpoint": "org/1", "to": "7"}])).unwrap();

    assert_eq!(post.learn(), []);
    let seven = post.number("7");
    assert_eq!(post.delivery.unconfirmed(seven.at(generation), Seq::ZERO, Seq::MAX), [seq]);
    let mail = &post.house.owner.state().mail;
    assert!(mail.is_its_own(seq, seven, 1, 0), "by the route that brought it");
}

#[test]
fn i43_messages_moved_away_and_back_before_they_were_written_come_anew_and_in_order() {
    let mut post = Post::new();
    let all: Vec<Seq> = (0..3).map(|_| post.send("org/1")).collect();
    let (generation, effects) = post.join("7", 2, None);
    let seven = post.number("7");
    assert_eq!(given(&effects), all[..2]);

    for to in ["9", "7"] {
        post.house.commit(json!([{"op": "move", "endpoint": "org/1", "to": to}])).unwrap();
    }
    let mail = &post.house.owner.state().mail;
    let is_written = |route: u32| all[..2].iter().any(|seq| mail.is_its_own(*seq, seven, route, 0));
    let (before, now) = (is_written(1), is_written(3));
    let effects = post.learn();

    assert!(!before && now, "what waits to be written by the old route is left out");
    let gone = Effect::Gone { registration: seven.at(generation), seqs: all[..2].to_vec() };
    assert!(effects.contains(&gone), "{effects:?}");
    assert_eq!(given(&effects), all[..2]);
}

#[test]
fn a_registration_that_a_newer_one_has_overtaken_is_told_though_that_one_is_gone() {
    let mut post = Post::new();
    post.send("org/1");
    let register = MailOperation::Register { server: "7".into() };
    let older = Generation(u64::try_from(post.house.mail(register)).unwrap());
    let (newer, _) = post.join("7", 1, None);
    post.leave("7", newer);
    let server = post.number("7");

    let late = Event::Registered { registration: server.at(older), credit: 1, have: None };
    let effects = post.handle(late);
    let back = post.handle(Event::Resumed { registration: server.at(older) });

    let replaced = Effect::Replaced { registration: server.at(older) };
    assert_eq!((effects, back), (vec![replaced.clone()], vec![replaced]));
}
