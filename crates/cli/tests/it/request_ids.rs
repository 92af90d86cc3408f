//! Request ids: in the answer, in a problem, and in the log.

use serde_json::Value;

use crate::running::{Server, http, text};

/// The id that an answer has, and its body.
async fn ask(server: &Server, path: &str, given: Option<&str>) -> (String, Value) {
    let key = std::fs::read_to_string(server.data.join("admin.key")).unwrap();
    let request = http().get(format!("http://{}{path}", server.address())).bearer_auth(key.trim());
    let request = match given {
        Some(id) => request.header("x-request-id", id),
        None => request,
    };
    let answer = request.send().await.unwrap();
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    (id, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
}

#[tokio::test]
async fn an_answer_and_its_problem_carry_the_id_of_the_request() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), "");

    assert_eq!(ask(&server, "/healthz", Some("proxy/1")).await.0, "proxy/1");
    let (id, problem) = ask(&server, "/v1/datasets/none", Some("proxy/2")).await;
    assert_eq!((id.as_str(), &problem["request_id"]), ("proxy/2", &Value::from("proxy/2")));
    for given in [None, Some(""), Some("two words")] {
        let (made, problem) = ask(&server, "/nothing", given).await;
        let (other, _) = ask(&server, "/nothing", given).await;
        assert_eq!(problem["request_id"], Value::from(made.as_str()), "{given:?}");
        assert!(made != other && !made.contains(' ') && !made.is_empty(), "{made}, {other}");
    }
}

#[tokio::test]
async fn a_line_of_the_log_names_the_connection_the_request_and_who_asks() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let before = format!("export RUST_LOG=instep=debug,instep_edge=debug; exec 2>'{}'", text(&log));
    let configuration = "[[table]]\ndataset = \"d\"\nname = \"t\"\n";
    let server = Server::serve_by_shell(directory.path(), configuration, (&before, "127.0.0.1:0"));
    server.wait_until_ready();
    let known = server.json(&["dataset", "show", "d"]);
    let ahead = known["position"].as_str().unwrap().replacen("-0000", "-1000", 1);
    let path = "/v1/datasets/d/tables/t/rows";

    let (_, problem) = ask(&server, &format!("{path}?at_least={ahead}"), Some("mine")).await;

    assert_eq!(problem["code"], "position_not_reached");
    // The log is written behind the answer.
    let begun = std::time::Instant::now();
    let line = loop {
        let all = std::fs::read_to_string(&log).unwrap();
        let found = all.lines().find(|line| line.contains("failed request_id=mine"));
        match found {
            Some(line) => break line.to_owned(),
            None => assert!(begun.elapsed().as_secs() < 30, "no such line: {all}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    let request = format!("request{{id=mine method=GET path=\"{path}\" principal=\"admin\"}}");
    for said in ["connection{id=", "door=\"http\"}", &request, "code=\"position_not_reached\""] {
        assert!(line.contains(said), "no {said} in {line}");
    }
    assert!(!line.contains("at_least"), "a query may hold a token: {line}");
}
