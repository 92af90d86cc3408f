//! Routes: where a message goes when it is stored, and what moves it.

use std::sync::Arc;

use serde_json::json;

use super::{Fixture, Seq, ack, lease};
use crate::mail::{EndpointNo, MailOperation, MailRules, Origin, ServerNo, outcome};
use crate::owner::Refusal;
use crate::registration::Generation;

#[test]
fn smq_01_kinds_have_names_and_numbers_and_7_10_and_99_are_none() {
    let mut house = Fixture::new();

    assert_eq!(house.result(json!({"op": "send", "queue": "mail", "to": "1/1", "body": 1})), 1);
    assert_eq!(house.owner.state().mail.endpoint(EndpointNo(0)), "org/1");
    for to in ["7/1", "10/1", "99/1", "No/1", "org", "org/", "/1", "org/\n"] {
        let refused = house.commit(json!([{"op": "send", "queue": "mail", "to": to, "body": 1}]));
        assert_eq!(refused.unwrap_err().code(), "bad_endpoint", "{to}");
    }
}

#[test]
fn any_name_is_a_kind_by_the_directory_unless_rules_say_which_there_are() {
    let any = MailRules::default();
    let numbered = MailRules { any_kind: false, ..MailRules::default() };
    let device = any.endpoint("device/a7").unwrap();

    assert!(matches!(any.origin(&device), Origin::Row { key, .. } if key.as_str() == "device/a7"));
    assert!(any.endpoint("Device/a7").is_err() && numbered.endpoint("device/a7").is_err());
    for rules in [&any, &numbered] {
        let old = ["1/1", "3/1", "5/1", "6/1", "8/1", "9/1", "11/1"].map(|old| {
            let endpoint = rules.endpoint(old).unwrap();
            assert!(matches!(rules.origin(&endpoint), Origin::Row { .. }), "{endpoint}");
            endpoint.to_string()
        });
        let names = ["org", "central", "pserver", "data_node", "papp", "puser", "lss"];
        assert_eq!(old, names.map(|name| format!("{name}/1")));
    }
}

#[test]
fn smq_03_a_user_has_the_server_of_its_organisation_and_a_server_is_itself() {
    let mut house = Fixture::new();
    let all = [house.send("org/1"), house.send("user/1/42"), house.send("server/9")];

    assert_eq!(all.map(|seq| house.server_of(seq).unwrap()), ["7", "7", "9"]);
}

#[test]
fn smq_04_without_a_route_nothing_of_the_commit_is_stored() {
    let mut house = Fixture::new();
    let before = house.entries.len();

    let refused = house.commit(json!([
        {"op": "create_table", "table": "orders"},
        {"op": "send", "queue": "mail", "to": "org/77", "body": 1},
    ]));

    assert!(matches!(refused, Err(Refusal::NoRoute { operation: 1, .. })), "{refused:?}");
    assert_eq!(house.entries.len(), before);
}

#[test]
fn i41_i43_a_move_fences_the_old_server_and_keeps_the_order_of_each_endpoint() {
    let mut house = Fixture::new();
    let all = ["org/1", "user/1/5", "org/1", "user/1/5"].map(|to| house.send(to));
    let generation = house.register("7");
    house.mail(ack("7", generation, all[0]));
    house.mail(MailOperation::Nack {
        lease: lease("7", generation, all[3]),
        delay_ms: 500,
        failed: false,
    });

    house.commit(json!([{"op": "move", "endpoint": "org/1", "to": "9"}])).unwrap();

    assert_eq!(house.mail(ack("7", generation, all[1])), outcome::NOT_YOURS);
    assert_eq!(house.ready("7"), []);
    assert_eq!(house.ready("9"), [("org/1".into(), all[2]), ("user/1/5".into(), all[1])]);
    house.now_ms += 501;
    house.tend();
    // What rested has moved as well, and a confirmed one has not.
    assert_eq!(house.ready("9").last().unwrap().1, all[3]);
    assert_eq!(house.server_of(all[0]).unwrap(), "7");
    house.check_copies();
    house.check_books();
}

