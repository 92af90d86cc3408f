//! Sites: real agents, real servers, real databases.

mod agent;
#[path = "../../../sites/tests/it/cluster.rs"]
mod cluster;
mod crash;
mod disks;
mod dumps;
mod flipping;
mod operators;
mod postgres;
mod receiver;
mod records;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use self::agent::{Database, Site};
use self::receiver::Receiver;
use crate::running::{Server, stderr};
use crate::shims::until;

/// A dataset with a table and journals, whose history is trimmed soon.
const CONFIG: &str = "
[[dataset]]
name = 'shop'

[[table]]
dataset = 'shop'
name = 'items'

[log]
segment_bytes = 65536
keep_bytes = 65536
snapshot_after_bytes = 65536
";

fn put(server: &Server, key: &str, row: &Value) -> String {
    let put = json!({"op": "put", "table": "items", "key": key, "row": row}).to_string();
    position(&server.json(&["commit", "shop", &put]))
}

fn commit(server: &Server, operations: &Value) -> String {
    position(&server.json(&["commit", "shop", &operations.to_string()]))
}

fn position(receipt: &Value) -> String {
    receipt["position"].as_str().unwrap().to_owned()
}

fn rows(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, row)| ((*key).to_owned(), (*row).to_owned())).collect()
}

/// The server's row of a site.
fn status(server: &Server, site: &str) -> Value {
    let list = server.json(&["site", "list", "--dataset", "shop"]);
    list["sites"].as_array().unwrap().iter().find(|of| of["site"] == site).cloned().unwrap()
}

#[test]
fn a_new_site_takes_a_dump_and_goes_on_where_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let database = Database::in_directory(directory.path(), "node1");
    put(&server, "a", &json!({"n": 1}));
    put(&server, "b", &json!({"n": 18_446_744_073_709_551_615_u64}));

    let site = Site::run(&server, &database, &[]);
    site.until_told("registered");
    let last = put(&server, "a", &json!({"n": 2}));
    database.until_at(&last);

    assert_eq!(
        database.items(),
        rows(&[("a", r#"{"n":2}"#), ("b", r#"{"n":18446744073709551615}"#)])
    );
    until("the acknowledgement", || status(&server, "node1")["cursor"] == last.as_str());
}

#[test]
fn a_site_that_begins_at_the_head_has_nothing_of_before() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let (head, beginning) = (
        Database::in_directory(directory.path(), "head"),
        Database::in_directory(directory.path(), "beginning"),
    );
    put(&server, "a", &json!({}));

    let first = Site::run(&server, &head, &["--start", "head"]);
    let second = Site::run(&server, &beginning, &["--start", "beginning"]);
    first.until_told("registered");
    second.until_told("registered");
    let last = put(&server, "b", &json!({}));
    head.until_at(&last);
    beginning.until_at(&last);

    assert_eq!(head.items(), rows(&[("b", "{}")]));
    assert_eq!(beginning.items(), rows(&[("a", "{}"), ("b", "{}")]));
}

#[test]
fn a_site_that_is_told_to_stop_acknowledges_what_it_has_and_goes_on_from_there() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let database = Database::in_directory(directory.path(), "node1");
    let mut site = Site::run(&server, &database, &[]);
    site.until_told("registered");
    let last = put(&server, "a", &json!({}));
    database.until_at(&last);

    assert_eq!(site.signal("-TERM"), Some(0));
    assert_eq!(status(&server, "node1")["cursor"], last.as_str());
    let missed = put(&server, "b", &json!({}));
    let _site = Site::run(&server, &database, &[]);

    database.until_at(&missed);
    assert_eq!(database.items(), rows(&[("a", "{}"), ("b", "{}")]));
}

