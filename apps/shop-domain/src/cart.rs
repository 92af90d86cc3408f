//! Carts: items that a shopper wants to buy.
//!
//! A cart takes items that are sold out or not released yet; only the checkout is strict. Every
//! change replaces the whole row on condition that it is still the one that was read, so two tabs
//! cannot undo each other.

use std::collections::BTreeMap;

use instep::Dataset;
use instep::model::commit::Operation;
use instep::model::name::Key;
use instep::model::owner::Refusal;
use instep::model::state::Tables;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::catalogue::{self, Item, ProductRow};
use crate::ids::{CartId, ItemId};
use crate::tables::{self, CARTS, ITEMS};

/// Most items in one cart.
pub const CART_ITEMS: usize = 24;
/// A cart that was not changed for this long is removed: its token has expired long ago, unless its
/// shopper kept looking at it without ever buying.
pub const KEPT_MS: u64 = 30 * 24 * 60 * 60 * 1000;
/// Carts removed by one sweep; the next one goes on.
const SWEPT_AT_ONCE: usize = 1_000;
/// A change that meets another change of the same cart is tried this often.
const TRIES: usize = 16;

/// A row of `carts`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cart {
    /// Items in the cart, in the order of putting in.
    pub items: Vec<CartItem>,
    /// Time of the shopper's last change, in milliseconds since 1970.
    pub touched_ms: u64,
}

/// An item in a cart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartItem {
    /// Id of the item.
    pub id: ItemId,
    /// Noted when it sells out, so that the shopper is told.
    pub sold_out: bool,
}

/// Number of carts that hold each item.
#[must_use]
pub fn held(tables: &Tables) -> BTreeMap<ItemId, u64> {
    let mut held = BTreeMap::new();
    for (_, cart) in tables::read_all::<Cart>(tables, CARTS) {
        for item in cart.items {
            *held.entry(item.id).or_default() += 1;
        }
    }
    held
}

/// A cart with everything that is shown of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CartContents {
    /// Its lines, in the order of putting in.
    pub lines: Vec<CartLine>,
    /// Price of all lines, in cents.
    pub total_cents: i64,
}

/// An item in a cart with everything that is shown of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CartLine {
    /// Its product.
    pub product: ProductRow,
    /// The item, with its count.
    pub item: Item,
    /// The note of the cart's own row.
    pub sold_out: bool,
}

/// Error of a cart that stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CartError {
    /// There is no such item, or it is not in the cart.
    #[error("there is no item {0} here")]
    NotFound(ItemId),
    /// The item is in the cart already.
    #[error("item {0} is in the cart already")]
    Duplicate(ItemId),
    /// The cart is full.
    #[error("a cart holds at most {CART_ITEMS} items")]
    Full,
    /// The commit was refused.
    #[error("the cart was not stored: {0}")]
    Refused(#[from] Refusal),
}

impl CartError {
    /// The stable reason that clients see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not_found",
            Self::Duplicate(_) => "duplicate_item",
            Self::Full => "cart_full",
            Self::Refused(_) => "failed",
        }
    }
}

/// A change of a cart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CartChange {
    /// Puts an item in.
    Add(ItemId),
    /// Takes an item out.
    Remove(ItemId),
}

/// A cart as it is; empty when nothing was ever put in.
#[must_use]
pub fn cart(tables: &Tables, id: &CartId) -> Cart {
    tables::read(tables, CARTS, id.as_str()).unwrap_or_default()
}

/// Content of a cart as it is shown. Items that do not exist any more are left out.
#[must_use]
pub fn contents(tables: &Tables, cart: &Cart) -> CartContents {
    let lines: Vec<CartLine> = cart
        .items
        .iter()
        .filter_map(|held| {
            let (product, item) = catalogue::item(tables, held.id)?;
            Some(CartLine { product, item, sold_out: held.sold_out })
        })
        .collect();
    CartContents { total_cents: lines.iter().map(|line| line.product.price_cents).sum(), lines }
}

