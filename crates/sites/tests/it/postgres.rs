//! Rules of the store in PostgreSQL, against a real server.

mod apart;
mod cut;
mod tls;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use instep_sites::store::{DumpHead, DumpRow};
use instep_sites::{
    Applied, Batch, Fatal, Identity, JournalTarget, PostgresStore, Store, StoreError,
    StorePosition, Targets,
};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::commits::{append, at, batch, delete, identity, position, put};

const DATABASE: &str = "postgres";

fn targets() -> Targets {
    let journals = BTreeMap::from([("sql".to_owned(), JournalTarget::Sql)]);
    Targets::new(BTreeMap::new(), journals).unwrap()
}

fn closed(cluster: &Cluster) -> PostgresStore {
    of_site(cluster, DATABASE, "node1")
}

/// The store of a site in a database of its own.
fn of_site(cluster: &Cluster, database: &str, site: &str) -> PostgresStore {
    let runtime = cluster.runtime.handle().clone();
    let identity = Identity { site: site.into(), ..identity() };
    PostgresStore::new(&cluster.url(database), identity, targets(), runtime).unwrap()
}

/// A store that begins behind revision 1, with generation 1.
fn store(cluster: &Cluster) -> PostgresStore {
    let mut store = closed(cluster);
    assert_eq!(store.open().unwrap(), StorePosition::None);
    assert_eq!(store.fence(1, Some(at(1))).unwrap(), StorePosition::At(at(1)));
    store
}

/// Opens a store again, as the agent does after an error.
fn reopen(store: &mut PostgresStore) -> StorePosition {
    store.open().unwrap();
    store.fence(1, None).unwrap()
}

fn refusal(result: Result<Applied, StoreError>) -> String {
    match result {
        Err(StoreError::Record(refusal)) => refusal.text,
        other => panic!("a record is refused, and not {other:?}"),
    }
}

#[test]
fn i31_position_and_data_are_written_in_one_transaction() {
    let cluster = Cluster::start();
    let mut store = store(&cluster);
    let text = |query: &str| cluster.text(DATABASE, query);

    let good = batch(
        2,
        &[
            &[put("items", "a", json!({"n": 1})), put("items", "b", json!({"n": 1}))],
            &[put("items", "a", json!({"n": 2})), delete("items", "b"), delete("items", "never")],
            &[put("items", "c", json!({"big": 18_446_744_073_709_551_615_u64}))],
            &[append("trail", 1, "one"), append("trail", 2, "two")],
        ],
    );
    assert_eq!(store.apply(&good).unwrap(), Applied { drift: 1 });
    let bad = batch(6, &[&[put("items", "d", json!({})), append("sql", 1, "SELECT nothing")]]);
    refusal(store.apply(&bad));
    refusal(store.apply(&batch(6, &[&[append("trail", 4, "gap")]])));

    assert_eq!(
        text("SELECT key || \"row\"::text FROM items ORDER BY key"),
        r#"a{"n":2} c{"big":18446744073709551615}"#
    );
    assert_eq!(text("SELECT convert_from(record, 'UTF8') FROM trail"), "one two");
    assert_eq!(closed(&cluster).open().unwrap(), StorePosition::At(at(5)));
    // The connection goes on behind a refusal.
    store.apply(&batch(6, &[&[json!({"drop_table": {"table": "items"}})]])).unwrap();
    assert_eq!(text("SELECT to_regclass('items') IS NULL"), "t");
}

