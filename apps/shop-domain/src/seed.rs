//! A shelf to begin with: two products in thirteen sizes each, or whatever a merchant brings.

use std::collections::BTreeSet;

use instep::Dataset;
use instep::model::commit::Operation;
use instep::model::owner::Refusal;
use instep::model::state::Tables;
use serde::Deserialize;
use serde_json::json;

use crate::catalogue::{self, AvailabilityRow, ItemRow, ProductRow};
use crate::ids::{ItemId, ProductId};
use crate::stock::COUNT_MAX;
use crate::tables::{self, AVAILABILITY, ITEMS, PRODUCTS};

/// Stock of each item when nothing else is said.
pub const DEFAULT_STOCK: i64 = 500;
/// Most sizes of one product.
pub const SIZES_MAX: usize = 99;
/// Most products of one shelf: pages show all of them, and each is one channel of a socket.
pub const PRODUCTS_MAX: usize = 90;
/// Item ids are the product's id times this, plus the number of the size: with at most
/// [`SIZES_MAX`] sizes no two items meet.
const ITEMS_PER_PRODUCT: u32 = 100;
/// The smallest item id lies above the largest product id.
const PRODUCT_ID_MAX: u32 = ITEMS_PER_PRODUCT;

/// A product as a merchant writes it down.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewProduct {
    /// The product's id, 1 to 100.
    pub id: u32,
    /// Stock keeping unit; items get it with their size.
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
    /// The sizes.
    pub sizes: Vec<String>,
}

/// Result of a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seeded {
    /// Products that are new.
    pub products: usize,
    /// Items that are new.
    pub items: usize,
}

/// Error of a seed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeedError {
    /// A product makes no sense.
    #[error("product {id}: {problem}")]
    BadProduct {
        /// The product.
        id: u32,
        /// Problem with it.
        problem: &'static str,
    },
    /// The commit was refused.
    #[error("the products were not stored: {0}")]
    Refused(#[from] Refusal),
}

/// Puts products on the shelf, with `stock` of each item. Products that are there stay as they
/// are, whatever they have become since.
///
/// # Errors
/// [`SeedError`]; products before the one that failed are on the shelf.
pub async fn seed(
    dataset: &Dataset,
    products: &[NewProduct],
    stock: i64,
) -> Result<Seeded, SeedError> {
    let mut seeded = Seeded::default();
    for operations in plans(&dataset.state().tables, products, stock)? {
        let items = operations.iter().filter(|operation| is_item(operation)).count();
        match dataset.commit(operations.into()).await {
            Ok(_) => {
                seeded.products += 1;
                seeded.items += items;
            }
            // It was put there elsewhere in between.
            Err(Refusal::ConditionFailed { .. }) => {}
            Err(refusal) => return Err(refusal.into()),
        }
    }
    Ok(seeded)
}

/// One commit per product that is not there.
pub(crate) fn plans(
    tables: &Tables,
    products: &[NewProduct],
    stock: i64,
) -> Result<Vec<Vec<Operation>>, SeedError> {
    let shelf = catalogue::products(tables);
    let mut skus: BTreeSet<&str> = shelf.iter().map(|product| &*product.row.sku).collect();
    let mut plans = Vec::new();
    for product in products {
        if shelf.iter().any(|known| known.row.id.0 == product.id) {
            continue;
        }
        let refuse = |problem| SeedError::BadProduct { id: product.id, problem };
        product.check(stock).map_err(refuse)?;
        if !skus.insert(&product.sku) {
            return Err(refuse("another product has this sku"));
        }
        if shelf.len() + plans.len() >= PRODUCTS_MAX {
            return Err(refuse("the shelf is full"));
        }
        plans.push(product.plan(stock));
    }
    Ok(plans)
}