// I10, I31, I33, POL-15, POL-R2: what a kill cuts off comes again, and once.
#[test]
fn i31_agents_and_servers_that_are_killed_at_random_leave_the_database_equal_to_the_fold() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve_with(directory.path(), CONFIG);
    let database = Database::in_directory(directory.path(), "node1");
    commit(&server, &json!([{"op": "create_journal", "journal": "sql"}]));
    let begin = "CREATE TABLE counts (key TEXT PRIMARY KEY, n INTEGER)";
    commit(&server, &json!([{"op": "append", "journal": "sql", "text": begin}]));
    let arguments = ["--journal", "sql=sql", "--start", "beginning"];
    let mut expected = BTreeMap::new();

    for round in 0..12_u64 {
        let mut site = Site::run(&server, &database, &arguments);
        for n in 0..20 {
            let (key, row) = (format!("k{}", n % 7), json!({"round": round, "n": n}));
            // Not idempotent: what is applied twice is seen.
            let count = format!(
                "INSERT INTO counts VALUES ('{key}', 1) ON CONFLICT DO UPDATE SET n = n + 1"
            );
            commit(
                &server,
                &json!([
                    {"op": "put", "table": "items", "key": key, "row": row},
                    {"op": "append", "journal": "sql", "text": count},
                ]),
            );
            expected.insert(key, row.to_string());
            if n == 5 + round % 10 {
                site.kill();
                site = Site::run(&server, &database, &arguments);
            }
        }
        if round % 4 == 3 {
            server.signal("-KILL");
            server.start_again();
        }
        site.kill();
    }
    let last = put(&server, "last", &json!({}));
    expected.insert("last".into(), "{}".into());
    let _site = Site::run(&server, &database, &arguments);
    database.until_at(&last);

    assert_eq!(database.items(), expected);
    assert_eq!(database.number("SELECT sum(n) FROM counts"), 240);
}

// POL-R11: at the failed record, and not behind it.
#[test]
fn a_record_that_the_store_refuses_stops_the_site_at_it_and_the_operator_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let database = Database::in_directory(directory.path(), "node1");
    database.execute("CREATE TABLE items (id TEXT PRIMARY KEY, name TEXT)");
    let site = Site::run(&server, &database, &["--start", "head"]);
    site.until_told("registered");

    let good = put(&server, "a", &json!({"name": "x"}));
    put(&server, "b", &json!({"colour": "red"}));
    let last = put(&server, "c", &json!({"name": "y"}));
    let told = site.until_told("refused");

    assert!(told["reason"].as_str().unwrap().contains("no column for field \"colour\""), "{told}");
    until("the failure", || status(&server, "node1")["state"] == "failed");
    assert_eq!(status(&server, "node1")["cursor"], good.as_str());
    assert_eq!(database.number("SELECT count(*) FROM items"), 1);

    database.execute("ALTER TABLE items ADD COLUMN colour");
    database.until_at(&last);
    assert_eq!(database.number("SELECT count(*) FROM items"), 3);
    until("the end of the failure", || status(&server, "node1")["state"] == "live");
}

// I26, POL-U4: evicted, and no person is needed where a source of dumps is named.
#[test]
fn a_site_whose_history_is_gone_takes_a_dump_by_itself_or_says_that_it_needs_one() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), &format!("{CONFIG}hold_bytes = 65536\n"));
    let database = Database::in_directory(directory.path(), "node1");
    put(&server, "stale", &json!({}));
    let mut site = Site::run(&server, &database, &[]);
    site.until_told("registered");
    site.kill();
    commit(&server, &json!([{"op": "delete", "table": "items", "key": "stale"}]));
    let large = json!({"text": "x".repeat(50_000)});
    until("the eviction", || {
        put(&server, "large", &large);
        status(&server, "node1")["state"] == "evicted"
    });

    let mut refused = Site::run(&server, &database, &[]);
    assert_eq!(refused.ended(), Some(1));
    assert!(refused.stderr().contains("dump_required"), "{}", refused.stderr());
    let site = Site::run(&server, &database, &["--dump-from", "server"]);
    site.until_told("restored");
    let last = put(&server, "new", &json!({}));
    database.until_at(&last);

    let keys: Vec<_> = database.items().into_keys().collect();
    assert_eq!(keys, ["large", "new"]);
}

// POL-20: the second takes over, and the first is told.
#[test]
fn of_two_agents_with_one_id_the_newer_takes_over_and_the_older_ends() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let database = Database::in_directory(directory.path(), "node1");
    let mut old = Site::run(&server, &database, &[]);
    old.until_told("registered");

    let new = Site::run(&server, &database, &[]);
    new.until_told("registered");
    let last = put(&server, "a", &json!({}));

    // As of data that another process has: supervisors are told not to start it again.
    assert_eq!(old.ended(), Some(5));
    assert!(old.stderr().contains("fenced"), "{}", old.stderr());
    database.until_at(&last);
}

#[test]
fn a_database_of_another_site_or_history_is_refused_and_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let database = Database::in_directory(directory.path(), "node1");
    let mut site = Site::run(&server, &database, &[]);
    site.until_told("registered");
    site.signal("-TERM");

    let mut other = Site::run_as(&server, "node2", &database, &[]);
    assert_eq!(other.ended(), Some(2));
    assert!(other.stderr().contains("belongs to site node1"), "{}", other.stderr());
    server.must(&["dataset", "remove", "shop"]);
    server.must(&["dataset", "create", "shop"]);
    let mut old = Site::run(&server, &database, &[]);
    assert_eq!(old.ended(), Some(1));
    assert!(old.stderr().contains("dump_required"), "{}", old.stderr());
}