#[test]
fn fields_become_columns_by_the_input_of_their_types() {
    let cluster = Cluster::start();
    cluster.execute(
        DATABASE,
        "CREATE TABLE items (id integer PRIMARY KEY, name varchar(5), price numeric(10, 2),
            sold boolean, tags jsonb, upper text GENERATED ALWAYS AS (upper(name)) STORED);
         CREATE TABLE pairs (a text, b text, PRIMARY KEY (a, b));
         CREATE TABLE counts (id integer PRIMARY KEY, n integer);
         CREATE VIEW shown AS SELECT 1",
    );
    let mut store = store(&cluster);
    let full = json!({"id": 7, "name": "shoe", "price": 1.5, "sold": true, "tags": ["x"]});
    store.apply(&batch(2, &[&[put("items", "7", full)]])).unwrap();
    let told = "SELECT concat_ws('|', id, name, price, sold, tags, upper) FROM items";
    assert_eq!(cluster.text(DATABASE, told), r#"7|shoe|1.50|t|["x"]|SHOE"#);
    store.apply(&batch(3, &[&[put("items", "7", json!({"name": "boot"}))]])).unwrap();
    assert_eq!(cluster.text(DATABASE, told), "7|boot|BOOT");

    let mut refused = |table: &str, key: &str, row: Value| {
        let text = refusal(store.apply(&batch(4, &[&[put(table, key, row)]])));
        assert_eq!(reopen(&mut store), StorePosition::At(at(3)));
        text
    };
    let unknown = refused("items", "7", json!({"colour": "red"}));
    assert_eq!(
        unknown,
        "table items, key \"7\": the schema differs: there is no column for field \"colour\""
    );
    assert!(refused("items", "7", json!({"id": 8})).contains("differs from the key"));
    assert!(refused("items", "007", json!({})).contains("no value of the primary key"));
    assert!(refused("items", "7", json!({"name": "too long"})).contains("too long"));
    assert!(refused("counts", "1", json!({"n": 1.5})).contains("invalid input"));
    assert!(refused("items", "7", json!({"upper": "X"})).contains("no column"));
    assert!(refused("items", "7", json!({"name": "a\u{0}"})).contains("u0000"));
    assert!(refused("pairs", "k", json!({})).contains("a primary key of 2 columns"));
    assert!(refused("shown", "k", json!({})).contains("no table"));
    store.apply(&batch(4, &[&[delete("items", "07"), delete("items", "7")]])).unwrap();
    assert_eq!(cluster.text(DATABASE, "SELECT count(*) FROM items"), "0");
}

#[test]
fn order_is_kept_where_a_second_constraint_exists() {
    let cluster = Cluster::start();
    cluster.execute(
        DATABASE,
        "CREATE TABLE users (key text PRIMARY KEY, email text UNIQUE);
         CREATE TABLE parents (key text PRIMARY KEY);
         CREATE TABLE children (key text PRIMARY KEY,
            parent text REFERENCES parents DEFERRABLE)",
    );
    let mut store = store(&cluster);

    let swap = batch(
        2,
        &[
            &[put("users", "z", json!({"email": "x@example.org"}))],
            &[
                put("users", "z", json!({"email": null})),
                put("users", "a", json!({"email": "x@example.org"})),
            ],
            &[put("children", "c", json!({"parent": "p"})), put("parents", "p", json!({}))],
        ],
    );
    store.apply(&swap).unwrap();
    let emails = "SELECT email FROM users ORDER BY key";
    assert_eq!(cluster.text(DATABASE, emails), "x@example.org null");
    let exchange = [
        put("users", "a", json!({"email": "y@example.org"})),
        put("users", "z", json!({"email": "x@example.org"})),
    ];
    store.apply(&batch(5, &[&exchange])).unwrap();
    let exchange = [
        put("users", "a", json!({"email": "x@example.org"})),
        put("users", "z", json!({"email": "y@example.org"})),
    ];
    store.apply(&batch(6, &[&exchange])).unwrap();
    assert_eq!(cluster.text(DATABASE, emails), "x@example.org y@example.org");
    // More than are on their way at a time, and the one at fault is named.
    let parent = |n: u64| json!({"parent": if n == 591 { json!(7) } else { json!(null) }});
    let many: Vec<Value> = (0..600).map(|n| put("children", &format!("n{n}"), parent(n))).collect();
    let check = "ALTER TABLE children ADD CHECK (parent <> '7')";
    cluster.execute(DATABASE, check);
    assert!(refusal(store.apply(&batch(7, &[&many]))).contains("key \"n591\""));
    assert_eq!(reopen(&mut store), StorePosition::At(at(6)));
    let orphan = refusal(store.apply(&batch(7, &[&[delete("parents", "p")]])));
    assert!(orphan.contains("foreign key"), "{orphan}");
}

