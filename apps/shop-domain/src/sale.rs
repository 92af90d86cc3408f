//! A flash sale to watch: many buyers at once, until everything is gone.

mod pace;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use instep::Dataset;
use instep::model::commit::Operation;
use instep::model::owner::Refusal;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::catalogue;
use crate::checkout::require_released;
use crate::ids::{ItemId, ProductId};
use crate::sale::pace::Pace;
use crate::tables;

/// Most buyers of one sale.
pub const BUYERS_MAX: usize = 5_000;
/// Most orders a second that can be asked for.
pub const RATE_MAX: f64 = 1_000_000.0;
/// Interval of reports of the progress.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// Delay before a buyer that the server sent away comes back.
const COME_BACK_AFTER: Duration = Duration::from_millis(20);

/// Options of a sale.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SaleOptions {
    /// Only this product; else every released one.
    pub product: Option<ProductId>,
    /// Buyers at the same time.
    pub buyers: usize,
    /// Orders a second, of all buyers together; 0 is as fast as possible. Without it the stock is
    /// gone in about twenty seconds.
    pub rate: Option<f64>,
}

impl Default for SaleOptions {
    fn default() -> Self {
        Self { product: None, buyers: 200, rate: None }
    }
}

/// Progress of a sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Pieces sold by this sale.
    pub sold: u64,
    /// Pieces that were there when it began.
    pub stock: u64,
    /// Purchases that came too late for their item.
    pub too_late: u64,
}

/// Error of a sale that did not begin, or did not end well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SaleError {
    /// There is no such product.
    #[error("there is no product {0}")]
    UnknownProduct(ProductId),
    /// Nothing is released.
    #[error("no product is released: release one first")]
    NothingReleased,
    /// Number of buyers out of bounds.
    #[error("a sale has 1 to {BUYERS_MAX} buyers")]
    BadBuyers,
    /// No rate, or beyond what can be asked for.
    #[error("a sale has a rate of 0 to {RATE_MAX} orders a second")]
    BadRate,
    /// A purchase was refused for another reason than being too late.
    #[error("the sale stopped: {0}")]
    Refused(Refusal),
    /// A buyer's task ended badly.
    #[error("a buyer did not come back")]
    BuyerLost,
}

/// Sells until nothing is left, telling the progress some ten times a second and at the end.
///
/// # Errors
/// [`SaleError`]; earlier sales stay.
pub async fn sell_until_gone(
    dataset: &Dataset,
    options: SaleOptions,
    mut tell: impl FnMut(Progress),
) -> Result<Progress, SaleError> {
    let wares = Arc::new(wares(dataset, options)?);
    let counters = Arc::new(Counters::default());
    let stock = wares.iter().map(|ware| ware.count).sum();
    let pace = Arc::new(Pace::new(options.rate, stock));
    let mut buyers = JoinSet::new();
    for number in 0..options.buyers {
        let buyer = Buyer {
            dataset: dataset.clone(),
            wares: Arc::clone(&wares),
            counters: Arc::clone(&counters),
            pace: Arc::clone(&pace),
            random: (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        };
        buyers.spawn(buyer.buy_until_gone());
    }
    let mut tick = tokio::time::interval(TELL_EVERY);
    loop {
        tokio::select! {
            _ = tick.tick() => tell(counters.progress(stock)),
            ended = buyers.join_next() => match ended {
                None => break,
                Some(Ok(outcome)) => outcome.map_err(SaleError::Refused)?,
                Some(Err(_)) => return Err(SaleError::BuyerLost),
            },
        }
    }
    let progress = counters.progress(stock);
    tell(progress);
    Ok(progress)
}

/// Says whether a sale could begin.
///
/// # Errors
/// [`SaleError`]: why it could not.
pub fn check(dataset: &Dataset, options: SaleOptions) -> Result<(), SaleError> {
    wares(dataset, options).map(drop)
}

/// Something to buy.
struct Ware {
    item: ItemId,
    product: ProductId,
    count: u64,
}

fn wares(dataset: &Dataset, options: SaleOptions) -> Result<Vec<Ware>, SaleError> {
    if !(1..=BUYERS_MAX).contains(&options.buyers) {
        return Err(SaleError::BadBuyers);
    }
    if options.rate.is_some_and(|rate| !(0.0..=RATE_MAX).contains(&rate)) {
        return Err(SaleError::BadRate);
    }
    let mut shelf = catalogue::products(&dataset.state().tables);
    if let Some(wanted) = options.product {
        shelf.retain(|product| product.row.id == wanted);
        if shelf.is_empty() {
            return Err(SaleError::UnknownProduct(wanted));
        }
    }
    shelf.retain(|product| product.row.released);
    if shelf.is_empty() {
        return Err(SaleError::NothingReleased);
    }
    let items = shelf.iter().flat_map(|product| &product.items);
    let wares = items.map(|item| Ware {
        item: item.row.id,
        product: item.row.product_id,
        count: u64::try_from(item.count).unwrap_or(0),
    });
    Ok(wares.filter(|ware| ware.count > 0).collect())
}

#[derive(Default)]
struct Counters {
    sold: AtomicU64,
    too_late: AtomicU64,
}

impl Counters {
    fn progress(&self, stock: u64) -> Progress {
        Progress {
            sold: self.sold.load(Ordering::Relaxed),
            too_late: self.too_late.load(Ordering::Relaxed),
            stock,
        }
    }
}

struct Buyer {
    dataset: Dataset,
    wares: Arc<Vec<Ware>>,
    counters: Arc<Counters>,
    pace: Arc<Pace>,
    random: u64,
}

impl Buyer {
    /// Buys one random piece after the other, until nothing is left for this buyer.
    async fn buy_until_gone(mut self) -> Result<(), Refusal> {
        let mut wanted: Vec<usize> = (0..self.wares.len()).collect();
        self.pace.turn().await;
        while !wanted.is_empty() {
            let choice = self.next_random() as usize % wanted.len();
            let ware = &self.wares[wanted[choice]];
            match self.dataset.commit(purchase(ware).into()).await {
                Ok(_) => {
                    self.counters.sold.fetch_add(1, Ordering::Relaxed);
                    self.pace.turn().await;
                }
                // A buyer that comes too late for one size takes another at once.
                Err(Refusal::OutOfBounds { .. }) => {
                    self.counters.too_late.fetch_add(1, Ordering::Relaxed);
                    wanted.swap_remove(choice);
                }
                Err(Refusal::Overloaded) => tokio::time::sleep(COME_BACK_AFTER).await,
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(())
    }

    /// xorshift: which buyer takes which shoe is no secret.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

fn purchase(ware: &Ware) -> Vec<Operation> {
    vec![require_released(ware.product), tables::take_one(ware.item)]
}
