//! Views of the shop for open pages, over three of its tables.
//!
//! | view | table | topic | event | style |
//! | --- | --- | --- | --- | --- |
//! | `released` | products | `product:{id}` | `released` | the sizes as ready HTML |
//! | `stock_change` | availability | `product:{product_id}` | `stock_change` | data only |
//! | `cart` | carts | `cart:{key}` | `cart_updated` | data, and the lines as ready HTML |

use instep::model::name::Name;
use instep::model::row::Fields;
use instep::model::state::Tables;
use instep::model::view::{RowContext, View, ViewDeclaration, ViewError, Visible};
use instep_shop_domain::cart::{self, Cart};
use instep_shop_domain::catalogue::{self, ProductRow};
use instep_shop_domain::ids::ProductId;
use instep_shop_domain::levels::Levels;
use instep_shop_domain::tables::{self, AVAILABILITY, CARTS, PRODUCTS};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::html;

/// The topic of a product.
pub(crate) fn product_topic(id: ProductId) -> String {
    format!("product:{id}")
}

/// Pattern of the topics of carts.
pub(crate) const CART_TOPICS: &str = "cart:{key}";
/// First part of the topics of carts.
pub(crate) const CART_PREFIX: &str = "cart:";

/// Every view of the shop. A snapshot tells `released` first: the sizes must be on the page
/// before their levels change.
pub(crate) fn all(dataset: &Name, levels: Levels) -> Result<Vec<View>, ViewError> {
    Ok(vec![released(levels)?, stock_change(dataset, levels)?, cart(levels)?])
}

fn released(levels: Levels) -> Result<View, ViewError> {
    let see = move |context: &RowContext<'_>| {
        let row: ProductRow = read(context.fields)?;
        if !row.released {
            return None;
        }
        let product = catalogue::product(context.tables, row.id)?;
        let size_html = html::sizes(&product, levels).into_string();
        Some(Visible {
            topic: product_topic(row.id),
            fields: fields(json!({"product_id": row.id, "size_html": size_html})),
        })
    };
    View::native(view_name("released"), tables::name(PRODUCTS), "product:{id}", "released", see)
        .map(|view| view.depending_on(&levels.expression()))
}

fn stock_change(dataset: &Name, levels: Levels) -> Result<View, ViewError> {
    let project = [
        ("product_id", "row.product_id".to_owned()),
        ("item_id", "row.item_id".to_owned()),
        ("level", levels.expression()),
    ];
    View::compile(&ViewDeclaration {
        name: view_name("stock_change"),
        dataset: dataset.clone(),
        table: tables::name(AVAILABILITY),
        topic: "product:{product_id}".into(),
        event: "stock_change".into(),
        filter: None,
        project: Some(project.map(|(field, source)| (field.to_owned(), source)).into()),
        announce_when: Some("row.count <= 0".into()),
    })
}

fn cart(levels: Levels) -> Result<View, ViewError> {
    let see = move |context: &RowContext<'_>| {
        let cart: Cart = read(context.fields)?;
        Some(Visible {
            topic: format!("{CART_PREFIX}{}", context.key),
            fields: fields(cart_json(context.tables, &cart, levels)),
        })
    };
    View::native(view_name("cart"), tables::name(CARTS), CART_TOPICS, "cart_updated", see)
        .map(|view| view.depending_on(&levels.expression()))
}

/// A cart as pages and programs see it.
pub(crate) fn cart_json(tables: &Tables, cart: &Cart, levels: Levels) -> Value {
    let contents = cart::contents(tables, cart);
    let items: Vec<Value> = contents
        .lines
        .iter()
        .map(|line| {
            json!({
                "item_id": line.item.row.id,
                "product_id": line.product.id,
                "sku": line.item.row.sku,
                "name": line.product.name,
                "size": line.item.row.size,
                "price_cents": line.product.price_cents,
                "released": line.product.released,
                // From the row and not from the count: a view tells what a write changed, and
                // the write that notes a sale-out changes nothing else.
                "sold_out": line.sold_out,
                "level": levels.of(line.item.count),
            })
        })
        .collect();
    json!({
        "count": items.len(),
        "items": items,
        "total_cents": contents.total_cents,
        "html": html::cart(&contents, levels).into_string(),
    })
}

fn read<T: DeserializeOwned>(fields: &Fields) -> Option<T> {
    serde_json::from_value(Value::Object(fields.clone())).ok()
}

