//! Release of a product: once, and for all shoppers at the same moment.

use instep::Dataset;
use instep::model::commit::Operation;
use instep::model::owner::Refusal;
use instep::model::state::Tables;
use serde_json::json;

use crate::catalogue;
use crate::ids::ProductId;
use crate::tables::{self, PRODUCTS};

/// Result of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// The product is released now, and all open pages are told.
    Now,
    /// It was released before; pages are not told again.
    Before,
}

/// Error of a release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// There is no such product.
    #[error("there is no product {0}")]
    UnknownProduct(ProductId),
    /// The commit was refused; the product is as it was.
    #[error("the release was not stored: {0}")]
    Refused(#[from] Refusal),
}

/// Releases a product.
///
/// # Errors
/// [`ReleaseError`]; nothing has changed then.
pub async fn release(dataset: &Dataset, id: ProductId) -> Result<Released, ReleaseError> {
    let Some(operations) = plan(&dataset.state().tables, id)? else {
        return Ok(Released::Before);
    };
    match dataset.commit(operations.into()).await {
        Ok(_) => Ok(Released::Now),
        // It was released elsewhere in between.
        Err(Refusal::ConditionFailed { .. }) => Ok(Released::Before),
        Err(refusal) => Err(refusal.into()),
    }
}

/// The operations of a release; none when the product is released already.
fn plan(tables: &Tables, id: ProductId) -> Result<Option<Vec<Operation>>, ReleaseError> {
    let product = catalogue::product(tables, id).ok_or(ReleaseError::UnknownProduct(id))?;
    let operations = vec![
        tables::require(PRODUCTS, &id, json!({"released": false})),
        tables::patch(PRODUCTS, &id, json!({"released": true})),
    ];
    Ok((!product.row.released).then_some(operations))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Memory;

    #[test]
    fn snk_20_an_unknown_product_cannot_be_released() {
        let memory = Memory::seeded(1);

        let planned = plan(&memory.tables(), ProductId(77));

        assert_eq!(planned, Err(ReleaseError::UnknownProduct(ProductId(77))));
    }

    #[test]
    fn snk_20_of_two_releases_only_one_is_a_commit() {
        let mut memory = Memory::seeded(1);
        let twice = [0, 1].map(|_| plan(&memory.tables(), ProductId(1)).unwrap().unwrap());

        let outcomes = twice.map(|operations| memory.commit(operations));

        assert!(outcomes[0].is_ok());
        assert!(matches!(outcomes[1], Err(Refusal::ConditionFailed { .. })));
        assert_eq!(plan(&memory.tables(), ProductId(1)), Ok(None));
    }
}
