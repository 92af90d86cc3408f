//! The requests on one connection of HTTP.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::{Allowance, Meter, Rates, Refused, seconds};
use crate::door::Door;

/// Counts the requests on one connection of HTTP.
pub struct RequestMeter {
    door: Door,
    meter: Meter,
    began: Instant,
    allowance: Mutex<Allowance>,
}

impl Door {
    /// Meter for the requests on a connection from that address; none if they do not count.
    #[must_use]
    pub fn requests(&self, from: std::net::IpAddr) -> Option<RequestMeter> {
        let edge = self.edge();
        let meter = edge.rates().requests(from).filter(|_| edge.counts(from))?;
        let (began, allowance) = (Instant::now(), Mutex::default());
        Some(RequestMeter { door: self.clone(), meter, began, allowance })
    }
}

impl RequestMeter {
    /// Counts one; in `Err` how many seconds to wait for the next.
    ///
    /// # Errors
    /// When there were too many.
    pub fn check(&self) -> Result<(), u64> {
        let rates: &Rates = self.door.edge().rates();
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let allowance = &mut self.allowance.lock().unwrap_or_else(PoisonError::into_inner);
        self.meter.check(allowance, now_ms).map_err(|wait| {
            rates.note(Refused::Request);
            seconds(wait)
        })
    }
}
