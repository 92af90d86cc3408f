//! The names of the shop's tables, and reading rows out of them.

use instep::model::commit::{CommitId, Operation, Proposal, digest};
use instep::model::name::{Key, Name};
use instep::model::row::Fields;
use instep::model::state::Tables;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Products by product id.
pub const PRODUCTS: &str = "products";
/// Items by item id.
pub const ITEMS: &str = "items";
/// Counts by item id.
pub const AVAILABILITY: &str = "availability";
/// Carts by cart id.
pub const CARTS: &str = "carts";
/// Orders by order id.
pub const ORDERS: &str = "orders";
/// Every table of the shop.
pub const ALL: [&str; 5] = [PRODUCTS, ITEMS, AVAILABILITY, CARTS, ORDERS];

/// The name of one of the tables above.
#[must_use]
pub fn name(table: &'static str) -> Name {
    Name::new(table).expect("the shop's own names are well-formed")
}

/// The key of a row: ids are digits, hex or UUIDs, all of them fit.
pub(crate) fn key(id: &impl ToString) -> Key {
    Key::new(&id.to_string()).expect("an id is a short text without control characters")
}

/// A row as `T`; none when it is missing or is not what the shop writes.
pub(crate) fn read<T: DeserializeOwned>(tables: &Tables, table: &str, key: &str) -> Option<T> {
    let stored = tables.get(table)?.rows.get(key)?;
    serde_json::from_slice(stored.row.as_bytes()).ok()
}

/// Every row of a table that is what the shop writes, with its key, in the order of keys.
pub(crate) fn read_all<'a, T: DeserializeOwned + 'a>(
    tables: &'a Tables,
    table: &str,
) -> impl Iterator<Item = (&'a Key, T)> + 'a {
    let rows = tables.get(table).map(|table| table.rows.iter());
    rows.into_iter().flatten().filter_map(|(key, stored)| {
        let row = serde_json::from_slice(stored.row.as_bytes()).ok()?;
        Some((key, row))
    })
}

/// The fields of a JSON object.
pub(crate) fn fields(value: Value) -> Fields {
    match value {
        Value::Object(fields) => fields,
        _ => Fields::new(),
    }
}

/// Writes a whole row.
pub(crate) fn put(table: &'static str, id: &impl ToString, row: Value) -> Operation {
    Operation::Put { table: name(table), key: key(id), row: fields(row) }
}

/// Merges fields into a row.
pub(crate) fn patch(table: &'static str, id: &impl ToString, change: Value) -> Operation {
    Operation::Patch { table: name(table), key: key(id), fields: fields(change) }
}

/// The commit happens only if the row holds these values.
pub(crate) fn require(table: &'static str, id: &impl ToString, equals: Value) -> Operation {
    Operation::Require {
        table: name(table),
        key: key(id),
        exists: None,
        equals: Some(fields(equals)),
        r#where: None,
        unchanged_since: None,
    }
}

/// The commit happens only if there is no such row.
pub(crate) fn require_absent(table: &'static str, id: &impl ToString) -> Operation {
    Operation::Require {
        table: name(table),
        key: key(id),
        exists: Some(false),
        equals: None,
        r#where: None,
        unchanged_since: None,
    }
}

/// Takes one piece of an item; refused when none is left.
pub(crate) fn take_one(item: crate::ids::ItemId) -> Operation {
    Operation::Add {
        table: name(AVAILABILITY),
        key: key(&item),
        field: "count".into(),
        by: -1,
        min: Some(0),
        max: None,
    }
}

/// A proposal that takes effect at most once under `id`; `meaning` tells two bodies apart.
pub(crate) fn signed_proposal(
    id: uuid::Uuid,
    meaning: &[u8],
    operations: Vec<Operation>,
) -> Proposal {
    let digest = digest(meaning);
    let commit_id = Some(CommitId { principal: PRINCIPAL.into(), id, digest, earlier: None });
    Proposal { commit_id, operations }
}

/// One principal for all shoppers: ids are remembered per principal, and principals are few.
const PRINCIPAL: &str = "shop";