// The history of before is put back, and a site is ahead of it in another one.
#[test]
fn a_site_takes_the_history_of_a_server_that_was_restored_when_it_is_told_a_source() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve_with(directory.path(), CONFIG);
    let database = Database::in_directory(directory.path(), "node1");
    let mut site = Site::run(&server, &database, &[]);
    site.until_told("registered");
    let kept = put(&server, "a", &json!({}));
    database.until_at(&kept);
    server.signal("-TERM");
    let data = server.data.join("datasets/shop");
    let copy = directory.path().join("copy");
    let copied = std::process::Command::new("cp").arg("-r").args([&data, &copy]).status();
    assert!(copied.unwrap().success());
    server.start_again();
    let lost = put(&server, "b", &json!({}));
    database.until_at(&lost);
    site.signal("-TERM");
    server.signal("-TERM");
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&copy, &data).unwrap();
    server.start_again();

    let mut refused = Site::run(&server, &database, &[]);
    assert_eq!(refused.ended(), Some(1));
    assert!(refused.stderr().contains("other_history"), "{}", refused.stderr());
    let site = Site::run(&server, &database, &["--dump-from", "server"]);
    site.until_told("registered");

    assert_eq!(database.items(), rows(&[("a", "{}")]));
}

#[test]
fn a_kill_in_the_first_dump_costs_another_dump_and_no_hand() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let database = Database::in_directory(directory.path(), "node1");
    put(&server, "a", &json!({}));
    // As a kill in the middle of the dump leaves it.
    let mut site = Site::run(&server, &database, &[]);
    site.until_told("registered");
    site.kill();
    database.execute("UPDATE instep_site SET state = 'restoring', position = NULL");
    database.execute("DELETE FROM items");

    let site = Site::run(&server, &database, &[]);
    site.until_told("registered");

    assert_eq!(database.items(), rows(&[("a", "{}")]));
}

#[test]
fn a_record_that_never_ends_keeps_no_agent_from_stopping() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let database = Database::in_directory(directory.path(), "node1");
    commit(&server, &json!([{"op": "create_journal", "journal": "sql"}]));
    let arguments = ["--start", "beginning", "--journal", "sql=sql"];
    let mut site = Site::run(&server, &database, &arguments);
    site.until_told("registered");
    let before = put(&server, "a", &json!({}));
    database.until_at(&before);
    let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
        SELECT count(*) FROM n";
    commit(&server, &json!([{"op": "append", "journal": "sql", "text": endless}]));
    // It has the database locked once it is at work.
    until("the record at work", || {
        let other = rusqlite::Connection::open(&database.path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").is_err()
    });

    assert_eq!(site.signal("-INT"), Some(0));
    assert_eq!(status(&server, "node1")["cursor"], before.as_str());
}

#[test]
fn a_site_that_has_lost_its_database_does_not_begin_at_the_head() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let database = Database::in_directory(directory.path(), "node1");
    let mut site = Site::run(&server, &database, &["--start", "head"]);
    site.until_told("registered");
    let before = put(&server, "a", &json!({}));
    database.until_at(&before);
    site.signal("-TERM");
    std::fs::remove_file(&database.path).unwrap();

    let mut site = Site::run(&server, &database, &["--start", "head"]);
    assert_eq!(site.ended(), Some(1));
    assert!(site.stderr().contains("its store is empty"), "{}", site.stderr());
    let site = Site::run(&server, &database, &["--start", "head", "--dump-from", "server"]);
    site.until_told("registered");

    assert_eq!(database.items(), rows(&[("a", "{}")]));
}

#[test]
fn arguments_of_a_site_that_make_no_sense_are_named() {
    let run = |arguments: &[&str]| {
        let fixed = ["site", "run", "--id", "a", "--dataset", "d"];
        crate::running::instep(&[&fixed[..], arguments].concat())
    };

    for (arguments, told) in [
        (&["--apply", "oracle:x"][..], "sqlite:PATH"),
        (&["--apply", "command:cat"], "takes no dumps"),
        (&["--apply", "sqlite::memory:"], "the path of a file"),
        (&["--apply", "sqlite:x", "--only-tables", "a,,b"], "--only-tables"),
        (&["--apply", "sqlite:x", "--only-journals", ""], "--only-journals"),
        (&["--apply", "sqlite:x", "--table", "A=x"], "the name \"A\""),
        (&["--apply", "sqlite:x", "--dump-from", "Z!"], "--dump-from"),
        (&["--apply", "sqlite:x", "--dump-from", "a"], "itself"),
        (&["--apply", "http://x/", "--start", "head", "--table", "a=b"], "as they are"),
        (&["--apply", "sqlite:x", "--journal", "j=x"], "JOURNAL=sql"),
        (&["--apply", "sqlite:x", "--table", "t"], "TABLE=TARGET"),
        (&["--apply", "sqlite:x", "--table", "t=a", "--table", "t=b"], "t is there twice"),
        (&["--apply", "sqlite:x", "--table", "t=instep_site"], "of the agent"),
        (&["--apply", "sqlite:x", "--table", "t=a", "--table", "u=A"], "the same target"),
    ] {
        let refused = run(arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&refused).contains(told), "{arguments:?}: {}", stderr(&refused));
    }
}