#[test]
fn a_move_of_an_expected_generation_is_refused_when_another_was_faster() {
    let mut house = Fixture::new();

    let late = json!([{"op": "move", "endpoint": "org/1", "to": "9", "generation": 0}]);
    let right = json!([{"op": "move", "endpoint": "org/1", "to": "9", "generation": 1}]);

    assert!(matches!(house.commit(late), Err(Refusal::ConditionFailed { .. })));
    assert_eq!(house.commit(right).unwrap().results[0], Some(2));
    let server = house.commit(json!([{"op": "move", "endpoint": "server/1", "to": "9"}]));
    assert!(matches!(server, Err(Refusal::NotMovable { .. })));
    let user = house.commit(json!([{"op": "move", "endpoint": "user/1/5", "to": "9"}]));
    assert!(matches!(user, Err(Refusal::BadOperation { .. })));
}

#[test]
fn smq_13_imported_messages_wait_for_their_route_and_are_in_nobodys_way() {
    let mut house = Fixture::new();
    let import = |to| json!({"op": "import", "queue": "mail", "to": to, "body": 1});
    let known = Seq(house.result(import("org/1")) as u64);
    let unknown = Seq(house.result(import("org/77")) as u64);
    assert_eq!(house.ready("7"), []);
    assert_eq!(
        house.owner.state().mail.pending_of(ServerNo::NOWHERE, Seq::ZERO).collect::<Vec<_>>(),
        [known, unknown]
    );

    assert_eq!(house.mail(MailOperation::Route { seq: known }), outcome::OK);
    assert_eq!(house.mail(MailOperation::Route { seq: known }), outcome::DONE);
    assert_eq!(house.mail(MailOperation::Route { seq: unknown }), outcome::NO_ROUTE);

    assert_eq!(house.ready("7"), [("org/1".into(), known)]);
    assert_eq!(house.owner.state().mail.queues().next().unwrap().unrouted, 1);
    house.check_copies();
}

#[test]
fn i40_a_changed_mapping_re_addresses_messages_routed_by_the_old_one() {
    use crate::mail::{Kind, Mapping};
    let mut house = Fixture::new();
    let waiting = [house.send("user/1/a"), house.send("org/1"), house.send("user/1/a")];
    house.register("7");
    // Users are their own servers from now on, so to say.
    let rules = MailRules::default();
    let own = |kind: Kind| match kind.name.as_str() {
        "user" => Kind { mapping: Mapping::Function(Arc::new(|_| Some("9".into()))), ..kind },
        _ => kind,
    };
    let kinds = rules.kinds.into_iter().map(own).collect();
    house.restart(MailRules { kinds, ..MailRules::default() });

    // A move of the organisation does not take along what does not follow it any more.
    let later = house.send("user/1/a");
    let gone = house.commit(json!([{"op": "readdress", "endpoint": "org/3"}])).unwrap_err();
    house.result(json!({"op": "readdress", "endpoint": "user/1/a"}));
    house.result(json!({"op": "move", "endpoint": "org/1", "to": "8"}));

    assert!(matches!(gone, Refusal::NoRoute { .. }));
    let servers: Vec<_> = waiting.iter().chain([&later]).map(|seq| house.server_of(*seq)).collect();
    let server = |text: &str| Some(text.to_owned());
    assert_eq!(servers, [server("9"), server("8"), server("9"), server("9")]);
    let of_user = |seq: Seq| ("user/1/a".to_owned(), seq);
    assert_eq!(house.ready("9"), [waiting[0], waiting[2], later].map(of_user));
    assert_eq!(house.mail(ack("7", Generation(1), waiting[0])), outcome::NOT_YOURS);
    house.check_copies();
}
