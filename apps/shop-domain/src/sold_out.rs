//! Notes in carts about items that sold out: what makes a cart be shown again (SNK-U4).
//!
//! A view is a function of one row, so a cart can only be announced when its own row changes. This
//! task follows the dataset and writes the note `sold_out` into the carts that hold an item whose
//! count reached or left zero, and into no others. It compares carts with counts instead of
//! counting events: starting again, from whatever is there, finishes what was left undone and
//! repeats nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use instep::model::commit::Record;
use instep::model::name::Key;
use instep::model::owner::{Receipt, Refusal};
use instep::model::state::Tables;
use instep::{Dataset, FollowError};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::cart::{self, Cart};
use crate::catalogue::AvailabilityRow;
use crate::ids::{CartId, ItemId};
use crate::tables::{self, AVAILABILITY, CARTS};

/// Changes that arrive within this time are looked at together.
const GATHER: Duration = Duration::from_millis(25);
/// Carts that are written at the same time.
const CARTS_AT_ONCE: usize = 256;
/// Delay before the task that ended badly begins again.
const BEGIN_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Called before each look at the carts.
pub type BeforeLook = Arc<dyn Fn() + Send + Sync>;

/// Keeps the notes of a dataset's carts, for ever. Begins again when it ends badly, even in a
/// panic, and disturbs no other task then (SNK-22). `before_look` is for tests that make it panic.
pub async fn keep_notes(dataset: Dataset, before_look: BeforeLook) {
    loop {
        let attempt = note(dataset.clone(), Arc::clone(&before_look));
        match tokio::spawn(attempt).await {
            Ok(Err(FollowError::Closed)) => return,
            Ok(Ok(never)) => match never {},
            Ok(Err(error)) => tracing::debug!(%error, "the notes of carts begin again"),
            Err(error) => tracing::error!(%error, "the notes of carts begin again"),
        }
        tokio::time::sleep(BEGIN_AGAIN_AFTER).await;
    }
}

/// Follows until the dataset ends.
async fn note(dataset: Dataset, before_look: BeforeLook) -> Result<Infallible, FollowError> {
    let state = dataset.state();
    let mut follow = dataset.follow(Some(dataset.position_of(&state)))?;
    let mut holders = Holders::of(&state.tables);
    let mut suspects: BTreeSet<Key> = holders.carts.keys().cloned().collect();
    drop(state);
    loop {
        before_look();
        let again = look(&dataset, std::mem::take(&mut suspects)).await;
        let retry = !again.is_empty();
        suspects = again;
        let next = if retry {
            timeout(GATHER, follow.next()).await.ok()
        } else {
            Some(follow.next().await)
        };
        let Some(commit) = next else {
            continue;
        };
        holders.see(&commit?.records, &mut suspects);
        let gathered = Instant::now() + GATHER;
        while let Ok(commit) = timeout_at(gathered, follow.next()).await {
            holders.see(&commit?.records, &mut suspects);
        }
    }
}

/// Carts and the items that they hold.
#[derive(Debug, Default)]
struct Holders {
    carts: BTreeMap<Key, Vec<ItemId>>,
    by_item: BTreeMap<ItemId, BTreeSet<Key>>,
    sold_out: BTreeSet<ItemId>,
}

impl Holders {
    fn of(tables: &Tables) -> Self {
        let mut holders = Self::default();
        for (key, cart) in tables::read_all::<Cart>(tables, CARTS) {
            holders.hold(key, &cart);
        }
        for (_, row) in tables::read_all::<AvailabilityRow>(tables, AVAILABILITY) {
            holders.count(row.item_id, row.count);
        }
        holders
    }

    /// Takes a commit's records, and adds the carts to `suspects` whose notes may be wrong now.
    fn see(&mut self, records: &[Record], suspects: &mut BTreeSet<Key>) {
        for record in records {
            match record {
                Record::Put { table, key, row } if table.as_str() == CARTS => {
                    if let Ok(cart) = serde_json::from_slice(row.as_bytes()) {
                        self.hold(key, &cart);
                        suspects.insert(key.clone());
                    }
                }
                Record::Delete { table, key } if table.as_str() == CARTS => {
                    self.hold(key, &Cart::default());
                }
                Record::Put { table, row, .. } if table.as_str() == AVAILABILITY => {
                    let row = serde_json::from_slice::<AvailabilityRow>(row.as_bytes());
                    if let Ok(row) = row
                        && self.count(row.item_id, row.count)
                    {
                        let holders = self.by_item.get(&row.item_id);
                        suspects.extend(holders.into_iter().flatten().cloned());
                    }
                }
                _ => {}
            }
        }
    }

