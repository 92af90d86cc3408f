use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::commit::{Commit, Entry, Record, TableOptions};
use crate::mirror::Mirror;
use crate::position::Revision;
use crate::state::{State, StoredRow, Table};

const STOCK: &str = "product:1";

/// A dataset of one table with a feed, written to directly.
struct Shop {
    tables: Tables,
    place: Place,
    feed: Feed,
}

impl Shop {
    fn new(public: bool) -> Self {
        let view = json!({
            "name": "stock", "dataset": "shop", "table": "items", "event": "stock",
            "topic": "product:{p}", "filter": "row.on", "project": {"level": "row.n > 9"},
        });
        let views = vec![View::compile(&serde_json::from_value(view).unwrap()).unwrap()];
        let mut tables = Tables::new();
        let options = crate::commit::TableOptions { public };
        tables.insert(name("items"), Table { options, ..Table::default() });
        let place = Place { revision: Revision(5), index: 0 };
        let feed = Feed::new(name("shop"), incarnation(1), views, tables.clone(), place);
        Self { tables, place, feed }
    }

    /// One commit in an entry of its own.
    fn write(&mut self, writes: &[(&str, Option<serde_json::Value>)]) -> Vec<Notice> {
        self.place = Place { revision: self.place.revision.next(), index: 0 };
        let place = self.place;
        let table = self.tables.get_mut("items").unwrap();
        let mut changes = vec![];
        for (key, row) in writes {
            let key = Key::new(key).unwrap();
            let new = row.as_ref().map(|row| Row::new(row.as_object().unwrap()).unwrap());
            let old = match &new {
                Some(row) => table.put(&key, StoredRow { place, row: row.clone() }),
                None => table.rows.remove(&key).map(|stored| stored.row),
            };
            let public = (table.options.public, table.options.public);
            changes.push(Change { table: name("items"), key, old, new, public });
        }
        let commits = [CommitChanges { place, changes }];
        self.feed.apply(&commits, self.tables.clone(), place)
    }

