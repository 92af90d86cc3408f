use serde_json::json;

use super::*;
use crate::gate::Access;
use crate::issuer::{Issuer, KeySource};
use crate::key::{self, Keys};
use crate::token::sign_hs256;

const SECRET: &[u8] = b"a secret of more than 32 bytes, for tests";

fn rights(toml: &str) -> Rights {
    #[derive(Deserialize)]
    struct File {
        rights: Vec<RightDeclaration>,
    }
    let file: File = toml::from_str(toml).unwrap();
    Rights::compile(&file.rights).unwrap()
}

fn refused(right: serde_json::Value) -> RightError {
    let right: RightDeclaration = serde_json::from_value(right).unwrap();
    Rights::compile(&[right]).unwrap_err()
}

/// The holder of a token with these claims.
fn holder(claims: serde_json::Value) -> Principal {
    let mut claims = claims.as_object().unwrap().clone();
    claims.insert("exp".into(), 1.into());
    let mut issuer = Issuer::default();
    issuer.add(KeySource::Secret(SECRET)).unwrap();
    let mut access = Access::default();
    access.tokens.add(issuer);
    let token = sign_hs256(SECRET, &claims).unwrap();
    access.credential(&token, 0).unwrap().principal().clone()
}

fn program(name: &str, roles: &[&str]) -> Principal {
    let roles = roles.iter().map(|&role| role.to_owned()).collect();
    let (key, declaration) = key::make(name, roles, [1; 32]).unwrap();
    let mut keys = Keys::default();
    keys.add(&declaration).unwrap();
    let access = Access { keys, ..Access::default() };
    access.credential(&key, 0).unwrap().principal().clone()
}

fn topic(name: &str) -> Resource<'_> {
    Resource::Topic { name, anyone_publishes: false }
}

fn table<'a>(dataset: &'a str, name: &'a str) -> Resource<'a> {
    Resource::Table { dataset, name, public: false }
}

#[test]
fn without_declared_rights_the_admin_key_writes_and_what_is_public_is_public() {
    let rights = Rights::compile(&[]).unwrap();
    let (anonymous, admin) = (Principal::anonymous(), Principal::admin());
    let public = Resource::Table { dataset: "d", name: "t", public: true };
    let open = Resource::Topic { name: "room:1", anyone_publishes: true };
    let open_to_all =
        [(Action::Join, topic("a:1")), (Action::Read, public), (Action::Publish, open)];
    let closed = [
        (Action::Publish, topic("a:1")),
        (Action::Read, table("d", "t")),
        (Action::Read, Resource::Dataset("d")),
        (Action::Commit, public),
        (Action::Administer, Resource::Dataset("d")),
        (Action::Administer, Resource::Server),
        (Action::Publish, Resource::Server),
    ];

    for (action, resource) in open_to_all {
        assert_eq!(rights.decide(&anonymous, action, resource), Ok(()), "{action:?} {resource:?}");
    }
    for (action, resource) in closed {
        assert_eq!(rights.decide(&anonymous, action, resource), Err(Refusal::KeyRequired));
        assert!(matches!(
            rights.decide(&program("p", &[]), action, resource),
            Err(Refusal::Forbidden { .. })
        ));
        assert_eq!(rights.decide(&admin, action, resource), Ok(()));
    }
}

#[test]
fn declared_rights_are_all_there_is() {
    let rights = rights("[[rights]]\nwho = 'role:x'\nactions = ['join']\ntopics = ['a']");
    let anonymous = Principal::anonymous();
    let public = Resource::Table { dataset: "d", name: "t", public: true };
    let open = Resource::Topic { name: "room:1", anyone_publishes: true };

    for (action, resource) in
        [(Action::Join, topic("a")), (Action::Read, public), (Action::Publish, open)]
    {
        assert_eq!(rights.decide(&anonymous, action, resource), Err(Refusal::KeyRequired));
        assert_eq!(rights.decide(&Principal::admin(), action, resource), Ok(()));
    }
}

