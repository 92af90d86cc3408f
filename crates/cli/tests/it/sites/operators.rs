//! Orders of operators about sites, with real agents and databases.

use serde_json::{Value, json};

use super::agent::{Database, Site};
use super::cluster::Cluster;
use super::{CONFIG, commit, put, rows, status};
use crate::running::{Server, stderr};
use crate::shims::until;

/// A table that refuses negative numbers.
const CHECKED: &str = "CREATE TABLE items (key TEXT PRIMARY KEY, n INTEGER CHECK (n >= 0))";
const SKIP: [&str; 6] = ["site", "skip", "node1", "--dataset", "shop", "--reason"];

fn put_of(key: &str, n: i64) -> Value {
    json!({"op": "put", "table": "items", "key": key, "row": {"n": n}})
}

/// Waits until a site stands at a record; the record.
fn until_standing(server: &Server, site: &str, position: &str) -> Value {
    let mut stands = Value::Null;
    until(&format!("{site} stands at {position}"), || {
        stands = status(server, site)["stands"].clone();
        stands["position"] == position
    });
    stands["record"].clone()
}

fn skip(server: &Server, arguments: &[&str]) -> std::process::Output {
    server.instep(&[&SKIP[..], arguments].concat())
}

// POL-R11: only an operator skips it.
#[test]
fn a_record_that_an_operator_skips_is_left_out_and_the_rest_of_its_commit_is_applied() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let database = Database::in_directory(directory.path(), "node1");
    database.execute(CHECKED);
    commit(&server, &json!([{"op": "create_journal", "journal": "trail"}]));
    let site = Site::run(&server, &database, &["--start", "beginning"]);
    site.until_told("registered");
    let bad = commit(
        &server,
        &json!([
            put_of("a", 1), put_of("b", -1), {"op": "append", "journal": "trail", "text": "x"},
            put_of("c", 3),
        ]),
    );

    assert_eq!(until_standing(&server, "node1", &bad), 1);
    let other = skip(&server, &["it is old", "--position", &bad, "--record", "0"]);
    assert!(stderr(&other).contains("stands_elsewhere"), "{}", stderr(&other));
    assert_eq!(database.number("SELECT count(*) FROM items"), 0);
    assert!(skip(&server, &["it is old"]).status.success());
    database.until_at(&bad);
    let last = put(&server, "d", &json!({"n": 4}));
    database.until_at(&last);

    assert_eq!(database.number("SELECT CAST(group_concat(n, '') AS INTEGER) FROM items"), 134);
    assert_eq!(database.number("SELECT count(*) FROM trail"), 1);
    let account = "SELECT count(*) FROM instep_site_skipped WHERE record = 1
        AND reason = 'it is old' AND content LIKE '%\"key\":\"b\"%'";
    assert_eq!(database.number(account), 1);
    until("the account", || status(&server, "node1")["skipped"] == 1);
    let site = status(&server, "node1");
    assert_eq!((&site["state"], &site["skips"]), (&json!("live"), &json!([])));
    let late = skip(&server, &["it is old", "--position", &bad, "--record", "1"]);
    assert!(stderr(&late).contains("wrong_state"), "{}", stderr(&late));
}

#[test]
fn records_of_one_commit_that_are_refused_are_skipped_one_after_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let database = Database::in_directory(directory.path(), "node1");
    database.execute(CHECKED);
    let site = Site::run(&server, &database, &["--start", "beginning"]);
    site.until_told("registered");
    let bad = commit(&server, &json!([put_of("a", -1), put_of("b", 2), put_of("c", -3)]));

    for record in [0, 2] {
        until("the record", || {
            let stands = status(&server, "node1")["stands"].clone();
            stands["position"] == bad.as_str() && stands["record"] == record
        });
        assert!(skip(&server, &["it is old"]).status.success());
    }
    database.until_at(&bad);

    assert_eq!(database.number("SELECT n FROM items"), 2);
    until("the account", || status(&server, "node1")["skipped"] == 2);
}

