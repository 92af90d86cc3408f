//! Publishing from outside: over HTTP, with ids, many at once.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::running::{Server, stderr};

const CONFIG: &str = "
[[live]]
topic = 'room:*'

[[live]]
topic = 'kept:*'
history = 10
presence = 'list'
";

fn publish(server: &Server, path: &str, head: &str, body: &Value) -> (u16, Value) {
    let (status, answer) = server.post(path, head, &body.to_string());
    (status, serde_json::from_str(&answer).unwrap())
}

#[test]
fn an_id_publishes_once_whatever_way_it_is_given() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let body = json!({"event": "e", "payload": {"n": 1}});
    let named = json!({"event": "e", "payload": {"n": 1}, "id": "1"});
    let other = json!({"event": "e", "payload": {"n": 2}, "id": "1"});

    let first = publish(&server, "/v1/topics/kept:a", "idempotency-key: 1\r\n", &body);
    let again = publish(&server, "/v1/topics/kept:a", "", &named);
    let (status, conflict) = publish(&server, "/v1/topics/kept:a", "", &other);

    assert_eq!(
        (first.0, &first.1["offset"], &first.1["replayed"]),
        (200, &json!(1), &json!(false))
    );
    let (epoch, replayed) = (&first.1["epoch"], json!(true));
    assert_eq!((again.0, &again.1["epoch"], &again.1["replayed"]), (200, epoch, &replayed));
    assert_eq!((status, &conflict["code"]), (409, &json!("id_conflict")));
    let (_, topic) = server.request("GET", "/v1/topics/kept:a");
    let topic: Value = serde_json::from_str(&topic).unwrap();
    let presence = json!({"count": 0, "keys": 0});
    let expected = json!({"subscribers": 0, "epoch": epoch, "offset": 1, "presence": presence});
    assert_eq!(topic, expected);
}

#[test]
fn many_are_published_in_their_order_or_none_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let mut subscribe = server.command(&["subscribe", "room:a", "--json"]);
    let mut subscriber = subscribe.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(subscriber.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["joined"]["mode"], "live");
    let message = |topic: &str, n: u32| json!({"topic": topic, "event": "e", "payload": {"n": n}});

    let bad = json!({"messages": [message("room:a", 1), message("undeclared", 2)]});
    let (status, refused) = publish(&server, "/v1/topics", "", &bad);
    let many: Vec<_> = (0..3).map(|n| message("room:a", n)).collect();
    let many = json!({ "messages": many });
    let (_, all) = publish(&server, "/v1/topics", "idempotency-key: x\r\n", &many);
    let (_, again) = publish(&server, "/v1/topics", "idempotency-key: x\r\n", &many);
    server.must(&["publish", "room:a", "last"]);

    assert_eq!((status, &refused["code"]), (404, &json!("unmatched_topic")));
    assert!(refused["detail"].as_str().unwrap().starts_with("messages[1]"), "{refused}");
    let of = |answer: &Value, field: &str| -> Vec<Value> {
        answer["results"].as_array().unwrap().iter().map(|one| one[field].clone()).collect()
    };
    assert_eq!(of(&all, "offset"), [1, 2, 3]);
    assert_eq!(
        (of(&again, "offset"), of(&again, "replayed")),
        (of(&all, "offset"), vec![json!(true); 3])
    );
    let heard: Vec<_> = (0..4).map(|_| next()).map(|line| line["payload"]["n"].clone()).collect();
    assert_eq!(heard, [json!(0), json!(1), json!(2), Value::Null]);
    subscriber.kill().unwrap();
    subscriber.wait().unwrap();
}

#[test]
fn messages_come_from_a_file_or_stdin_and_a_bad_one_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let given = |text: &str| {
        let mut publish = server.command(&["publish", "--file", "-", "--json"]);
        let publish = publish.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut publish = publish.spawn().unwrap();
        publish.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        publish.wait_with_output().unwrap()
    };
    let lines: String = (0..2500)
        .map(|n| json!({"topic": "kept:a", "event": "e", "payload": {"n": n}, "id": n.to_string()}))
        .map(|message| format!("{message}\n"))
        .collect();

    let (first, again) = (given(&lines), given(&lines));

    let last = |output: &std::process::Output| -> Value {
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        assert_eq!(text.lines().count(), 2500, "{}", stderr(output));
        serde_json::from_str(text.lines().last().unwrap()).unwrap()
    };
    assert_eq!((&last(&first)["offset"], &last(&first)["replayed"]), (&json!(2500), &json!(false)));
    assert_eq!((&last(&again)["offset"], &last(&again)["replayed"]), (&json!(2500), &json!(true)));
    let bad = given("{\"topic\":\"kept:a\",\"event\":\"e\",\"payload\":{}} {\"topic\":\"kept:a\"}");
    assert!(stderr(&bad).contains("messages[1]"), "{}", stderr(&bad));
}
