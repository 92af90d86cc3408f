//! Journals are kept as long as history, and say so.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::running::{PATIENCE, Server, stderr};

/// Of history little is kept.
const CONFIG: &str = "
[[dataset]]
name = 'd'

[log]
segment_bytes = 65536
keep_bytes = 65536
snapshot_after_bytes = 65536
";

#[test]
fn a_journal_says_which_of_its_records_are_kept_and_a_reader_of_those_gone_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let commit =
        |operation: serde_json::Value| server.json(&["commit", "d", &operation.to_string()]);
    let status = || server.json(&["dataset", "show", "d"])["journals"].clone();
    commit(json!({"op": "create_journal", "journal": "quiet"}));
    commit(json!({"op": "create_journal", "journal": "trail"}));
    let first = commit(json!({"op": "append", "journal": "trail", "text": "a"}));
    let trail = json!({"last": 1, "first_kept": 1, "kept": 1});
    assert_eq!(status(), json!({"quiet": {"last": 0, "kept": 0}, "trail": trail}));

    let record = json!({"op": "append", "journal": "trail", "text": "x".repeat(200_000)});
    let large = json!({"ops": [record]});
    let begun = Instant::now();
    let kept = loop {
        let (code, answer) = server.post("/v1/datasets/d/commits", "", &large.to_string());
        assert_eq!(code, 200, "{answer}");
        let kept = status()["trail"].clone();
        if kept["first_kept"] != 1 {
            break kept;
        }
        assert!(begun.elapsed() < PATIENCE, "{kept}");
        std::thread::sleep(Duration::from_millis(50));
    };

    let number = |field: &str| kept[field].as_u64().unwrap();
    assert!(number("first_kept") > 1 && number("kept") < number("last"), "{kept}");
    assert_eq!(number("kept"), number("last") - number("first_kept") + 1, "{kept}");
    let since = first["position"].as_str().unwrap();
    let refused = server.instep(&["changes", "d", "--since", since, "--json"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("position_trimmed"), "{}", stderr(&refused));
    let (code, gone) = server.request("GET", "/v1/datasets/d/journals/trail/records?from=1");
    assert!(code == 410 && gone.contains("position_trimmed"), "{code} {gone}");
    // More may have been trimmed meanwhile.
    let changes = server.must(&["changes", "d", "--json"]);
    let oldest = changes.split("\"ordinal\":\"").nth(1).unwrap();
    assert!(oldest[..20].parse::<u64>().unwrap() >= number("first_kept"), "{oldest:.60}");
}

#[test]
fn records_of_a_journal_are_read_by_their_numbers_page_by_page() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    server.wait_until_ready();
    server.json(&["commit", "d", r#"{"op": "create_journal", "journal": "trail"}"#]);
    server.json(&["commit", "d", r#"{"op": "create_table", "table": "t"}"#]);
    let records = "/v1/datasets/d/journals/trail/records";
    let page = |query: &str| {
        let (code, body) = server.request("GET", &format!("{records}{query}"));
        (code, serde_json::from_str::<Value>(&body).unwrap())
    };
    assert_eq!(page("").1["records"], json!([]));

    for number in 1..=7 {
        server.json(&["commit", "d", r#"{"op": "put", "table": "t", "key": "k", "row": {}}"#]);
        let append = json!({"op": "append", "journal": "trail", "text": number.to_string()});
        server.json(&["commit", "d", &append.to_string()]);
    }

    let (mut from, mut read) = (String::from("1"), vec![]);
    loop {
        let (code, page) = page(&format!("?from={from}&limit=3"));
        assert_eq!(code, 200, "{page}");
        let records = page["records"].as_array().unwrap().clone();
        if records.is_empty() {
            assert_eq!(page["next"], "00000000000000000008");
            break;
        }
        read.extend(records.iter().map(|record| record["text"].as_str().unwrap().to_owned()));
        from = page["next"].as_str().unwrap().to_owned();
    }
    assert_eq!(read, ["1", "2", "3", "4", "5", "6", "7"]);
    assert_eq!(page("?limit=0").1["code"], "bad_query");
    assert_eq!(page("?from=0").1["code"], "bad_query");
    assert_eq!(server.request("GET", "/v1/datasets/d/journals/none/records").0, 404);
}

#[test]
fn history_that_was_there_before_a_start_is_bounded_like_that_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    // Each run writes less than is kept, and a snapshot of it.
    let config = CONFIG.replace("keep_bytes = 65536", "keep_bytes = 3000000");
    let mut server = Server::serve_with(directory.path(), &config);
    server.wait_until_ready();
    server.json(&["commit", "d", r#"{"op": "create_journal", "journal": "trail"}"#]);
    let record = json!({"op": "append", "journal": "trail", "text": "x".repeat(200_000)});
    let large = json!({"ops": [record]}).to_string();
    for _ in 0..8 {
        for _ in 0..10 {
            assert_eq!(server.post("/v1/datasets/d/commits", "", &large).0, 200);
        }
        assert_eq!(server.signal("-TERM"), Some(0));
        server.start_again();
        server.wait_until_ready();
    }

    let begun = Instant::now();
    let kept = || server.json(&["dataset", "show", "d"])["journals"]["trail"]["kept"].clone();
    // 80 records of 200 kB were written, of which 15 are what is kept.
    while kept().as_u64().unwrap() > 30 {
        assert_eq!(server.post("/v1/datasets/d/commits", "", &large).0, 200);
        assert!(begun.elapsed() < PATIENCE, "{} are kept", kept());
        std::thread::sleep(Duration::from_millis(100));
    }
}
