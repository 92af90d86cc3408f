//! The OpenAPI document against the routes.

use serde_json::Value;

use crate::running::{Server, http};

#[test]
fn every_documented_path_and_method_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    let (status, document) = server.request("GET", "/openapi.json");
    assert_eq!(status, 200);
    let document: Value = serde_json::from_str(&document).unwrap();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 10, "{paths:?}");

    // Something that exists first; what removes it last.
    let mut operations = Vec::new();
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            operations.push((method == "delete", path, method.to_uppercase()));
        }
    }
    operations.sort();
    for (_, path, method) in operations {
        let address = path
            .replace("/v1/events", "/v1/events?topic=room:1")
            .replace("{dataset}", "d")
            .replace("{table}", "t")
            .replace("{topic}", "room:1")
            .replace("{journal}", "j")
            .replace("{key}", "k")
            .replace("{queue}", "q")
            .replace("{message}", "1")
            .replace("{server}", "s")
            .replace("{site}", "s")
            .replace("{dump}", "0192f0c1a2b37c4d8e5f60718293a4b5")
            .replace("{chunk}", "0")
            .replace("{id}", "0-1");
        assert!(!address.contains('{'), "say what stands for the parameter of {path}");
        if address.contains("/events") {
            // The answer has no end.
            assert_eq!(server.status(&method, &address), 200);
            continue;
        }
        let (status, body) = server.request(&method, &address);
        let problem: Value = serde_json::from_str(&body).unwrap_or_default();
        assert!(status != 405 && problem["code"] != "not_found", "{method} {address}: {body}");
    }
}

#[test]
fn undocumented_routes_are_not_found_or_not_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());

    assert_eq!(server.request("GET", "/v1/nothing").0, 404);
    assert_eq!(server.request("PATCH", "/v1/datasets").0, 405);
}

#[test]
fn the_address_of_a_socket_may_have_slashes_too_many() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());

    for (start, end) in [("/", ""), ("//", ""), ("/", "/"), ("//", "/")] {
        let longpoll = format!("/socket{start}longpoll{end}?vsn=2.0.0");
        let (status, body) = server.request("GET", &longpoll);
        assert_eq!(status, 200, "{longpoll}");
        assert!(body.starts_with(r#"{"status":410,"token":"#), "{longpoll}: {body}");
        let websocket = format!("/socket{start}websocket{end}?vsn=2.0.0");
        let (status, body) = server.request("GET", &websocket);
        assert!(status != 404, "{websocket}: {body}");
    }
}

#[test]
fn a_poll_of_a_session_that_is_gone_begins_no_other_in_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    let poll =
        |token: &str| server.request("GET", &format!("/socket/longpoll?vsn=2.0.0&token={token}")).1;

    let opened: Value = serde_json::from_str(&poll("")).unwrap();
    let (status, token) = (&opened["status"], opened["token"].as_str().unwrap());

    assert_eq!(status, 410);
    let gone = "0".repeat(token.len());
    assert_eq!(poll(&gone), r#"{"status":500}"#, "every client begins anew after this");
    // What a page shows as a token of its own begins a session.
    assert!(poll("of-a-page").starts_with(r#"{"status":410,"token":"#));
}

#[tokio::test]
async fn no_proxy_gathers_an_answer_that_is_streamed() {
    let directory = tempfile::tempdir().unwrap();
    let configuration = "[[table]]\ndataset = \"d\"\nname = \"t\"\npublic = true\n";
    let server = Server::serve_with(directory.path(), configuration);
    let key = std::fs::read_to_string(server.data.join("admin.key")).unwrap();

    for path in [
        "/v1/topics/table:d%2Ft/events",
        "/v1/events?topic=table:d/t",
        "/v1/datasets/d/changes?follow=true",
        "/v1/datasets/d/tables/t/snapshot",
    ] {
        let answer = http()
            .get(format!("http://{}{path}", server.address()))
            .bearer_auth(key.trim())
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("x-accel-buffering"), "no", "{path}");
        assert!(header("cache-control").contains("no-transform"), "{path}");
    }
}

#[tokio::test]
async fn an_event_source_whose_position_is_of_no_use_is_reset_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let configuration = "[[table]]\ndataset = \"d\"\nname = \"t\"\npublic = true\n";
    let server = Server::serve_with(directory.path(), configuration);
    let key = std::fs::read_to_string(server.data.join("admin.key")).unwrap();
    let known = server.json(&["dataset", "show", "d"]);
    let ahead = known["position"].as_str().unwrap().replacen("-0000", "-9000", 1);

    for (path, first) in [
        ("/v1/events?topic=table:d/t", "\"mode\":\"reset\""),
        ("/v1/datasets/d/changes", "event: reset\ndata: {"),
    ] {
        let request =
            http().get(format!("http://{}{path}", server.address())).bearer_auth(key.trim());
        let request = request.header("accept", "text/event-stream");
        let mut answer = request.header("last-event-id", &ahead).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let chunk = answer.chunk().await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&chunk);
        assert!(text.contains(first), "{path}: {text}");
    }
}
