//! Pages of other sites: requests that they may make a browser send, and answers that they may
//! read.

use serde_json::{Value, json};

use super::{Guarded, SECRET, token};
use crate::running::{PATIENCE, http};

const OPEN: &str = "
[rate]
loopback = true
failures = 1
failures_burst = 3
";

type Headers<'a> = &'a [(&'static str, &'a str)];

struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn ask(guarded: &Guarded, method: &str, path: &str, headers: Headers<'_>) -> Answer {
    guarded.runtime.block_on(async {
        let mut request =
            http().request(method.parse().unwrap(), format!("{}{path}", guarded.server.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let read =
            async { serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default() };
        // A stream has no end.
        let body = if headers.get("content-type").is_some_and(|kind| kind == "text/event-stream") {
            Value::Null
        } else {
            tokio::time::timeout(PATIENCE, read).await.expect("an answer")
        };
        Answer { status, headers, body }
    })
}

#[test]
fn a_page_of_another_site_neither_opens_anything_nor_counts_as_its_visitor() {
    let directory = tempfile::tempdir().unwrap();
    let guarded = Guarded::start_with(directory.path(), ["", OPEN], "secret", SECRET);
    let picture = [("sec-fetch-site", "cross-site"), ("accept", "image/*")];
    let script = [("origin", "https://evil.example")];

    for number in 0..8 {
        let poll = format!("/socket/longpoll?vsn=2.0.0&token=bad{number}");
        for page in [&picture[..], &script] {
            assert_eq!(ask(&guarded, "GET", &poll, page).body["status"], 403);
            let events = ask(&guarded, "GET", "/v1/topics/desk/events?key=visitor", page);
            assert_eq!(events.body["code"], "origin_refused");
            let said = ask(&guarded, "POST", "/v1/topics/room:open?token=bad", page);
            assert_eq!((said.status, &said.body["code"]), (403, &json!("origin_refused")));
        }
    }

    let bad = ask(&guarded, "GET", "/v1/datasets/shop/changes", &[("authorization", "Bearer bad")]);
    assert_eq!(bad.body["code"], "wrong_key", "nothing was counted before");
}

#[test]
fn a_name_that_only_points_here_is_refused_and_a_declared_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let first = "names = ['instep.example']\n";
    let guarded = Guarded::start_with(directory.path(), [first, ""], "secret", SECRET);
    let rows = "/v1/datasets/shop/tables/items/rows";
    let code = |host: &str, path: &str| {
        let answer = ask(&guarded, "GET", path, &[("host", host)]);
        (answer.status, answer.body["code"].as_str().unwrap_or_default().to_owned())
    };

    for own in ["instep.example", "localhost:4000", "127.0.0.1", "[::1]:9"] {
        assert_eq!(code(own, rows).0, 200, "{own}");
    }
    assert_eq!(code("evil.example", rows), (421, "unknown_host".into()));
    assert_eq!(code("evil.example", "/socket/websocket").0, 421);
    assert_eq!(code("evil.example", "/healthz").0, 200, "probes of health");
    let poll = ask(&guarded, "GET", "/socket/longpoll?vsn=2.0.0", &[("host", "evil.example")]);
    assert_eq!(poll.body["status"], 403);
}

#[test]
fn a_page_that_comes_in_may_ask_and_read_answers_and_refusals() {
    let directory = tempfile::tempdir().unwrap();
    let guarded = Guarded::with_secret(directory.path());
    let page = ("origin", "https://pages.example");
    let asks = [
        page,
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization"),
    ];

    let allowed = ask(&guarded, "OPTIONS", "/v1/topics/room:ann", &asks);
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (204, page.1));
    assert_eq!(allowed.header("access-control-allow-headers"), "authorization");
    assert!(allowed.header("access-control-allow-methods").contains("POST"));
    let strange = [("origin", "https://evil.example"), asks[1]];
    assert_eq!(ask(&guarded, "OPTIONS", "/v1/topics/room:ann", &strange).status, 403);

    for (path, status) in [
        ("/v1/datasets/shop/tables/items/rows", 200),
        ("/v1/datasets/shop/changes", 401),
        ("/v1/nothing", 404),
    ] {
        let answer = ask(&guarded, "GET", path, &[page]);
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (status, page.1));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert!(answer.header("content-security-policy").contains("frame-ancestors"));
    }
    let events = |token: &str, form: &str| {
        let path = format!("/v1/topics/room:ann/events?token={token}");
        ask(&guarded, "GET", &path, &[page, ("accept", form)])
    };
    let (good, expired) = (token(json!({"sub": "ann"})), token(json!({"sub": "ann", "exp": 1})));
    let stream = "text/event-stream";
    assert_eq!(events(&good, stream).status, 200, "an EventSource has no headers");
    // An EventSource is told in an event: a status it would not survive.
    assert_eq!(events(&expired, stream).status, 200);
    let lines = "application/x-ndjson";
    assert_eq!(events(&expired, lines).body["code"], "token_expired");
    assert_eq!(events("undefined", lines).body["code"], "key_required");
    let rows = ask(&guarded, "GET", "/v1/datasets/shop/tables/secrets/rows?token=x", &[]);
    assert_ne!(rows.status, 200, "no other address takes a token, which logs would keep");
}

#[test]
fn names_are_not_told_to_clients_without_a_right_to_them() {
    let directory = tempfile::tempdir().unwrap();
    let guarded = Guarded::with_secret(directory.path());
    let editor = token(json!({"sub": "ann", "roles": ["editor"], "tier": "gold"}));
    let routes = [
        ("GET", ""),
        ("PUT", ""),
        ("DELETE", ""),
        ("GET", "/views"),
        ("GET", "/tables"),
        ("GET", "/tables/secrets"),
        ("PUT", "/tables/secrets"),
        ("DELETE", "/tables/secrets"),
        ("PUT", "/journals/j"),
        ("GET", "/tables/secrets/rows"),
        ("GET", "/tables/secrets/rows/k"),
        ("GET", "/tables/secrets/snapshot"),
        ("GET", "/changes"),
        ("PUT", "/queues/q"),
        ("GET", "/queues/q/messages"),
        ("POST", "/queues/q/messages"),
        ("GET", "/mail"),
        ("GET", "/servers"),
        ("POST", "/servers/7/pull"),
        ("POST", "/servers/7/answers"),
        ("POST", "/moves"),
        ("GET", "/audit"),
        ("POST", "/commits"),
    ];
    let bodies =
        [json!({"ops": []}), json!({"ops": [{"op": "delete", "table": "secrets", "key": "k"}]})];

    for bearer in ["", editor.as_str()] {
        for (method, path) in routes {
            for body in &bodies {
                let ask = |dataset: &str| {
                    let path = format!("/v1/datasets/{dataset}{path}");
                    let (status, _, problem) = guarded.ask(bearer, method, &path, body.clone());
                    let told = problem["detail"].as_str().unwrap_or_default().replace(dataset, "?");
                    (status, problem["code"].clone(), told)
                };
                assert_eq!(ask("shop"), ask("nope"), "{method} {path} {body}");
            }
        }
    }
}
