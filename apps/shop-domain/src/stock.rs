//! Stock that comes in, or is counted anew.

use instep::Dataset;
use instep::model::owner::Refusal;
use serde_json::json;

use crate::ids::ItemId;
use crate::tables::{self, AVAILABILITY};

/// Most pieces of one item.
pub const COUNT_MAX: i64 = 1_000_000_000;

/// Error of setting a count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StockError {
    /// There is no such item.
    #[error("there is no item {0}")]
    UnknownItem(ItemId),
    /// The count makes no sense.
    #[error("a count lies between 0 and {COUNT_MAX}")]
    BadCount,
    /// The commit was refused; the count is as it was.
    #[error("the count was not stored: {0}")]
    Refused(Refusal),
}

/// Sets how many there are of an item.
///
/// # Errors
/// [`StockError`]; nothing has changed then.
pub async fn set_count(dataset: &Dataset, item: ItemId, count: i64) -> Result<(), StockError> {
    if !(0..=COUNT_MAX).contains(&count) {
        return Err(StockError::BadCount);
    }
    let operation = tables::patch(AVAILABILITY, &item, json!({"count": count}));
    match dataset.commit(vec![operation].into()).await {
        Ok(_) => Ok(()),
        Err(Refusal::RowNotFound { .. } | Refusal::UnknownTable { .. }) => {
            Err(StockError::UnknownItem(item))
        }
        Err(refusal) => Err(StockError::Refused(refusal)),
    }
}