/// Changes a cart at `now_ms`, milliseconds since 1970.
///
/// # Errors
/// [`CartError`]; the cart is then as it was.
pub async fn change(
    dataset: &Dataset,
    id: &CartId,
    change: CartChange,
    now_ms: u64,
) -> Result<(), CartError> {
    let mut last = None;
    for _ in 0..TRIES {
        let operations = plan(&dataset.state().tables, id, change, now_ms)?;
        match dataset.commit(operations.into()).await {
            Ok(_) => return Ok(()),
            // The other tab was quicker: look again.
            Err(refusal @ Refusal::ConditionFailed { .. }) => last = Some(refusal),
            Err(refusal) => return Err(refusal.into()),
        }
    }
    Err(last.unwrap_or(Refusal::Overloaded).into())
}

/// Removes carts that were not changed for [`KEPT_MS`], and returns their number.
///
/// # Errors
/// [`Refusal`], when the log takes nothing; the next sweep goes on.
pub async fn sweep(dataset: &Dataset, now_ms: u64) -> Result<usize, Refusal> {
    let tables = dataset.state().tables.clone();
    let mut swept = 0;
    for (key, cart) in abandoned(&tables, now_ms) {
        let condition = tables::require(CARTS, &key, json!({"touched_ms": cart.touched_ms}));
        let delete = Operation::Delete { table: tables::name(CARTS), key };
        match dataset.commit(vec![condition, delete].into()).await {
            Ok(_) => swept += 1,
            // Its shopper came back at this very moment.
            Err(Refusal::ConditionFailed { .. }) => {}
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(swept)
}

fn abandoned(tables: &Tables, now_ms: u64) -> Vec<(Key, Cart)> {
    tables::read_all::<Cart>(tables, CARTS)
        .filter(|(_, cart)| cart.touched_ms.saturating_add(KEPT_MS) < now_ms)
        .take(SWEPT_AT_ONCE)
        .map(|(key, cart)| (key.clone(), cart))
        .collect()
}

fn plan(
    tables: &Tables,
    id: &CartId,
    change: CartChange,
    now_ms: u64,
) -> Result<Vec<Operation>, CartError> {
    let mut cart = cart(tables, id);
    match change {
        CartChange::Add(item) => {
            if catalogue::item(tables, item).is_none() {
                return Err(CartError::NotFound(item));
            }
            if cart.items.iter().any(|held| held.id == item) {
                return Err(CartError::Duplicate(item));
            }
            if cart.items.len() >= CART_ITEMS {
                return Err(CartError::Full);
            }
            let sold_out = catalogue::count(tables, item) <= 0;
            cart.items.push(CartItem { id: item, sold_out });
        }
        CartChange::Remove(item) => {
            let before = cart.items.len();
            cart.items.retain(|held| held.id != item);
            if cart.items.len() == before {
                return Err(CartError::NotFound(item));
            }
        }
    }
    cart.touched_ms = now_ms;
    Ok(replace(tables, id, &cart))
}

/// Writes a cart on condition that it is still the one in `tables`.
pub(crate) fn replace(tables: &Tables, id: &CartId, cart: &Cart) -> Vec<Operation> {
    vec![unchanged(tables, id), tables::put(CARTS, id, json!(cart))]
}

/// The condition that a cart is still the one in `tables`.
pub(crate) fn unchanged(tables: &Tables, id: &CartId) -> Operation {
    match tables::read::<Cart>(tables, CARTS, id.as_str()) {
        Some(held) => tables::require(CARTS, id, json!({"items": held.items})),
        None => tables::require_absent(CARTS, id),
    }
}

/// The same cart with notes that agree with the counts; none when they do already.
pub(crate) fn with_notes(tables: &Tables, cart: &Cart) -> Option<Cart> {
    let mut noted = cart.clone();
    for held in &mut noted.items {
        held.sold_out = catalogue::count(tables, held.id) <= 0;
    }
    let known = tables.contains_key(ITEMS);
    (known && noted != *cart).then_some(noted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Memory};

    #[test]
    fn snk_u2_an_item_goes_in_once_and_out_once() {
        let mut memory = Memory::seeded(1);
        let id = testing::cart_id(1);
        let item = ItemId(101);

        assert_eq!(act(&mut memory, &id, CartChange::Add(item)), Ok(()));
        let again = act(&mut memory, &id, CartChange::Add(item));
        assert_eq!(again, Err(CartError::Duplicate(item)));
        assert_eq!(act(&mut memory, &id, CartChange::Remove(item)), Ok(()));
        let again = act(&mut memory, &id, CartChange::Remove(item));
        assert_eq!(again, Err(CartError::NotFound(item)));
    }

    #[test]
    fn snk_02_a_product_is_not_an_item_and_does_not_go_into_a_cart() {
        let mut memory = Memory::seeded(1);

        let outcome = act(&mut memory, &testing::cart_id(1), CartChange::Add(ItemId(1)));

        assert_eq!(outcome, Err(CartError::NotFound(ItemId(1))));
    }

    #[test]
    fn snk_u2_a_sold_out_item_may_be_put_in_and_carries_the_note() {
        let mut memory = Memory::seeded(0);
        let id = testing::cart_id(1);

        act(&mut memory, &id, CartChange::Add(ItemId(101))).unwrap();

        let held = cart(&memory.tables(), &id).items;
        assert_eq!(held, [CartItem { id: ItemId(101), sold_out: true }]);
    }

    #[test]
    fn snk_u3_of_two_changes_that_read_the_same_cart_the_second_looks_again() {
        let mut memory = Memory::seeded(1);
        let id = testing::cart_id(1);
        let before = memory.tables();
        let plan_of = |item| plan(&before, &id, CartChange::Add(ItemId(item)), 1).unwrap();

        let outcomes = [plan_of(101), plan_of(102)].map(|operations| memory.commit(operations));

        assert!(outcomes[0].is_ok());
        assert!(matches!(outcomes[1], Err(Refusal::ConditionFailed { .. })));
    }

    #[test]
    fn a_cart_has_a_limit() {
        let mut memory = Memory::seeded(1);
        let id = testing::cart_id(1);
        let items = (101..=113).chain(201..=213).map(ItemId);

        let outcomes: Vec<_> =
            items.map(|item| act(&mut memory, &id, CartChange::Add(item))).collect();

        assert_eq!(outcomes[CART_ITEMS], Err(CartError::Full));
        assert_eq!(cart(&memory.tables(), &id).items.len(), CART_ITEMS);
    }

    #[test]
    fn snk_u4_notes_follow_the_counts_and_are_written_only_when_they_differ() {
        let mut memory = Memory::seeded(1);
        let id = testing::cart_id(1);
        act(&mut memory, &id, CartChange::Add(ItemId(101))).unwrap();
        let held = cart(&memory.tables(), &id);
        assert_eq!(with_notes(&memory.tables(), &held), None);

        memory.commit(vec![tables::take_one(ItemId(101))]).unwrap();

        let noted = with_notes(&memory.tables(), &held).unwrap();
        assert!(noted.items[0].sold_out);
        assert_eq!(with_notes(&memory.tables(), &noted), None);
    }

    #[test]
    fn a_cart_is_abandoned_when_it_was_not_changed_for_thirty_days() {
        let mut memory = Memory::seeded(1);
        act(&mut memory, &testing::cart_id(1), CartChange::Add(ItemId(101))).unwrap();

        assert_eq!(abandoned(&memory.tables(), KEPT_MS + 1).len(), 0);
        assert_eq!(abandoned(&memory.tables(), KEPT_MS + 2).len(), 1);
    }

    fn act(memory: &mut Memory, id: &CartId, change: CartChange) -> Result<(), CartError> {
        let operations = plan(&memory.tables(), id, change, 1)?;
        memory.commit(operations).map(drop).map_err(CartError::from)
    }
}
