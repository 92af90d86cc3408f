//! Dumps of a site as another one takes them: the state at one commit, never in between.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use instep_client::{Client, DumpChunk, DumpStatus, NewSite, SiteStart};
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::agent::{Database, Site};
use super::flipping::Flipping;
use super::{CONFIG, commit, put, rows, status};
use crate::running::Server;
use crate::shims::until;

/// Rows whose values are equal at every commit.
const TWINS: u64 = 20;

fn client(server: &Server) -> Client {
    let key = std::fs::read_to_string(server.data.join("admin.key")).unwrap();
    Client::new(&server.url, Some(key.trim().to_owned())).unwrap()
}

/// One commit that changes every row.
fn change_all(n: u64) -> Vec<Value> {
    let put = |twin: u64| {
        let key = format!("t{twin}");
        json!({"op": "put", "table": "items", "key": key, "row": {"n": n}})
    };
    let append = json!({"op": "append", "journal": "trail", "text": n.to_string()});
    (0..TWINS).map(put).chain([append]).collect()
}

/// A dump of `node1` as the bytes of a database, taken by a program.
fn take(runtime: &Runtime, client: &Client, file: &Path) -> DumpStatus {
    runtime.block_on(async {
        let start = SiteStart::Dump { source: "node1".into() };
        let new = NewSite { start, tables: None, journals: None };
        let dump = client.register_site("shop", "copy", &new).await.unwrap().dump.unwrap();
        let (mut bytes, mut chunk) = (vec![], 0);
        loop {
            match client.dump_chunk("shop", &dump, chunk).await.unwrap() {
                DumpChunk::Bytes(content) => {
                    bytes.extend(content);
                    chunk += 1;
                }
                DumpChunk::NotYet => {}
                DumpChunk::End => break,
            }
        }
        std::fs::write(file, bytes).unwrap();
        client.dump("shop", &dump).await.unwrap()
    })
}

fn text(database: &Connection, query: &str) -> String {
    database.query_row(query, [], |row| row.get(0)).unwrap()
}

// POL-08, POL-R1, POL-U7: however many commits are on their way to the source, a dump is its state
// at the end of one of them. POL-11: the source goes on.
#[test]
fn a_dump_of_a_busy_site_is_its_state_at_the_end_of_one_commit() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve_with(directory.path(), CONFIG);
    let database = Database::in_directory(directory.path(), "node1");
    commit(&server, &json!([{"op": "create_journal", "journal": "trail"}]));
    let source = Site::run(&server, &database, &["--start", "beginning"]);
    source.until_told("registered");
    let (runtime, client) = (Runtime::new().unwrap(), client(&server));
    let done = Arc::new(AtomicBool::new(false));
    let (ended, writing) = (Arc::clone(&done), client.clone());
    // The position of each commit, by its number.
    let writer = runtime.spawn(async move {
        let (mut positions, mut n) = (BTreeMap::new(), 1_u64);
        while !ended.load(Ordering::Relaxed) {
            let id = Some(instep_client::Uuid::now_v7());
            let mut committed = writing.commit("shop", &change_all(n), id).await;
            while committed.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                committed = writing.commit("shop", &change_all(n), id).await;
            }
            positions.insert(n, committed.unwrap().position);
            n += 1;
        }
        positions
    });

    let mut dumps = vec![];
    for round in 0..3 {
        let at = status(&server, "node1")["cursor"].clone();
        until("the source applies", || {
            let now = status(&server, "node1");
            now["online"] == true && now["state"] == "live" && now["cursor"] != at
        });
        let file = directory.path().join(format!("dump{round}.db"));
        let taken = take(&runtime, &client, &file);
        dumps.push((file, taken));
        // What is complete is shared: a server that starts anew has none.
        server.signal("-KILL");
        server.start_again();
    }
    done.store(true, Ordering::Relaxed);
    let positions = runtime.block_on(writer).unwrap();

    for (file, taken) in dumps {
        let dump = Connection::open(&file).unwrap();
        let twins = "SELECT group_concat(DISTINCT row) FROM items WHERE key LIKE 't%'";
        let n: u64 = text(&dump, "SELECT CAST(max(ordinal) AS TEXT) FROM trail").parse().unwrap();
        assert_eq!(text(&dump, twins), json!({"n": n}).to_string(), "the end of a commit");
        let at = taken.position.unwrap().to_string();
        assert_eq!(text(&dump, "SELECT position FROM instep_site"), at, "and its position");
        assert_eq!(positions[&n].to_string(), at, "that of the commit");
    }
    let last = put(&server, "last", &json!({}));
    database.until_at(&last);
    let (trail, last) = (positions.len(), *positions.last_key_value().unwrap().0);
    assert_eq!(database.number("SELECT count(*) FROM trail"), i64::try_from(trail).unwrap());
    assert_eq!(database.number("SELECT max(ordinal) FROM trail"), i64::try_from(last).unwrap());
}

