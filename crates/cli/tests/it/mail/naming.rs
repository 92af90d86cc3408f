//! Servers by their id and by their endpoint, and what the command line says to people.

use instep_client::{MessageQuery, Method, Seq};
use serde_json::{Value, json};

use super::local::Fixture;
use super::refused;
use crate::running::{stderr, stdout};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_its_id_or_its_endpoint_at_every_door() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    let client = &house.client;

    let moved = client.move_endpoint("mail", "org/1", "server/7", None).await.unwrap();
    assert_eq!(moved.to, "7", "over HTTP");
    let written = [
        json!({"op": "move", "endpoint": "org/2", "to": "4/7"}),
        json!({"op": "put", "table": "directory", "key": "org/3", "row": {"server": "server/7"}}),
    ];
    client.commit("mail", &written, None).await.unwrap();
    let said = house.server.must(&["mail", "move", "org/4", "--to", "server/7"]);
    assert!(said.contains("org/4 moved to server 7"), "{said}");
    let endpoints = ["org/1", "org/2", "org/3", "org/4", "server/7", "server/server/7"];
    for to in endpoints {
        assert_eq!(house.send(to, json!(to)).await.server.as_deref(), Some("7"), "{to}");
    }

    let servers = client.mail_servers("mail").await.unwrap();
    assert_eq!(servers, ["7"], "and no other was made");
    for name in ["7", "server/7"] {
        let query = MessageQuery { server: Some(name.into()), ..MessageQuery::default() };
        let listed = client.messages("mail", "mail", &query).await.unwrap().messages.len();
        assert_eq!(listed, endpoints.len(), "{name}");
        let list = ["mail", "list", "--to-server", name, "--json"];
        assert_eq!(house.server.must(&list).lines().count(), endpoints.len(), "{name}");
    }
    let pulled = client.pull("mail", "server/7", None, (10, 0)).await.unwrap();
    assert_eq!(pulled.messages.len(), endpoints.len());
    let seqs: Vec<Seq> = pulled.messages.iter().map(|message| message.seq).collect();
    let answers = json!({"registration": pulled.registration, "ack": seqs});
    let path = ["v1", "datasets", "mail", "servers", "4/7", "answers"];
    let answered: Value = client.request(Method::POST, &path, Some(&answers)).await.unwrap();
    assert!(answered["outcomes"].as_array().unwrap().iter().all(|one| one["outcome"] == "ok"));
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_are_no_servers_are_refused_by_name_at_every_door() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    let client = &house.client;
    client.create_table("mail", "directory", false).await.unwrap();

    let moved = client.move_endpoint("mail", "org/1", "org/42", None).await;
    assert_eq!(refused(moved), ("bad_endpoint".into(), 400));
    let operation = json!({"op": "move", "endpoint": "org/1", "to": "org/42"});
    let committed = client.commit("mail", &[operation], None).await;
    assert_eq!(refused(committed), ("bad_operation".into(), 400));
    assert_eq!(refused(client.pull("mail", "org/42", None, (1, 0)).await).0, "bad_endpoint");
    let query = MessageQuery { server: Some("org/42".into()), ..MessageQuery::default() };
    assert_eq!(refused(client.messages("mail", "mail", &query).await).0, "bad_endpoint");
    let row =
        json!({"op": "put", "table": "directory", "key": "org/1", "row": {"server": "org/2"}});
    client.commit("mail", &[row], None).await.unwrap();
    let sent = client.send_mail("mail", "mail", &[super::letter("org/1")]).await;
    assert_eq!(refused(sent).0, "no_route");
    let joined = house.register_with("server/7", json!({})).await;
    let error = joined.err().unwrap().to_string();
    assert!(error.contains("bad_operation") && error.contains("\"7\""), "{error}");
    assert!(client.mail_servers("mail").await.unwrap().is_empty(), "nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_of_mail_names_its_own_field_and_no_operation_of_a_commit() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    let http = crate::running::http();
    let fault = async |path: &str, body: Value| {
        let url = format!("{}/v1/datasets/mail/{path}", house.server.url);
        let answer = http.post(url).bearer_auth(house.key()).json(&body).send().await.unwrap();
        let problem: Value = answer.json().await.unwrap();
        problem["detail"].as_str().unwrap_or_default().to_owned()
    };
    let letter = |field: &str, value: Value| {
        let mut letter = json!({"to": "server/7", "body": 1});
        letter[field] = value;
        letter
    };
    let queue = "queues/mail/messages";
    let listed = |letter: &Value| json!({"messages": [{"to": "server/7", "body": 1}, letter]});

    for (field, value) in [
        ("priority", json!("x")),
        ("priority", json!(10)),
        ("ttl_ms", json!(-1)),
        ("id", json!("zz")),
    ] {
        let letter = letter(field, value);
        let alone = fault(queue, letter.clone()).await;
        assert!(alone.starts_with(&format!("{field}: ")), "{letter}: {alone}");
        let second = fault(queue, listed(&letter)).await;
        assert!(second.starts_with(&format!("messages[1]: {field}: ")), "{letter}: {second}");
    }
    let unrouted = letter("to", json!("org/1"));
    assert!(fault(queue, unrouted.clone()).await.starts_with("no route for org/1"));
    assert!(fault(queue, listed(&unrouted)).await.starts_with("messages[1]: no route for org/1"));
    let (commit, op) = ("commits", json!({"op": "retry", "seq": 9}));
    assert_eq!(fault(commit, json!({"ops": [op]})).await, "ops[0]: there is no message 9");
    assert!(fault("moves", json!({"endpoint": "server/7", "to": "8"})).await.starts_with("the "));
    for (path, body, field) in [
        ("servers/7/pull", json!({"max": "1"}), "max: "),
        ("servers/7/pull", json!({"max": 1_025}), "max: 1 to 1024"),
        ("servers/7/answers", json!({"registration": 1, "ack": [1.0]}), "ack[0]: "),
        ("servers/7/answers", json!({"registration": 1, "nack": [{"seq": "1"}]}), "nack[0]: seq: "),
    ] {
        let said = fault(path, body).await;
        assert!(said.starts_with(field), "{path}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_route_is_refused_with_the_command_that_makes_it() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());

    let output = house.server.instep(&["mail", "send", "user/42/9", "hello"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.starts_with("instep: no_route: "), "{said}");
    assert!(said.contains("`instep mail move org/42 --to SERVER`"), "{said}");

    house.server.must(&["mail", "move", "org/42", "--to", "7"]);
    house.server.must(&["mail", "send", "user/42/9", "hello"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_mail_is_a_table_for_people_and_json_for_programs() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    let server = &house.server;

    let quiet = server.must(&["mail", "status"]);
    assert!(quiet.starts_with("QUEUE  PENDING  UNROUTED  DEAD"), "{quiet}");
    assert!(quiet.contains("none waits") && !quiet.contains(['{', '!']), "{quiet}");
    house.route(&[("org/42", "7")]).await;
    house.send("org/42", json!({"text": "good morning"})).await;
    let file = directory.path().join("old.ndjson");
    std::fs::write(&file, r#"{"to": "org/9", "body": 1}"#).unwrap();
    server.must(&["mail", "import", file.to_str().unwrap()]);

    let told = server.must(&["mail", "status"]);
    let row: Vec<&str> = told.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["mail", "1", "1", "0", "0", "0", "0", "2"], "{told}");
    let hint = "!  1 message without a route: instep mail backfill --queue mail";
    assert!(told.contains(hint), "{told}");
    assert_eq!(server.json(&["mail", "status"])["unrouted"], 1);

    let shown = server.must(&["mail", "show", "1"]);
    assert!(shown.starts_with("message 1 ("), "{shown}");
    for line in ["\n  to          org/42\n", "\n  server      7\n", " ago\n", "good morning"] {
        assert!(shown.contains(line), "{line:?}: {shown}");
    }
    assert_eq!(server.json(&["mail", "show", "1"])["to"], "org/42");
    let empty = server.instep(&["mail", "list", "--endpoint", "org/77"]);
    assert_eq!(stdout(&empty), "no messages\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_of_a_pull_are_answered_on_the_command_line_too() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/42", "7")]).await;
    house.send("org/42", json!("lost on its way")).await;
    let lost = house.server.json(&["mail", "pull", "7"]);
    let registration = lost["registration"].to_string();
    let again = ["mail", "pull", "7", "--registration", &registration, "--wait-ms", "500"];
    let asked = loop {
        let said = house.server.must(&again);
        if said.contains("was taken before") {
            break said;
        }
    };

    assert!(asked.contains("message 1 was taken before"), "{asked}");
    let said = house.server.must(&["mail", "not", "7", "--registration", &registration, "1"]);
    assert_eq!(said, "message 1: ok\n");
    let given = house.server.must(&again);
    assert!(given.contains("message 1 for org/42") && given.contains("lost on its way"), "{given}");
}