fn fields(value: Value) -> Fields {
    match value {
        Value::Object(fields) => fields,
        _ => Fields::new(),
    }
}

fn view_name(name: &'static str) -> Name {
    Name::new(name).expect("the shop's own names are well-formed")
}

#[cfg(test)]
mod tests {
    use instep::model::name::Key;
    use instep::model::position::Place;
    use instep::model::row::Row;
    use instep::model::state::{StoredRow, Table};
    use instep::model::view::{Failures, ViewChange};

    use super::*;

    #[test]
    fn snk_07_the_level_is_told_when_it_changes_and_whenever_it_ends_in_out() {
        let told = |before, after| stock_told(before, after).map(|level| level.to_string());

        assert_eq!(told(151, 150), None);
        assert_eq!(told(150, 149), Some("\"low\"".into()));
        assert_eq!(told(149, 148), None);
        assert_eq!(told(1, 0), Some("\"out\"".into()));
        assert_eq!(told(0, 0), Some("\"out\"".into()));
        assert_eq!(told(499, 500), Some("\"high\"".into()));
    }

    #[test]
    fn snk_07_the_expression_and_the_page_agree_on_every_boundary() {
        let levels = Levels::default();
        for count in [0, 1, 149, 150, 151, 499, 500, 501, 10_000] {
            let view = stock_change(&Name::new("shop").unwrap(), levels).unwrap();

            let seen =
                view.see(&key("101"), &stock(count), &Tables::default(), &mut Failures::default());

            assert_eq!(seen.unwrap().fields["level"], levels.of(count).as_str(), "{count}");
        }
    }

    #[test]
    fn snk_10_the_message_of_a_stock_change_is_data_only() {
        let view = stock_change(&Name::new("shop").unwrap(), Levels::default()).unwrap();

        let seen =
            view.see(&key("101"), &stock(7), &Tables::default(), &mut Failures::default()).unwrap();

        assert_eq!(seen.topic, "product:1");
        let expected = json!({"product_id": 1, "item_id": 101, "level": "low"});
        assert_eq!(Value::Object(seen.fields), expected);
    }

    #[test]
    fn snk_u4_a_cart_is_told_again_when_the_note_of_an_item_changes() {
        let view = cart(Levels::default()).unwrap();
        let row = |sold_out| {
            let items = json!([{"id": 101, "sold_out": sold_out}]);
            Row::new(&fields(json!({"items": items, "touched_ms": 1}))).unwrap()
        };
        let tables = shelf();

        let (key, before, after) = (key(&"a".repeat(64)), row(false), row(true));

        let told = |old, new| {
            view.sights(&key, Some(old), Some(new), &tables, &mut Failures::default()).len()
        };
        assert_eq!((told(&before, &after), told(&after, &after)), (1, 0));
    }

    /// A shelf with one item, of which none is left.
    fn shelf() -> Tables {
        let product = json!({"id": 1, "sku": "s", "name": "n", "price_cents": 1, "released": true});
        let item = json!({"id": 101, "product_id": 1, "sku": "i", "size": "9"});
        let rows = [
            (PRODUCTS, "1", Row::new(&fields(product)).unwrap()),
            (tables::ITEMS, "101", Row::new(&fields(item)).unwrap()),
            (AVAILABILITY, "101", stock(0)),
        ];
        let mut shelf = Tables::default();
        for (table, id, row) in rows {
            let mut rows = Table::default();
            rows.put(&key(id), StoredRow { place: Place::default(), row });
            shelf.insert(tables::name(table), rows);
        }
        shelf
    }

    fn stock_told(before: i64, after: i64) -> Option<Value> {
        let view = stock_change(&Name::new("shop").unwrap(), Levels::default()).unwrap();
        let (old, new) = (stock(before), stock(after));
        let tables = Tables::default();
        let sights =
            view.sights(&key("101"), Some(&old), Some(&new), &tables, &mut Failures::default());
        let told: Vec<Value> = sights
            .into_iter()
            .map(|sight| match sight {
                ViewChange::Shown(visible) => visible.fields["level"].clone(),
                ViewChange::Left { topic } => panic!("left {topic}"),
            })
            .collect();
        assert!(told.len() <= 1);
        told.into_iter().next()
    }

    fn stock(count: i64) -> Row {
        let row = json!({"item_id": 101, "product_id": 1, "count": count});
        Row::new(&fields(row)).unwrap()
    }

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }
}
