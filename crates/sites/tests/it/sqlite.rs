//! Rules of the store in SQLite.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;

use instep_sites::store::{DumpHead, DumpRow};
use instep_sites::{
    Applied, Fatal, Identity, JournalTarget, SqliteStore, Store, StoreError, StorePosition, Targets,
};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::commits::{append, at, batch, delete, identity, position, put};

/// A database in a directory of its own, its journal `sql` executed.
struct Database {
    directory: tempfile::TempDir,
}

impl Database {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn with(schema: &str) -> Self {
        let database = Self::new();
        database.reader().execute_batch(schema).unwrap();
        database
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("site.db")
    }

    fn reader(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    fn text(&self, query: &str) -> String {
        let reader = self.reader();
        let mut query = reader.prepare(query).unwrap();
        let rows = query.query_map([], |row| row.get::<_, Option<String>>(0)).unwrap();
        rows.map(|row| row.unwrap().unwrap_or("null".into())).collect::<Vec<_>>().join(" ")
    }

    fn targets() -> Targets {
        let journals = BTreeMap::from([("sql".to_owned(), JournalTarget::Sql)]);
        Targets::new(BTreeMap::new(), journals).unwrap()
    }

    fn closed(&self) -> SqliteStore {
        SqliteStore::new(&self.path(), identity(), Self::targets())
    }

    /// A store that begins behind revision 1, with generation 1.
    fn store(&self) -> SqliteStore {
        let mut store = self.closed();
        assert_eq!(store.open().unwrap(), StorePosition::None);
        assert_eq!(store.fence(1, Some(at(1))).unwrap(), StorePosition::At(at(1)));
        store
    }
}

fn refusal(result: Result<Applied, StoreError>) -> String {
    match result {
        Err(StoreError::Record(refusal)) => refusal.text,
        other => panic!("a record is refused, and not {other:?}"),
    }
}

#[test]
fn i31_position_and_data_are_written_in_one_transaction() {
    let database = Database::new();
    let mut store = database.store();

    store.apply(&batch(2, &[&[put("items", "a", json!({"n": 1}))]])).unwrap();
    let bad =
        batch(3, &[&[put("items", "b", json!({"n": 2})), append("sql", 1, "SELECT nothing")]]);
    refusal(store.apply(&bad));

    let mut again = database.closed();
    assert_eq!(again.open().unwrap(), StorePosition::At(at(2)));
    assert_eq!(database.text("SELECT key || row FROM items"), r#"a{"n":1}"#);
}

#[test]
fn a_batch_of_many_commits_leaves_the_last_state_and_the_last_position() {
    let database = Database::new();
    let mut store = database.store();
    let applied = store.apply(&batch(
        2,
        &[
            &[put("items", "a", json!({"n": 1})), put("items", "b", json!({"n": 1}))],
            &[put("items", "a", json!({"n": 2})), delete("items", "b")],
            &[put("items", "c", json!({"big": 18_446_744_073_709_551_615_u64}))],
            &[append("trail", 1, "one"), append("trail", 2, "two")],
        ],
    ));

    assert_eq!(applied.unwrap(), Applied { drift: 0 });
    assert_eq!(
        database.text("SELECT key || row FROM items ORDER BY key"),
        r#"a{"n":2} c{"big":18446744073709551615}"#
    );
    assert_eq!(database.text("SELECT ordinal || record FROM trail"), "1one 2two");
    assert_eq!(database.closed().open().unwrap(), StorePosition::At(at(5)));
}

#[test]
fn fields_become_columns_and_absent_ones_null() {
    let database = Database::with(
        "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, price REAL, sold, tags)",
    );
    let mut store = database.store();
    let full = json!({"id": 7, "name": "shoe", "price": 1.5, "sold": true, "tags": ["x"]});

    store.apply(&batch(2, &[&[put("items", "7", full)]])).unwrap();
    let told = "SELECT json_array(id, name, price, sold, tags) FROM items";
    assert_eq!(database.text(told), r#"[7,"shoe",1.5,1,"[\"x\"]"]"#);

    store.apply(&batch(3, &[&[put("items", "7", json!({"name": "boot"}))]])).unwrap();
    assert_eq!(database.text(told), r#"[7,"boot",null,null,null]"#);
}

#[test]
fn a_schema_that_differs_is_refused_and_names_the_table_and_the_field() {
    let database = Database::with(
        "CREATE TABLE items (id TEXT PRIMARY KEY, name TEXT);
         CREATE TABLE pairs (a TEXT, b TEXT, PRIMARY KEY (a, b));
         CREATE TABLE keyless (a TEXT);
         CREATE VIEW shown AS SELECT 1",
    );
    let mut store = database.store();
    let mut refused =
        |table: &str, row: Value| refusal(store.apply(&batch(2, &[&[put(table, "k", row)]])));

    assert_eq!(
        refused("items", json!({"name": "x", "colour": "red"})),
        "table items, key \"k\": the schema differs: there is no column for field \"colour\""
    );
    assert!(refused("items", json!({"id": "other"})).contains("field \"id\" differs from the key"));
    assert!(refused("pairs", json!({})).contains("a primary key of 2 columns"));
    assert!(refused("keyless", json!({})).contains("a primary key of 0 columns"));
    assert!(refused("shown", json!({})).contains("shown is a view"));
    assert_eq!(store.open().unwrap(), StorePosition::At(at(1)));
}

#[test]
fn order_is_kept_where_a_second_constraint_exists() {
    let database = Database::with(
        "CREATE TABLE users (key TEXT PRIMARY KEY, email TEXT UNIQUE);
         CREATE TABLE parents (key TEXT PRIMARY KEY);
         CREATE TABLE children (key TEXT PRIMARY KEY, parent TEXT REFERENCES parents)",
    );
    let mut store = database.store();

    // The address goes from z to a: by key alone, both would have it at once.
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

    assert_eq!(database.text("SELECT email FROM users ORDER BY key"), "x@example.org null");
    let exchange = [
        put("users", "a", json!({"email": null})),
        put("users", "z", json!({"email": "x@example.org"})),
    ];
    store.apply(&batch(5, &[&exchange])).unwrap();
    let exchange = [
        put("users", "a", json!({"email": "x@example.org"})),
        put("users", "z", json!({"email": null})),
    ];
    store.apply(&batch(6, &[&exchange])).unwrap();
    assert_eq!(database.text("SELECT email FROM users ORDER BY key"), "x@example.org null");
    let orphan = batch(7, &[&[delete("parents", "p")]]);
    assert!(refusal(store.apply(&orphan)).contains("FOREIGN KEY"));
}

#[test]
fn a_row_that_is_not_as_expected_is_counted_as_drift() {
    let database = Database::new();
    let mut store = database.store();
    store.apply(&batch(2, &[&[put("items", "a", json!({}))]])).unwrap();
    database.reader().execute("DELETE FROM items", []).unwrap();

    let applied = store.apply(&batch(3, &[&[delete("items", "a"), delete("gone", "b")]])).unwrap();

    assert_eq!(applied, Applied { drift: 2 });
}

#[test]
fn sql_of_a_journal_cannot_leave_its_transaction() {
    let database = Database::new();
    let mut store = database.store();
    let begin = "CREATE TABLE t (n INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)";
    store.apply(&batch(2, &[&[append("sql", 1, begin)]])).unwrap();

    for sql in [
        "COMMIT",
        "INSERT INTO t VALUES (2); END",
        "ROLLBACK",
        "BEGIN",
        "SAVEPOINT s",
        "INSERT OR ROLLBACK INTO t VALUES (1)",
        "ATTACH 'other.db' AS other",
        "PRAGMA foreign_keys = OFF",
        "CREATE TEMP TABLE hidden (n)",
        "VACUUM",
        "UPDATE instep_site SET position = NULL",
        "DROP TABLE instep_site_journals",
        "INSERT INTO t VALUES (?)",
        "INSERT INTO t VALUES (3)\0; COMMIT",
        "\\c other",
        "COPY t FROM STDIN",
    ] {
        refusal(store.apply(&batch(3, &[&[put("items", "a", json!({})), append("sql", 2, sql)]])));
        assert_eq!(store.open().unwrap(), StorePosition::At(at(2)), "{sql}");
    }

    assert_eq!(database.text("SELECT CAST(n AS TEXT) FROM t"), "1");
    store.apply(&batch(3, &[&[append("sql", 2, "INSERT INTO t VALUES (2); -- done")]])).unwrap();
    assert_eq!(database.text("SELECT CAST(n AS TEXT) FROM t"), "1 2");
}

#[test]
fn sql_and_rows_of_one_batch_keep_their_order() {
    let database = Database::new();
    let mut store = database.store();

    store
        .apply(&batch(
            2,
            &[
                &[put("items", "a", json!({"n": 1}))],
                &[append("sql", 1, "CREATE TABLE seen AS SELECT row FROM items")],
                &[put("items", "a", json!({"n": 2}))],
            ],
        ))
        .unwrap();

    assert_eq!(database.text("SELECT row FROM seen"), r#"{"n":1}"#);
    assert_eq!(database.text("SELECT row FROM items"), r#"{"n":2}"#);
}

#[test]
fn i36_a_gap_in_a_journal_stops_the_site_at_it() {
    let database = Database::new();
    let mut store = database.store();
    store.apply(&batch(2, &[&[append("trail", 5, "five")]])).unwrap();
    store.open().unwrap();

    let refused = refusal(store.apply(&batch(3, &[&[append("trail", 7, "seven")]])));

    assert_eq!(refused, "journal trail: record 7 came behind record 5");
}

#[test]
fn the_database_of_another_site_or_dataset_is_not_touched() {
    let database = Database::new();
    database.store();
    for (dataset, site) in [("shop", "node2"), ("other", "node1")] {
        let identity = Identity { dataset: dataset.into(), site: site.into() };
        let mut other = SqliteStore::new(&database.path(), identity, Targets::default());

        let refused = other.open().unwrap_err();

        assert!(matches!(refused, StoreError::Fatal(Fatal::OtherSite { .. })), "{refused:?}");
    }
}

#[test]
fn an_older_generation_applies_nothing_behind_a_newer_one() {
    let database = Database::new();
    let mut old = database.store();
    let mut new = database.closed();
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
    let database = Database::new();
    let mut old = database.store();
    let mut new = database.closed();
    new.open().unwrap();
    old.apply(&batch(2, &[&[append("trail", 1, "x"), append("trail", 2, "y")]])).unwrap();

    assert_eq!(new.fence(2, None).unwrap(), StorePosition::At(at(2)));

    new.apply(&batch(3, &[&[append("trail", 3, "z")]])).unwrap();
}

#[test]
fn a_database_that_is_removed_or_replaced_while_it_is_open_takes_nothing() {
    let database = Database::new();
    let mut store = database.store();
    std::fs::remove_file(database.path()).unwrap();

    let gone = store.apply(&batch(2, &[&[put("items", "a", json!({}))]]));
    assert!(
        matches!(&gone, Err(StoreError::Passing(text)) if text.contains("removed")),
        "{gone:?}"
    );
    assert_eq!(store.open().unwrap(), StorePosition::None);
    store.fence(1, Some(at(1))).unwrap();
    std::fs::rename(database.path(), database.directory.path().join("moved.db")).unwrap();
    database.reader().execute_batch("CREATE TABLE other (n)").unwrap();

    let replaced = store.apply(&batch(2, &[&[put("items", "a", json!({}))]]));

    assert!(matches!(replaced, Err(StoreError::Passing(_))), "{replaced:?}");
}

#[test]
fn tables_and_journals_of_the_agent_are_no_targets() {
    let database = Database::new();
    let mut store = database.store();

    for name in ["instep_site", "instep_site_journals"] {
        let row = batch(2, &[&[put(name, "trail", json!({"ordinal": 7}))]]);
        assert!(refusal(store.apply(&row)).contains("of the agent"), "{name}");
        let record = batch(2, &[&[append(name, 1, "x")]]);
        assert!(refusal(store.apply(&record)).contains("of the agent"), "{name}");
    }
}

#[test]
fn i12_a_dump_replaces_and_one_that_is_cut_is_recognised() {
    let database = Database::with(
        "CREATE TABLE a_children (key TEXT PRIMARY KEY, parent TEXT REFERENCES parents);
         CREATE TABLE parents (key TEXT PRIMARY KEY)",
    );
    let mut store = database.store();
    store.apply(&batch(2, &[&[put("items", "stale", json!({}))]])).unwrap();
    let rows = |text: &str| {
        let row = |line: &str| {
            let (table, rest) = line.split_once(' ').unwrap();
            let (key, row) = rest.split_once(' ').unwrap();
            let row = serde_json::value::RawValue::from_string(row.into()).unwrap();
            DumpRow { table: table.into(), key: key.into(), row }
        };
        text.lines().map(row).collect::<Vec<_>>()
    };
    let head = DumpHead {
        position: at(9),
        tables: ["a_children", "items", "parents"].map(str::to_owned).into(),
        journals: BTreeMap::from([("trail".to_owned(), 4)]),
    };

    store.begin_tables(3, &head).unwrap();
    store.put_rows(&rows("a_children c {\"parent\":\"p\"}\nitems fresh {}")).unwrap();
    assert_eq!(database.closed().open().unwrap(), StorePosition::Restoring);

    let mut store = database.closed();
    store.open().unwrap();
    store.begin_tables(4, &head).unwrap();
    store.put_rows(&rows("a_children c {\"parent\":\"p\"}\nitems new {}")).unwrap();
    refusal(store.end_tables(at(9)).map(|()| Applied::default()));
    store.put_rows(&rows("parents p {}")).unwrap();
    store.end_tables(at(9)).unwrap();

    assert_eq!(database.text("SELECT key FROM items"), "new");
    assert_eq!(database.closed().open().unwrap(), StorePosition::At(at(9)));
    store.apply(&batch(10, &[&[put("items", "x", json!({}))]])).unwrap();
    assert!(refusal(store.apply(&batch(11, &[&[append("trail", 6, "")]]))).contains("behind"));
    store.apply(&batch(11, &[&[append("trail", 5, "")]])).unwrap();
}

#[test]
fn law_4_a_store_of_another_history_is_replaced_by_a_dump_and_by_nothing_else() {
    let database = Database::new();
    let mut store = database.store();
    store.fence(7, None).unwrap();
    store.apply(&batch(2, &[&[put("items", "a", json!({}))]])).unwrap();

    let fenced = store.fence(9, Some(position(8, 1))).unwrap_err();
    assert!(matches!(fenced, StoreError::Fatal(Fatal::OtherHistory)), "{fenced:?}");
    assert_eq!(database.closed().open().unwrap(), StorePosition::At(at(2)));

    let (tables, journals) = (vec!["items".to_owned()], BTreeMap::new());
    let other = DumpHead { position: position(8, 1), tables, journals };
    // Its generations are its own.
    store.begin_tables(1, &other).unwrap();
    store.end_tables(position(8, 1)).unwrap();
    assert_eq!(database.text("SELECT key FROM items"), "");
    assert_eq!(database.closed().open().unwrap(), StorePosition::At(position(8, 1)));
}

#[test]
fn a_row_that_is_no_position_is_not_applied_over() {
    let database = Database::new();
    database.store();
    database.reader().execute("UPDATE instep_site SET position = '7'", []).unwrap();

    let refused = database.closed().open().unwrap_err();

    assert!(matches!(refused, StoreError::Fatal(Fatal::Unreadable(_))), "{refused:?}");
}

/// The bytes of a dump of the store, and its position.
fn dump_of(store: &SqliteStore) -> (instep_model::position::Position, Vec<u8>) {
    let mut outgoing = store.dumper().unwrap().begin().unwrap();
    let mut bytes = Vec::new();
    outgoing.bytes.read_to_end(&mut bytes).unwrap();
    (outgoing.position, bytes)
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

// I12: the copy is the source, with nothing of before, and as the site that took it.
#[test]
fn a_dump_is_the_state_at_its_position_and_becomes_the_content_of_another_site() {
    let (source, target) = (Database::new(), Database::new());
    let mut giving = source.store();
    giving.apply(&batch(2, &[&[put("items", "a", json!({})), append("trail", 3, "x")]])).unwrap();
    let node2 = Identity { dataset: "shop".into(), site: "node2".into() };
    let mut taking = SqliteStore::new(&target.path(), node2, Database::targets());
    taking.open().unwrap();
    taking.fence(1, Some(at(1))).unwrap();
    taking.apply(&batch(2, &[&[put("stale", "s", json!({}))]])).unwrap();
    let reader = target.reader();
    reader.execute_batch("BEGIN; SELECT * FROM stale").unwrap();

    let (position, bytes) = dump_of(&giving);
    giving.apply(&batch(3, &[&[put("items", "b", json!({}))]])).unwrap();
    let restored = taking.restore(5, &mut chunks(&bytes, true)).unwrap();

    assert_eq!((position, restored), (at(2), at(2)));
    // A reader goes on with what it began with.
    let seen: i64 = reader.query_row("SELECT count(*) FROM stale", [], |row| row.get(0)).unwrap();
    assert_eq!(seen, 1);
    assert_eq!(taking.open().unwrap(), StorePosition::At(at(2)));
    taking.fence(5, None).unwrap();
    taking.apply(&batch(3, &[&[put("items", "b", json!({})), append("trail", 4, "y")]])).unwrap();
    assert_eq!(target.text("SELECT key FROM items ORDER BY key"), "a b");
    assert_eq!(target.text("SELECT name FROM sqlite_schema WHERE name = 'stale'"), "");
    assert_eq!(std::fs::read_dir(source.directory.path()).unwrap().count(), 3);
}

#[test]
fn a_dump_that_is_cut_or_damaged_leaves_the_content_as_it_was() {
    let (source, target) = (Database::new(), Database::new());
    let mut giving = source.closed();
    giving.open().unwrap();
    giving.fence(1, Some(at(4))).unwrap();
    let (_, whole) = dump_of(&giving);
    let mut damaged = whole.clone();
    damaged[whole.len() - 4096..].fill(0xff);

    for (bytes, is_whole) in
        [(&whole[..], false), (&damaged, true), (&whole[..5000], true), (b"no database", true)]
    {
        let mut taking = target.closed();
        let _ = taking.open().unwrap();
        taking.fence(1, Some(at(1))).unwrap();

        taking.restore(2, &mut chunks(bytes, is_whole)).unwrap_err();

        assert_eq!(target.closed().open().unwrap(), StorePosition::At(at(1)));
        assert!(!target.directory.path().join("site.db.taken").exists());
    }
}
