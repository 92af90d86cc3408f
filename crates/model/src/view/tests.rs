use proptest::prelude::*;
use serde_json::json;

use serde_json::Value;

use super::*;

fn view(declaration: serde_json::Value) -> Result<View, ViewError> {
    View::compile(&serde_json::from_value(declaration).unwrap())
}

fn stock() -> View {
    view(json!({
        "name": "stock", "dataset": "shop", "table": "items", "event": "stock_change",
        "topic": "product:{product_id}", "filter": "row.released",
        "project": {"item_id": "key", "level": "row.n == 0 ? 'out' : row.n < 150 ? 'low' : 'high'"},
        "announce_when": "row.n == 0",
    }))
    .unwrap()
}

fn row(value: serde_json::Value) -> Row {
    Row::new(value.as_object().unwrap()).unwrap()
}

fn sights(
    view: &View,
    old: Option<serde_json::Value>,
    new: Option<serde_json::Value>,
) -> Vec<ViewChange> {
    let (old, new) = (old.map(row), new.map(row));
    let key = Key::new("7").unwrap();
    view.sights(&key, old.as_ref(), new.as_ref(), &Tables::new(), &mut Failures::default())
}

fn item(product: i64, n: i64) -> Option<serde_json::Value> {
    Some(json!({"product_id": product, "n": n, "released": true}))
}

fn shown(topic: &str, level: &str) -> ViewChange {
    let fields = json!({"item_id": "7", "level": level}).as_object().unwrap().clone();
    ViewChange::Shown(Visible { topic: topic.into(), fields })
}

#[test]
fn snk_07_a_write_is_told_only_when_what_is_seen_changes_or_the_view_says_announce() {
    let view = stock();

    assert_eq!(sights(&view, item(1, 152), item(1, 151)), []);
    assert_eq!(sights(&view, item(1, 150), item(1, 149)), [shown("product:1", "low")]);
    assert_eq!(sights(&view, item(1, 1), item(1, 0)), [shown("product:1", "out")]);
    assert_eq!(sights(&view, item(1, 0), item(1, 0)), [shown("product:1", "out")]);
}

#[test]
fn i23_a_row_that_leaves_the_filter_is_told_as_leaving() {
    let hidden = Some(json!({"product_id": 1, "n": 5, "released": false}));

    assert_eq!(
        sights(&stock(), item(1, 5), hidden.clone()),
        [ViewChange::Left { topic: "product:1".into() }]
    );
    assert_eq!(sights(&stock(), hidden.clone(), item(1, 5)), [shown("product:1", "low")]);
    assert_eq!(
        sights(&stock(), item(1, 5), None),
        [ViewChange::Left { topic: "product:1".into() }]
    );
    assert_eq!(sights(&stock(), hidden, None), []);
}

#[test]
fn a_row_that_moves_leaves_one_topic_and_enters_the_other() {
    let moved = sights(&stock(), item(1, 5), item(2, 5));

    assert_eq!(moved, [ViewChange::Left { topic: "product:1".into() }, shown("product:2", "low")]);
}

#[test]
fn a_run_time_error_means_not_in_the_view_and_names_the_row_once_for_each_write() {
    let mut failures = Failures::default();
    let broken = row(json!({"product_id": 1, "released": true}));
    let key = Key::new("7").unwrap();

    let entered = stock().sights(&key, None, Some(&broken), &Tables::new(), &mut failures);
    let written = failures.clone();
    let mended = row(item(1, 5).unwrap());
    stock().sights(&key, Some(&broken), Some(&mended), &Tables::new(), &mut failures);

    let newest = written.newest.as_ref().unwrap();
    assert_eq!((entered, written.count, &newest.key), (vec![], 1, &key));
    assert!(newest.error.message.contains('n'), "{}", newest.error);
    assert_eq!(failures, written, "that it could not be shown before is known");
}

#[test]
fn a_bad_declaration_is_refused_with_the_field_named() {
    let base = json!({"name": "v", "dataset": "d", "table": "t", "event": "e", "topic": "a:{x}"});
    let with = |field: &str, value: serde_json::Value| {
        let mut declaration = base.clone();
        declaration[field] = value;
        view(declaration).unwrap_err()
    };

    assert_eq!(with("filter", json!("row.a ==\n ")).field, "filter");
    let error = with("filter", json!("row.a == 1 &&\n  nope"));
    assert_eq!(error.spot, Some(Spot { line: 2, column: 3 }));
    assert!(error.to_string().starts_with("view v: filter: line 2, column 3: "), "{error}");
    assert_eq!(with("project", json!({"position": "1"})).field, "project.position");
    assert_eq!(with("topic", json!("table:x/{a}")).field, "topic");
    assert_eq!(with("topic", json!("{a}")).field, "topic");
    assert_eq!(with("topic", json!("a:{b}{c}")).field, "topic");
    assert_eq!(with("event", json!("phx_reply")).field, "event");
    assert!(view(base).is_ok());
}

#[test]
fn a_pattern_matches_what_it_can_produce() {
    let matches = |pattern: &str, topic: &str| TopicPattern::parse(pattern).unwrap().matches(topic);

    assert!(matches("product:{id}", "product:1"));
    assert!(matches("a:{x}:b:{y}", "a:1:b:2"));
    assert!(matches("all", "all"));
    assert!(!matches("product:{id}", "product:"));
    assert!(!matches("product:{id}", "order:1"));
    assert!(!matches("a:{x}:b", "a:1:c"));
    assert!(!matches("all", "all2"));
    assert!(!matches("tabl{x}", "table:d/secret"), "the server's own topics are reserved");
    assert!(matches("tabl{x}", "tablet"));
}

#[test]
fn no_row_is_announced_on_a_topic_of_the_server() {
    let pattern = TopicPattern::parse("tabl{t}").unwrap();
    let key = Key::new("k").unwrap();
    let topic = |text: &str| {
        let fields: Fields =
            [("t".to_owned(), serde_json::Value::from(text))].into_iter().collect();
        pattern.fill(&key, &fields)
    };

    assert_eq!(topic("e:d/secret"), None);
    assert_eq!(topic("et").as_deref(), Some("tablet"));
}

#[test]
fn a_value_that_repeats_the_text_behind_its_placeholder_is_on_a_topic_that_can_be_joined() {
    let pattern = TopicPattern::parse("user:{u}:bills").unwrap();
    let fields: Fields = [("u".to_owned(), Value::from("7:bills"))].into_iter().collect();

    let topic = pattern.fill(&Key::new("k").unwrap(), &fields).unwrap();

    assert_eq!(topic, "user:7:bills:bills");
    assert!(pattern.matches(&topic));
}

proptest! {
    #[test]
    fn a_topic_matches_the_pattern_that_made_it(
        text in "x[ab:é]{0,2}(\\{[fg]\\}[ab:é]{1,2}){0,3}(\\{f\\})?",
        f in "[ab:é]{1,3}",
        g in "[ab:é]{1,3}",
    ) {
        let pattern = TopicPattern::parse(&text).unwrap();
        let fields = [("f".to_owned(), Value::from(f)), ("g".to_owned(), Value::from(g))];

        let topic = pattern.fill(&Key::new("k").unwrap(), &fields.into_iter().collect()).unwrap();

        prop_assert!(pattern.matches(&topic), "{text} {topic}");
    }
}
