//! Connections, their topics and their age: looked at from outside.

use std::time::Instant;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::running::{PATIENCE, Server, stderr};

/// Asks until there are connections, or none.
fn wait_for_connections(server: &Server, wanted: u64) -> Value {
    let begun = Instant::now();
    loop {
        let told = server.json(&["connections"]);
        if told["count"] == json!(wanted) {
            return told;
        }
        assert!(begun.elapsed() < PATIENCE, "{told}");
    }
}

#[test]
fn names_chosen_by_strangers_reach_no_terminal_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    let runtime = Runtime::new().unwrap();
    let name = "room:\u{1b}]0;title\u{7}\u{1b}[2J\nroom:real  9\u{202e}\u{9b}2J";
    let _held = runtime.block_on(async {
        let channels = instep_client::Channels::connect(&server.url).await.unwrap();
        let room = channels.join(name, json!({})).await.unwrap();
        (channels, room)
    });
    let told = wait_for_connections(&server, 1);
    let id = told["connections"][0]["id"].as_str().unwrap();

    for arguments in [&["topics"][..], &["sessions", id], &["topics", "--json"]] {
        let shown = server.must(arguments);
        assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{202e}', '\u{9b}']), "{shown:?}");
        assert!(shown.contains("1b") && !shown.contains("\nroom:real"), "{shown:?}");
    }
    let told = server.json(&["topics"]);
    assert_eq!(told["topics"][0]["topic"], name, "JSON says it exactly");
}

#[test]
fn jan_u7_connections_and_topics_can_be_looked_at_while_the_server_runs() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    wait_for_connections(&server, 0);
    assert_eq!(server.must(&["connections"]), "no connections\n");
    let runtime = Runtime::new().unwrap();
    let held = runtime.block_on(async {
        let channels = instep_client::Channels::connect(&server.url).await.unwrap();
        let room = channels.join("room:a", json!({})).await.unwrap();
        let table = channels.join("table:d/t", json!({})).await.unwrap();
        (channels, room, table)
    });

    let told = wait_for_connections(&server, 1);

    let one = &told["connections"][0];
    assert_eq!((&one["door"], &one["principal"]), (&json!("websocket"), &json!("anonymous")));
    assert!(one["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{one}");
    assert_eq!((&one["lag_frames"], &one["waiting_bytes"]), (&json!(0), &json!(0)));
    let names = |topics: &Value| -> Vec<String> {
        let topics = topics.as_array().unwrap().iter();
        let mut names: Vec<_> = topics.map(|t| t["topic"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&one["topics"]), ["room:a", "table:d/t"]);
    let topics = server.json(&["topics"]);
    assert_eq!((&topics["count"], names(&topics["topics"])), (&json!(2), names(&one["topics"])));
    assert_eq!(server.json(&["topics", "--top", "1"])["topics"].as_array().unwrap().len(), 1);
    let id = one["id"].as_str().unwrap();
    assert_eq!(server.json(&["sessions", id])["topics"], one["topics"]);
    assert!(server.must(&["sessions"]).contains("websocket"));

    drop((held, runtime));
    wait_for_connections(&server, 0);
    let gone = server.instep(&["sessions", id]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(stderr(&gone).contains("unknown_session"), "{}", stderr(&gone));
}

/// JAN-10, for the sessions of long-poll.
#[test]
fn a_long_poll_session_is_found_by_its_token_while_it_lasts() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve(directory.path());
    wait_for_connections(&server, 0);
    let (_, opened) = server.request("GET", "/socket/longpoll?vsn=2.0.0");
    let opened: Value = serde_json::from_str(&opened).unwrap();
    let token = opened["token"].as_str().unwrap();

    let by_token = server.json(&["sessions", token]);
    let listed = wait_for_connections(&server, 1);
    let told = listed["connections"][0].clone();

    assert_eq!((&by_token["id"], &by_token["door"]), (&told["id"], &json!("longpoll")));
    assert_eq!(by_token["peer"], "127.0.0.1:0", "its requests come from there, from any port");
    assert!(!listed.to_string().contains(token), "a token is its client's secret");
    assert_eq!(server.json(&["sessions", told["id"].as_str().unwrap()])["door"], "longpoll");
    let other: String = token.chars().rev().collect();
    assert_eq!(server.instep(&["sessions", &other]).status.code(), Some(1));
    assert_eq!(server.signal("-TERM"), Some(0));
    server.start_again();
    assert_eq!(server.instep(&["sessions", token]).status.code(), Some(1));
}

#[test]
fn inspection_needs_the_right_to_administer() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    let runtime = Runtime::new().unwrap();

    for path in ["connections", "topics", "sessions/0-1"] {
        let url = format!("{}/v1/{path}", server.url);
        let status = runtime
            .block_on(async { crate::running::http().get(url).send().await.unwrap().status() });
        assert_eq!(status.as_u16(), 401, "{path}");
    }
}
