//! Removal of a dataset: all its readers and mail servers are told, at every door.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::limits::Client;
use crate::running::{CONFIG, PATIENCE, Server, free_address};

/// A stream of HTTP, asked for with the admin key.
fn stream(server: &Server, path: &str, accept: &str) -> TcpStream {
    let key = std::fs::read_to_string(server.data.join("admin.key")).unwrap();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\naccept: {accept}\r\nauthorization: Bearer {}\r\n\r\n",
        key.trim()
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// Reads a stream until `wanted`, which it must bring.
fn until(stream: &mut TcpStream, wanted: &str) -> String {
    let (mut heard, mut part) = (String::new(), [0; 4096]);
    while !heard.contains(wanted) {
        match stream.read(&mut part) {
            Ok(bytes @ 1..) => heard.push_str(&String::from_utf8_lossy(&part[..bytes])),
            end => panic!("no {wanted:?} before {end:?}: {heard}"),
        }
    }
    heard
}

fn put(server: &Server, key: &str) -> Value {
    let row = json!({"ops": [{"op": "put", "table": "t", "key": key, "row": {}}]});
    let (status, answer) = server.post("/v1/datasets/d/commits", "", &row.to_string());
    assert_eq!(status, 200, "{answer}");
    serde_json::from_str(&answer).unwrap()
}

#[test]
fn readers_of_a_dataset_that_is_removed_are_told_before_another_has_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let tcp = free_address();
    let server = Server::serve_with(directory.path(), &format!("tcp = '{tcp}'\n{CONFIG}"));
    let key = std::fs::read_to_string(server.data.join("admin.key")).unwrap();
    put(&server, "old");
    assert_eq!(server.request("PUT", "/v1/datasets/d/queues/q").0, 204);
    let mut client = Client::connect(tcp);
    let (status, joined) = client.join("table:d/t", 1);
    assert_eq!(status, "ok", "{joined}");
    for (number, topic) in [(2, "server:7"), (3, "mail:d/q")] {
        let number = json!(number.to_string());
        let token = json!({"access_token": key.trim()});
        let join = [number.clone(), number, topic.into(), "phx_join".into(), token];
        assert_eq!(client.ask(join).0, "ok", "{topic}");
    }
    let mut events = stream(&server, "/v1/topics/table:d%2Ft/events", "text/event-stream");
    until(&mut events, "\"old\"");
    let mut changes = stream(&server, "/v1/datasets/d/changes?follow=true", "*/*");
    until(&mut changes, "\"old\"");

    let mut pull = server.begin_to_pull("d", "8");

    assert_eq!(server.request("DELETE", "/v1/datasets/d").0, 204);
    assert_eq!(server.request("PUT", "/v1/datasets/d").0, 200);
    let table = server.instep(&["table", "create", "d", "t", "--public"]);
    assert!(table.status.success());
    put(&server, "new");

    let mut ended = vec![];
    while ended.len() < 3 {
        let heard = client.next().expect("an end of each channel");
        match heard[3].as_str().unwrap() {
            "phx_error" => ended.push(heard[2].as_str().unwrap().to_owned()),
            "bookmark" | "row" => assert!(!heard.to_string().contains("new"), "{heard}"),
            other => panic!("{other}: {heard}"),
        }
    }
    ended.sort();
    assert_eq!(ended, ["mail:d/q", "server:7", "table:d/t"]);
    let told = until(&mut events, "event: ended");
    assert!(!told.contains("\"new\""), "{told}");
    let told = until(&mut changes, "unknown_dataset");
    assert!(!told.contains("\"new\""), "{told}");

    until(&mut pull, "unknown_dataset");

    let since = json!({"since": joined["position"]});
    let again = ["4".into(), "4".into(), "table:d/t".into(), "phx_join".into(), since];
    let (status, joined) = client.ask(again);
    assert_eq!((&*status, &joined["mode"]), ("ok", &json!("reset")), "{joined}");
}