#[test]
fn sql_of_a_journal_cannot_leave_its_transaction() {
    let cluster = Cluster::start();
    let mut store = store(&cluster);
    let begin = "CREATE TABLE t (n integer PRIMARY KEY); INSERT INTO t VALUES (1);
        CREATE PROCEDURE ends() LANGUAGE plpgsql AS 'BEGIN COMMIT; END'";
    store.apply(&batch(2, &[&[append("sql", 1, begin)]])).unwrap();

    for sql in [
        "COMMIT",
        "INSERT INTO t VALUES (2); COMMIT; BEGIN",
        "INSERT INTO t VALUES (2); END",
        "ROLLBACK",
        "BEGIN",
        "SAVEPOINT s",
        "PREPARE TRANSACTION 'x'",
        "CALL ends()",
        "DO 'BEGIN ROLLBACK; END'",
        "CREATE DATABASE other",
        "VACUUM",
        "COPY t FROM STDIN",
        "\\c other",
        "UPDATE instep_site SET position = position || ''; DELETE FROM instep_site",
        "INSERT INTO t VALUES ($1)",
        "INSERT INTO t VALUES (3)\0; COMMIT",
        "SET TRANSACTION READ ONLY",
    ] {
        refusal(store.apply(&batch(3, &[&[put("items", "a", json!({})), append("sql", 2, sql)]])));
        assert_eq!(reopen(&mut store), StorePosition::At(at(2)), "{sql}");
    }

    assert_eq!(cluster.text(DATABASE, "SELECT n FROM t"), "1");
    assert_eq!(cluster.text(DATABASE, "SELECT to_regclass('items') IS NULL"), "t");
    let selected = "SELECT 1 AS n INTO copied; -- done";
    store.apply(&batch(3, &[&[append("sql", 2, selected)]])).unwrap();
    assert_eq!(cluster.text(DATABASE, "SELECT n FROM copied"), "1");
}

#[test]
fn settings_of_one_record_never_reach_the_next() {
    let cluster = Cluster::start();
    cluster.execute(DATABASE, "CREATE ROLE other; CREATE SCHEMA aside");
    let mut store = store(&cluster);
    let told = |n: u64, then: &str| {
        let tell = format!(
            "INSERT INTO told VALUES ({n}, current_user || ' ' || session_user || ' '
                || current_setting('search_path') || ' ' || current_setting('lock_timeout'))"
        );
        append("sql", n, &format!("{tell}; {then}"))
    };

    store
        .apply(&batch(
            2,
            &[
                &[append("sql", 1, "CREATE TABLE told (n integer PRIMARY KEY, settings text)")],
                &[told(2, "SET search_path = aside; SET lock_timeout = 0; SET ROLE other")],
                &[told(3, "SET LOCAL search_path = aside; SET SESSION AUTHORIZATION other")],
                &[told(4, "SELECT set_config('search_path', 'aside', false)")],
                &[told(5, ""), put("items", "a", json!({}))],
            ],
        ))
        .unwrap();

    let settings = cluster.text(DATABASE, "SELECT count(DISTINCT settings) FROM told");
    assert_eq!(settings, "1", "{}", cluster.text(DATABASE, "SELECT settings FROM told"));
    assert_eq!(cluster.text(DATABASE, "SELECT to_regclass('public.items') IS NULL"), "f");
}

#[test]
fn an_older_generation_applies_nothing_behind_a_newer_one() {
    let cluster = Cluster::start();
    let mut old = store(&cluster);
    let mut new = closed(&cluster);
    new.open().unwrap();
    assert_eq!(new.fence(2, None).unwrap(), StorePosition::At(at(1)));

    let late = old.apply(&batch(2, &[&[put("items", "a", json!({}))]]));

    assert!(matches!(late, Err(StoreError::Passing(_))), "{late:?}");
    old.open().unwrap();
    let again = old.fence(1, None).unwrap_err();
    assert!(matches!(again, StoreError::Fatal(Fatal::Fenced { generation: 2 })), "{again:?}");
    new.apply(&batch(2, &[&[put("items", "a", json!({}))]])).unwrap();
}

