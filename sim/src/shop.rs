//! The dataset that is simulated: its names, its views, and the same views by hand.

use instep_model::name::Name;
use instep_model::view::{View, ViewDeclaration};
use serde_json::{Value, json};

use crate::oracle::{Lens, Topics};

/// The dataset.
pub(crate) const DATASET: &str = "shop";
/// The tables that writers use.
pub(crate) const TABLES: [&str; 3] = ["items", "orders", "notes"];
/// The journal that writers use.
pub(crate) const JOURNAL: &str = "audit";
/// The groups of items.
pub(crate) const GROUPS: [&str; 3] = ["a", "b", "c"];
/// The keys of all tables.
pub(crate) const KEYS: [&str; 6] = ["k0", "k1", "k2", "k3", "k4", "k5"];

/// Topics that subscribers join.
pub(crate) const TOPICS: [&str; 7] =
    ["table:shop/items", "table:shop/notes", "group:a", "group:b", "item:k1", "open", "group:c"];

/// The topics of a dataset without views.
pub(crate) const TABLE_TOPICS: [&str; 2] = ["table:shop/items", "table:shop/notes"];

/// The set of views that has none.
pub(crate) const NO_VIEWS: usize = 3;

/// A set of views, as an operator declares them. Each differs from the others in some part: filter,
/// projection, event, topic.
pub(crate) fn views(declared: usize) -> Vec<View> {
    let groups = json!({"name": "groups", "dataset": DATASET, "table": "items",
        "topic": "group:{group}", "event": "item", "filter": "row.n > 2"});
    let items = json!({"name": "items", "dataset": DATASET, "table": "items",
        "topic": "item:{key}", "event": "item",
        "project": {"n": "row.n", "few": "row.n < 5"}});
    let open = json!({"name": "open", "dataset": DATASET, "table": "orders", "topic": "open",
        "event": "order", "filter": "row.open == true", "project": {"n": "row.n"},
        "announce_when": "row.n == 7"});
    let with = |view: &Value, field: &str, value: Value| {
        let mut view = view.clone();
        view[field] = value;
        view
    };
    let declarations = match declared {
        0 => vec![groups, items, open],
        1 => vec![
            with(&groups, "filter", json!("row.n > 4")),
            with(&items, "project", json!({"n": "row.n", "few": "row.n < 3"})),
            with(&open, "event", json!("pending")),
        ],
        2 => vec![
            with(&groups, "topic", json!("item:{group}")),
            with(&open, "filter", json!("row.open == true && row.n > 3")),
        ],
        _ => vec![],
    };
    let compile = |declaration: Value| {
        let declaration: ViewDeclaration =
            serde_json::from_value(declaration).expect("the declarations are constants");
        View::compile(&declaration).expect("the declarations are constants")
    };
    declarations.into_iter().map(compile).collect()
}

/// The same views, by hand.
#[must_use]
pub(crate) fn topics() -> Topics {
    let groups = |see| Lens { table: "items", see };
    let items = |see| Lens { table: "items", see };
    let open = |see| Lens { table: "orders", see };
    Topics {
        dataset: DATASET,
        declared: vec![
            vec![
                groups(|_, row| group_of("group", row, 2)),
                items(|key, row| item(key, row, 5)),
                open(|_, row| order(row, i64::MIN)),
            ],
            vec![
                groups(|_, row| group_of("group", row, 4)),
                items(|key, row| item(key, row, 3)),
                open(|_, row| order(row, i64::MIN)),
            ],
            vec![groups(|_, row| group_of("item", row, 2)), open(|_, row| order(row, 3))],
            vec![],
        ],
    }
}

fn group_of(prefix: &str, row: &Value, above: i64) -> Option<(String, Value)> {
    let group = row.get("group")?.as_str()?;
    let many = row.get("n")?.as_i64()? > above;
    many.then(|| (format!("{prefix}:{group}"), row.clone()))
}

fn item(key: &str, row: &Value, below: i64) -> Option<(String, Value)> {
    let n = row.get("n")?.as_i64()?;
    Some((format!("item:{key}"), json!({"n": n, "few": n < below})))
}

fn order(row: &Value, above: i64) -> Option<(String, Value)> {
    let open = row.get("open")?.as_bool()?;
    let n = row.get("n")?.clone();
    let many = above == i64::MIN || n.as_i64()? > above;
    (open && many).then(|| ("open".to_owned(), json!({"n": n})))
}

/// A name that is known to be good.
pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("the names are constants")
}
