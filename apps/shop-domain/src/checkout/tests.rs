use instep::model::state::Change;

use super::*;
use crate::cart::CartItem;
use crate::testing::{self, Memory};

#[test]
fn snk_u5_a_checkout_takes_one_of_each_item_writes_the_order_and_empties_the_cart() {
    let mut memory = released(5);
    let cart = testing::cart_id(1);
    fill(&mut memory, &cart, &[101, 203]);

    buy(&mut memory, &cart, testing::order_id(1)).unwrap();

    assert_eq!(counts(&memory, &[101, 102, 203]), [4, 5, 4]);
    assert_eq!(super::cart::cart(&memory.tables(), &cart).items, vec![]);
    let order = order(&memory.tables(), testing::order_id(1)).unwrap();
    assert_eq!(order.lines.len(), 2);
    assert_eq!(order.total_cents, order.lines.iter().map(|line| line.price_cents).sum::<i64>());
}

#[test]
fn snk_u5_an_empty_cart_buys_nothing() {
    let mut memory = released(5);

    let outcome = buy(&mut memory, &testing::cart_id(1), testing::order_id(1));

    assert_eq!(outcome, Err(CheckoutError::Empty));
}

#[test]
fn snk_r4_when_the_second_item_is_sold_out_nothing_of_the_first_is_taken_or_seen() {
    let mut memory = released(1);
    let cart = testing::cart_id(1);
    fill(&mut memory, &cart, &[101, 102]);
    memory.commit(vec![tables::take_one(ItemId(102))]).unwrap();
    memory.changes.clear();

    let outcome = buy(&mut memory, &cart, testing::order_id(1));

    assert_eq!(outcome, Err(CheckoutError::SoldOut(ItemId(102))));
    assert_eq!(counts(&memory, &[101]), [1]);
    assert_eq!(memory.changes, Vec::<Change>::new());
    assert_eq!(super::cart::cart(&memory.tables(), &cart).items.len(), 2);
}

#[test]
fn snk_u5_an_unreleased_item_is_not_sold() {
    let mut memory = Memory::seeded(5);
    let cart = testing::cart_id(1);
    fill(&mut memory, &cart, &[101]);

    let outcome = buy(&mut memory, &cart, testing::order_id(1));

    assert_eq!(outcome, Err(CheckoutError::NotReleased(ItemId(101))));
    assert_eq!(counts(&memory, &[101]), [5]);
}

#[test]
fn snk_14_of_many_buyers_of_the_last_pair_exactly_one_gets_it() {
    let mut memory = released(1);
    let plans: Vec<_> = (0..200)
        .map(|buyer| {
            let cart = testing::cart_id(buyer);
            fill(&mut memory, &cart, &[101]);
            Plan::new(&memory.tables(), &cart, testing::order_id(buyer), 1).unwrap()
        })
        .collect();

    let errors: Vec<_> = plans
        .into_iter()
        .filter_map(|plan| Some(plan.steps.explain(memory.commit(plan.operations).err()?)))
        .collect();

    assert_eq!(errors.len(), 199);
    let sold_out = Ok(CheckoutError::SoldOut(ItemId(101)));
    assert!(errors.iter().all(|error| *error == sold_out));
    assert_eq!(counts(&memory, &[101]), [0]);
}

#[test]
fn snk_u5_a_checkout_of_a_cart_that_changed_meanwhile_looks_again() {
    let mut memory = released(5);
    let cart = testing::cart_id(1);
    fill(&mut memory, &cart, &[101]);
    let plan = Plan::new(&memory.tables(), &cart, testing::order_id(1), 1).unwrap();
    fill(&mut memory, &cart, &[101, 102]);

    let refusal = memory.commit(plan.operations).unwrap_err();

    assert!(plan.steps.explain(refusal).is_err());
    assert_eq!(counts(&memory, &[101, 102]), [5, 5]);
}

fn released(count: i64) -> Memory {
    let mut memory = Memory::seeded(count);
    let products = [1, 2].map(ProductId);
    let release = products.map(|id| tables::patch(PRODUCTS, &id, json!({"released": true})));
    memory.commit(release.into()).unwrap();
    memory
}

fn fill(memory: &mut Memory, cart: &CartId, items: &[u32]) {
    let items = items.iter().map(|id| CartItem { id: ItemId(*id), sold_out: false });
    let cart_row = Cart { items: items.collect(), touched_ms: 1 };
    memory.commit(vec![tables::put(CARTS, cart, json!(cart_row))]).unwrap();
}

fn buy(memory: &mut Memory, cart: &CartId, id: Uuid) -> Result<(), CheckoutError> {
    let plan = Plan::new(&memory.tables(), cart, id, 1)?;
    let outcome = memory.commit(plan.operations);
    outcome.map(drop).map_err(|refusal| plan.steps.explain(refusal).unwrap())
}

fn counts<const N: usize>(memory: &Memory, items: &[u32; N]) -> [i64; N] {
    items.map(|id| catalogue::count(&memory.tables(), ItemId(id)))
}