// POL-20: at an overlap the older one has applied more than the newer one has read.
#[test]
fn a_store_that_is_taken_over_is_read_anew() {
    let cluster = Cluster::start();
    let mut old = store(&cluster);
    let mut new = closed(&cluster);
    new.open().unwrap();
    old.apply(&batch(2, &[&[append("trail", 1, "x"), append("trail", 2, "y")]])).unwrap();

    assert_eq!(new.fence(2, None).unwrap(), StorePosition::At(at(2)));

    new.apply(&batch(3, &[&[append("trail", 3, "z")]])).unwrap();
}

#[test]
fn the_database_of_another_site_or_history_is_not_touched() {
    let cluster = Cluster::start();
    let mut own = store(&cluster);
    let other = Identity { dataset: "shop".into(), site: "node2".into() };
    let runtime = cluster.runtime.handle().clone();
    let mut other = PostgresStore::new(&cluster.url(DATABASE), other, targets(), runtime).unwrap();

    let refused = other.open().unwrap_err();
    let elsewhere = own.fence(9, Some(position(8, 1))).unwrap_err();

    assert!(matches!(refused, StoreError::Fatal(Fatal::OtherSite { .. })), "{refused:?}");
    assert!(matches!(elsewhere, StoreError::Fatal(Fatal::OtherHistory)), "{elsewhere:?}");
}