    fn join(&self, topic: &str, since: Option<Position>) -> Joined {
        self.feed.join(topic, since.map(Some)).unwrap()
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn incarnation(number: u128) -> Incarnation {
    Incarnation(Uuid::from_u128(number))
}

fn item(p: i64, n: i64) -> Option<serde_json::Value> {
    Some(json!({"p": p, "n": n, "on": true}))
}

fn texts(notices: &[Notice]) -> Vec<String> {
    let text = |notice: &Notice| {
        let payload: serde_json::Value = serde_json::from_slice(&notice.payload()).unwrap();
        let positioned = if payload.get("position").is_some() { "!" } else { "" };
        let level = payload.get("level").map(|level| format!("={level}")).unwrap_or_default();
        format!("{}/{} {}{level}{positioned}", notice.topic, notice.event, notice.key)
    };
    notices.iter().map(text).collect()
}

#[test]
fn i4_only_the_last_notice_of_a_commit_on_a_topic_carries_the_position() {
    let mut shop = Shop::new(false);

    let told = shop.write(&[("a", item(1, 5)), ("b", item(2, 50)), ("c", item(1, 50))]);

    assert_eq!(
        texts(&told),
        ["product:1/stock a=false", "product:2/stock b=true!", "product:1/stock c=true!"]
    );
}

#[test]
fn i8_snapshot_at_s_plus_changes_after_s_is_the_table() {
    let mut shop = Shop::new(true);
    shop.write(&[("a", item(1, 5)), ("b", item(1, 50))]);

    let joined = shop.join("table:shop/items", None);
    let told = shop.write(&[("a", None), ("c", item(1, 1))]);

    assert_eq!(texts(&joined.notices), ["table:shop/items/row a", "table:shop/items/row b!"]);
    let on_table: Vec<_> = told.into_iter().filter(|n| n.topic.starts_with("table:")).collect();
    assert_eq!(texts(&on_table), ["table:shop/items/gone a", "table:shop/items/row c!"]);
}

#[test]
fn a_listing_is_of_the_place_at_which_it_was_found_whatever_is_committed_before_it_is_made() {
    let mut shop = Shop::new(true);
    shop.write(&[("1", item(1, 5)), ("2", item(1, 20))]);
    let topics = ["table:shop/items", STOCK];
    let expected = topics.map(|topic| shop.join(topic, None));
    let found = topics.map(|topic| shop.feed.list(topic, None).unwrap());

    shop.write(&[("1", None), ("2", item(1, 7)), ("3", item(1, 30))]);

    assert_eq!(found.map(Listing::make), expected);
    assert!(expected.iter().all(|joined| joined.notices.len() == 2), "{expected:?}");
}

#[test]
fn law_3_a_joiner_with_a_position_gets_each_changed_row_once_as_it_is_now() {
    let mut shop = Shop::new(false);
    shop.write(&[("a", item(1, 5)), ("b", item(1, 5)), ("c", item(1, 5))]);
    let since = shop.feed.position();
    shop.write(&[("a", item(1, 50))]);
    shop.write(&[("a", item(1, 5))]);
    shop.write(&[("b", None), ("c", item(1, 6))]);

    let joined = shop.join(STOCK, Some(since));

    assert_eq!(joined.mode, Mode::Resume);
    // The write to c changed nothing that is seen of it.
    assert_eq!(texts(&joined.notices), ["product:1/stock a=false", "product:1/leave b!"]);
    assert_eq!(joined.position, shop.feed.position());
    assert_eq!(shop.join(STOCK, Some(joined.position)).notices, []);
}

#[test]
fn i7_a_position_of_another_history_or_too_old_or_unreadable_is_a_reset_with_everything() {
    let mut shop = Shop::new(false);
    shop.write(&[("a", item(1, 5))]);
    let position = shop.feed.position();
    let other = Position { incarnation: incarnation(2), ..position };
    let old = Position { place: Place::default(), ..position };

    for since in [Some(other), Some(old), None] {
        let joined = shop.feed.join(STOCK, Some(since)).unwrap();

        assert_eq!(joined.mode, Mode::Reset);
        assert_eq!(texts(&joined.notices), ["product:1/stock a=false!"]);
    }
}

#[test]
fn i7_a_position_ahead_is_refused_and_never_answered_with_old_events() {
    let shop = Shop::new(false);
    let place = Place { revision: Revision(6), index: 0 };
    let ahead = Position { place, ..shop.feed.position() };

    let refusal = shop.feed.join(STOCK, Some(Some(ahead))).unwrap_err();

    assert_eq!(refusal, JoinRefusal::Ahead { head: shop.feed.position() });
}

#[test]
fn i28_at_the_floor_a_joiner_gets_everything_and_below_it_a_reset() {
    let mut shop = Shop::new(false);
    let mut positions = vec![];
    for n in 0..limits::TOPIC_RECENT_CHANGES as i64 + 3 {
        positions.push(shop.feed.position());
        shop.write(&[("a", item(1, if n % 2 == 0 { 5 } else { 50 }))]);
    }

    // Changes 0, 1 and 2 are forgotten; who has seen them can resume.
    assert_eq!(shop.join(STOCK, Some(positions[3])).mode, Mode::Resume);
    assert_eq!(shop.join(STOCK, Some(positions[2])).mode, Mode::Reset);
}

#[test]
fn a_table_that_is_not_public_and_a_topic_without_a_view_are_unmatched() {
    let shop = Shop::new(false);

    for topic in ["table:shop/items", "table:other/items", "order:1", "product:"] {
        assert_eq!(shop.feed.join(topic, None), Err(JoinRefusal::Unmatched), "{topic}");
    }
    assert_eq!(shop.join("product:77", None).notices, []);
}

/// A dataset that follows real entries, so that tables come and go.
struct Folded {
    mirror: Mirror,
    feed: Feed,
}

impl Folded {
    fn new() -> Self {
        let mirror = Mirror::new(incarnation(1), State::default());
        let place = Place::default();
        let feed = Feed::new(name("shop"), incarnation(1), vec![], Tables::new(), place);
        Self { mirror, feed }
    }

    /// One commit in an entry of its own.
    fn commit(&mut self, records: Vec<Record>) -> Vec<Notice> {
        let commit = Commit { commit_id: None, results: vec![], records };
        let State { history, applied, .. } = *self.mirror.state();
        let writer = Uuid::nil();
        let entry = Entry { writer, sequence: 0, time_ms: 0, history, commits: vec![commit] };
        let changes = self.mirror.apply(applied.revision.next(), &entry.encode()).unwrap();
        let state = self.mirror.state();
        self.feed.apply(&changes.commits, state.tables.clone(), state.applied)
    }
}

fn create(public: bool) -> Record {
    Record::CreateTable { table: name("items"), options: TableOptions { public } }
}

fn put(key: &str) -> Record {
    let row = Row::from_canonical(b"{\"n\":1}");
    Record::Put { table: name("items"), key: Key::new(key).unwrap(), row }
}

#[test]
fn i12_the_rows_of_a_dropped_table_are_gone_for_its_subscribers() {
    let mut shop = Folded::new();
    shop.commit(vec![create(true), put("a")]);
    let since = shop.feed.position();

    let dropped = shop.commit(vec![Record::DropTable { table: name("items") }]);
    shop.commit(vec![create(true), put("b")]);

    assert_eq!(texts(&dropped), ["table:shop/items/gone a!"]);
    let joined = shop.feed.join("table:shop/items", Some(Some(since))).unwrap();
    assert_eq!(joined.mode, Mode::Resume);
    assert_eq!(texts(&joined.notices), ["table:shop/items/gone a", "table:shop/items/row b!"]);
}

#[test]
fn i24_rows_leave_and_enter_with_the_right_to_read_their_table() {
    let mut shop = Folded::new();
    shop.commit(vec![create(true), put("a")]);
    let since = shop.feed.position();

    let closed = shop.commit(vec![create(false)]);
    let hidden = shop.commit(vec![put("b")]);
    let opened = shop.commit(vec![create(true)]);

    assert_eq!(texts(&closed), ["table:shop/items/gone a!"]);
    assert_eq!(texts(&hidden), [] as [&str; 0]);
    assert_eq!(texts(&opened), ["table:shop/items/row a", "table:shop/items/row b!"]);
    let joined = shop.feed.join("table:shop/items", Some(Some(since))).unwrap();
    assert_eq!(texts(&joined.notices), ["table:shop/items/row a", "table:shop/items/row b!"]);
}

/// Two views on one topic, of two tables whose rows have the same keys.
fn two_views() -> (Feed, Tables) {
    let view = |table: &str, event: &str| {
        let declaration = json!({
            "name": format!("{table}_of"), "dataset": "shop", "table": table, "event": event,
            "topic": "user:{u}",
        });
        View::compile(&serde_json::from_value(declaration).unwrap()).unwrap()
    };
    let mut tables = Tables::new();
    for table in ["orders", "invoices"] {
        tables.insert(name(table), Table::default());
    }
    let views = vec![view("orders", "order"), view("invoices", "invoice")];
    let place = Place { revision: Revision(5), index: 0 };
    (Feed::new(name("shop"), incarnation(1), views, tables.clone(), place), tables)
}

#[test]
fn a_leave_says_through_which_view_the_row_was_seen_also_when_it_is_told_later() {
    let (mut feed, mut tables) = two_views();
    let key = Key::new("1").unwrap();
    let row = Row::new(json!({"u": "ann"}).as_object().unwrap()).unwrap();
    let place = |revision| Place { revision: Revision(revision), index: 0 };
    let mut write = |table: &str, new: Option<&Row>, revision: u64| {
        let known = tables.get_mut(table).unwrap();
        let old = match new {
            Some(row) => known.put(&key, StoredRow { place: place(revision), row: row.clone() }),
            None => known.rows.remove(&key).map(|stored| stored.row),
        };
        let (table, key, new, public) = (name(table), key.clone(), new.cloned(), (false, false));
        let changes = vec![Change { table, key, old, new, public }];
        let commits = [CommitChanges { place: place(revision), changes }];
        feed.apply(&commits, tables.clone(), place(revision))
    };
    write("orders", Some(&row), 6);
    write("invoices", Some(&row), 7);

    let told = write("orders", None, 8);

    let payload = |notice: &Notice| -> serde_json::Value {
        let mut payload: serde_json::Value = serde_json::from_slice(&notice.payload()).unwrap();
        payload.as_object_mut().unwrap().remove("position");
        payload
    };
    let leave = json!({"key": "1", "view": "orders_of", "event": "order"});
    let told: Vec<_> = told.iter().map(payload).collect();
    assert_eq!(told, std::slice::from_ref(&leave));
    let since = Position { incarnation: incarnation(1), place: place(7) };
    let joined = feed.join("user:ann", Some(Some(since))).unwrap();
    assert_eq!(joined.mode, Mode::Resume);
    assert_eq!(joined.notices.iter().map(payload).collect::<Vec<_>>(), [leave]);
}

#[test]
fn no_field_of_a_row_is_lost_to_a_field_of_the_server() {
    let fields = json!({"key": 1, "position": 2, "_position": 3, "n": 4});
    let notice = Notice {
        topic: "t".into(),
        event: "e".into(),
        key: Key::new("k").unwrap(),
        body: Body::Fields(fields.as_object().unwrap().clone()),
        position: None,
    };

    let payload: serde_json::Value = serde_json::from_slice(&notice.payload()).unwrap();

    let told = json!({"key": "k", "_key": 1, "_position": 2, "__position": 3, "n": 4});
    assert_eq!(payload, told);
}
