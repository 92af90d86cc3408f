//! Mail from outside: messages sent over HTTP and the command line, taken by fake local servers on
//! real sockets.

mod cost;
mod crash;
pub(crate) mod disk;
mod local;
mod naming;
mod routes;
mod saying;
mod scale;
mod sending;
mod taking;
mod tcp;
mod tenants;
mod trouble;

use instep_client::{Error, MessageQuery, NewMessage};
use serde_json::{Value, json};

use local::Fixture;

/// The code of a refusal, and its status.
fn refused<T: std::fmt::Debug>(answer: Result<T, Error>) -> (String, u16) {
    match answer {
        Err(Error::Refused(problem)) => (problem.code.clone(), problem.status),
        other => panic!("not refused: {other:?}"),
    }
}

async fn count(house: &Fixture) -> usize {
    let query = MessageQuery { limit: Some(1_000), ..MessageQuery::default() };
    house.client.messages("mail", "mail", &query).await.unwrap().messages.len()
}

fn letter(to: &str) -> NewMessage {
    NewMessage { to: to.into(), body: json!({"hello": to}), ..NewMessage::default() }
}

// SMQ-R5: a kind without a route is refused by name, and never silently undeliverable.
#[tokio::test(flavor = "multi_thread")]
async fn smq_01_each_type_is_stored_or_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    let routed = ["org/1", "central/1", "pserver/1", "data_node/1", "papp/1", "puser/1", "lss/1"];
    for endpoint in routed {
        house.route(&[(endpoint, "7")]).await;
    }
    let send = async |to: &str| house.client.send_mail("mail", "mail", &[letter(to)]).await;

    for (number, name) in [
        (1, "org/1"),
        (2, "user/1/5"),
        (3, "central/1"),
        (4, "server/7"),
        (5, "pserver/1"),
        (6, "data_node/1"),
        (8, "papp/1"),
        (9, "puser/1"),
        (11, "lss/1"),
    ] {
        let sent = send(name).await.unwrap();
        assert_eq!(sent[0].server.as_deref(), Some("7"), "{name}");
        let (_, id) = name.split_once('/').unwrap();
        let alias = send(&format!("{number}/{id}")).await.unwrap();
        assert_eq!(house.message(alias[0].seq).await["to"], name, "a number is an alias");
    }
    for refused_kind in ["7/1", "10/1", "99/1", "unknown/1", "org", "org/", "/1", ""] {
        let (code, status) = refused(send(refused_kind).await);
        assert!((400..500).contains(&status), "{refused_kind}: {status} {code}");
    }
    assert_eq!(refused(send("org/2").await), ("no_route".into(), 422));
    assert_eq!(count(&house).await, 18);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_messages_refuses_what_it_does_not_know_and_ends_where_the_rest_does() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/1", "7")]).await;
    house.send_many("org/1", 4).await;
    let list = |query: &str| {
        let path = format!("/v1/datasets/mail/queues/mail/messages?{query}");
        let (status, body) = house.server.request("GET", &path);
        (status, serde_json::from_str::<Value>(&body).unwrap())
    };

    for query in ["state=pendng", "limit=0", "limit=5000", "stat=dead", "older_than_ms=-1"] {
        let (status, problem) = list(query);
        assert_eq!((status, &problem["code"]), (400, &json!("bad_query")), "{query}: {problem}");
    }
    for (query, count, has_next) in
        [("limit=4", 4, false), ("limit=3", 3, true), ("limit=1&after=3", 1, false)]
    {
        let (status, page) = list(query);
        let found = page["messages"].as_array().unwrap().len();
        assert_eq!((status, found, page["next"].is_null()), (200, count, !has_next), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_name_is_a_kind_unless_kinds_are_declared_or_a_preset_is_chosen() {
    let directory = tempfile::tempdir().unwrap();
    let sent = async |configuration: &str, to: &str| {
        let house = Fixture::open_with(directory.path(), configuration);
        // Where it is no kind it has no route either.
        let _ = house.client.move_endpoint("mail", "device/a7", "7", None).await;
        house.route(&[("org/1", "7")]).await;
        let sent = house.client.send_mail("mail", "mail", &[letter(to)]).await;
        sent.map_err(|error| refused::<()>(Err(error)).0)
    };

    let any = "[[mail]]\ndataset = 'mail'";
    assert_eq!(sent(any, "device/a7").await.unwrap()[0].server.as_deref(), Some("7"));
    assert_eq!(sent(any, "device/a8").await.unwrap_err(), "no_route");
    assert_eq!(sent(any, "Device/a7").await.unwrap_err(), "bad_endpoint");
    let numbered = "[[mail]]\ndataset = 'mail'\npreset = 'numbered'";
    assert_eq!(sent(numbered, "1/1").await.unwrap()[0].server.as_deref(), Some("7"));
    assert_eq!(sent(numbered, "device/a7").await.unwrap_err(), "bad_endpoint");
}

#[tokio::test(flavor = "multi_thread")]
async fn smq_02_the_server_is_stored_with_the_message_and_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut house = Fixture::open(directory.path());
    house.route(&[("org/42", "7")]).await;

    let sent = house.send("org/42", json!({"text": "good morning"})).await;
    house.server.signal("-KILL");
    house.server.start_again();

    let found = house.message(sent.seq).await;
    assert_eq!((&found["server"], &found["state"]), (&json!("7"), &json!("pending")));
    assert_eq!((&found["id"], &found["body"]), (&json!(sent.id), &json!({"text": "good morning"})));
}

#[tokio::test(flavor = "multi_thread")]
async fn smq_03_users_share_the_server_of_their_organisation_and_a_server_is_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/42", "7")]).await;

    let org = house.send("org/42", json!(1)).await;
    let user = house.send("user/42/9", json!(2)).await;
    let server = house.send("server/8", json!(3)).await;

    assert_eq!((org.server.as_deref(), user.server.as_deref()), (Some("7"), Some("7")));
    assert_eq!(server.server.as_deref(), Some("8"));
}

