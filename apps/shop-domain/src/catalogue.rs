//! The shop's shelf, read out of the tables: products with their items and counts.

use std::collections::BTreeMap;

use instep::model::state::Tables;
use serde::{Deserialize, Serialize};

use crate::ids::{ItemId, ProductId};
use crate::tables::{self, AVAILABILITY, ITEMS, PRODUCTS};

/// A product with its items, in the order of ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// Its row.
    pub row: ProductRow,
    /// Items of the product, one for each size.
    pub items: Vec<Item>,
}

/// A product in one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its row.
    pub row: ItemRow,
    /// Pieces in stock.
    pub count: i64,
}

/// A row of `products`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductRow {
    /// The product's id.
    pub id: ProductId,
    /// Stock keeping unit, unique among products.
    pub sku: String,
    /// Name of the product.
    pub name: String,
    /// Brand of the product.
    #[serde(default)]
    pub brand: String,
    /// The colours, in words.
    #[serde(default)]
    pub colorway: String,
    /// A sentence that makes one want it.
    #[serde(default)]
    pub story: String,
    /// The price in cents.
    pub price_cents: i64,
    /// Name of its drawing.
    #[serde(default)]
    pub art: String,
    /// True when its sizes are shown and sold.
    #[serde(default)]
    pub released: bool,
}

/// A row of `items`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemRow {
    /// The item's id.
    pub id: ItemId,
    /// Id of its product.
    pub product_id: ProductId,
    /// Stock keeping unit, unique among items.
    pub sku: String,
    /// The size, as printed on the box.
    pub size: String,
}

/// A row of `availability`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AvailabilityRow {
    /// Id of the item.
    pub item_id: ItemId,
    /// Id of its product: it decides the topic on which changes are seen.
    pub product_id: ProductId,
    /// Pieces in stock; never negative.
    pub count: i64,
}

/// All products, in the order of ids.
#[must_use]
pub fn products(tables: &Tables) -> Vec<Product> {
    let mut items: BTreeMap<ProductId, Vec<Item>> = BTreeMap::new();
    for (_, row) in tables::read_all::<ItemRow>(tables, ITEMS) {
        let product = items.entry(row.product_id).or_default();
        product.push(Item { count: count(tables, row.id), row });
    }
    let rows = tables::read_all::<ProductRow>(tables, PRODUCTS);
    let mut products: Vec<Product> = rows
        .map(|(_, row)| Product { items: in_order(items.remove(&row.id).unwrap_or_default()), row })
        .collect();
    // Keys are text, in which 10 comes before 9.
    products.sort_by_key(|product| product.row.id);
    products
}

/// One product.
#[must_use]
pub fn product(tables: &Tables, id: ProductId) -> Option<Product> {
    let row: ProductRow = tables::read(tables, PRODUCTS, &id.to_string())?;
    let items = tables::read_all::<ItemRow>(tables, ITEMS)
        .filter(|(_, item)| item.product_id == id)
        .map(|(_, row)| Item { count: count(tables, row.id), row });
    Some(Product { items: in_order(items.collect()), row })
}

/// One item with its product.
#[must_use]
pub fn item(tables: &Tables, id: ItemId) -> Option<(ProductRow, Item)> {
    let row: ItemRow = tables::read(tables, ITEMS, &id.to_string())?;
    let product = tables::read(tables, PRODUCTS, &row.product_id.to_string())?;
    let count = count(tables, id);
    Some((product, Item { row, count }))
}

/// Pieces of an item in stock; 0 if there is no such item.
#[must_use]
pub fn count(tables: &Tables, id: ItemId) -> i64 {
    let row: Option<AvailabilityRow> = tables::read(tables, AVAILABILITY, &id.to_string());
    row.map_or(0, |row| row.count)
}

fn in_order(mut items: Vec<Item>) -> Vec<Item> {
    items.sort_by_key(|item| item.row.id);
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Memory;

    #[test]
    fn snk_02_the_shelf_is_products_with_items_whose_counts_are_kept_apart() {
        let memory = Memory::seeded(7);

        let shelf = products(&memory.tables());

        assert_eq!(shelf.len(), 2);
        for product in &shelf {
            assert_eq!(product.items.len(), 13);
            assert!(product.items.iter().all(|item| item.count == 7));
        }
        assert_eq!(super::product(&memory.tables(), shelf[1].row.id), Some(shelf[1].clone()));
    }

    #[test]
    fn a_shop_without_tables_has_an_empty_shelf() {
        assert_eq!(products(&Tables::default()), vec![]);
        assert_eq!(item(&Tables::default(), ItemId(1)), None);
    }
}