// POL-09: with nothing on its way, a dump is what the source has; what is written meanwhile comes
// to the source behind it.
#[test]
fn a_dump_of_an_idle_site_has_all_and_what_is_written_meanwhile_comes_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let database = Database::in_directory(directory.path(), "node1");
    let source = Site::run(&server, &database, &["--start", "beginning"]);
    source.until_told("registered");
    let before = put(&server, "a", &json!({}));
    until("the cursor", || status(&server, "node1")["cursor"] == before.as_str());
    let runtime = Runtime::new().unwrap();
    let start = SiteStart::Dump { source: "node1".into() };
    let new = NewSite { start, tables: None, journals: None };
    let client = client(&server);
    let asked = runtime.block_on(client.register_site("shop", "copy", &new)).unwrap();
    source.until_told("given");

    let behind = put(&server, "b", &json!({}));
    let file = directory.path().join("dump.db");
    let taken = take(&runtime, &client, &file);

    assert_eq!(Some(&taken.dump), asked.dump.as_ref(), "it is shared");
    assert_eq!(taken.position.unwrap().to_string(), before);
    let keys = "SELECT group_concat(key) FROM items";
    assert_eq!(text(&Connection::open(&file).unwrap(), keys), "a");
    database.until_at(&behind);
    assert_eq!(database.items().len(), 2);
}

// POL-10: a source that stands at a record it cannot apply gives nothing, and says why.
#[test]
fn a_source_that_fails_at_a_record_gives_no_dump_until_it_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let database = Database::in_directory(directory.path(), "node1");
    database.execute("CREATE TABLE items (id TEXT PRIMARY KEY, name TEXT)");
    let source = Site::run(&server, &database, &["--start", "head"]);
    source.until_told("registered");
    put(&server, "a", &json!({"colour": "red"}));
    until("the failure", || status(&server, "node1")["state"] == "failed");
    let other = Database::in_directory(directory.path(), "node2");

    let mut refused = Site::run(&server, &other, &["--dump-from", "node1"]);
    assert_eq!(refused.ended(), Some(1));
    assert!(refused.stderr().contains("it is failed"), "{}", refused.stderr());

    database.execute("ALTER TABLE items ADD COLUMN colour");
    until("the end of the failure", || status(&server, "node1")["state"] == "live");
    let clone = Site::run(&server, &other, &["--dump-from", "node1"]);
    clone.until_told("restored");
    assert_eq!(other.number("SELECT count(*) FROM items WHERE colour = 'red'"), 1);
}

#[test]
fn a_chunk_that_changes_on_its_way_is_asked_for_again() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let filler = "x".repeat(100_000);
    let expected: Vec<(String, String)> = (0..30)
        .map(|n| {
            let (key, row) = (format!("k{n}"), json!({"n": n, "text": filler}));
            put(&server, &key, &row);
            (key, row.to_string())
        })
        .collect();
    let proxy = Flipping::before(server.address(), 2);
    let database = Database::in_directory(directory.path(), "node1");
    let store = format!("sqlite:{}", database.path.display());

    let site = Site::behind(&proxy.url, &server, "node1", &store);
    site.until_told("registered");

    assert_eq!(proxy.changed.load(Ordering::Relaxed), 2);
    let waiting = site.until_told("waiting");
    assert!(waiting["reason"].as_str().unwrap().contains("another digest"), "{waiting}");
    let expected: Vec<(&str, &str)> =
        expected.iter().map(|(key, row)| (key.as_str(), row.as_str())).collect();
    assert_eq!(database.items(), rows(&expected));
}