/// The matrix: who × right.
#[test]
fn a_right_is_for_the_principals_it_names() {
    let who = ["anyone", "anonymous", "token", "role:editor", "key:billing"];
    let principals = [
        (Principal::anonymous(), [true, true, false, false, false]),
        (holder(json!({"sub": "ann"})), [true, false, true, false, false]),
        (holder(json!({"sub": "eve", "roles": ["editor"]})), [true, false, true, true, false]),
        (holder(json!({"sub": "billing"})), [true, false, true, false, false]),
        (program("billing", &[]), [true, false, false, false, true]),
        (program("other", &["editor"]), [true, false, false, true, false]),
        (Principal::admin(), [true; 5]),
    ];
    for (principal, expected) in &principals {
        for (who, expected) in who.iter().zip(expected) {
            let rights =
                rights(&format!("[[rights]]\nwho = '{who}'\nactions = ['join']\ntopics = ['a']"));
            let may = rights.decide(principal, Action::Join, topic("a")).is_ok();
            assert_eq!(may, *expected, "{who} {}", principal.name());
        }
    }
}

/// The matrix: action × right.
#[test]
fn a_right_is_for_the_actions_and_the_things_it_names() {
    use Action::{Administer, Commit, Join, Publish, Read};
    let all = [Join, Publish, Read, Commit, Administer];
    let resources =
        [topic("t:1"), topic("t:2"), table("d", "x"), table("d", "y"), Resource::Dataset("d")];
    let allowed = |lists: &str, action: Action| {
        let word = action.word();
        let rights = rights(&format!("[[rights]]\nwho = 'anyone'\nactions = ['{word}']\n{lists}"));
        let mut found = vec![];
        for (at, resource) in resources.iter().enumerate() {
            for asked in all {
                if rights.decide(&Principal::anonymous(), asked, *resource).is_ok() {
                    found.push((at, asked));
                }
            }
        }
        found
    };

    assert_eq!(allowed("topics = ['t:1']", Join), [(0, Join)]);
    assert_eq!(allowed("topics = ['t:*']", Publish), [(0, Publish), (1, Publish)]);
    assert_eq!(allowed("tables = ['d/x']", Read), [(2, Read)]);
    assert_eq!(allowed("tables = ['d/*']", Commit), [(2, Commit), (3, Commit)]);
    assert_eq!(allowed("datasets = ['d']", Read), [(2, Read), (3, Read), (4, Read)]);
    assert_eq!(
        allowed("datasets = ['d']", Administer),
        [(2, Administer), (3, Administer), (4, Administer)]
    );
    assert_eq!(allowed("datasets = ['e*']", Read), []);
}

#[test]
fn a_principal_that_may_read_a_table_may_join_its_topic() {
    let rights = rights("[[rights]]\nwho = 'anyone'\nactions = ['read']\ntables = ['d/x']");
    let may = |name| rights.decide(&Principal::anonymous(), Action::Join, topic(name)).is_ok();

    assert!(may("table:d/x"));
    assert!(!may("table:d/y") && !may("d/x") && !may("table:d") && !may("table:d/x/y"));
}

#[test]
fn only_a_right_to_every_dataset_administers_the_server() {
    let may = |datasets: &str| {
        let text = format!(
            "[[rights]]\nwho = 'token'\nactions = ['administer']\ndatasets = ['{datasets}']"
        );
        let ann = holder(json!({"sub": "ann"}));
        rights(&text).decide(&ann, Action::Administer, Resource::Server).is_ok()
    };

    assert!(may("*") && !may("d") && !may("d*") && !may("{d}"));
}

#[test]
fn a_condition_sees_claims_captures_and_names_and_must_be_true() {
    let rights = rights(
        "[[rights]]\nwho = 'anyone'\nactions = ['join']\ntopics = ['room:{room}']\n\
         when = 'captures.room in claims.rooms && topic.startsWith(\"room:\")'\n\
         [[rights]]\nwho = 'token'\nactions = ['commit']\ntables = ['{d}/*']\n\
         when = 'dataset == claims.sub && table != \"secret\"'",
    );
    let ann = holder(json!({"sub": "ann", "rooms": ["blue"]}));
    let may = |who: &Principal, action, resource| rights.decide(who, action, resource).is_ok();

    assert!(may(&ann, Action::Join, topic("room:blue")));
    assert!(!may(&ann, Action::Join, topic("room:red")));
    assert!(!may(&Principal::anonymous(), Action::Join, topic("room:blue")), "an error is no yes");
    assert!(may(&ann, Action::Commit, table("ann", "t")));
    assert!(!may(&ann, Action::Commit, table("ann", "secret")));
    assert!(!may(&ann, Action::Commit, table("bob", "t")));
}