#[tokio::test(flavor = "multi_thread")]
async fn smq_04_without_a_route_nothing_of_the_commit_is_stored() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/42", "7")]).await;
    house.client.create_table("mail", "orders", false).await.unwrap();

    let letters = [letter("org/42"), letter("org/43")];
    assert_eq!(
        refused(house.client.send_mail("mail", "mail", &letters).await),
        ("no_route".into(), 422)
    );
    let ops = [
        json!({"op": "put", "table": "orders", "key": "1", "row": {"paid": true}}),
        json!({"op": "send", "queue": "mail", "to": "org/43", "body": {"order": 1}}),
    ];
    assert_eq!(refused(house.client.commit("mail", &ops, None).await).0, "no_route");
    assert_eq!(count(&house).await, 0);
    assert!(house.client.row("mail", "orders", "1").await.is_err());

    let ops = [
        json!({"op": "put", "table": "orders", "key": "1", "row": {"paid": true}}),
        json!({"op": "send", "queue": "mail", "to": "org/42", "body": {"order": 1}}),
    ];
    house.client.commit("mail", &ops, None).await.unwrap();
    assert_eq!(count(&house).await, 1);
    assert!(house.client.row("mail", "orders", "1").await.is_ok(), "together, or not at all");
}

#[tokio::test(flavor = "multi_thread")]
async fn smq_15_queues_stand_side_by_side() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/1", "7")]).await;
    house.client.create_queue("mail", "invoices").await.unwrap();

    house.client.send_mail("mail", "invoices", &[letter("org/1")]).await.unwrap();
    house.send("org/1", json!(1)).await;

    let query = MessageQuery::default();
    for queue in ["mail", "invoices"] {
        let page = house.client.messages("mail", queue, &query).await.unwrap();
        assert_eq!(page.messages.len(), 1, "{queue}");
        assert_eq!(page.messages[0].queue, queue);
    }
    let unknown = house.client.send_mail("mail", "nowhere", &[letter("org/1")]).await;
    assert_eq!(refused(unknown), ("unknown_queue".into(), 404));
}

// SMQ-R3: the mapping exists once, for every gateway.
#[tokio::test(flavor = "multi_thread")]
async fn smq_16_a_forged_server_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/1", "7")]).await;
    let http = crate::running::http();
    let post = async |path: &str, body: Value| {
        let url = format!("{}/v1/datasets/mail/{path}", house.server.url);
        let answer = http.post(url).bearer_auth(house.key()).json(&body).send().await.unwrap();
        answer.status().as_u16()
    };

    let forged = json!({"to": "org/1", "body": 1, "server": "8"});
    let over_queue = post("queues/mail/messages", forged).await;
    let op = json!({"op": "send", "queue": "mail", "to": "org/1", "body": 1, "server": "8"});
    let over_commit = post("commits", json!({"ops": [op]})).await;

    assert_eq!((over_queue, over_commit), (400, 400));
    assert_eq!(count(&house).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_is_stored_once_and_with_another_body_is_a_conflict() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/1", "7")]).await;
    let id = Some("018f3a5e-0000-7000-8000-000000000001".to_owned());
    let first = NewMessage { id: id.clone(), ..letter("org/1") };
    let other = NewMessage { id, body: json!("something else"), ..letter("org/1") };

    let sent = house.client.send_mail("mail", "mail", std::slice::from_ref(&first)).await.unwrap();
    let again = house.client.send_mail("mail", "mail", &[first]).await.unwrap();

    assert_eq!(sent, again);
    assert_eq!(refused(house.client.send_mail("mail", "mail", &[other]).await).1, 409);
    assert_eq!(count(&house).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn smq_u1_messages_are_found_by_endpoint_server_state_and_age() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/1", "7"), ("org/2", "8")]).await;
    let far = u64::MAX / 1_000_000;
    let first = house.send("org/1", json!(1)).await;
    house.send("org/2", json!(2)).await;
    let later = NewMessage { not_before: Some(4_000_000_000_000.min(far)), ..letter("org/2") };
    let later = house.client.send_mail("mail", "mail", &[later]).await.unwrap();
    let find = async |query: MessageQuery| {
        let page = house.client.messages("mail", "mail", &query).await.unwrap();
        page.messages.iter().map(|message| message.seq).collect::<Vec<_>>()
    };
    let any = MessageQuery::default;

    let of_org = find(MessageQuery { endpoint: Some("org/1".into()), ..any() }).await;
    let of_server = find(MessageQuery { server: Some("8".into()), ..any() }).await;
    let delayed = find(MessageQuery { state: Some("delayed".into()), ..any() }).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let fresh = house.send("org/1", json!(3)).await;
    let old = find(MessageQuery { older_than_ms: Some(250), ..any() }).await;

    assert_eq!(of_org, [first.seq]);
    assert_eq!(of_server.len(), 2);
    assert_eq!(delayed, [later[0].seq]);
    assert!(old.contains(&first.seq) && !old.contains(&fresh.seq), "{old:?}");
}
