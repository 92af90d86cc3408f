//! Rate limits: connections and failed proofs by address, messages by connection.
//!
//! | what | counted by | beyond it |
//! | --- | --- | --- |
//! | connections | address | 429, or told and closed; before any handshake |
//! | keys and tokens that are no good | address | 429 for a while, unless it is good |
//! | messages | connection | an error reply; too many of those in a row: closed with 1008 |
//! | requests | connection of HTTP | 429 |

mod meter;

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use instep_model::limits;

pub(crate) use self::meter::{Allowance, Meter};

/// Rate limit, sustained and in a burst; `each` 0: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Sustained rate, for its unit of time.
    pub each: u32,
    /// Burst: how many at once, after a time of silence; at least 1.
    pub burst: u32,
}

/// Rate limits, and the clients they hold for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateOptions {
    /// Connections of one address, by the second.
    pub connections: Rate,
    /// Messages of one connection, by the second.
    pub messages: Rate,
    /// Requests on one connection of HTTP, by the second.
    pub requests: Rate,
    /// Keys and tokens of one address that are no good, by the minute.
    pub failures: Rate,
    /// Refused messages in a row that end a connection.
    pub refusals: u32,
    /// All of this holds for clients on this machine as well.
    pub loopback: bool,
}

/// Counters of refusals by rate limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateCounts {
    /// Connections.
    pub connections: u64,
    /// Messages.
    pub messages: u64,
    /// Requests.
    pub requests: u64,
    /// Keys and tokens of addresses that had shown too many invalid ones.
    pub proofs: u64,
}

/// Rate limiters of addresses, and counters of refusals.
pub(crate) struct Rates {
    options: RateOptions,
    connections: Option<Addresses>,
    failures: Option<Addresses>,
    /// Requests of clients behind a proxy.
    requests: Option<Addresses>,
    /// Addresses blocked until then, unless the key or token that they show is valid.
    blocked: Mutex<HashMap<IpAddr, Instant>>,
    refused: [AtomicU64; 4],
}

/// Kind of a refusal.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Refused {
    Connection,
    Message,
    Request,
    Proof,
}

/// A rate for each address.
struct Addresses {
    limiter: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>,
    clock: DefaultClock,
    /// Time of the last sweep, which forgets addresses that were idle for a while.
    swept: Mutex<Instant>,
}

impl Default for RateOptions {
    fn default() -> Self {
        Self {
            connections: Rate {
                each: limits::RATE_CONNECTIONS,
                burst: limits::RATE_CONNECTIONS_BURST,
            },
            messages: Rate { each: limits::RATE_MESSAGES, burst: limits::RATE_MESSAGES_BURST },
            requests: Rate { each: limits::RATE_REQUESTS, burst: limits::RATE_REQUESTS_BURST },
            failures: Rate { each: limits::RATE_FAILURES, burst: limits::RATE_FAILURES_BURST },
            refusals: limits::RATE_REFUSALS,
            loopback: false,
        }
    }
}

impl Rate {
    fn quota(self, of: impl Fn(NonZeroU32) -> Quota) -> Option<Quota> {
        let burst = NonZeroU32::new(self.burst.max(1))?;
        Some(of(NonZeroU32::new(self.each)?).allow_burst(burst))
    }

    fn by_second(self) -> Option<Quota> {
        self.quota(Quota::per_second)
    }
}

impl Rates {
    pub(crate) fn new(options: RateOptions) -> Self {
        Self {
            connections: options.connections.by_second().map(Addresses::new),
            failures: options.failures.quota(Quota::per_minute).map(Addresses::new),
            requests: options.requests.by_second().map(Addresses::new),
            blocked: Mutex::default(),
            refused: Default::default(),
            options,
        }
    }

    /// Returns true for an address of this machine, unless the limits hold for it as well.
    pub(crate) fn is_exempt(&self, address: IpAddr) -> bool {
        !self.options.loopback && address.to_canonical().is_loopback()
    }

    /// Refused messages in a row that end a connection.
    pub(crate) fn refusals(&self) -> u32 {
        self.options.refusals
    }

    /// Counts a connection; in `Err` how long to wait for the next.
    pub(crate) fn may_connect(&self, address: IpAddr) -> Result<(), Duration> {
        let Some(connections) = &self.connections else { return Ok(()) };
        if self.is_exempt(address) {
            return Ok(());
        }
        connections.check(address).inspect_err(|_| self.note(Refused::Connection))
    }

    /// Counts a request of an address whose connection is a proxy's; in `Err` how long to wait.
    pub(crate) fn may_ask(&self, address: IpAddr) -> Result<(), Duration> {
        let Some(requests) = &self.requests else { return Ok(()) };
        requests.check(address).inspect_err(|_| self.note(Refused::Request))
    }

