//! Sites in PostgreSQL: agents, servers and databases that are killed.

use std::collections::BTreeMap;

use serde_json::json;

use super::agent::{Database, Site};
use super::cluster::Cluster;
use super::{CONFIG, commit, put, status};
use crate::running::Server;
use crate::shims::until;

fn rows_of(cluster: &Cluster, database: &str) -> String {
    let rows = "SELECT string_agg(key || \"row\"::text, ' ' ORDER BY key) FROM items";
    cluster.text(database, rows)
}

fn until_at(cluster: &Cluster, database: &str, position: &str) {
    until(&format!("{database} at {position}"), || {
        let at = cluster.try_text(database, "SELECT position FROM instep_site");
        at.is_some_and(|at| at.as_str() >= position)
    });
}

fn run(server: &Server, cluster: &Cluster, site: &str, arguments: &[&str]) -> Site {
    Site::applying(server, site, &cluster.url(site), arguments)
}

// I31, POL-07, POL-15: every database equals the fold, and counts each record once.
#[test]
fn i31_agents_and_databases_that_are_killed_at_random_leave_every_database_equal_to_the_fold() {
    let mut cluster = Cluster::start();
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    for site in ["node1", "node2"] {
        cluster.execute("postgres", &format!("CREATE DATABASE {site}"));
    }
    commit(&server, &json!([{"op": "create_journal", "journal": "sql"}]));
    let begin = "CREATE TABLE counts (key text PRIMARY KEY, n integer)";
    commit(&server, &json!([{"op": "append", "journal": "sql", "text": begin}]));
    let first = ["--journal", "sql=sql", "--start", "beginning"];
    let clone = ["--journal", "sql=sql", "--dump-from", "node1"];
    let mut expected = BTreeMap::new();
    let mut second = None;

    for round in 0..8_u64 {
        let mut site = run(&server, &cluster, "node1", &first);
        for n in 0..20 {
            let (key, row) = (format!("k{}", n % 7), json!({"round": round, "n": n}));
            let count = format!(
                "INSERT INTO counts VALUES ('{key}', 1)
                 ON CONFLICT (key) DO UPDATE SET n = counts.n + 1"
            );
            commit(
                &server,
                &json!([
                    {"op": "put", "table": "items", "key": key, "row": row},
                    {"op": "append", "journal": "sql", "text": count},
                ]),
            );
            expected.insert(key, row.to_string());
            if n == 5 + round {
                site.kill();
                site = run(&server, &cluster, "node1", &first);
            }
        }
        if round == 2 {
            site.until_told("registered");
            until("the source is online", || status(&server, "node1")["online"] == true);
            let cloning = run(&server, &cluster, "node2", &clone);
            cloning.until_told("restored");
            second = Some(cloning);
        }
        if round == 5 {
            cluster.kill_and_restart();
        }
        site.kill();
    }
    let last = put(&server, "last", &json!({}));
    expected.insert("last".into(), "{}".into());
    let _first = run(&server, &cluster, "node1", &first);

    let expected = expected.iter().map(|(key, row)| format!("{key}{row}")).collect::<Vec<_>>();
    for site in ["node1", "node2"] {
        until_at(&cluster, site, &last);
        assert_eq!(rows_of(&cluster, site), expected.join(" "));
        assert_eq!(cluster.text(site, "SELECT sum(n) FROM counts"), "160");
    }
    drop(second);
}

// POL-U5: a database that is away is waited for, and no hand starts the agent again.
#[test]
fn a_site_waits_for_its_database_and_goes_on() {
    let mut cluster = Cluster::start();
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    put(&server, "a", &json!({}));
    cluster.execute("postgres", "CREATE DATABASE node1");
    let site = run(&server, &cluster, "node1", &[]);
    site.until_told("registered");

    cluster.kill_and_restart();
    let last = put(&server, "b", &json!({}));

    until_at(&cluster, "node1", &last);
    until("the acknowledgement", || status(&server, "node1")["cursor"] == last.as_str());
}

#[test]
fn a_dump_of_another_kind_of_store_is_refused() {
    let cluster = Cluster::start();
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    cluster.execute("postgres", "CREATE DATABASE node1");
    let source = run(&server, &cluster, "node1", &[]);
    source.until_told("registered");
    let database = Database::in_directory(directory.path(), "node2");

    let mut site = Site::run(&server, &database, &["--dump-from", "node1"]);

    assert_eq!(site.ended(), Some(7));
    assert!(site.stderr().contains("is of kind postgres"), "{}", site.stderr());
}
