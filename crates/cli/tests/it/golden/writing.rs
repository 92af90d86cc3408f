//! Writes the golden data directory of today's format: once for each format, by hand.

use serde_json::{Value, json};
use uuid::Uuid;

use super::golden;
use crate::running::{PATIENCE, Server};

/// The directory of today's format.
pub(super) const NAME: &str = "1-whole";

pub(super) const CONFIG: &str = "
[log]
segment_bytes = 4096

[[table]]
dataset = 'store'
name = 'items'
public = true

[[mail]]
dataset = 'store'
max_attempts = 3
# What was finished then is remembered whenever the test runs.
keep_hours = 10000000
";

/// In milliseconds since 1970: the year 2100.
const LATER_MS: u64 = 4_102_444_800_000;

/// An answer without what changes with time.
pub(super) fn lasting(answer: Value) -> Value {
    match answer {
        Value::Object(fields) => {
            let passing = ["age_ms", "position", "bytes_on_disk", "head", "incarnation"];
            let fields = fields.into_iter().filter(|(name, _)| !passing.contains(&&**name));
            fields.map(|(name, value)| (name, lasting(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(lasting).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => answer,
    }
}

/// Answers that the directory is known by.
const PATHS: [&str; 6] = [
    "/v1/datasets/store/tables/items/rows",
    "/v1/datasets/store/tables/prices/rows",
    "/v1/datasets/store/queues/mail/messages",
    "/v1/datasets/store/queues/orders/messages",
    "/v1/datasets/store/queues/mail/messages/1",
    "/v1/datasets/store/queues/mail/messages/8",
];

/// Commits with ids, and the answers to them.
struct Commits<'a> {
    server: &'a Server,
    all: Vec<Value>,
}

impl Commits<'_> {
    fn commit(&mut self, operations: Value) {
        let request = json!({"ops": operations, "id": Uuid::now_v7().to_string()});
        let answer = post(self.server, "commits", &request);
        self.all.push(json!({"request": request, "answer": answer}));
    }
}

fn post(server: &Server, path: &str, body: &Value) -> Value {
    let (status, answer) =
        server.post(&format!("/v1/datasets/store/{path}"), "", &body.to_string());
    assert_eq!(status, 200, "{path}: {answer}");
    answer.parse().unwrap()
}

/// Writes the directory where there is none, if it is told to.
pub(super) fn write_if_missing() {
    let target = golden(NAME);
    if target.exists() || std::env::var_os("WRITE_GOLDEN").is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let eager = CONFIG.replace("[log]", "[log]\nsnapshot_after_bytes = 1024");
    let mut server = Server::serve_with(directory.path(), &eager);
    let mut all = write_first(&server);
    wait_for_snapshots(&server, 1);
    all.extend(write_between(&server));
    wait_for_snapshots(&server, 2);
    assert_eq!(server.signal("-TERM"), Some(0));
    let mut server = Server::serve_with(directory.path(), CONFIG);
    all.extend(write_behind_the_snapshot(&server));
    let answers = PATHS.map(|path| (path.to_owned(), lasting(super::now(&server, path))));
    assert_eq!(server.signal("-KILL"), None);

    super::copy(&server.data.join("datasets"), &target.join("datasets"));
    let store = target.join("datasets/store");
    for file in std::fs::read_dir(&store).unwrap().map(|file| file.unwrap().path()) {
        let name = file.file_name().unwrap().to_str().unwrap();
        // A copy is another history; of this one the positions are to be the same.
        if name == "identity" || name.ends_with(".tmp") {
            std::fs::remove_file(file).unwrap();
        }
    }
    let write = |file: &str, value: Value| {
        std::fs::write(target.join(file), format!("{value:#}\n")).unwrap();
    };
    write("answers.json", Value::Object(answers.into_iter().collect()));
    write("commits.json", Value::Array(all));
}

fn write_first(server: &Server) -> Vec<Value> {
    let mut commits = Commits { server, all: vec![] };
    commits.commit(json!([
        {"op": "create_table", "table": "prices"},
        {"op": "create_table", "table": "old"},
        {"op": "put", "table": "old", "key": "x", "row": {}},
        {"op": "create_journal", "journal": "trail"},
        {"op": "create_queue", "queue": "orders"},
        {"op": "move", "endpoint": "org/1", "to": "7"},
        {"op": "move", "endpoint": "org/2", "to": "8"},
    ]));
    for number in 0..24 {
        commits.commit(json!([
            {"op": "put", "table": "items", "key": format!("größe/{number}"),
             "row": {"n": number, "x": 0.1, "text": "for several segments".repeat(4)}},
            {"op": "append", "journal": "trail", "text": format!("put {number}")},
        ]));
    }
    let large = "larger than what stays in memory ".repeat(40);
    let id = "01020304-0506-7708-890a-0b0c0d0e0f10";
    commits.commit(json!([
        {"op": "send", "queue": "mail", "to": "org/1", "body": {"n": 1, "text": large}},
        {"op": "send", "queue": "mail", "to": "org/1", "body": {"n": 2}, "priority": 9},
        {"op": "send", "queue": "mail", "to": "org/1", "body": {"n": 3}, "id": id},
        {"op": "send", "queue": "mail", "to": "org/1", "body": {"n": 4}},
        {"op": "send", "queue": "mail", "to": "org/1", "body": {"n": 5}, "not_before": LATER_MS},
        {"op": "send", "queue": "orders", "to": "org/2", "body": [6], "ttl_ms": LATER_MS / 2},
        {"op": "import", "queue": "orders", "to": "org/3", "body": "7"},
    ]));
    // All that can be given is given to server 7, which answers for some of it.
    let pulled = post(server, "servers/7/pull", &json!({"max": 10, "wait_ms": 0}));
    let answers = json!({
        "registration": pulled["registration"],
        "ack": [2],
        "reject": [{"seq": 3, "reason": "no such customer"}],
        "nack": [{"seq": 4, "delay_ms": LATER_MS / 4, "failed": true}],
    });
    post(server, "servers/7/answers", &answers);
    commits.all
}

fn wait_for_snapshots(server: &Server, count: usize) {
    let snapshots = server.data.join("datasets/store/snapshots");
    let begun = std::time::Instant::now();
    while std::fs::read_dir(&snapshots).unwrap().count() < count {
        assert!(begun.elapsed() < PATIENCE, "no snapshot");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

fn write_between(server: &Server) -> Vec<Value> {
    let mut commits = Commits { server, all: vec![] };
    for number in 0..8 {
        commits.commit(json!([
            {"op": "patch", "table": "items", "key": "größe/2",
             "fields": {"n": number, "text": "between two snapshots".repeat(4)}},
        ]));
    }
    commits.all
}

fn write_behind_the_snapshot(server: &Server) -> Vec<Value> {
    let mut commits = Commits { server, all: vec![] };
    commits.commit(json!([
        {"op": "drop_table", "table": "old"},
        {"op": "put", "table": "prices", "key": "a", "row": {"cents": 1999}},
        {"op": "add", "table": "prices", "key": "a", "field": "cents", "by": -1},
        {"op": "delete", "table": "items", "key": "größe/0"},
        {"op": "patch", "table": "items", "key": "größe/1", "fields": {"text": null}},
        {"op": "send", "queue": "mail", "to": "org/2", "body": {"n": 8}},
        {"op": "move", "endpoint": "org/2", "to": "9"},
    ]));
    commits.commit(json!([{"op": "append", "journal": "trail", "base64": "AP8="}]));
    commits.all
}
