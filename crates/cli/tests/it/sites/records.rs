//! Records of journals on their way to stores of several kinds.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::agent::{Database, Site};
use super::{CONFIG, commit, put, status};
use crate::running::{PATIENCE, Server, hold_time};
use crate::shims::until;

/// A command that appends each commit to a file, and answers.
fn to_file(file: &std::path::Path) -> String {
    format!(
        r#"command:while read -r line; do
            position=${{line#*position\":\"}}
            printf '%s\n' "$line" >> {}
            echo "ok ${{position%%\"*}}"
        done"#,
        file.display()
    )
}

/// Bytes of each record of a journal, by number.
type Records = BTreeMap<i64, Vec<u8>>;

/// Records of `trail` in lines of commits; one that comes again is what it was.
fn records_of(lines: &str) -> (Records, Vec<i64>) {
    let (mut records, mut order) = (Records::new(), vec![]);
    for line in lines.lines() {
        let commit: Value = serde_json::from_str(line).unwrap();
        for record in commit["records"].as_array().into_iter().flatten() {
            let append = &record["append"];
            if append["journal"] != "trail" {
                continue;
            }
            let ordinal = append["ordinal"].as_str().unwrap().parse().unwrap();
            let bytes = match (append["text"].as_str(), append["base64"].as_str()) {
                (Some(text), _) => text.as_bytes().to_vec(),
                (None, base64) => BASE64.decode(base64.unwrap()).unwrap(),
            };
            if let Some(before) = records.insert(ordinal, bytes.clone()) {
                assert_eq!(before, bytes, "record {ordinal} is told again");
            } else {
                order.push(ordinal);
            }
        }
    }
    (records, order)
}

fn records_in(database: &Database) -> Records {
    let reader = rusqlite::Connection::open(&database.path).unwrap();
    reader.busy_timeout(PATIENCE).unwrap();
    let query = "SELECT ordinal, CAST(record AS BLOB) FROM trail";
    let mut query = reader.prepare(query).unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

// POL-13, POL-18, POL-U2: a file and a database have what the log has, in order, whatever its
// bytes.
#[test]
fn a_hundred_thousand_records_of_any_bytes_are_the_same_at_every_site() {
    const OF_ONE_COMMIT: i64 = 500;
    let all = std::env::var("SITE_RECORDS").map_or(20_000, |text| text.parse::<i64>().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), "[[dataset]]\nname = 'shop'\n");
    commit(&server, &json!([{"op": "create_journal", "journal": "trail"}]));
    let files = ["node1", "node2"].map(|site| directory.path().join(site));
    let stores = files.each_ref().map(|file| to_file(file));
    let database = Database::in_directory(directory.path(), "node3");
    let begins = ["--start", "beginning"];
    let mut sites: Vec<Site> = ["node1", "node2"]
        .iter()
        .zip(&stores)
        .map(|(site, store)| Site::applying(&server, site, store, &begins))
        .collect();
    sites.push(Site::run(&server, &database, &begins));
    sites.iter().for_each(|site| drop(site.until_told("registered")));

    // SQL, JSON, zero bytes, no text, nothing at all, and text of any form.
    let odd: [&[u8]; 6] = [
        b"INSERT INTO t VALUES ('a'); -- \xc3\xa4\n",
        br#"{"a": [1.0, 18446744073709551615]}"#,
        b"a\x00b",
        b"\xff\xfe\x00",
        b"",
        b"\r\n\t\\\"\x1b",
    ];
    let mut expected = Records::new();
    let mut last = String::new();
    for begin in (0..all).step_by(usize::try_from(OF_ONE_COMMIT).unwrap()) {
        let append = |n: i64| {
            let bytes = match odd.get(usize::try_from(n % 100).unwrap()) {
                Some(bytes) => bytes.to_vec(),
                None => format!("record {n}").into_bytes(),
            };
            expected.insert(n + 1, bytes.clone());
            match String::from_utf8(bytes) {
                Ok(text) => json!({"op": "append", "journal": "trail", "text": text}),
                Err(error) => {
                    let base64 = BASE64.encode(error.as_bytes());
                    json!({"op": "append", "journal": "trail", "base64": base64})
                }
            }
        };
        let end = all.min(begin + OF_ONE_COMMIT);
        let body = json!({"ops": (begin..end).map(append).collect::<Vec<_>>()}).to_string();
        let (code, answer) = server.post("/v1/datasets/shop/commits", "", &body);
        assert_eq!(code, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        last = answer["position"].as_str().unwrap().to_owned();
    }
    for site in ["node1", "node2", "node3"] {
        until(&format!("{site} at the end"), || status(&server, site)["cursor"] == last.as_str());
    }

    let numbers: Vec<i64> = expected.keys().copied().collect();
    for file in &files {
        let (records, order) = records_of(&std::fs::read_to_string(file).unwrap());
        assert!(records == expected, "{} differs", file.display());
        assert_eq!(order, numbers, "in order");
    }
    assert!(records_in(&database) == expected, "the database differs");
}

// POL-U3: the operator is told with the words of the store.
#[test]
fn a_failure_is_told_with_the_words_of_the_store_wherever_sites_are_watched() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let database = Database::in_directory(directory.path(), "node1");
    commit(&server, &json!([{"op": "create_journal", "journal": "sql"}]));
    let site = Site::run(&server, &database, &["--start", "beginning", "--journal", "sql=sql"]);
    site.until_told("registered");

    let written = std::time::Instant::now();
    let record = "INSERT INTO nowhere VALUES (1)";
    commit(&server, &json!([{"op": "append", "journal": "sql", "text": record}]));
    until("the failure", || status(&server, "node1")["state"] == "failed");
    hold_time("a failure is shown", written.elapsed(), std::time::Duration::from_secs(5));

    let words = "no such table: nowhere";
    let reason = status(&server, "node1")["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains(words) && reason.contains("journal sql"), "{reason}");
    let row = "/v1/datasets/shop/tables/instep-sites/rows/node1";
    let (_, row) = server.request("GET", row);
    assert!(row.contains(words), "{row}");
    let (_, page) = server.request("GET", "/metrics");
    assert!(page.contains("instep_sites{dataset=\"shop\",state=\"failed\"} 1"), "{page}");
}

// Zero bytes and bytes that are no UTF-8, for a journal whose records are SQL: the site stands at
// them, and others go on.
#[test]
fn a_record_that_is_no_sql_stops_its_site_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let database = |site: &str| Database::in_directory(directory.path(), site);
    let (sql, opaque) = (database("sql"), database("opaque"));
    commit(&server, &json!([{"op": "create_journal", "journal": "trail"}]));
    let first = Site::run(&server, &sql, &["--start", "beginning", "--journal", "trail=sql"]);
    let second = Site::run(&server, &opaque, &["--start", "beginning"]);
    [&first, &second].iter().for_each(|site| drop(site.until_told("registered")));

    let good = put(&server, "a", &json!({}));
    let zero = json!({"op": "append", "journal": "trail", "text": "SELECT 1\u{0}; COMMIT"});
    commit(&server, &json!([zero, {"op": "append", "journal": "trail", "base64": "/w=="}]));
    let last = put(&server, "b", &json!({}));
    let refused = first.until_told("refused");

    assert!(refused["reason"].as_str().unwrap().contains("zero byte"), "{refused}");
    until("the cursor before it", || status(&server, "sql")["cursor"] == good.as_str());
    opaque.until_at(&last);
    assert_eq!(records_in(&opaque)[&2], b"\xff");
}

// POL-U7: what is on its way to a store that takes nothing is bounded, at the agent and the server.
#[test]
fn what_a_store_does_not_take_waits_in_the_log_and_not_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), "[[dataset]]\nname = 'shop'\n");
    let database = Database::in_directory(directory.path(), "node1");
    commit(&server, &json!([{"op": "create_journal", "journal": "trail"}]));
    let site = Site::run(&server, &database, &["--start", "beginning"]);
    site.until_told("registered");
    let lock = rusqlite::Connection::open(&database.path).unwrap();
    lock.busy_timeout(PATIENCE).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (agent, of_server) = (site.resident_kib(), server.resident_kib());

    let large = "x".repeat(200_000);
    let append = json!({"op": "append", "journal": "trail", "text": large}).to_string();
    let mut last = String::new();
    for _ in 0..150 {
        let body = format!("{{\"ops\":[{append},{append},{append},{append},{append}]}}");
        let (code, answer) = server.post("/v1/datasets/shop/commits", "", &body);
        assert_eq!(code, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        last = answer["position"].as_str().unwrap().to_owned();
    }

    // 150 MB are written: the queue of an agent holds 32 MiB.
    let grown = site.resident_kib().saturating_sub(agent);
    eprintln!("the agent has grown by {grown} KiB");
    assert!(grown < 90 * 1024, "the agent has grown by {grown} KiB");
    let grown = server.resident_kib().saturating_sub(of_server);
    assert!(grown < 90 * 1024, "the server has grown by {grown} KiB");
    lock.execute_batch("ROLLBACK").unwrap();
    database.until_at(&last);
    assert_eq!(database.number("SELECT count(*) FROM trail"), 750);
}