// POL-05, POL-07, POL-11, POL-12: each record once, at both and at those that clone it.
#[test]
fn sites_clone_one_that_applies_and_go_on_where_it_stood() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let of = |site: &str| Database::in_directory(directory.path(), site);
    let (first, second, third) = (of("node1"), of("node2"), of("node3"));
    commit(&server, &json!([{"op": "create_journal", "journal": "trail"}]));
    let filler = json!({"text": "x".repeat(30_000)});
    for n in 0..60 {
        put(&server, &format!("filler{n}"), &filler);
    }
    let source = Site::run(&server, &first, &[]);
    source.until_told("registered");

    let add = |n: u64| {
        commit(
            &server,
            &json!([
                {"op": "append", "journal": "trail", "text": n.to_string()},
                {"op": "put", "table": "items", "key": format!("k{}", n % 50), "row": {"n": n}},
            ]),
        )
    };
    let clone = ["--dump-from", "node1"];
    add(1);
    until("the source is online", || status(&server, "node1")["online"] == true);
    let cloning = [Site::run(&server, &second, &clone), Site::run(&server, &third, &clone)];
    let last = (2..400).fold(String::new(), |_, n| add(n));
    cloning.iter().for_each(|site| drop(site.until_told("restored")));

    for database in [&first, &second, &third] {
        database.until_at(&last);
        assert_eq!(database.items(), first.items());
        assert_eq!(database.number("SELECT count(*) FROM trail"), 399);
    }
    source.until_told("given");
}

// It is there, and does not follow the log yet, as when both were started in the same moment.
#[test]
fn a_source_that_does_not_follow_the_log_yet_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let of = |site: &str| Database::in_directory(directory.path(), site);
    let (first, second) = (of("node1"), of("node2"));
    let mut source = Site::run(&server, &first, &[]);
    source.until_told("registered");
    source.kill();
    until("the source is away", || status(&server, "node1")["online"] == false);

    let clone = Site::run(&server, &second, &["--dump-from", "node1"]);
    let waiting = clone.until_told("waiting");
    assert!(waiting["reason"].as_str().unwrap().contains("bad_source"), "{waiting}");
    let _source = Site::run(&server, &first, &[]);

    clone.until_told("restored");
}

// POL-06: at once, and nothing is made.
#[test]
fn a_source_that_cannot_give_a_dump_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let database = Database::in_directory(directory.path(), "node1");

    let mut site = Site::run(&server, &database, &["--dump-from", "nowhere"]);

    assert_eq!(site.ended(), Some(1));
    assert!(site.stderr().contains("bad_source"), "{}", site.stderr());
    let sites = server.json(&["site", "list", "--dataset", "shop"]);
    assert_eq!(sites["sites"], json!([]));
}

// POL-21, POL-22, POL-R4: the next attempt has another source, or the same one again.
#[test]
fn a_dump_whose_source_or_requester_is_killed_is_taken_again() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let of = |site: &str| Database::in_directory(directory.path(), site);
    let (first, second) = (of("node1"), of("node2"));
    let filler = json!({"text": "x".repeat(40_000)});
    for n in 0..100 {
        put(&server, &format!("k{n}"), &filler);
    }
    let mut source = Site::run(&server, &first, &[]);
    source.until_told("registered");
    until("the source is online", || status(&server, "node1")["online"] == true);
    let mut requester = Site::run(&server, &second, &["--dump-from", "node1"]);

    source.until_told("giving");
    requester.kill();
    source.kill();
    let source = Site::run(&server, &first, &[]);
    source.until_told("registered");
    until("the source is online", || status(&server, "node1")["online"] == true);
    let requester = Site::run(&server, &second, &["--dump-from", "node1"]);
    let last = put(&server, "last", &json!({}));

    requester.until_told("restored");
    second.until_at(&last);
    assert_eq!(second.items().len(), 101);
}

