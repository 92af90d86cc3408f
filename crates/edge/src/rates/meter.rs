//! A rate for many connections, each of which keeps one number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

/// Rate state of one connection: 16 bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Allowance {
    used: u64,
    /// Refusals in a row.
    pub(crate) refused: u32,
}

/// One rate, for any number of connections that one thread serves.
pub(crate) struct Meter {
    limiter: RateLimiter<NotKeyed, Lent, Hand, NoOpMiddleware<Duration>>,
    lent: Lent,
    hand: Hand,
}

/// The state of the connection that is looked at.
#[derive(Debug, Clone, Default)]
struct Lent(Arc<AtomicU64>);

/// A clock that is set.
#[derive(Debug, Clone, Default)]
struct Hand(Arc<AtomicU64>);

impl Meter {
    pub(super) fn new(quota: Quota) -> Self {
        let (lent, hand) = (Lent::default(), Hand::default());
        Self { limiter: RateLimiter::new(quota, lent.clone(), hand.clone()), lent, hand }
    }

    /// Counts one; in `Err` how long to wait for the next. `now_ms` never goes back.
    pub(crate) fn check(&self, allowance: &mut Allowance, now_ms: u64) -> Result<(), Duration> {
        self.hand.0.store(now_ms, Ordering::Relaxed);
        self.lent.0.store(allowance.used, Ordering::Relaxed);
        let checked = self.limiter.check();
        allowance.used = self.lent.0.load(Ordering::Relaxed);
        allowance.refused = if checked.is_ok() { 0 } else { allowance.refused.saturating_add(1) };
        checked.map_err(|until| until.wait_time_from(self.hand.now()))
    }
}

impl StateStore for Lent {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let used = self.0.load(Ordering::Relaxed);
        let (decision, used) = decide((used > 0).then(|| used.into()))?;
        self.0.store(used.into(), Ordering::Relaxed);
        Ok(decision)
    }
}

impl Clock for Hand {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rates::Rate;

    #[test]
    fn every_connection_has_its_own_allowance_and_gets_it_back_with_time() {
        let meter = Meter::new(Rate { each: 10, burst: 5 }.by_second().unwrap());
        let (mut one, mut other) = (Allowance::default(), Allowance::default());
        let ok = |allowance: &mut Allowance, now| {
            (0..20).filter(|_| meter.check(allowance, now).is_ok()).count()
        };

        assert_eq!((ok(&mut one, 7), ok(&mut one, 7)), (5, 0));
        assert_eq!(ok(&mut other, 7), 5);
        assert_eq!(one.refused, 35);
        assert_eq!((ok(&mut one, 307), ok(&mut other, 60_000)), (3, 5));
        assert_eq!(one.refused, 17);
        assert!(size_of::<Allowance>() <= 16);
    }
}
