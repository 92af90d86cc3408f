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

/// The topics that somebody joins.
pub(crate) const TOPICS: [&str; 7] =
    ["table:shop/items", "table:shop/notes", "group:a", "group:b", "item:k1", "open", "group:c"];

/// The topics of a dataset without views.
pub(crate) const TABLE_TOPICS: [&str; 2] = ["table:shop/items", "table:shop/notes"];

/// The views, as an operator declares them.
pub(crate) fn views() -> Vec<View> {
    let declarations = [
        json!({"name": "groups", "dataset": DATASET, "table": "items", "topic": "group:{group}",
               "event": "item", "filter": "row.n > 2"}),
        json!({"name": "items", "dataset": DATASET, "table": "items", "topic": "item:{key}",
               "event": "item", "project": {"n": "row.n", "few": "row.n < 5"}}),
        json!({"name": "open", "dataset": DATASET, "table": "orders", "topic": "open",
               "event": "order", "filter": "row.open == true", "project": {"n": "row.n"},
               "announce_when": "row.n == 7"}),
    ];
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
    Topics {
        dataset: DATASET,
        lenses: vec![
            Lens {
                table: "items",
                see: |_, row| {
                    let group = row.get("group")?.as_str()?;
                    let many = row.get("n")?.as_i64()? > 2;
                    many.then(|| (format!("group:{group}"), row.clone()))
                },
            },
            Lens {
                table: "items",
                see: |key, row| {
                    let n = row.get("n")?.as_i64()?;
                    Some((format!("item:{key}"), json!({"n": n, "few": n < 5})))
                },
            },
            Lens {
                table: "orders",
                see: |_, row| {
                    let open = row.get("open")?.as_bool()?;
                    let n = row.get("n")?.clone();
                    open.then(|| ("open".to_owned(), json!({"n": n})))
                },
            },
        ],
    }
}

/// A name that is known to be good.
pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("the names are constants")
}