// POL-R11: the order stands in the row of the site, the account in the transaction of the data.
#[test]
fn no_kill_skips_a_record_twice_or_another_one() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve_with(directory.path(), CONFIG);
    let database = Database::in_directory(directory.path(), "node1");
    database.execute(CHECKED);
    commit(&server, &json!([{"op": "create_journal", "journal": "sql"}]));
    let begin = "CREATE TABLE counts (n INTEGER)";
    commit(&server, &json!([{"op": "append", "journal": "sql", "text": begin}]));
    let arguments = ["--journal", "sql=sql", "--start", "beginning"];
    let mut site = Site::run(&server, &database, &arguments);
    site.until_told("registered");

    for round in 0..6_i64 {
        let count = "INSERT INTO counts VALUES (1)";
        let bad = commit(
            &server,
            &json!([
                put_of(&format!("bad{round}"), -1),
                {"op": "append", "journal": "sql", "text": count},
                put_of(&format!("good{round}"), round),
            ]),
        );
        put(&server, "later", &json!({"n": round}));
        assert_eq!(until_standing(&server, "node1", &bad), 0);
        assert!(skip(&server, &["it is old"]).status.success());
        std::thread::sleep(std::time::Duration::from_millis(300 * (round % 3).unsigned_abs()));
        site.kill();
        if round == 2 {
            server.signal("-KILL");
            server.start_again();
        }
        site = Site::run(&server, &database, &arguments);
        database.until_at(&bad);
    }
    let last = put(&server, "last", &json!({"n": 9}));
    database.until_at(&last);

    assert_eq!(database.number("SELECT count(*) FROM counts"), 6);
    assert_eq!(database.number("SELECT count(*) FROM instep_site_skipped WHERE record = 0"), 6);
    assert_eq!(database.number("SELECT count(*) FROM instep_site_skipped"), 6);
    assert_eq!(database.number("SELECT count(*) FROM items WHERE key LIKE 'good%'"), 6);
    until("the account", || status(&server, "node1")["skipped"] == 6);
}

#[test]
fn postgres_names_the_record_of_a_set_that_it_refuses() {
    let cluster = Cluster::start();
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    cluster.execute("postgres", "CREATE DATABASE node1");
    cluster.execute("node1", CHECKED);
    let url = cluster.url("node1");
    let site = Site::applying(&server, "node1", &url, &["--start", "beginning"]);
    site.until_told("registered");
    let bad = commit(&server, &json!([put_of("a", 1), put_of("b", 2), put_of("c", -3)]));

    assert_eq!(until_standing(&server, "node1", &bad), 2);
    assert!(skip(&server, &["it is old"]).status.success());
    until("the end of the failure", || status(&server, "node1")["state"] == "live");

    assert_eq!(cluster.text("node1", "SELECT string_agg(key, '' ORDER BY key) FROM items"), "ab");
    let account = "SELECT reason || record FROM instep_site_skipped";
    assert_eq!(cluster.text("node1", account), "it is old2");
}

#[test]
fn a_commit_that_a_program_refuses_is_skipped_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let told = directory.path().join("told");
    let script = format!(
        r#"while read -r line; do
            position=${{line#*position\":\"}}; position=${{position%%\"*}}
            case $line in *poison*) echo "fail it is poison"; continue;; esac
            echo "$line" >> {}; echo "ok $position"
        done"#,
        told.display(),
    );
    let store = format!("command:{script}");
    let site = Site::applying(&server, "node1", &store, &["--start", "beginning"]);
    site.until_told("registered");
    let bad = commit(&server, &json!([put_of("poison", 1), put_of("b", 2)]));

    assert_eq!(until_standing(&server, "node1", &bad), Value::Null);
    assert!(skip(&server, &["it is old"]).status.success());
    let last = put(&server, "last", &json!({}));
    until("the cursor", || status(&server, "node1")["cursor"] == last.as_str());

    assert_eq!(status(&server, "node1")["skipped"], 2);
    let told = std::fs::read_to_string(&told).unwrap();
    assert!(!told.contains("poison") && told.contains("last"), "{told}");
}

