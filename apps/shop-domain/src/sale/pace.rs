//! Pace of a sale: when the next order of any buyer is due.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Duration of a sale without a given rate, so that it can be watched.
const SECONDS: f64 = 20.0;
/// Some thirty years: no sale waits longer.
const FAR_SECONDS: f64 = 1e9;

/// Turns of buyers, evenly spread: one order after the other, each at its time.
#[derive(Debug)]
pub(super) struct Pace {
    began: Instant,
    /// Orders a second; none is as fast as possible.
    rate: Option<f64>,
    turns: AtomicU64,
}

impl Pace {
    /// At so many orders a second, 0 for no limit; else so that the stock is gone in time.
    pub(super) fn new(rate: Option<f64>, stock: u64) -> Self {
        let rate = rate.unwrap_or_else(|| (stock as f64 / SECONDS).max(1.0));
        let rate = (rate > 0.0).then_some(rate);
        Self { began: Instant::now(), rate, turns: AtomicU64::new(0) }
    }

    /// Done when the next order is due.
    pub(super) async fn turn(&self) {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        if let Some(due) = self.due(turn) {
            tokio::time::sleep_until(self.began + due).await;
        }
    }

    /// Time at which an order is due, from the beginning of the sale.
    fn due(&self, turn: u64) -> Option<Duration> {
        let seconds = turn as f64 / self.rate?;
        Some(Duration::from_secs_f64(seconds.min(FAR_SECONDS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(rate: Option<f64>, stock: u64, turn: u64) -> Option<f64> {
        Pace::new(rate, stock).due(turn).map(|due| due.as_secs_f64())
    }

    #[test]
    fn a_sale_without_a_rate_lasts_twenty_seconds_and_a_small_one_a_second_for_each_piece() {
        assert_eq!(due(None, 4_800, 4_800), Some(20.0));
        assert_eq!(due(None, 4_800, 2_400), Some(10.0), "evenly");
        assert_eq!(due(None, 3, 3), Some(3.0));
    }

    #[test]
    fn a_rate_is_orders_a_second_whatever_the_stock_and_zero_is_no_limit() {
        assert_eq!(due(Some(50.0), 4_800, 100), Some(2.0));
        assert_eq!(due(Some(0.0), 4_800, 1_000_000), None);
    }

    #[test]
    fn no_rate_that_can_be_asked_for_makes_a_time_that_cannot_be_said() {
        assert_eq!(due(Some(f64::MIN_POSITIVE), 1, u64::MAX), Some(FAR_SECONDS));
    }
}
