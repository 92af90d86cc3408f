//! The checkout: all items of a cart or none of them, in one commit.
//!
//! The commit itself decides whether items are left: it requires that every product is released,
//! takes one piece of every item unless none is left, writes the order and empties the cart. What a
//! page or a memory believed before does not matter (SNK-14). An order id takes effect at most
//! once, so a double click buys once.

use instep::Dataset;
use instep::model::commit::Operation;
use instep::model::owner::Refusal;
use instep::model::state::Tables;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::cart::{self, Cart};
use crate::catalogue;
use crate::ids::{CartId, ItemId, ProductId};
use crate::tables::{self, CARTS, ORDERS, PRODUCTS};

/// A checkout that meets a change of its cart is tried this often.
const TRIES: usize = 16;

/// A row of `orders`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The cart that it was.
    pub cart: String,
    /// Lines of the order: the items that were bought.
    pub lines: Vec<OrderLine>,
    /// Total price, in cents.
    pub total_cents: i64,
    /// Time of the order, in milliseconds since 1970.
    pub time_ms: u64,
}

/// An item that was bought, as it was at that time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLine {
    /// The item.
    pub item_id: ItemId,
    /// Its product's name.
    pub name: String,
    /// Its product's drawing.
    pub art: String,
    /// Its size.
    pub size: String,
    /// Its price in cents.
    pub price_cents: i64,
}

/// Error of a checkout: nothing was bought. Nothing has changed then, unless it says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckoutError {
    /// There is nothing in the cart.
    #[error("the cart is empty")]
    Empty,
    /// None is left of this item.
    #[error("item {0} is sold out")]
    SoldOut(ItemId),
    /// The product of this item is not released.
    #[error("item {0} is not released yet")]
    NotReleased(ItemId),
    /// This item does not exist any more.
    #[error("item {0} is not sold any more")]
    Withdrawn(ItemId),
    /// The form is so old that it is not known whether it was sent before.
    #[error("the form is too old")]
    FormTooOld,
    /// The order id is no good, or was used for another order.
    #[error("the order id is of another order")]
    OrderConflict,
    /// The commit was refused.
    #[error("the order was not stored: {0}")]
    Refused(Refusal),
}

impl CheckoutError {
    /// The stable reason that clients see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::SoldOut(_) => "sold_out",
            Self::NotReleased(_) => "not_released",
            Self::Withdrawn(_) => "withdrawn",
            Self::FormTooOld => "form_too_old",
            Self::OrderConflict => "order_conflict",
            Self::Refused(_) => "failed",
        }
    }
}

/// An order, if it was made.
#[must_use]
pub fn order(tables: &Tables, id: Uuid) -> Option<Order> {
    tables::read(tables, ORDERS, &id.to_string())
}

/// Buys the items of a cart, as order `id` (a UUIDv7), at `now_ms`.
///
/// # Errors
/// [`CheckoutError`]; nothing was bought then.
pub async fn checkout(
    dataset: &Dataset,
    cart: &CartId,
    id: Uuid,
    now_ms: u64,
) -> Result<Order, CheckoutError> {
    let mut last = None;
    for _ in 0..TRIES {
        let state = dataset.state();
        if let Some(order) = order(&state.tables, id) {
            // The second click of a double click.
            return if order.cart == cart.as_str() {
                Ok(order)
            } else {
                Err(CheckoutError::OrderConflict)
            };
        }
        let plan = Plan::new(&state.tables, cart, id, now_ms)?;
        let proposal = tables::signed_proposal(id, &plan.meaning, plan.operations);
        match dataset.commit(proposal).await {
            Ok(_) => return Ok(plan.order),
            Err(refusal) => match plan.steps.explain(refusal) {
                Ok(error) => return Err(error),
                Err(refusal) => last = Some(refusal),
            },
        }
    }
    Err(CheckoutError::Refused(last.unwrap_or(Refusal::Overloaded)))
}

/// A checkout as operations, and what each of them means.
struct Plan {
    order: Order,
    operations: Vec<Operation>,
    steps: Steps,
    meaning: Vec<u8>,
}

/// Steps of a checkout: the purpose of each of its operations, by index.
struct Steps(Vec<Step>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    CartUnchanged,
    Released(ItemId),
    Take(ItemId),
    Write,
}

impl Plan {
    fn new(
        tables: &Tables,
        id: &CartId,
        order_id: Uuid,
        now_ms: u64,
    ) -> Result<Self, CheckoutError> {
        let held = cart::cart(tables, id);
        if held.items.is_empty() {
            return Err(CheckoutError::Empty);
        }
        let mut steps = vec![(Step::CartUnchanged, cart::unchanged(tables, id))];
        let mut lines = Vec::with_capacity(held.items.len());
        for item in held.items.iter().map(|held| held.id) {
            let (product, shown) =
                catalogue::item(tables, item).ok_or(CheckoutError::Withdrawn(item))?;
            steps.push((Step::Released(item), require_released(product.id)));
            steps.push((Step::Take(item), tables::take_one(item)));
            lines.push(OrderLine {
                item_id: item,
                name: product.name,
                art: product.art,
                size: shown.row.size,
                price_cents: product.price_cents,
            });
        }
        let order = Order {
            cart: id.to_string(),
            total_cents: lines.iter().map(|line| line.price_cents).sum(),
            lines,
            time_ms: now_ms,
        };
        let emptied = Cart { items: vec![], touched_ms: now_ms };
        steps.push((Step::Write, tables::put(ORDERS, &order_id, json!(order))));
        steps.push((Step::Write, tables::put(CARTS, id, json!(emptied))));
        let (steps, operations) = steps.into_iter().unzip();
        Ok(Self {
            meaning: json!([id, order.lines]).to_string().into_bytes(),
            order,
            operations,
            steps: Steps(steps),
        })
    }
}

impl Steps {
    /// Explains a refusal to the shopper; returns it when the checkout should look again.
    fn explain(&self, refusal: Refusal) -> Result<CheckoutError, Refusal> {
        let step = match &refusal {
            Refusal::ConditionFailed { operation, .. }
            | Refusal::OutOfBounds { operation, .. }
            | Refusal::RowNotFound { operation, .. } => self.0.get(*operation),
            // Another checkout under this id was quicker, and the state will show it.
            Refusal::IdConflict => return Err(refusal),
            Refusal::IdExpired => return Ok(CheckoutError::FormTooOld),
            Refusal::IdInvalid => return Ok(CheckoutError::OrderConflict),
            _ => None,
        };
        match (step, &refusal) {
            (Some(Step::CartUnchanged), _) => Err(refusal),
            (Some(Step::Take(item)), Refusal::OutOfBounds { .. }) => {
                Ok(CheckoutError::SoldOut(*item))
            }
            (Some(Step::Released(item)), Refusal::ConditionFailed { .. }) => {
                Ok(CheckoutError::NotReleased(*item))
            }
            (Some(Step::Released(item) | Step::Take(item)), _) => {
                Ok(CheckoutError::Withdrawn(*item))
            }
            (Some(Step::Write) | None, _) => Ok(CheckoutError::Refused(refusal)),
        }
    }
}

/// The condition that a product is released.
pub(crate) fn require_released(product: ProductId) -> Operation {
    tables::require(PRODUCTS, &product, json!({"released": true}))
}

#[cfg(test)]
mod tests;
