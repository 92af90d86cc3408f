//! Data directories of earlier formats open, and mean the same.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::running::{Server, instep, text};

mod writing;

const CONFIG: &str = "
[[table]]
dataset = 'store'
name = 'items'
public = true

[[mail]]
dataset = 'store'
# What was finished then is remembered whenever the test runs.
keep_hours = 10000000
";

/// A data directory as it was written, beside the answers about it then.
pub(crate) fn golden(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(version)
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target)
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn then(version: &str, file: &str) -> Value {
    let text = std::fs::read_to_string(golden(version).join(file)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn now(server: &Server, path: &str) -> Value {
    let (status, body) = server.request("GET", path);
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// Of a message, what does not change with time.
fn lasting(messages: &Value) -> Vec<Value> {
    let list = messages["messages"].as_array().unwrap().iter();
    let of = |message: &Value| {
        let fields =
            ["seq", "id", "to", "queue", "server", "generation", "state", "priority", "bytes"];
        fields.iter().map(|field| message[field].clone()).collect()
    };
    list.map(of).collect()
}

/// Tables, journals, mail with what is pending and done, a snapshot and a log behind it, as the
/// server wrote them before anything was given a version of its own.
#[test]
fn a_directory_of_format_1_opens_and_means_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    copy(&golden("1").join("datasets"), &data.join("datasets"));
    let checked = instep(&["check", text(&data)]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");

    let server = Server::serve_with(directory.path(), CONFIG);

    let rows = now(&server, "/v1/datasets/store/tables/items/rows");
    assert_eq!(rows["rows"], then("1", "rows.json")["rows"]);
    let messages = now(&server, "/v1/datasets/store/queues/mail/messages");
    assert_eq!(lasting(&messages), lasting(&then("1", "messages.json")));
    let status = now(&server, "/v1/datasets/store");
    let journal = &status["journals"]["trail"];
    assert_eq!(journal.get("last").unwrap_or(journal), 3, "{status}");
    let body = now(&server, "/v1/datasets/store/queues/mail/messages/1");
    assert_eq!(body["body"]["n"], 1, "{body}");
    server.must(&["commit", "store", r#"{"op":"append","journal":"trail","text":"and on"}"#]);
}

/// The same with everything that a dataset can hold: several segments, two snapshots and log behind
/// them, bodies, commit ids, messages that are given, rest, are delayed, dead and done.
#[test]
fn a_directory_with_everything_in_it_opens_and_means_the_same() {
    writing::write_if_missing();
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    copy(&golden(writing::NAME).join("datasets"), &data.join("datasets"));
    let checked = instep(&["check", text(&data)]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");

    let server = Server::serve_with(directory.path(), writing::CONFIG);

    for (path, answer) in then(writing::NAME, "answers.json").as_object().unwrap() {
        assert_eq!(writing::lasting(now(&server, path)), *answer, "{path}");
    }
    for said in then(writing::NAME, "commits.json").as_array().unwrap() {
        let (status, answer) =
            server.post("/v1/datasets/store/commits", "", &said["request"].to_string());
        let mut expected = said["answer"].clone();
        expected["replayed"] = true.into();
        assert_eq!((status, answer.parse::<Value>().unwrap()), (200, expected));
    }
    let pulled = server.must(&["mail", "pull", "7", "--dataset", "store", "--json"]);
    assert!(pulled.contains("larger than what stays in memory"), "{pulled}");
    server.must(&["commit", "store", r#"{"op":"append","journal":"trail","text":"and on"}"#]);
}