    /// Checks that the address may show invalid keys and tokens; in `Err` how long to wait.
    pub(crate) fn may_show(&self, address: IpAddr) -> Result<(), Duration> {
        let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(until) = blocked.get(&one_of(address)) else { return Ok(()) };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            blocked.remove(&one_of(address));
            return Ok(());
        }
        Err(left)
    }

    /// Counts a key or a token that is no good.
    pub(crate) fn note_failure(&self, address: IpAddr) {
        let Some(failures) = &self.failures else { return };
        if self.is_exempt(address) {
            return;
        }
        if let Err(wait) = failures.check(address) {
            let now = Instant::now();
            let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
            if blocked.len() >= limits::RATE_ADDRESSES {
                blocked.retain(|_, until| *until > now);
            }
            if blocked.len() < limits::RATE_ADDRESSES {
                blocked.insert(one_of(address), now + wait);
            }
            tracing::warn!(%address, "too many invalid keys or tokens");
        }
    }

    /// Meter for the messages of connections; none when they have no limit.
    pub(crate) fn messages(&self) -> Option<Meter> {
        self.options.messages.by_second().map(Meter::new)
    }

    /// Meter for the requests on a connection of HTTP; none when they have no limit.
    pub(crate) fn requests(&self, address: IpAddr) -> Option<Meter> {
        if self.is_exempt(address) {
            None
        } else {
            self.options.requests.by_second().map(Meter::new)
        }
    }

    pub(crate) fn note(&self, refused: Refused) {
        self.refused[refused as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> RateCounts {
        let of = |refused: Refused| self.refused[refused as usize].load(Ordering::Relaxed);
        RateCounts {
            connections: of(Refused::Connection),
            messages: of(Refused::Message),
            requests: of(Refused::Request),
            proofs: of(Refused::Proof),
        }
    }
}

impl Addresses {
    fn new(quota: Quota) -> Self {
        let clock = DefaultClock::default();
        let limiter = RateLimiter::hashmap(quota);
        Self { limiter, clock, swept: Mutex::new(Instant::now()) }
    }

    fn check(&self, address: IpAddr) -> Result<(), Duration> {
        if self.limiter.len() >= limits::RATE_ADDRESSES && !self.sweep() {
            // No address is told apart any more; what holds for all connections together still
            // does.
            return Ok(());
        }
        let checked = self.limiter.check_key(&one_of(address));
        checked.map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// Forgets addresses that have done nothing for a while, now and then; true when there is room.
    fn sweep(&self) -> bool {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if swept.elapsed() >= Duration::from_secs(1) {
            *swept = Instant::now();
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        self.limiter.len() < limits::RATE_ADDRESSES
    }
}

/// Address as it is counted: of IPv6 a whole /64, which is what one customer has.
pub(crate) fn one_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & (u128::MAX << 64);
            IpAddr::V6(network.into())
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Whole seconds to wait, at least one.
pub(crate) fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0 || wait.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn rates(loopback: bool) -> Rates {
        let rate = Rate { each: 1, burst: 3 };
        let options =
            RateOptions { connections: rate, failures: rate, loopback, ..RateOptions::default() };
        Rates::new(options)
    }

    #[test]
    fn one_address_is_one_customer_and_this_machine_may_do_as_it_likes() {
        let rates = rates(false);
        let ok = |text| (0..9).filter(|_| rates.may_connect(address(text)).is_ok()).count();

        assert_eq!((ok("192.0.2.1"), ok("192.0.2.2"), ok("::ffff:192.0.2.1")), (3, 3, 0));
        assert_eq!((ok("2001:db8::1"), ok("2001:db8::2"), ok("2001:db8:0:1::1")), (3, 0, 3));
        assert_eq!((ok("127.0.0.1"), ok("::1"), ok("::ffff:127.0.0.1")), (9, 9, 9));
        assert_eq!(rates.read().connections, 6 + 6 + 9 + 6 + 9 + 6);
    }

    #[test]
    fn who_fails_too_often_is_told_to_wait() {
        let rates = rates(true);
        let here = address("127.0.0.1");

        for _ in 0..3 {
            assert!(rates.may_show(here).is_ok());
            rates.note_failure(here);
        }
        assert!(rates.may_show(here).is_ok(), "the burst is what is allowed");
        rates.note_failure(here);

        let wait = rates.may_show(here).unwrap_err();
        assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(60), "{wait:?}");
        assert!(rates.may_show(address("192.0.2.1")).is_ok());
        assert_eq!(seconds(wait), 60);
    }

    #[test]
    fn nought_is_no_limit() {
        let none = Rate { each: 0, burst: 0 };
        let options = RateOptions {
            connections: none,
            failures: none,
            messages: none,
            ..rates(true).options
        };
        let rates = Rates::new(options);

        assert!((0..10_000).all(|_| rates.may_connect(address("192.0.2.1")).is_ok()));
        assert!(rates.messages().is_none());
    }

    #[test]
    fn law_6_so_many_addresses_are_told_apart_and_no_more() {
        let rates = rates(true);

        for number in 0..limits::RATE_ADDRESSES + 1_000 {
            let number = u32::try_from(number).unwrap();
            rates.may_connect(IpAddr::V4(number.into())).unwrap();
        }

        let known = rates.connections.unwrap().limiter.len();
        assert!(known <= limits::RATE_ADDRESSES, "{known}");
    }
}