impl NewProduct {
    fn check(&self, stock: i64) -> Result<(), &'static str> {
        let sizes: BTreeSet<&String> = self.sizes.iter().collect();
        let texts = [&self.sku, &self.name, &self.brand, &self.colorway, &self.story];
        match () {
            () if !(1..=PRODUCT_ID_MAX).contains(&self.id) => Err("the id is not within 1 to 100"),
            () if self.sku.is_empty() || self.name.is_empty() => Err("sku or name is empty"),
            () if texts.iter().any(|text| text.len() > 500) => Err("a text is too long"),
            () if !(0..=100_000_000).contains(&self.price_cents) => Err("the price is odd"),
            () if self.sizes.is_empty() => Err("there are no sizes"),
            () if self.sizes.len() > SIZES_MAX => Err("there are too many sizes"),
            () if sizes.len() < self.sizes.len() => Err("a size is there twice"),
            () if self.sizes.iter().any(|size| !(1..=12).contains(&size.len())) => {
                Err("a size is empty or too long")
            }
            () if !(0..=COUNT_MAX).contains(&stock) => Err("the stock is odd"),
            () => Ok(()),
        }
    }

    fn plan(&self, stock: i64) -> Vec<Operation> {
        let id = ProductId(self.id);
        let row = ProductRow {
            id,
            sku: self.sku.clone(),
            name: self.name.clone(),
            brand: self.brand.clone(),
            colorway: self.colorway.clone(),
            story: self.story.clone(),
            price_cents: self.price_cents,
            art: self.art.clone(),
            released: false,
        };
        let mut operations =
            vec![tables::require_absent(PRODUCTS, &id), tables::put(PRODUCTS, &id, json!(row))];
        for (number, size) in (1..).zip(&self.sizes) {
            let item = ItemId(self.id * ITEMS_PER_PRODUCT + number);
            let row = ItemRow {
                id: item,
                product_id: id,
                sku: format!("{}-{}", self.sku, size.replace(' ', "")),
                size: size.clone(),
            };
            let availability = AvailabilityRow { item_id: item, product_id: id, count: stock };
            operations.push(tables::put(ITEMS, &item, json!(row)));
            operations.push(tables::put(AVAILABILITY, &item, json!(availability)));
        }
        operations
    }
}

fn is_item(operation: &Operation) -> bool {
    matches!(operation, Operation::Put { table, .. } if table.as_str() == ITEMS)
}

/// The default shelf: two products, thirteen sizes each.
#[must_use]
pub fn catalogue() -> Vec<NewProduct> {
    let sizes: Vec<String> = (14..=26)
        .map(|half: u32| match half % 2 {
            0 => (half / 2).to_string(),
            _ => format!("{}.5", half / 2),
        })
        .collect();
    vec![
        NewProduct {
            id: 1,
            sku: "TIDE-01".into(),
            name: "Tidewater 01".into(),
            brand: "Instep Athletics".into(),
            colorway: "Lagoon / Seafoam / Coral".into(),
            story: "A featherweight runner with a wave-cut foam sole. Made for the minute the \
                    harbour wakes up."
                .into(),
            price_cents: 14_500,
            art: "tide".into(),
            sizes: sizes.clone(),
        },
        NewProduct {
            id: 2,
            sku: "EMBER-HI".into(),
            name: "Ember Court Hi".into(),
            brand: "Instep Athletics".into(),
            colorway: "Obsidian / Saffron / Bone".into(),
            story: "A padded high-top with a stitched ember wing and a cup sole that forgives \
                    landings."
                .into(),
            price_cents: 18_900,
            art: "ember".into(),
            sizes,
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Memory;

    #[test]
    fn snk_u8_the_seed_is_two_products_in_thirteen_sizes_with_unique_skus() {
        let memory = Memory::seeded(DEFAULT_STOCK);

        let shelf = catalogue::products(&memory.tables());

        let items = shelf.iter().flat_map(|product| &product.items);
        let skus: BTreeSet<&str> = items.map(|item| &*item.row.sku).collect();
        assert_eq!((shelf.len(), skus.len()), (2, 26));
    }

    #[test]
    fn snk_u8_a_second_seed_adds_nothing() {
        let memory = Memory::seeded(DEFAULT_STOCK);

        let plans = plans(&memory.tables(), &super::catalogue(), 9).unwrap();

        assert_eq!(plans, Vec::<Vec<Operation>>::new());
    }

    #[test]
    fn snk_02_no_item_has_the_id_of_a_product() {
        let most = NewProduct { id: PRODUCT_ID_MAX, ..super::catalogue().remove(0) };

        let least = NewProduct { id: 1, ..most.clone() };

        let first_item = least.id * ITEMS_PER_PRODUCT + 1;
        assert!(first_item > most.id);
        assert_eq!(most.check(1), Ok(()));
        let over = NewProduct { id: 101, ..most };
        assert!(over.check(1).is_err());
    }

    #[test]
    fn a_product_that_makes_no_sense_is_refused_and_named() {
        let good = super::catalogue().remove(0);
        let refused = |product: NewProduct| {
            let error = plans(&Tables::default(), &[product], 1).unwrap_err();
            error.to_string()
        };

        let twice = NewProduct { sizes: vec!["9".into(), "9".into()], ..good.clone() };
        assert_eq!(refused(twice), "product 1: a size is there twice");
        let free = NewProduct { price_cents: -1, ..good.clone() };
        assert_eq!(refused(free), "product 1: the price is odd");
        let known = Memory::seeded(1).tables();
        let same_sku = NewProduct { id: 3, ..good };
        assert!(plans(&known, &[same_sku], 1).is_err());
    }
}