// POL-13, POL-18, POL-19, POL-U2: a command has what a database has, in order and at least once.
#[test]
fn a_command_is_told_each_commit_in_order_and_again_until_it_says_ok() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let (told, broken) = (directory.path().join("told"), directory.path().join("broken"));
    let script = format!(
        r#"echo "from $INSTEP_POSITION" >> {told}
        while read -r line; do
            position=${{line#*position\":\"}}; position=${{position%%\"*}}
            case $line in
                *poison*) [ -e {broken} ] && {{ echo "fail it is poison"; continue; }};;
            esac
            echo "$line" >> {told}
            echo "ok $position"
        done"#,
        told = told.display(),
        broken = broken.display(),
    );
    let store = format!("command:{script}");
    let run = |arguments: &[&str]| Site::applying(&server, "node1", &store, arguments);
    std::fs::write(&broken, "").unwrap();
    commit(&server, &json!([{"op": "create_journal", "journal": "trail"}]));

    let mut site = run(&["--start", "beginning"]);
    commit(&server, &json!([{"op": "append", "journal": "trail", "base64": "AP8="}]));
    let good = put(&server, "a", &json!({"n": 18_446_744_073_709_551_615_u64}));
    commit(&server, &json!([{"op": "append", "journal": "trail", "text": "poison"}]));
    let last = put(&server, "b", &json!({}));
    let refused = site.until_told("refused");
    assert!(refused["reason"].as_str().unwrap().contains("it is poison"), "{refused}");
    until("the cursor before it", || status(&server, "node1")["cursor"] == good.as_str());
    site.kill();
    std::fs::remove_file(&broken).unwrap();
    let _site = run(&["--start", "beginning"]);
    until("the end", || status(&server, "node1")["cursor"] == last.as_str());

    let told = std::fs::read_to_string(&told).unwrap();
    let lines: Vec<&str> = told.lines().filter(|line| line.contains("records")).collect();
    let records = |line: &str| serde_json::from_str::<Value>(line).unwrap()["records"].clone();
    let changes = server.must(&["changes", "shop", "--json"]);
    let log: Vec<Value> = changes
        .lines()
        .map(records)
        .filter(|records| !records.to_string().contains("instep-sites"))
        .collect();
    assert_eq!(lines.iter().copied().map(records).collect::<Vec<_>>(), log);
    assert!(told.contains(&format!("from {good}")), "{told}");
    assert!(told.contains(r#""base64":"AP8=""#) && told.contains("18446744073709551615"), "{told}");
}

// POL-19, POL-R10: a fatal answer needs a dump, and so it stays.
#[test]
fn a_command_that_gives_up_leaves_a_site_that_needs_a_dump() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve_with(directory.path(), CONFIG);
    let store = "command:read -r line; echo 'fatal the disk is gone'; cat";
    let arguments = ["--start", "beginning"];
    put(&server, "a", &json!({}));

    let mut site = Site::applying(&server, "node1", store, &arguments);
    assert_eq!(site.ended(), Some(1));
    assert!(site.stderr().contains("the disk is gone"), "{}", site.stderr());
    server.signal("-KILL");
    server.start_again();

    assert_eq!(status(&server, "node1")["state"], "evicted");
    let mut again = Site::applying(&server, "node1", store, &arguments);
    assert_eq!(again.ended(), Some(1));
    assert!(again.stderr().contains("dump_required"), "{}", again.stderr());
}

#[test]
fn an_address_is_posted_each_commit_until_it_takes_it() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let receiver = Receiver::start(&[503, 422, 200]);
    let store = format!("{}/commits?of=shop", receiver.url);
    let arguments = ["--start", "beginning"];

    let site = Site::applying(&server, "node1", &store, &arguments);
    site.until_told("registered");
    let last = put(&server, "a", &json!({"n": 1}));
    until("the cursor", || status(&server, "node1")["cursor"] == last.as_str());

    let posted = receiver.posted.lock().unwrap().clone();
    assert!(posted.iter().all(|(path, ..)| path == "/commits?of=shop"), "{posted:?}");
    let taken = &posted[posted.len() - 1];
    assert_eq!(taken.1, last);
    let body: Value = serde_json::from_str(&taken.2).unwrap();
    assert_eq!((&body["dataset"], &body["site"]), (&json!("shop"), &json!("node1")));
    let commits = body["commits"].as_array().unwrap();
    assert_eq!(commits.last().unwrap()["records"][0]["put"]["row"], json!({"n": 1}));
}
