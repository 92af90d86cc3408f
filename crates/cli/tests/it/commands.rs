//! Commands against a running server: what they print, and their exit codes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::running::{Server, binary, instep, stderr, stdout};

fn code_of(output: &Output) -> String {
    let problem: Value = serde_json::from_str(&stderr(output)).unwrap();
    problem["code"].as_str().unwrap().to_owned()
}

#[test]
fn tables_and_rows_are_made_read_changed_and_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());

    assert_eq!(server.json(&["table", "create", "d", "u"])["public"], false);
    let receipt = server.json(&["table", "put", "d", "u", "k", r#"{"n": 5, "s": "ä"}"#]);
    assert_eq!(receipt["results"], json!([null]));
    let added = server.json(&["table", "add", "d", "u", "k", "n", "-3", "--min", "0"]);
    assert_eq!(added["results"], json!([2]));
    server.must(&["table", "patch", "d", "u", "k", r#"{"s": null}"#]);
    assert_eq!(server.must(&["table", "get", "d", "u", "k"]), "{\"n\":2}\n");
    for key in [".", "..", "a/b?c#d %"] {
        server.must(&["table", "put", "d", "u", key, "{}"]);
        assert_eq!(server.json(&["table", "get", "d", "u", key])["key"], key);
    }
    let page = server.json(&["table", "rows", "d", "u", "--limit", "2"]);
    assert_eq!((page["rows"].as_array().unwrap().len(), &page["next"]), (2, &"..".into()));
    let page = server.json(&["table", "rows", "d", "u", "--limit", "4"]);
    assert_eq!((page["rows"].as_array().unwrap().len(), page.get("next")), (4, None));
    let snapshot = server.must(&["table", "snapshot", "d", "u"]);
    assert_eq!(snapshot.lines().count(), 1 + 4 + 1);
    assert!(snapshot.lines().last().unwrap().contains("bookmark"));
    server.must(&["table", "delete", "d", "u", "k"]);
    assert_eq!(server.instep(&["table", "get", "d", "u", "k"]).status.code(), Some(1));
    assert!(server.must(&["table", "list", "d"]).contains("u      no"));
    server.must(&["table", "drop", "d", "u"]);
    assert_eq!(server.json(&["table", "list", "d"]).as_array().unwrap().len(), 1);
}

/// The words of a `require` are options of the commands that change a row.
#[test]
fn a_change_of_a_row_takes_every_condition_of_a_commit() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    let put = server.json(&["table", "put", "d", "t", "k", r#"{"n": 5, "s": "a"}"#, "--if-absent"]);
    let position = put["position"].as_str().unwrap();
    let add = ["table", "add", "d", "t", "k", "n", "-1"];

    let added = server.json(&[&add[..], &["--if-where", "row.n == 5 && key == 'k'"]].concat());
    assert_eq!(added["results"], json!([4]), "the result is that of the change");
    let both = ["--if-exists", "--if-equals", r#"{"s": "a", "gone": null}"#];
    assert_eq!(server.json(&[&add[..], &both].concat())["results"], json!([3]));
    let refused: [&[&str]; 5] = [
        &["table", "put", "d", "t", "k", "{}", "--if-absent"],
        &["table", "delete", "d", "t", "nope", "--if-exists"],
        &["table", "delete", "d", "t", "k", "--if-equals", r#"{"s": "b"}"#],
        &["table", "patch", "d", "t", "k", "{}", "--if-where", "row.n > 3"],
        &["table", "patch", "d", "t", "k", "{}", "--if-unchanged-since", position],
    ];
    for arguments in refused {
        let output = server.instep(&[arguments, &["--json"]].concat());
        let said = (output.status.code(), code_of(&output));
        assert_eq!(said, (Some(1), "condition_failed".into()), "{arguments:?}");
    }
    let unread = server.instep(&[&add[..], &["--if-where", "row.n >", "--json"]].concat());
    assert_eq!((unread.status.code(), code_of(&unread)), (Some(1), "bad_operation".into()));
    assert_eq!(server.must(&["table", "get", "d", "t", "k"]), "{\"n\":3,\"s\":\"a\"}\n");
}

#[test]
fn datasets_are_made_shown_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());

    server.must(&["dataset", "create", "e"]);

    assert_eq!(server.json(&["dataset", "list"]).as_array().unwrap().len(), 2);
    assert_eq!(server.json(&["dataset", "show", "e"])["state"], "ready");
    assert!(server.must(&["dataset", "show", "d"]).contains("table      t: 0 rows"));
    server.must(&["dataset", "remove", "e"]);
    let gone = server.instep(&["dataset", "show", "e", "--json"]);
    assert_eq!((gone.status.code(), code_of(&gone)), (Some(1), "unknown_dataset".into()));
}

#[test]
fn a_commit_with_the_same_id_takes_effect_once() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    server.must(&["table", "put", "d", "t", "k", r#"{"n": 0}"#]);
    let add = r#"{"op": "add", "table": "t", "key": "k", "field": "n", "by": 1}"#;

    let first = server.json(&["commit", "d", add]);
    let id = first["id"].as_str().unwrap();
    let again = server.json(&["commit", "d", add, "--id", id]);

    assert_eq!((&first["replayed"], &again["replayed"]), (&false.into(), &true.into()));
    assert_eq!(first["position"], again["position"]);
    assert_eq!(server.must(&["table", "get", "d", "t", "k"]), "{\"n\":1}\n");
}

#[test]
fn operations_come_from_a_file_or_stdin_too() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    let put = |key: &str| format!(r#"{{"op":"put","table":"t","key":"{key}","row":{{}}}}"#);
    let file = directory.path().join("ops.ndjson");
    std::fs::write(&file, format!("{}\n[{}]\n", put("a"), put("b"))).unwrap();

    server.must(&["commit", "d", "--file", file.to_str().unwrap()]);
    let mut piped = server.command(&["commit", "d", "--file", "-"]);
    let mut piped = piped.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    piped.stdin.take().unwrap().write_all(put("c").as_bytes()).unwrap();

    assert!(piped.wait().unwrap().success());
    assert_eq!(server.json(&["table", "rows", "d", "t"])["rows"].as_array().unwrap().len(), 3);
}

#[test]
fn refusals_of_the_server_exit_with_1_and_the_code() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    let refused: &[(&[&str], &str)] = &[
        (&["commit", "d", "[]"], "empty_commit"),
        (&["commit", "d", r#"{"op": "put"}"#], "bad_operation"),
        (&["commit", "nope", "[]"], "unknown_dataset"),
        (&["table", "get", "d", "t", "nope"], "row_not_found"),
        (&["table", "rows", "d", "t", "--limit", "1001"], "bad_query"),
        (&["table", "create", "d", "Bad"], "bad_name"),
        (&["publish", "nope", "hello"], "unmatched_topic"),
        (&["publish", "room:1", "phx_close"], "bad_event"),
        (&["changes", "d", "--since", "nonsense"], "bad_position"),
        (&["shop", "release", "1"], "not_found"),
    ];
    for (arguments, code) in refused {
        let plain = server.instep(arguments);
        assert_eq!(plain.status.code(), Some(1), "{arguments:?}");
        assert!(stderr(&plain).starts_with(&format!("instep: {code}: ")), "{}", stderr(&plain));
        let json = server.instep(&[arguments, &["--json"][..]].concat());
        assert_eq!((json.status.code(), code_of(&json)), (Some(1), (*code).into()));
    }
    let wrong = instep(&["dataset", "list", "--server", &server.url, "--key", "wrong", "--json"]);
    assert_eq!((wrong.status.code(), code_of(&wrong)), (Some(1), "wrong_key".into()));
}

#[test]
fn a_topic_that_is_refused_is_named_with_its_code_and_ends_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    let mut subscribe = server.command(&["subscribe", "nowhere", "room:1", "--json"]);
    let subscribe = subscribe.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut subscriber = subscribe.spawn().unwrap();
    let mut lines = BufReader::new(subscriber.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };

    let refused = json!({"reason": "unmatched topic"});
    assert_eq!(next(), json!({"topic": "nowhere", "ended": refused, "code": "unmatched_topic"}));
    assert_eq!(next()["joined"]["mode"], "live");
    server.must(&["publish", "room:1", "hello"]);
    assert_eq!(next(), json!({"topic": "room:1", "event": "hello", "payload": {}}));
    let process = subscriber.id().to_string();
    std::process::Command::new("kill").args(["-INT", &process]).status().unwrap();
    let output = subscriber.wait_with_output().unwrap();
    assert_eq!((output.status.code(), code_of(&output)), (Some(1), "unmatched_topic".into()));

    let alone = server.instep(&["subscribe", "nowhere"]);
    assert_eq!(alone.status.code(), Some(1));
    assert_eq!(stdout(&alone), "nowhere  -- over: unmatched topic\n");
    assert_eq!(stderr(&alone), "instep: topic nowhere is over: unmatched topic\n");
    let twice = server.instep(&["subscribe", "room:1", "room:2", "room:1"]);
    assert_eq!(twice.status.code(), Some(2), "{}", stderr(&twice));
    assert!(stderr(&twice).contains("room:1"), "{}", stderr(&twice));
}

#[test]
fn a_refusal_of_a_key_says_where_the_key_came_from() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    let elsewhere = tempfile::tempdir().unwrap();
    for data in ["data", "data/demo"] {
        std::fs::create_dir_all(elsewhere.path().join(data)).unwrap();
        std::fs::write(elsewhere.path().join(data).join("admin.key"), "0".repeat(64)).unwrap();
    }
    let told = |arguments: &[&str], variable: Option<(&str, &str)>| {
        let mut command = binary();
        command.args(["dataset", "list", "--server", &server.url]).args(arguments);
        let output = command.envs(variable).current_dir(elsewhere.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        stderr(&output).trim_end().to_owned()
    };

    for (arguments, variable, expected) in [
        (&["--key", "k"][..], None, "(the credential of --key was shown)"),
        (&["--token", "t"], None, "(the credential of --token was shown)"),
        (&[], Some(("INSTEP_KEY", "k")), "(the credential of INSTEP_KEY was shown)"),
        (&[], Some(("INSTEP_TOKEN", "t")), "(the credential of INSTEP_TOKEN was shown)"),
        (&["--data", "data/demo"], None, "(the key in data/demo/admin.key was shown)"),
        (
            &[],
            None,
            "(the key in data/admin.key was shown; that of data/demo with --data data/demo)",
        ),
    ] {
        let told = told(arguments, variable);
        assert!(told.starts_with("instep: wrong_key: ") && told.ends_with(expected), "{told}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&told(&["--json", "--key", "k"], None)).unwrap();
    assert_eq!(
        (&json["code"], &json["shown"]),
        (&"wrong_key".into(), &"the credential of --key was shown".into())
    );
}

#[test]
fn input_that_makes_no_sense_exits_with_2_and_names_the_field() {
    let told: &[(&[&str], &str)] = &[
        (&["commit", "d", "{"], "OPS"),
        (&["commit", "d", "[3]"], "OPS[0]"),
        (&["commit", "d"], "OPS"),
        (&["commit", "d", "[]", "--id", "x"], "--id"),
        (&["commit", "d", "--file", "no/such/file"], "no/such/file"),
        (&["publish", "room:1", "e", "3"], "PAYLOAD"),
        (&["table", "put", "d", "t", "k", "[]"], "ROW"),
        (&["table", "add", "d", "t", "k", "n", "many"], "<BY>"),
        (&["table", "get", "d", "", "k"], "the name"),
        (&["dataset", "remove", ".."], "the name"),
        (&["dataset", "list", "--server", "wss://example.org"], "wss://example.org"),
        (&["subscribe", "a", "--server", "example.org"], "example.org"),
        (&["serve", "--http", "nowhere"], "--http"),
        (&["check", "no/such/directory"], "no/such/directory"),
        (&["nonsense"], "nonsense"),
    ];
    for (arguments, name) in told {
        let output = instep(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(name), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn a_file_over_the_limit_is_refused_with_the_limit() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("large");
    std::fs::write(&file, vec![b' '; 1024 * 1024 + 1]).unwrap();

    let output = instep(&["commit", "d", "--file", file.to_str().unwrap()]);

    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("1048576 bytes, the limit"), "{}", stderr(&output));
}

#[test]
fn a_server_that_is_not_there_exits_with_3() {
    for arguments in [&["dataset", "list"][..], &["subscribe", "a"], &["changes", "d", "--follow"]]
    {
        let output = instep(&[arguments, &["--server", "http://127.0.0.1:1"]].concat());

        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
        assert!(stderr(&output).contains("127.0.0.1:1"), "{}", stderr(&output));
    }
}

#[test]
fn a_data_directory_without_a_key_is_named() {
    let output = instep(&["dataset", "list", "--data", "no/such"]);

    assert_eq!(output.status.code(), Some(7));
    assert!(stderr(&output).contains("no/such/admin.key"), "{}", stderr(&output));
}

#[test]
fn changes_are_printed_in_order_and_from_a_position() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    server.must(&["table", "put", "d", "t", "k", r#"{"n":1}"#]);
    let since = server.json(&["table", "put", "d", "t", "k", r#"{"n":2}"#])["position"].clone();
    server.must(&["table", "delete", "d", "t", "k"]);

    let all = server.must(&["changes", "d"]);
    let rest = server.must(&["changes", "d", "--since", since.as_str().unwrap(), "--json"]);

    let put = all.find("put t k {\"n\":1}").unwrap();
    assert!(put < all.find("put t k {\"n\":2}").unwrap() && all.contains("delete t k"), "{all}");
    let rest: Value = serde_json::from_str(&rest).unwrap();
    assert_eq!(rest["records"], json!([{"delete": {"table": "t", "key": "k"}}]));
}

#[test]
fn subscribers_print_what_happens_and_end_with_0_at_ctrl_c() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    let mut subscribe = server.command(&["subscribe", "room:1", "table:d/t", "--json"]);
    let mut subscriber = subscribe.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(subscriber.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["joined"]["mode"], "live");
    assert_eq!(next()["joined"]["mode"], "snapshot");

    assert_eq!(server.json(&["publish", "room:1", "hello", r#"{"a":1}"#])["subscribers"], 1);
    let hello = next();
    server.must(&["table", "put", "d", "t", "k", r#"{"n":1}"#]);
    let row = next();

    assert_eq!(hello, json!({"topic": "room:1", "event": "hello", "payload": {"a": 1}}));
    assert_eq!((&row["event"], &row["payload"]["row"]), (&"row".into(), &json!({"n": 1})));
    let process = subscriber.id().to_string();
    std::process::Command::new("kill").args(["-INT", &process]).status().unwrap();
    assert_eq!(subscriber.wait().unwrap().code(), Some(0));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    let row = format!(r#"{{"text":"{}"}}"#, "x".repeat(100_000));
    for key in ["a", "b", "c", "d"] {
        server.must(&["table", "put", "d", "t", key, &row]);
    }
    let mut snapshot = server.command(&["table", "snapshot", "d", "t"]);
    let mut process = snapshot.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();

    drop(process.stdout.take());
    let output = process.wait_with_output().unwrap();

    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

#[test]
fn the_version_is_printed() {
    let output = instep(&["--version"]);

    assert_eq!(stdout(&output), format!("instep {}\n", env!("CARGO_PKG_VERSION")));
}
