//! Names that were used once: they are forgotten with the last that needs them, the same in every
//! copy.

use serde_json::json;

use super::{Fixture, Seq, ack};
use crate::mail::{MailOperation, MailRules};
use crate::registration::Generation;

/// Forgets messages as soon as they have ended.
fn forgetful() -> MailRules {
    MailRules { keep_finished: 0, keep_ms: 0, ..MailRules::default() }
}

impl Fixture {
    fn forgetful() -> Self {
        let mut house = Self::new();
        house.restart(forgetful());
        house
    }

    /// A message that is sent, done and forgotten.
    fn used_once(&mut self, to: &str, server: &str, generation: Generation) {
        let seq = self.send(to);
        self.mail(ack(server, generation, seq));
        self.now_ms += 1;
        assert_eq!(self.tend(), 1);
    }

    fn forget(&mut self, server: &str, generation: Generation) -> i64 {
        self.mail(MailOperation::ForgetServers(vec![(server.into(), generation)]))
    }

    fn number(&self, endpoint: &str) -> Option<crate::mail::EndpointNo> {
        self.owner.state().mail.endpoint_number(endpoint)
    }

    fn servers(&self) -> Vec<String> {
        let servers = self.owner.state().mail.servers();
        servers.map(|(_, server)| server.server.to_string()).collect()
    }
}

#[test]
fn an_endpoint_is_forgotten_with_its_last_message_and_its_number_is_another_ones() {
    let mut house = Fixture::forgetful();
    let generation = house.register("7");
    let stays = house.send("user/1/stays");

    for number in 0..100 {
        house.used_once(&format!("user/1/{number}"), "7", generation);
        assert_eq!(house.number(&format!("user/1/{number}")), None);
        house.check_copies();
    }
    assert!(house.number("org/1").is_some(), "its row routes one that stays");
    let other = house.register("8");
    house.used_once("user/2/x", "8", other);
    let next = house.send("user/1/next");

    assert!(house.number("user/1/next").unwrap().0 < 4, "numbers are given again");
    assert_eq!(house.ready("7").len(), 2);
    for seq in [stays, next] {
        assert_eq!(house.mail(ack("7", generation, seq)), crate::mail::outcome::OK);
    }
    house.now_ms += 1;
    house.tend();
    assert_eq!(house.number("org/1"), None, "no endpoint is routed by it any more");
    house.check_books();
    house.check_copies();
}

#[test]
fn an_endpoint_that_is_routed_anew_lets_go_of_the_row_that_routed_it() {
    let mut house = Fixture::forgetful();
    let seq = house.send("org/1");

    house.commit(json!([{"op": "move", "endpoint": "org/1", "to": "9"}])).unwrap();
    house.commit(json!([{"op": "readdress", "endpoint": "org/1"}])).unwrap();

    assert_eq!(house.server_of(seq).as_deref(), Some("9"));
    assert_eq!(house.servers(), ["9"], "server 7 has neither mail nor a registration");
    house.check_copies();
}

#[test]
fn a_server_without_mail_is_forgotten_when_it_has_not_registered_since() {
    let mut house = Fixture::forgetful();
    let generation = house.register("7");
    let seq = house.send("org/1");

    assert_eq!(house.forget("7", generation), 0, "it has mail");
    house.mail(ack("7", generation, seq));
    house.now_ms += 1;
    house.tend();
    assert_eq!(house.forget("7", Generation(generation.0 - 1)), 0, "another has registered since");
    assert_eq!(house.forget("7", generation), 1);
    assert_eq!(house.servers(), [""; 0]);
    house.check_copies();

    let other = house.register("8");
    let again = house.register("7");
    assert!(other > generation && again > generation, "{generation} {other} {again}");
    let seq = house.send("org/1");
    assert_eq!(house.mail(ack("7", generation, seq)), crate::mail::outcome::FENCED);
    assert_eq!(house.mail(ack("7", again, seq)), crate::mail::outcome::OK);
    house.check_copies();
}

#[test]
fn messages_that_move_take_their_server_along_and_leave_none_behind() {
    let mut house = Fixture::forgetful();
    let seqs: Vec<Seq> = (0..10).map(|number| house.send(&format!("user/1/{number}"))).collect();

    for server in ["a", "b", "c", "a", "7"] {
        house.commit(json!([{"op": "move", "endpoint": "org/1", "to": server}])).unwrap();
        assert_eq!(house.servers(), [server]);
        house.check_copies();
    }

    assert!(seqs.iter().all(|seq| house.server_of(*seq).as_deref() == Some("7")));
}
