//! Rate limit of the requests on one connection of HTTP.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::Http;
use crate::rates::{Allowance, Meter, Refused, seconds};
use crate::state::EdgeState;

/// Counts the requests on one connection of HTTP.
pub struct RequestMeter {
    edge: Arc<EdgeState>,
    meter: Meter,
    began: Instant,
    allowance: Mutex<Allowance>,
}

impl Http {
    /// Meter for the requests on a connection from that address; none if they do not count.
    #[must_use]
    pub fn requests(&self, from: std::net::IpAddr) -> Option<RequestMeter> {
        let edge = self.edge();
        let meter = edge.rates().requests(from).filter(|_| edge.counts(from))?;
        let (began, allowance) = (Instant::now(), Mutex::default());
        Some(RequestMeter { edge: Arc::clone(edge), meter, began, allowance })
    }
}

impl RequestMeter {
    /// Counts one; in `Err` how many seconds to wait for the next.
    ///
    /// # Errors
    /// When there were too many.
    pub fn check(&self) -> Result<(), u64> {
        let rates = self.edge.rates();
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let allowance = &mut self.allowance.lock().unwrap_or_else(PoisonError::into_inner);
        self.meter.check(allowance, now_ms).map_err(|wait| {
            rates.note(Refused::Request);
            seconds(wait)
        })
    }
}
