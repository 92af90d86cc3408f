//! Rows that a view cannot show, from outside.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::metrics::Page;
use crate::running::{PATIENCE, Server};

const CONFIG: &str = "
[[view]]
dataset = 'd'
table = 'items'
name = 'levels'
topic = 'product:{p}'
event = 'level'
project = { level = 'row.count < 10' }

[[view]]
dataset = 'd'
table = 'items'
name = 'whole'
topic = 'product:{p}'
event = 'item'

[[table]]
dataset = 'd'
name = 'items'
";

/// Asks until there is an answer.
fn until<T>(what: &str, ask: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_row_that_a_view_cannot_show_is_named_to_the_operator_in_the_log_and_in_the_metrics() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_logging(directory.path(), CONFIG);
    let put = |key: &str, row: &str| server.must(&["table", "put", "d", "items", key, row]);

    put("good", r#"{"p": 1, "count": 3}"#);
    put("bad-1", r#"{"p": 1}"#);
    put("bad-2", r#"{"p": 1, "count": "many"}"#);
    put("bad-2", r#"{"p": 1, "count": 3}"#);

    let views = until("two rows failed", || {
        Some(server.json(&["dataset", "views", "d"])).filter(|views| views[0]["errors"] == 2)
    });
    assert_eq!((&views[0]["name"], &views[0]["table"]), (&json!("levels"), &json!("items")));
    assert_eq!(views[0]["newest_error"]["key"], "bad-2");
    assert!(views[0]["newest_error"]["error"].as_str().unwrap().contains("row.count < 10"));
    assert_eq!((&views[1]["errors"], views[1].get("newest_error")), (&json!(0), None));
    let text = server.must(&["dataset", "views", "d"]);
    assert!(text.contains("row \"bad-2\": the expression \"row.count < 10\" failed"), "{text}");
    assert!(server.must(&["dataset", "show", "d"]).contains("instep dataset views d"));
    let page = Page::of(&server);
    let counted = |view| {
        page.get(&format!("instep_evaluation_errors_total{{dataset=\"d\",view=\"{view}\"}}"))
    };
    assert_eq!((counted("levels"), counted("whole")), (2.0, 0.0));

    let line = until("a line in the log", || {
        let log = std::fs::read_to_string(directory.path().join("log")).unwrap();
        log.lines().find(|line| line.contains("a view cannot show a row")).map(str::to_owned)
    });
    for part in ["WARN", "dataset=d", "view=levels", "table=items", "key=\"bad-", "row.count < 10"]
    {
        assert!(line.contains(part), "{part}: {line}");
    }
}
