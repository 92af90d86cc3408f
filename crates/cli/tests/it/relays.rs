//! Relays: any POST below a prefix becomes a record of a journal.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::running::{Server, http};

const CONFIG: &str = "
[[relay]]
prefix = '/hooks/open'
dataset = 'd'
journal = 'hooks'
anyone = true
body_bytes = 1000

[[relay]]
prefix = '/hooks/closed'
dataset = 'd'
journal = 'hooks'

[[relay]]
prefix = '/in'
dataset = 'd'
journal = 'requests'
anyone = true
envelope = true
";

/// A request with headers of its own; its status and its answer.
fn send(
    server: &Server,
    (method, path): (Method, &str),
    headers: &[(&str, &str)],
    body: &'static [u8],
) -> (StatusCode, Value) {
    let mut request = http().request(method, format!("{}{path}", server.url)).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let answer = request.send().await.unwrap();
        let status = answer.status();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    })
}

fn post(server: &Server, path: &str, body: &'static [u8]) -> (StatusCode, Value) {
    send(server, (Method::POST, path), &[], body)
}

fn number(ordinal: u64) -> String {
    format!("{ordinal:020}")
}

/// The records of a journal, as the log has them.
fn records(server: &Server, journal: &str) -> Vec<Value> {
    let changes = server.must(&["changes", "d", "--json"]);
    let commits = changes.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let records = commits.flat_map(|commit| commit["records"].as_array().unwrap().clone());
    records.map(|record| record["append"].clone()).filter(|it| it["journal"] == journal).collect()
}

// POL-23: the record is there after a kill right behind the answer.
#[test]
fn a_post_below_the_prefix_of_a_relay_is_a_record_when_it_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve_with(directory.path(), CONFIG);

    let (status, first) = post(&server, "/hooks/open", b"INSERT INTO t VALUES (1); -- \xc3\xa4");
    assert_eq!((status, &first["ordinal"]), (StatusCode::OK, &json!(number(1))));
    let (_, second) = post(&server, "/hooks/open/a/b?c=d", b"\x00\xff");
    let (_, third) = post(&server, "/hooks/open/", b"");
    assert_eq!(third["ordinal"], number(3));
    server.signal("-KILL");
    server.start_again();

    let told = records(&server, "hooks");
    let record =
        |n, form: &str, body: &str| json!({"journal": "hooks", "ordinal": number(n), form: body});
    let expected = [
        record(1, "text", "INSERT INTO t VALUES (1); -- ä"),
        record(2, "base64", "AP8="),
        record(3, "text", ""),
    ];
    assert_eq!(told, expected);
    assert!(first["position"].as_str() < second["position"].as_str());
}

#[test]
fn a_relay_takes_what_is_sent_again_under_an_id_once() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let id = uuid::Uuid::now_v7().to_string();
    let send =
        |body| send(&server, (Method::POST, "/hooks/open"), &[("idempotency-key", &id)], body).1;

    let (first, again, other) = (send(b"a"), send(b"a"), send(b"b"));

    assert_eq!((&first["replayed"], &again["replayed"]), (&json!(false), &json!(true)));
    assert_eq!((&first["position"], &first["ordinal"]), (&again["position"], &again["ordinal"]));
    assert_eq!(other["code"], "id_conflict");
    let no_id = [("idempotency-key", "once")];
    let refused = self::send(&server, (Method::POST, "/hooks/open"), &no_id, b"c");
    assert_eq!((refused.0, &refused.1["code"]), (StatusCode::BAD_REQUEST, &json!("id_invalid")));
    assert_eq!(records(&server, "hooks").len(), 1);
}

// POL-U1: too large is refused.
#[test]
fn a_relay_asks_for_a_right_unless_anyone_may_and_refuses_all_but_a_small_post() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let key = std::fs::read_to_string(server.data.join("admin.key")).unwrap();
    let bearer = format!("Bearer {}", key.trim());
    let refused = |(status, answer): (StatusCode, Value)| {
        (status.as_u16(), answer["code"].as_str().unwrap_or_default().to_owned())
    };
    let code = |status: u16, code: &str| (status, code.to_owned());

    assert_eq!(refused(post(&server, "/hooks/closed", b"a")), code(401, "key_required"));
    let shown = [("authorization", bearer.as_str())];
    let (status, _) = send(&server, (Method::POST, "/hooks/closed/x"), &shown, b"a");
    assert_eq!(status, 200);
    let large: &[u8] = &[b'x'; 1001];
    assert_eq!(refused(post(&server, "/hooks/open", large)), code(413, "body_too_large"));
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let answer = refused(send(&server, (method, "/hooks/open"), &[], b""));
        assert_eq!(answer, code(405, "method_not_allowed"));
    }
    assert_eq!(refused(post(&server, "/hooks", b"a")), code(404, "not_found"));
    assert_eq!(refused(post(&server, "/hooks/openly", b"a")), code(404, "not_found"));
    assert_eq!(records(&server, "hooks").len(), 1);
}

#[test]
fn a_relay_with_an_envelope_keeps_path_query_and_body() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);

    post(&server, "/in/github/push?id=7&x", b"{\"a\": 1.0}");
    post(&server, "/in", b"\xff");

    let told: Vec<Value> = records(&server, "requests")
        .iter()
        .map(|record| serde_json::from_str(record["text"].as_str().unwrap()).unwrap())
        .collect();
    let expected = [
        json!({"path": "/github/push", "query": "id=7&x", "text": "{\"a\": 1.0}"}),
        json!({"path": "", "query": "", "base64": "/w=="}),
    ];
    assert_eq!(told, expected);
}