// I12
#[test]
fn a_dump_of_tables_replaces_and_one_that_is_cut_is_recognised() {
    let cluster = Cluster::start();
    cluster.execute(
        DATABASE,
        "CREATE TABLE parents (key text PRIMARY KEY);
         CREATE TABLE a_children (key text PRIMARY KEY, parent text REFERENCES parents)",
    );
    let mut store = store(&cluster);
    store.apply(&batch(2, &[&[put("items", "stale", json!({}))]])).unwrap();
    let row = |table: &str, key: &str, row: &str| DumpRow {
        table: table.into(),
        key: key.into(),
        row: serde_json::value::RawValue::from_string(row.into()).unwrap(),
    };
    let head = DumpHead {
        position: at(9),
        tables: ["a_children", "items", "parents"].map(str::to_owned).into(),
        journals: BTreeMap::from([("trail".to_owned(), 4)]),
    };

    store.begin_tables(3, &head).unwrap();
    store.put_rows(&[row("items", "half", "{}")]).unwrap();
    let mut store = closed(&cluster);
    assert_eq!(store.open().unwrap(), StorePosition::Restoring);
    store.begin_tables(4, &head).unwrap();
    let rows = [row("a_children", "c", r#"{"parent":"p"}"#), row("items", "new", "{}")];
    store.put_rows(&rows).unwrap();
    store.put_rows(&[row("parents", "p", "{}")]).unwrap();
    store.end_tables(at(9)).unwrap();

    assert_eq!(cluster.text(DATABASE, "SELECT key FROM items"), "new");
    assert!(refusal(store.apply(&batch(10, &[&[append("trail", 6, "")]]))).contains("behind"));
    store.apply(&batch(10, &[&[append("trail", 5, "")]])).unwrap();
    assert_eq!(closed(&cluster).open().unwrap(), StorePosition::At(at(10)));
}

/// Applies a batch as the agent does: what passes is tried again, and the row decides.
fn apply_through_trouble(store: &mut PostgresStore, batch: &Batch, from: StorePosition) {
    let begun = Instant::now();
    while let Err(error) = store.apply(batch) {
        assert!(matches!(error, StoreError::Passing(_)), "{error:?}");
        loop {
            assert!(begun.elapsed() < Duration::from_secs(60), "the database does not come back");
            match store.open().and_then(|_| store.fence(1, None)) {
                Ok(position) if position == StorePosition::At(batch.through) => return,
                Ok(position) => {
                    assert_eq!(position, from);
                    break;
                }
                Err(StoreError::Passing(_)) => std::thread::sleep(Duration::from_millis(20)),
                Err(error) => panic!("{error:?}"),
            }
        }
    }
}

// I31, I33: a commit whose answer is lost is there or not, and the row says which.
#[test]
fn a_connection_that_is_cut_at_any_moment_repeats_no_effect_and_loses_none() {
    let cluster = Cluster::start();
    let mut store = store(&cluster);
    let begin = "CREATE TABLE counts (key text PRIMARY KEY, n integer NOT NULL);
        INSERT INTO counts VALUES ('k', 0)";
    store.apply(&batch(2, &[&[append("sql", 1, begin)]])).unwrap();
    let (begun, beginnings) = std::sync::mpsc::channel::<u64>();
    let cutter = cluster.connect(DATABASE);

    let cuts = std::thread::scope(|scope| {
        let cutting = scope.spawn(|| {
            let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE application_name LIKE 'instep site%'";
            let mut cuts = 0;
            for n in beginnings {
                // Spread over everything that a transaction does.
                std::thread::sleep(Duration::from_micros((n * 7919) % 5_000));
                cuts += cluster.runtime.block_on(cutter.query(cut, &[])).unwrap().len();
            }
            cuts
        });
        for n in 2..=300 {
            let count = append("sql", n, "UPDATE counts SET n = n + 1");
            let batch = batch(n + 1, &[&[count, put("items", "last", json!({"n": n}))]]);
            begun.send(n).unwrap();
            apply_through_trouble(&mut store, &batch, StorePosition::At(at(n)));
        }
        drop(begun);
        cutting.join().unwrap()
    });

    assert_eq!(cluster.text(DATABASE, "SELECT n FROM counts"), "299");
    assert!(cuts >= 100, "{cuts} cuts");
}

#[test]
fn a_server_that_is_killed_has_what_was_applied() {
    let mut cluster = Cluster::start();
    let mut store = store(&cluster);
    for round in 0..3 {
        let first = 2 + round * 10;
        for revision in first..first + 10 {
            let row = put("items", &revision.to_string(), json!({}));
            let from = StorePosition::At(at(revision - 1));
            apply_through_trouble(&mut store, &batch(revision, &[&[row]]), from);
        }

        cluster.kill_and_restart();

        assert_eq!(cluster.text(DATABASE, "SELECT count(*) FROM items"), (first + 8).to_string());
    }
}

#[test]
fn a_database_that_cannot_be_right_is_told_from_one_that_is_away() {
    let cluster = Cluster::start();
    let open = |url: &str| {
        let runtime = cluster.runtime.handle().clone();
        let store = PostgresStore::new(url, identity(), targets(), runtime);
        store.map_err(StoreError::from).and_then(|mut store| store.open()).unwrap_err()
    };

    let unusable = |error: StoreError| matches!(error, StoreError::Fatal(Fatal::Unusable(_)));
    assert!(unusable(open(&cluster.url("missing"))));
    assert!(unusable(open(&cluster.url(DATABASE).replace("site@", "stranger@"))));
    assert!(unusable(open("no=address")));
    assert!(matches!(open("postgres://127.0.0.1:1/x"), StoreError::Passing(_)));
}

/// Chunks as they arrive; `whole` says whether the end is known to be right.
fn chunks(bytes: &[u8], whole: bool) -> impl FnMut() -> Result<Option<Vec<u8>>, StoreError> {
    let mut left = bytes.chunks(1000).map(<[u8]>::to_vec).collect::<Vec<_>>().into_iter();
    move || match left.next() {
        Some(chunk) => Ok(Some(chunk)),
        None if whole => Ok(None),
        None => Err(StoreError::Passing("cut".into())),
    }
}

// POL-07, POL-11: the position is read in the snapshot that is dumped, and nothing pauses.
#[test]
fn a_dump_is_the_state_at_its_position_and_becomes_the_content_of_another_site() {
    let cluster = Cluster::start();
    cluster.execute(
        DATABASE,
        "CREATE TABLE parents (key text PRIMARY KEY);
         CREATE TABLE children (key text PRIMARY KEY, parent text REFERENCES parents)",
    );
    cluster.execute(DATABASE, "CREATE DATABASE two");
    let mut giving = store(&cluster);
    giving
        .apply(&batch(
            2,
            &[&[
                put("parents", "p", json!({})),
                put("children", "c", json!({"parent": "p"})),
                put("items", "a", json!({"text": "it's \\ a\ttext"})),
                append("trail", 3, "x"),
                append("sql", 1, "CREATE TABLE made (n integer)"),
            ]],
        ))
        .unwrap();

    let mut outgoing = giving.dumper().unwrap().begin().unwrap();
    giving.apply(&batch(3, &[&[put("items", "b", json!({}))]])).unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut outgoing.bytes, &mut bytes).unwrap();
    assert_eq!(outgoing.position, at(2));

    let mut taking = of_site(&cluster, "two", "node2");
    taking.open().unwrap();
    taking.fence(1, Some(at(1))).unwrap();
    taking.apply(&batch(2, &[&[put("items", "stale", json!({}))]])).unwrap();
    for (cut, whole) in [(bytes.len() / 2, false), (bytes.len(), false), (bytes.len() / 2, true)] {
        taking.open().unwrap();
        taking.restore(5, &mut chunks(&bytes[..cut], whole)).unwrap_err();
        assert_eq!(cluster.text("two", "SELECT key FROM items"), "stale");
    }
    taking.open().unwrap();
    assert_eq!(taking.restore(5, &mut chunks(&bytes, true)).unwrap(), at(2));

    assert_eq!(taking.open().unwrap(), StorePosition::At(at(2)));
    taking.fence(5, None).unwrap();
    taking.apply(&batch(3, &[&[put("items", "b", json!({})), append("trail", 4, "y")]])).unwrap();
    let rows = "SELECT key || \"row\"::text FROM items ORDER BY key";
    assert_eq!(cluster.text("two", rows), cluster.text(DATABASE, rows));
    assert_eq!(cluster.text("two", "SELECT parent FROM children"), "p");
}

#[test]
fn law_4_a_dump_of_another_history_has_generations_of_its_own() {
    let cluster = Cluster::start();
    cluster.execute(DATABASE, "CREATE DATABASE two");
    store(&cluster);
    let mut bytes = Vec::new();
    let mut outgoing = closed(&cluster).dumper().unwrap().begin().unwrap().bytes;
    std::io::Read::read_to_end(&mut outgoing, &mut bytes).unwrap();
    let mut taking = of_site(&cluster, "two", "node2");
    taking.open().unwrap();
    taking.fence(5, Some(position(8, 1))).unwrap();

    assert_eq!(taking.restore(2, &mut chunks(&bytes, true)).unwrap(), at(1));
    taking.open().unwrap();
    taking.fence(6, None).unwrap();
    let fenced = taking.restore(5, &mut chunks(&bytes, true)).unwrap_err();

    assert!(matches!(fenced, StoreError::Fatal(Fatal::Fenced { generation: 6 })), "{fenced:?}");
}

#[test]
fn a_program_that_refuses_the_server_fails_the_dump_with_its_words() {
    use std::os::unix::fs::PermissionsExt as _;
    let cluster = Cluster::start();
    store(&cluster);
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("pg_dump");
    let words = "echo 'pg_dump: error: aborting because of server version mismatch' >&2";
    std::fs::write(&program, format!("#!/bin/sh\necho SELECT\n{words}\nexit 1\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let store = closed(&cluster).with_programs(directory.path().to_owned());

    let mut outgoing = store.dumper().unwrap().begin().unwrap();
    let failed = std::io::Read::read_to_end(&mut outgoing.bytes, &mut Vec::new()).unwrap_err();

    assert!(failed.to_string().contains("server version mismatch"), "{failed}");
}
