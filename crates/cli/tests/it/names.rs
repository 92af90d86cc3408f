//! Names that are hard to say: dots and slashes in addresses, half of an emoji anywhere.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::running::{PATIENCE, Server, http};

/// Keys that an address takes for something else.
const KEYS: [&str; 6] = [".", "..", "a/b", "../a", "%2e", "a b?c#d"];

fn server_with_rows(directory: &std::path::Path) -> Server {
    let server = Server::serve(directory);
    let put = |key: &&str| json!({"op": "put", "table": "t", "key": key, "row": {"is": key}});
    let ops = json!({"ops": KEYS.iter().map(put).collect::<Vec<_>>()});
    let (status, told) = server.post("/v1/datasets/d/commits", "", &ops.to_string());
    assert_eq!(status, 200, "{told}");
    server
}

/// As `curl --path-as-is` sends it.
fn as_it_is(server: &Server, path: &str) -> Value {
    let (status, told) = server.request("GET", path);
    assert_eq!(status, 200, "{path}: {told}");
    serde_json::from_str(&told).unwrap()
}

#[test]
fn a_row_is_reached_under_any_key_as_it_is_and_by_clients_that_normalise_addresses() {
    let directory = tempfile::tempdir().unwrap();
    let server = server_with_rows(directory.path());
    let rows = format!("{}/v1/datasets/d/tables/t/rows", server.url);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // What a browser's `fetch` makes of an address, too (WHATWG URL).
    let normalised = |query: &[(&str, &str)]| {
        let url = reqwest::Url::parse_with_params(&rows, query).unwrap();
        let told = runtime.block_on(async { http().get(url).send().await.unwrap().text().await });
        serde_json::from_str::<Value>(&told.unwrap()).unwrap()["rows"].clone()
    };

    for key in KEYS {
        let encoded: String = key.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let raw = as_it_is(&server, &format!("/v1/datasets/d/tables/t/rows/{encoded}"));
        assert_eq!((&raw["key"], &raw["row"]["is"]), (&json!(key), &json!(key)));
        assert_eq!(normalised(&[("key", key)]), json!([{"key": key, "row": {"is": key}}]));
        let printed = server.json(&["table", "get", "d", "t", key]);
        assert_eq!(printed["row"]["is"], key, "{printed}");
    }
    assert_eq!(as_it_is(&server, "/v1/datasets/d/tables/t/rows/..")["row"]["is"], "..");
    assert_eq!(normalised(&[("key", "...")]), json!([]), "that key and no other");
    assert_eq!(normalised(&[("key", ".")])[0]["key"], ".");
}

#[test]
fn half_an_emoji_is_refused_at_every_door_and_never_taken_for_another_name() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    let code = |(status, told): (u16, String)| {
        let told: Value = serde_json::from_str(&told).unwrap_or_default();
        (status, told["code"].as_str().unwrap_or_default().to_owned())
    };
    let refused = |code: &str| (400, code.to_owned());

    let half = "%ED%A0%BD";
    for path in [
        format!("/v1/topics/room:{half}"),
        format!("/v1/topics/room:{half}/events"),
        format!("/v1/datasets/d/tables/t/rows/{half}"),
    ] {
        assert_eq!(code(server.request("GET", &path)), refused("bad_name"), "{path}");
    }
    for path in [
        format!("/v1/events?topic=room:{half}"),
        format!("/v1/topics/room:1/events?key={half}"),
        format!("/v1/datasets/d/tables/t/rows?prefix={half}"),
    ] {
        assert_eq!(code(server.request("GET", &path)), refused("bad_query"), "{path}");
    }
    let put = r#"{"op":"put","table":"t","key":"\ud83d","row":{}}"#;
    for (path, body) in [
        ("/v1/topics", r#"{"messages":[{"topic":"room:\ud83d","event":"e","payload":{}}]}"#),
        ("/v1/topics/room:1", r#"{"event":"\ud83d","payload":{}}"#),
        ("/v1/datasets/d/commits", &format!(r#"{{"ops":[{put}]}}"#)),
    ] {
        assert_eq!(code(server.post(path, "", body)), refused("bad_json"), "{body}");
    }

    let mut socket = TcpStream::connect(server.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = "GET /socket/longpoll?vsn=2.0.0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    socket.write_all(head.as_bytes()).unwrap();
    let mut opened = String::new();
    socket.read_to_string(&mut opened).unwrap();
    let token = opened.split("\"token\":\"").nth(1).unwrap().split('"').next().unwrap();
    let path = format!("/socket/longpoll?vsn=2.0.0&token={token}");
    let join = r#"["1","1","room:\ud83d","phx_join",{}]"#;
    server.post(&path, "content-type: application/x-ndjson\r\n", join);
    let (_, polled) = server.request("GET", &path);
    let polled: Value = serde_json::from_str(&polled).unwrap();
    let answer = polled["messages"][0].as_str().unwrap();
    assert!(
        answer.starts_with(r#"["1","1","room:\ud83d","phx_reply",{"status":"error""#),
        "{answer}"
    );
    assert!(answer.contains("bad_json"), "{answer}");
}
