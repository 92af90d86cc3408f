//! The OpenAPI document against the routes.

use serde_json::Value;

use crate::running::Server;

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
            .replace("{dataset}", "d")
            .replace("{table}", "t")
            .replace("{topic}", "room:1")
            .replace("{journal}", "j")
            .replace("{key}", "k")
            .replace("{queue}", "q")
            .replace("{message}", "1")
            .replace("{server}", "s")
            .replace("{id}", "0-1");
        assert!(!address.contains('{'), "say what stands for the parameter of {path}");
        if address.ends_with("/events") {
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
fn what_is_not_documented_is_not_found_or_not_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());

    assert_eq!(server.request("GET", "/v1/nothing").0, 404);
    assert_eq!(server.request("PATCH", "/v1/datasets").0, 405);
}