#[test]
fn a_store_that_was_mended_leaves_nothing_to_skip() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let database = Database::in_directory(directory.path(), "node1");
    let site = Site::run(&server, &database, &["--start", "beginning"]);
    site.until_told("registered");
    let good = put(&server, "a", &json!({"n": 1}));
    database.until_at(&good);

    let refused = skip(&server, &["it is old"]);

    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("stands at no record"), "{}", stderr(&refused));
    assert_eq!(database.items(), rows(&[("a", r#"{"n":1}"#)]));
}

// POL-U8: start, sent, confirmed; and the lag in entries, bytes and time.
#[test]
fn pol_u8_a_site_shows_its_three_positions_and_how_far_it_is_behind() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let database = Database::in_directory(directory.path(), "node1");
    let begin = put(&server, "a", &json!({"n": 1}));
    let mut site = Site::run(&server, &database, &["--start", "head"]);
    site.until_told("registered");
    let last = put(&server, "b", &json!({"n": 2}));
    until("all of it", || {
        let site = status(&server, "node1");
        site["cursor"] == last.as_str() && site["behind_entries"] == 0
    });

    let shown = server.json(&["site", "show", "node1", "--dataset", "shop"]);
    assert_eq!((&shown["sent"], &shown["cursor"]), (&json!(last), &json!(last)));
    assert_eq!((&shown["behind_bytes"], &shown["behind_ms"]), (&json!(0), &json!(0)));
    assert_eq!((&shown["stale"], &shown["drift"]), (&json!(false), &json!(0)));
    assert!(shown["start"].as_str() >= Some(begin.as_str()), "{shown}");
    site.signal("-TERM");
    put(&server, "c", &json!({"text": "x".repeat(50_000)}));
    put(&server, "d", &json!({"n": 4}));

    let (mut behind, mut shown) = (0, Value::Null);
    until("more than a second behind", || {
        shown = status(&server, "node1");
        behind = shown["behind_ms"].as_u64().unwrap();
        behind > 1_000
    });
    assert!(shown["behind_bytes"].as_u64() > Some(1_000), "{shown}");
    assert!(shown["behind_entries"].as_u64() >= Some(2), "{shown}");
    assert_eq!((&shown["online"], &shown["cursor"]), (&json!(false), &json!(last)));
    let words = server.must(&["site", "show", "node1", "--dataset", "shop"]);
    assert!(words.contains("confirmed") && words.contains(&last), "{words}");
    let lag = server.must(&["site", "lag", "--dataset", "shop"]);
    assert!(lag.contains("CONFIRMED") && lag.contains("node1"), "{lag}");
    let (_, metrics) = server.request("GET", "/metrics");
    for name in ["behind_seconds", "behind_bytes", "confirmed_revision", "silent_seconds"] {
        let metric = format!("instep_site_{name}{{dataset=\"shop\",site=\"node1\"}}");
        assert!(metrics.contains(&metric), "{metrics}");
    }
}

// POL-U6: out of range it is refused, in range honoured.
#[test]
fn pol_u6_an_operator_sets_the_position_of_a_site() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let database = Database::in_directory(directory.path(), "node1");
    let site = Site::run(&server, &database, &["--start", "beginning"]);
    site.until_told("registered");
    let first = put(&server, "a", &json!({"n": 1}));
    let last = put(&server, "b", &json!({"n": 2}));
    database.until_at(&last);
    until("the acknowledgement", || status(&server, "node1")["cursor"] == last.as_str());
    let seek = |to: &str| {
        let order = ["site", "seek", "node1", "--dataset", "shop", "--reason", "a repair"];
        server.instep(&[&order[..], &["--to", to]].concat())
    };

    let ahead = format!("{}-{:020}-00000", &last[..32], 999);
    let elsewhere = format!("{:032}-{:020}-00000", 1, 1);
    for (to, code) in [(&ahead, "position_ahead"), (&elsewhere, "other_history")] {
        let refused = seek(to);
        assert!(stderr(&refused).contains(code), "{}", stderr(&refused));
    }
    database.execute("DELETE FROM items");
    assert!(seek(&first).status.success());
    assert_eq!(site.until_told("sought")["position"], first.as_str());
    database.until_at(&last);
    until("the acknowledgement", || status(&server, "node1")["cursor"] == last.as_str());

    assert_eq!(database.items(), rows(&[("b", r#"{"n":2}"#)]), "it is applied again from there on");
    assert!(seek(&first).status.success());
    until("the end of it", || status(&server, "node1")["seek"] == false);
    let next = put(&server, "c", &json!({"n": 3}));
    database.until_at(&next);
}

#[test]
fn a_position_that_is_set_while_the_agent_is_away_is_that_of_its_store_when_it_is_back() {
    let cluster = Cluster::start();
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    cluster.execute("postgres", "CREATE DATABASE node1");
    let run = || Site::applying(&server, "node1", &cluster.url("node1"), &["--start", "beginning"]);
    let mut site = run();
    site.until_told("registered");
    let first = put(&server, "a", &json!({"n": 1}));
    let last = put(&server, "b", &json!({"n": 2}));
    until("the acknowledgement", || status(&server, "node1")["cursor"] == last.as_str());
    site.kill();

    cluster.execute("node1", "DELETE FROM items");
    server.must(&[
        "site",
        "seek",
        "node1",
        "--dataset",
        "shop",
        "--reason",
        "a repair",
        "--to",
        &first,
    ]);
    let site = run();
    site.until_told("sought");
    until("the acknowledgement", || status(&server, "node1")["cursor"] == last.as_str());

    assert_eq!(cluster.text("node1", "SELECT string_agg(key, '' ORDER BY key) FROM items"), "b");
}

/// `instep site verify` of a store: its exit code, and what it has found about the table `items`.
fn verify(server: &Server, store: &str) -> (Option<i32>, Value) {
    let arguments =
        ["site", "verify", "--id", "node1", "--dataset", "shop", "--apply", store, "--json"];
    let verified = server.instep(&arguments);
    let found: Value = serde_json::from_slice(&verified.stdout)
        .unwrap_or_else(|_| panic!("{}", stderr(&verified)));
    (verified.status.code(), found["tables"]["items"].clone())
}

#[test]
fn a_verification_names_the_keys_that_differ_and_none_that_are_on_their_way() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let database = Database::in_directory(directory.path(), "node1");
    let store = format!("sqlite:{}", database.path.display());
    let mut site = Site::run(&server, &database, &["--start", "beginning"]);
    site.until_told("registered");
    for key in ["a", "b", "c", "d", "\u{e9}", "z"] {
        put(&server, key, &json!({"of": key, "n": 18_446_744_073_709_551_615_u64}));
    }
    let last = put(&server, "y", &json!({"n": 1.5}));
    database.until_at(&last);

    let (code, found) = verify(&server, &store);
    assert_eq!((code, &found["rows"]), (Some(0), &json!(7)), "{found}");
    site.signal("-TERM");
    put(&server, "later", &json!({}));
    put(&server, "a", &json!({"n": 2}));
    commit(&server, &json!([{"op": "delete", "table": "items", "key": "z"}]));
    let (code, found) = verify(&server, &store);
    assert_eq!((code, &found["changed_since"]), (Some(0), &json!(3)), "{found}");
    database.execute(
        "UPDATE items SET row = '{}' WHERE key IN ('b', 'a'); DELETE FROM items WHERE key = 'd';
         INSERT INTO items VALUES ('extra', '{}')",
    );

    let (code, found) = verify(&server, &store);

    assert_eq!(code, Some(9));
    assert_eq!(found["differs"], json!(["b"]), "a is written anew anyway: {found}");
    assert_eq!((&found["missing"], &found["extra"]), (&json!(["d"]), &json!(["extra"])));
}

#[test]
fn a_verification_reads_postgres_in_one_snapshot_while_its_agent_goes_on() {
    let cluster = Cluster::start();
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    cluster.execute("postgres", "CREATE DATABASE node1");
    let store = cluster.url("node1");
    let site = Site::applying(&server, "node1", &store, &["--start", "beginning"]);
    site.until_told("registered");
    let operation =
        |n: usize| json!({"op": "put", "table": "items", "key": format!("k{n}"), "row": {"n": n}});
    let all: Vec<Value> = (0..900).map(operation).collect();
    let last = commit(&server, &json!(all));
    until("the acknowledgement", || status(&server, "node1")["cursor"] == last.as_str());

    std::thread::scope(|scope| {
        let writing =
            scope.spawn(|| (0..40).for_each(|n| drop(put(&server, &format!("k{n}"), &json!({})))));
        while !writing.is_finished() {
            let (code, found) = verify(&server, &store);
            assert_eq!((code, &found["rows"]), (Some(0), &json!(900)), "{found}");
        }
    });
    cluster.execute("node1", "UPDATE items SET \"row\" = '{}' WHERE key = 'k777'");

    let (code, found) = verify(&server, &store);
    assert_eq!((code, &found["differs"]), (Some(9), &json!(["k777"])), "{found}");
}