    fn hold(&mut self, key: &Key, cart: &Cart) {
        for item in self.carts.remove(key).unwrap_or_default() {
            if let Some(holders) = self.by_item.get_mut(&item) {
                holders.remove(key);
                if holders.is_empty() {
                    self.by_item.remove(&item);
                }
            }
        }
        if cart.items.is_empty() {
            return;
        }
        let items: Vec<ItemId> = cart.items.iter().map(|held| held.id).collect();
        for item in &items {
            self.by_item.entry(*item).or_default().insert(key.clone());
        }
        self.carts.insert(key.clone(), items);
    }

    /// True when the item is sold out now and was not, or the other way round.
    fn count(&mut self, item: ItemId, count: i64) -> bool {
        if count <= 0 { self.sold_out.insert(item) } else { self.sold_out.remove(&item) }
    }
}

/// Writes the notes that are missing or wrong, and answers which carts to look at again.
async fn look(dataset: &Dataset, suspects: BTreeSet<Key>) -> BTreeSet<Key> {
    let mut writing = JoinSet::new();
    let mut again = BTreeSet::new();
    for key in suspects {
        let tables = dataset.state().tables.clone();
        let Ok(id) = key.as_str().parse::<CartId>() else {
            continue;
        };
        let held = cart::cart(&tables, &id);
        let Some(noted) = cart::with_notes(&tables, &held) else {
            continue;
        };
        let operations = cart::replace(&tables, &id, &noted);
        let dataset = dataset.clone();
        writing.spawn(async move { (key, dataset.commit(operations.into()).await) });
        if writing.len() >= CARTS_AT_ONCE {
            again.extend(writing.join_next().await.and_then(unwritten));
        }
    }
    while let Some(written) = writing.join_next().await {
        again.extend(unwritten(written));
    }
    again
}

type Written = Result<(Key, Result<Receipt, Refusal>), tokio::task::JoinError>;

/// The cart whose note could not be written for now.
fn unwritten(written: Written) -> Option<Key> {
    match written {
        // A cart that changed is in the commits to come, and is looked at with them.
        Ok((_, Ok(_) | Err(Refusal::ConditionFailed { .. }))) => None,
        Ok((key, Err(Refusal::Overloaded | Refusal::StorageFull(_)))) => Some(key),
        Ok((_, Err(refusal))) => {
            tracing::debug!(%refusal, "a note of a cart was refused");
            None
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cart::CartItem;
    use crate::testing::{self, Memory};

    #[test]
    fn snk_u4_only_the_carts_that_hold_an_item_are_looked_at_when_it_sells_out() {
        let mut memory = Memory::seeded(1);
        let (holder, other) = (testing::cart_id(1), testing::cart_id(2));
        put(&mut memory, &holder, 101);
        put(&mut memory, &other, 102);
        let mut holders = Holders::of(&memory.tables());
        let mut suspects = BTreeSet::new();

        holders.see(&[availability(101, 0)], &mut suspects);

        let keys: Vec<&str> = suspects.iter().map(Key::as_str).collect();
        assert_eq!(keys, [holder.as_str()]);
    }

    #[test]
    fn snk_u4_a_count_that_stays_at_or_above_zero_causes_no_look_at_carts() {
        let mut memory = Memory::seeded(3);
        put(&mut memory, &testing::cart_id(1), 101);
        let mut holders = Holders::of(&memory.tables());
        let mut suspects = BTreeSet::new();

        holders.see(&[availability(101, 2)], &mut suspects);
        assert!(suspects.is_empty());
        holders.see(&[availability(101, 0)], &mut suspects);
        suspects.clear();
        holders.see(&[availability(101, 0)], &mut suspects);
        assert!(suspects.is_empty());
        holders.see(&[availability(101, 5)], &mut suspects);
        assert_eq!(suspects.len(), 1);
    }

    #[test]
    fn a_cart_that_is_emptied_is_forgotten() {
        let mut memory = Memory::seeded(1);
        let id = testing::cart_id(1);
        put(&mut memory, &id, 101);
        let mut holders = Holders::of(&memory.tables());

        holders.hold(&tables::key(&id), &Cart::default());

        assert!(holders.carts.is_empty() && holders.by_item.is_empty());
    }

    fn put(memory: &mut Memory, id: &CartId, item: u32) {
        let cart =
            Cart { items: vec![CartItem { id: ItemId(item), sold_out: false }], touched_ms: 1 };
        memory.commit(vec![tables::put(CARTS, id, json!(cart))]).unwrap();
    }

    fn availability(item: u32, count: i64) -> Record {
        let row = json!({"item_id": item, "product_id": 1, "count": count});
        Record::Put {
            table: tables::name(AVAILABILITY),
            key: tables::key(&ItemId(item)),
            row: instep::model::row::Row::new(&tables::fields(row)).unwrap(),
        }
    }
}
