//! Rules of what is kept apart: SQL of a record from the next, names, keys, and the agent's own.

use instep_sites::{Store as _, StorePosition};
use serde_json::json;

use super::{DATABASE, closed, of_site, refusal, reopen, store};
use crate::cluster::Cluster;
use crate::commits::{append, at, batch, delete, put};

#[test]
fn what_a_record_leaves_in_its_session_never_reaches_the_next() {
    let cluster = Cluster::start();
    cluster.execute(
        DATABASE,
        "CREATE ROLE other; CREATE TABLE t (n integer);
         CREATE TABLE seen (n integer, path text, role text, owner text, timeout text)",
    );
    let mut store = store(&cluster);
    let told = "INSERT INTO seen SELECT count(*), current_setting('search_path'), current_user,
        session_user, current_setting('statement_timeout') FROM t";
    let settings = [
        "CREATE TEMP TABLE t AS SELECT 1",
        "CREATE TEMP TABLE items (key text PRIMARY KEY, row json)",
        "CREATE TEMP TABLE instep_site AS SELECT * FROM instep_site",
        "CREATE TEMP TABLE instep_site_journals AS SELECT * FROM instep_site_journals",
        "SELECT set_config('search_path', '', false)",
        "SET LOCAL search_path = ''",
        "SET LOCAL ROLE other",
        "SET SESSION AUTHORIZATION other",
        "SET standard_conforming_strings = off",
        "SET statement_timeout = 1",
        "SET client_encoding = 'LATIN1'",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SET session_replication_role = replica",
        "PREPARE mine AS SELECT 1",
        "DEALLOCATE ALL",
        "LISTEN t",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_advisory_unlock_all()",
    ];
    let records: Vec<_> = settings.iter().flat_map(|setting| [*setting, told]).collect();
    let seen = "SELECT DISTINCT s::text FROM seen AS s";
    let right = r#"(0,"""$user"", public",site,site,0)"#;

    // Each in a transaction of its own, and then all of them in one.
    let mut n = 0;
    for text in &records {
        n += 1;
        let record = [append("sql", n, text), put("items", &n.to_string(), json!({}))];
        let applied = store.apply(&batch(n + 1, &[&record]));
        applied.unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    assert_eq!(cluster.text(DATABASE, seen), right);
    let all: Vec<_> = (n + 1..).zip(&records).map(|(n, text)| append("sql", n, text)).collect();
    store.apply(&batch(n + 2, &[&all])).unwrap();

    assert_eq!(cluster.text(DATABASE, seen), right);
    let counts = "SELECT (SELECT count(*) FROM seen) || ' ' || (SELECT count(*) FROM items)";
    assert_eq!(cluster.text(DATABASE, counts), format!("{n} {n}"));
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1";
    assert_eq!(cluster.text(DATABASE, locks), "0");
    assert_eq!(closed(&cluster).open().unwrap(), StorePosition::At(at(n + 2)));
}

#[test]
fn a_table_of_the_dataset_is_never_one_of_the_agent() {
    let cluster = Cluster::start();
    let mut store = store(&cluster);

    for (table, row) in [
        (
            "instep_site",
            json!({"dataset": "shop", "site": "x", "state": "applied", "generation": 9}),
        ),
        ("instep_site_journals", json!({"ordinal": 5})),
    ] {
        for change in
            [put(table, "1", row), delete(table, "1"), json!({"drop_table": {"table": table}})]
        {
            let refused = refusal(store.apply(&batch(2, &[&[change]])));
            assert!(refused.contains("of the agent"), "{refused}");
            assert_eq!(reopen(&mut store), StorePosition::At(at(1)));
        }
    }
    assert_eq!(cluster.text(DATABASE, "SELECT count(*)::text FROM instep_site_journals"), "0");
}

#[test]
fn tables_whose_names_postgresql_would_cut_off_never_become_one() {
    let cluster = Cluster::start();
    let mut store = store(&cluster);
    let long = "a".repeat(63);

    store.apply(&batch(2, &[&[put(&long, "k", json!({"n": 1}))]])).unwrap();
    let refused = refusal(store.apply(&batch(3, &[&[put(&format!("{long}b"), "k", json!({}))]])));
    let journal = refusal(store.apply(&batch(3, &[&[append(&format!("{long}b"), 1, "")]])));

    assert!(refused.contains("63 bytes"), "{refused}");
    assert!(journal.contains("63 bytes"), "{journal}");
    assert_eq!(cluster.text(DATABASE, &format!("SELECT \"row\"::text FROM {long}")), r#"{"n":1}"#);
}

#[test]
fn keys_that_are_equal_to_the_database_never_overwrite_one_another() {
    let cluster = Cluster::start();
    cluster.execute(
        DATABASE,
        "CREATE TABLE prices (price numeric PRIMARY KEY, name text);
         CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2',
             deterministic = false);
         CREATE TABLE people (name text COLLATE caseless PRIMARY KEY, n integer);
         CREATE TABLE names (name text COLLATE caseless PRIMARY KEY)",
    );
    let mut store = store(&cluster);
    let first = [
        put("prices", "1.0", json!({"name": "a"})),
        put("people", "Ada", json!({"n": 1})),
        put("names", "Ada", json!({})),
    ];
    store.apply(&batch(2, &[&first])).unwrap();

    for (table, key) in [("prices", "1"), ("people", "ADA"), ("names", "ADA")] {
        let refused = refusal(store.apply(&batch(3, &[&[put(table, key, json!({}))]])));
        assert!(refused.contains("key"), "{refused}");
        assert_eq!(reopen(&mut store), StorePosition::At(at(2)));
    }
    let applied = store.apply(&batch(3, &[&[delete("people", "ADA")]])).unwrap();

    assert_eq!(applied.drift, 1);
    let told = "SELECT p.name || price || q.name || n FROM prices p, people q";
    assert_eq!(cluster.text(DATABASE, told), "a1.0Ada1");
}

// I12
#[test]
fn a_table_that_the_source_of_a_dump_has_dropped_is_gone() {
    let cluster = Cluster::start();
    cluster.execute(DATABASE, "CREATE DATABASE two");
    cluster.execute("two", "CREATE TABLE local (id integer PRIMARY KEY, name text)");
    let mut giving = store(&cluster);
    giving.apply(&batch(2, &[&[put("items", "a", json!({})), append("trail", 1, "")]])).unwrap();
    let mut taking = of_site(&cluster, "two", "node2");
    taking.open().unwrap();
    taking.fence(1, Some(at(1))).unwrap();
    let before = [put("gone", "a", json!({})), append("past", 1, "")];
    taking.apply(&batch(2, &[&before])).unwrap();

    let mut bytes = Vec::new();
    let mut outgoing = giving.dumper().unwrap().begin().unwrap();
    std::io::Read::read_to_end(&mut outgoing.bytes, &mut bytes).unwrap();
    let mut chunks = vec![bytes].into_iter();
    taking.restore(2, &mut || Ok(chunks.next())).unwrap();

    // Tables of another form are the operator's own.
    let tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1";
    let told = "instep_site instep_site_journals instep_site_skipped items local trail";
    assert_eq!(cluster.text("two", tables), told);
}

#[test]
fn a_refused_record_is_named_by_its_own_error_among_many_that_are_on_their_way() {
    let cluster = Cluster::start();
    let mut store = store(&cluster);
    let mut records = vec![append("sql", 1, "CREATE TABLE t (n integer PRIMARY KEY)")];
    // The value of record 292 is that of record 2; it fails, and whatever comes behind it.
    let insert = |n: u64| format!("INSERT INTO t VALUES ({})", n % 290);
    records.extend((2..=300).map(|n| append("sql", n, &insert(n))));

    let refused = refusal(store.apply(&batch(2, &[&records])));

    assert!(refused.contains("record 292: duplicate key"), "{refused}");
    assert_eq!(reopen(&mut store), StorePosition::At(at(1)));
    assert_eq!(cluster.text(DATABASE, "SELECT to_regclass('t') IS NULL"), "t");
}