#[test]
fn a_token_brings_rights_of_its_own_for_its_own_places() {
    let grants = json!([{"actions": ["join", "publish"], "topics": ["inbox:{sub}"]}]);
    let ann = holder(json!({"sub": "ann", "rights": grants}));
    let bob = holder(json!({"sub": "bob"}));
    for rights in [
        Rights::default(),
        rights("[[rights]]\nwho = 'role:x'\nactions = ['join']\ntopics = ['a']"),
    ] {
        let publish = |who, name| rights.decide(who, Action::Publish, topic(name)).is_ok();

        assert!(publish(&ann, "inbox:ann"));
        assert!(!publish(&ann, "inbox:bob") && !publish(&bob, "inbox:bob"));
        assert!(rights.decide_at_all(&ann, Action::Publish).is_ok());
        assert!(rights.decide_at_all(&ann, Action::Commit).is_err());
    }
}

#[test]
fn rights_that_make_no_sense_are_refused_with_their_key() {
    let base = json!({"who": "anyone", "actions": ["join"], "topics": ["a"]});
    let with = |key: &str, value: serde_json::Value| {
        let mut right = base.clone();
        right[key] = value;
        refused(right)
    };

    assert_eq!(with("who", json!("everything")).key, "who");
    assert_eq!(with("who", json!("role:")).key, "who");
    assert_eq!(with("actions", json!([])).key, "actions");
    assert_eq!(with("topics", json!([])).key, "actions");
    assert_eq!(with("actions", json!(["read"])).key, "actions");
    assert_eq!(with("topics", json!(["a*b"])).key, "topics");
    assert_eq!(with("tables", json!(["items"])).key, "tables");
    let error = with("when", json!("claims.a ==\n clams.b"));
    assert!(error.to_string().starts_with("when: line 2, column 2: unknown name"), "{error}");
}

#[test]
fn a_right_to_register_is_for_the_datasets_that_it_names() {
    let rights = rights(
        "[[rights]]\nwho = 'key:seven'\nactions = ['register']\ntopics = ['server:7']\n\
         datasets = ['north', 'tenant-*']\n\
         [[rights]]\nwho = 'key:all'\nactions = ['register']\ntopics = ['server:7']\n\
         [[rights]]\nwho = 'key:when'\nactions = ['register']\ntopics = ['server:{id}']\n\
         when = 'dataset == captures.id'",
    );
    let may = |name: &str, dataset: &str, topic: &str| {
        let resource = Resource::Mailbox { dataset, topic };
        rights.decide(&program(name, &[]), Action::Register, resource).is_ok()
    };

    for (name, dataset, topic, expected) in [
        ("seven", "north", "server:7", true),
        ("seven", "tenant-a", "server:7", true),
        ("seven", "south", "server:7", false),
        ("seven", "north", "server:8", false),
        ("all", "south", "server:7", true),
        ("when", "a", "server:a", true),
        ("when", "b", "server:a", false),
    ] {
        assert_eq!(may(name, dataset, topic), expected, "{name} {dataset} {topic}");
    }
}

#[test]
fn a_server_registers_under_its_own_name_only_and_joining_is_not_enough() {
    let declared = rights(
        "[[rights]]\nwho = 'key:seven'\nactions = ['register']\ntopics = ['server:7']\n\
         [[rights]]\nwho = 'anyone'\nactions = ['join', 'publish']\ntopics = ['server:*']",
    );
    let undeclared = Rights::compile(&[]).unwrap();
    let (seven, eight) = (program("seven", &[]), program("eight", &[]));
    let may = |rights: &Rights, who: &Principal, name: &str| {
        rights.decide(who, Action::Register, topic(name)).is_ok()
    };

    assert!(may(&declared, &seven, "server:7"));
    assert!(!may(&declared, &seven, "server:8") && !may(&declared, &eight, "server:7"));
    assert!(!may(&undeclared, &seven, "server:7"));
    assert!(may(&undeclared, &Principal::admin(), "server:7"));
    let useless = json!({"who": "anyone", "actions": ["register"], "tables": ["d/t"]});
    assert_eq!(refused(useless).key, "actions");
}
